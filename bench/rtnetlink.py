"""The links of one namespace: made by the thousand, changed at a rate that the kernel limits, and read back.

Changes go through ``portsyncd.testing.burst``; requests are packed before the clock runs. An MTU change is the cheapest
change that is published (IPv6 off), and each one here differs from the one before: the kernel says nothing about a
change that changes nothing.
"""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple

from portsyncd.testing import burst
from portsyncd.testing.links import IFF_RUNNING, IFF_UP
from portsyncd.testing.netns import NetworkNamespace

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _CREATE_EXCLUSIVELY, _DUMP = 0x1, 0x4, 0x400 | 0x200, 0x300
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_GROUP, _IFLA_EXT_MASK = 3, 4, 18, 27, 29
_IFLA_INFO_KIND = 1
_SKIP_STATISTICS = 8
_HEADER = Struct("=IHHII")
_IFINFO = Struct("=BxHiII")
_ATTRIBUTE = Struct("=HH")
_U32 = Struct("=I")
_S32 = Struct("=i")

# Kinds with one link a port and no limit on the MTU come first; veth is there always, and brings a peer along.
_KINDS: Final = ("dummy", "ifb", "veth")
# All links made here are in one group, so that the kernel can delete them in one go.
_GROUP: Final = 4711
_ANSWER_SECONDS: Final = 60
# Far more values than rounds before a port's backlog is read, so that no stale port looks right by chance.
_FIRST_MTU, _MTU_VALUES = 1500, 7000


class Link(NamedTuple):
    """What is published of a link (IFF_UP, IFF_RUNNING, IFLA_MTU), and its ifindex."""

    ifindex: int
    admin_up: bool
    oper_up: bool
    mtu: int


class LinkDriver:
    """Makes, changes, reads and deletes links. An error of the kernel is an ``OSError``."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        self._burst = burst.Burst(namespace)
        with namespace.enter():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._round = 0
        self.kind = ""

    def close(self) -> None:
        """Delete every link made here - far cheaper than to leave them to the namespace's end - and close."""
        if self.kind:
            self._ask(_RTM_DELLINK, _ACK, _IFINFO.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_GROUP, _U32.pack(_GROUP)))
        self._socket.close()
        self._burst.close()

    def create(self, names: Sequence[str]) -> list[int]:
        """Make links that are up; their ifindexes, in the same order."""
        for name in names:
            self._create(name)
        links = self.links("")
        return [links[name].ifindex for name in names]

    def _create(self, name: str) -> None:
        for kind in (self.kind,) if self.kind else _KINDS:
            body = _IFINFO.pack(0, 0, 0, IFF_UP, IFF_UP) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
            body += _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, kind.encode()))
            body += _attribute(_IFLA_GROUP, _U32.pack(_GROUP))
            try:
                self._ask(_RTM_NEWLINK, _ACK | _CREATE_EXCLUSIVELY, body)
            except OSError as error:
                # The kernel has no such kind: a module that is not there.
                if error.errno != errno.EOPNOTSUPP or kind == _KINDS[-1]:
                    raise
            else:
                self.kind = kind
                return

    def links(self, prefix: str = "Ethernet") -> dict[str, Link]:
        """All links whose names begin so, in one dump."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_EXT_MASK, _U32.pack(_SKIP_STATISTICS))
        return {name: link for name, link in self._ask(_RTM_GETLINK, _DUMP, body) if name.startswith(prefix)}

    def mtu_changes(self, ifindexes: Sequence[int], count: int) -> list[bytes]:
        """``count`` requests to change an MTU, round after round over all links; each makes one event."""
        requests: list[bytes] = []
        while len(requests) < count:
            self._round += 1
            mtu = _FIRST_MTU + self._round % _MTU_VALUES
            requests += (burst.set_mtu(ifindex, mtu) for ifindex in ifindexes)
        return requests[:count]

    def send(self, requests: Sequence[bytes]) -> None:
        """Have requests carried out, as fast as the kernel does; all have been when this returns."""
        self._burst.send(requests)

    def _ask(self, kind: int, flags: int, body: bytes) -> list[tuple[str, Link]]:
        """One question and its whole answer: an acknowledgement, or a dump's links."""
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 0, 0) + body)
        links: list[tuple[str, Link]] = []
        while True:
            datagram = self._socket.recv(1 << 16)
            for answer, start, end in _messages(datagram):
                if answer == _NLMSG_DONE:
                    return links
                if answer == _NLMSG_ERROR:
                    (code,) = _S32.unpack_from(datagram, start + _HEADER.size)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return links
                links.append(_decode(datagram, start, end))


def flips(ifindexes: Sequence[int], count: int) -> list[bytes]:
    """``count`` requests to flip the admin state of links that are up, round after round; each makes one event."""
    down, up = ([burst.set_admin(ifindex, state) for ifindex in ifindexes] for state in (False, True))
    return ((down + up) * (count // (2 * len(ifindexes)) + 1))[:count]


def _attribute(tag: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), tag) + value + bytes(-len(value) % 4)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of each message."""
    start = 0
    while start < len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, start)
        yield kind, start, start + length
        start += (length + 3) & ~3


def _decode(datagram: bytes, start: int, end: int) -> tuple[str, Link]:
    _, _, ifindex, flags, _ = _IFINFO.unpack_from(datagram, start + _HEADER.size)
    name, mtu = "", 0
    at = start + _HEADER.size + _IFINFO.size
    while at < end and not (name and mtu):
        length, tag = _ATTRIBUTE.unpack_from(datagram, at)
        if tag == _IFLA_IFNAME:
            name = datagram[at + 4 : at + length - 1].decode()
        elif tag == _IFLA_MTU:
            (mtu,) = _U32.unpack_from(datagram, at + 4)
        at += (length + 3) & ~3
    return name, Link(ifindex, bool(flags & IFF_UP), bool(flags & IFF_RUNNING), mtu)
