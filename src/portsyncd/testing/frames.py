"""rtnetlink frames, byte for byte as the kernel lays them out: the inverse of ``wire.netlink.decode``.

Layout and numbers are those of ``linux/netlink.h`` and ``linux/if_link.h``; integers are in host byte order. Attributes
come in the kernel's own order (``rtnl_fill_ifinfo``), among others that the daemon passes over.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from portsyncd.wire.netlink import RTM_DELLINK, RTM_NEWLINK, LinkMessage

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4
NLM_F_MULTI: Final = 0x2
NLM_F_DUMP_INTR: Final = 0x10
AF_BRIDGE: Final = 7

IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_MASTER: Final = 10
IFLA_TXQLEN: Final = 13
IFLA_LINKINFO: Final = 18
IFLA_CARRIER_CHANGES: Final = 35
IFLA_CARRIER_DOWN_COUNT: Final = 48
IFLA_INFO_KIND: Final = 1
_ARPHRD_ETHER: Final = 1
_NLA_F_NESTED: Final = 0x8000

_HEADER: Final = Struct("=IHHII")
_IFINFO: Final = Struct("=BxHiII")
_ATTRIBUTE: Final = Struct("=HH")
_U32: Final = Struct("=I")
_S32: Final = Struct("=i")


def message(kind: int, body: bytes = b"", *, flags: int = 0, sequence: int = 0) -> bytes:
    """One netlink message of any kind, padded so that another may follow."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def attribute(tag: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), tag) + payload + bytes(-len(payload) % 4)


def text(value: str) -> bytes:
    """A string as the kernel sends it: NUL-terminated, odd bytes as surrogate escapes stand for them."""
    return value.encode("utf-8", "surrogateescape") + b"\0"


def number(value: int) -> bytes:
    """A 32-bit number."""
    return _U32.pack(value)


def link(said: LinkMessage, *, flags: int = 0, sequence: int = 0, more: Iterable[bytes] = ()) -> bytes:
    """RTM_NEWLINK or RTM_DELLINK that says this. ``more``: attributes that follow. What is absent in it is left out."""
    attributes: list[bytes] = []
    if said.name:
        attributes += (attribute(IFLA_IFNAME, text(said.name)), attribute(IFLA_TXQLEN, number(1000)))
    for tag, value, absent in (
        (IFLA_MTU, said.mtu, -1),
        (IFLA_MASTER, said.master, 0),
        (IFLA_CARRIER_CHANGES, said.carrier_changes, -1),
        (IFLA_CARRIER_DOWN_COUNT, said.carrier_down, -1),
    ):
        if value != absent:
            attributes.append(attribute(tag, number(value)))
    if said.kind:
        attributes.append(attribute(IFLA_LINKINFO | _NLA_F_NESTED, attribute(IFLA_INFO_KIND, text(said.kind))))
    body = _IFINFO.pack(said.family, _ARPHRD_ETHER, said.ifindex, said.flags, 0)
    kind = RTM_DELLINK if said.removed else RTM_NEWLINK
    return message(kind, body + b"".join((*attributes, *more)), flags=flags, sequence=sequence)


def done(sequence: int = 0, *, errno: int = 0, interrupted: bool = False) -> bytes:
    """NLMSG_DONE: the end of a dump, with the positive errno of one that failed."""
    flags = NLM_F_MULTI | (NLM_F_DUMP_INTR if interrupted else 0)
    return message(NLMSG_DONE, _S32.pack(-errno), flags=flags, sequence=sequence)


def refusal(errno: int, sequence: int = 0) -> bytes:
    """NLMSG_ERROR with a positive errno; 0 makes it an acknowledgement. The request's header follows, as the kernel's."""
    return message(NLMSG_ERROR, _S32.pack(-errno) + bytes(_HEADER.size), sequence=sequence)


def overrun() -> bytes:
    """NLMSG_OVERRUN: data was lost."""
    return message(NLMSG_OVERRUN)
