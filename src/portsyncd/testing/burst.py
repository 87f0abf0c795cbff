"""Link changes as fast as the kernel takes them: hundreds of raw rtnetlink requests in one ``send``.

The kernel works a batch off within the ``send`` call, so all its events are out when that returns. (Carrier changes
are the exception: linkwatch reports them later.) One by one through pyroute2 it takes 200 us and more a request.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Final, Self

from portsyncd.testing.links import IFF_UP, peer_name
from portsyncd.testing.netns import NetworkNamespace

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>, <linux/veth.h>
_HEADER: Final = struct.Struct("=IHHII")
_IFINFO: Final = struct.Struct("=BxHiII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NLMSG_ERROR: Final = 2
_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_SETLINK: Final = 19
_NLM_F_REQUEST: Final = 0x1
_NLM_F_CREATE_EXCLUSIVELY: Final = 0x400 | 0x200
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINKINFO: Final = 18
_IFLA_GROUP: Final = 27
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1

BATCH: Final = 250


def set_mtu(ifindex: int, mtu: int) -> bytes:
    """Change a link's MTU: one event, if it differs."""
    return _request(_RTM_SETLINK, 0, _IFINFO.pack(0, 0, ifindex, 0, 0) + _attribute(_IFLA_MTU, struct.pack("=I", mtu)))


def set_admin(ifindex: int, up: bool) -> bytes:
    """Set a link up or down."""
    return _request(_RTM_SETLINK, 0, _IFINFO.pack(0, 0, ifindex, IFF_UP if up else 0, IFF_UP))


def rename(ifindex: int, name: str) -> bytes:
    """Give a link another name."""
    return _request(_RTM_SETLINK, 0, _IFINFO.pack(0, 0, ifindex, 0, 0) + _name(name))


def add_port(name: str, *, up: bool = False, group: int = 0) -> bytes:
    """Make a port as ``Links.add_port`` does: a veth pair, the peer down, this end as asked. group: see ``delete_group``."""
    peer = _attribute(_VETH_INFO_PEER, _IFINFO.pack(0, 0, 0, 0, 0) + _name(peer_name(name)))
    info = _attribute(_IFLA_INFO_KIND, b"veth") + _attribute(_IFLA_INFO_DATA, peer)
    body = _IFINFO.pack(0, 0, 0, IFF_UP if up else 0, IFF_UP) + _name(name) + _attribute(_IFLA_LINKINFO, info)
    if group:
        body += _attribute(_IFLA_GROUP, struct.pack("=I", group))
    return _request(_RTM_NEWLINK, _NLM_F_CREATE_EXCLUSIVELY, body)


def delete(ifindex: int) -> bytes:
    """Delete a link."""
    return _request(_RTM_DELLINK, 0, _IFINFO.pack(0, 0, ifindex, 0, 0))


def delete_group(group: int) -> bytes:
    """Delete all links of a group. One by one each takes the kernel some 15 ms; together they take hardly longer than one."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_GROUP, struct.pack("=I", group))
    return _request(_RTM_DELLINK, 0, body)


def mtu_flips(ifindexes: Sequence[int], count: int, mtus: tuple[int, int] = (1400, 1500)) -> Iterator[bytes]:
    """``count`` MTU changes over these links in turn; after a whole number of double rounds each has the second MTU."""
    for number in range(count):
        round_number, position = divmod(number, len(ifindexes))
        yield set_mtu(ifindexes[position], mtus[round_number % 2])


class Burst:
    """A socket of one namespace for such requests. A context manager."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        with namespace.enter():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)

    def send(self, requests: Iterable[bytes]) -> int:
        """Have all of them carried out in order; returns how many there were. Raises ``OSError`` with the kernel's
        errno for the first that it refused."""
        total = 0
        iterator = iter(requests)
        while batch := list(islice(iterator, BATCH)):
            self._socket.send(b"".join(batch))
            self._check()
            total += len(batch)
        return total

    def _check(self) -> None:
        # Without NLM_F_ACK the kernel answers with errors only.
        refused = 0
        while True:
            try:
                answer = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue  # more refusals than the socket holds; the first is here all the same
            _, kind, _, _, _ = _HEADER.unpack_from(answer)
            if kind == _NLMSG_ERROR and not refused:
                (refused,) = struct.unpack_from("=i", answer, _HEADER.size)
        if refused:
            raise OSError(-refused, os.strerror(-refused))

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _request(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | flags, 0, 0) + body


def _attribute(kind: int, payload: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + bytes(-size % 4)


def _name(name: str) -> bytes:
    return _attribute(_IFLA_IFNAME, name.encode("utf-8", "surrogateescape") + b"\0")
