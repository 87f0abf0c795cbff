"""rtnetlink link messages: one datagram in, tuples out; and the few requests that the daemon sends.

This is the hot path, so the bytes are read with ``struct``, only what the daemon uses is looked at, and how messages are
laid out is remembered (``shapes``). Layout and numbers are the kernel's (``linux/netlink.h``, ``linux/rtnetlink.h``,
``linux/if_link.h``); all integers are in host byte order. What a datagram means depends on nothing but its bytes;
malformed ones raise ``DecodeError`` and nothing else.
"""

from collections.abc import Iterable
from struct import Struct, error
from typing import Any, Final, NamedTuple

from portsyncd.errors import DecodeError
from portsyncd.wire.shapes import ShapeMemory

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTNLGRP_LINK: Final = 1

IFF_UP: Final = 0x1
IFF_RUNNING: Final = 0x40
AF_UNSPEC: Final = 0
IFNAMSIZ: Final = 16

_NLMSG_NOOP = 1
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSG_OVERRUN = 4
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP_INTR = 0x10
_NLM_F_DUMP = 0x300

_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_EXT_MASK = 29
_IFLA_CARRIER_CHANGES = 35
_IFLA_CARRIER_DOWN_COUNT = 48
_IFLA_INFO_KIND = 1
# The kernel sets NLA_F_NESTED in newer attribute types, and never a meaning that the daemon would need.
_NLA_TYPE_MASK = 0x3FFF
_NUMBERS = frozenset({_IFLA_MTU, _IFLA_MASTER, _IFLA_CARRIER_CHANGES, _IFLA_CARRIER_DOWN_COUNT})
_shapes = ShapeMemory(numbers=_NUMBERS, texts={_IFLA_IFNAME}, nested={_IFLA_LINKINFO: _IFLA_INFO_KIND})
# Leave statistics out of answers: half of a link message, and nothing here reads them.
_RTEXT_FILTER_SKIP_STATS = 8

_HEADER = Struct("=IHHII")
_LINK = Struct("=IHHIIBxHiII")
_IFINFO = Struct("=BxHiII")
_ATTRIBUTE = Struct("=HH")
_U32 = Struct("=I")
_S32 = Struct("=i")

# ENODEV; ERANGE and EINVAL: a name that no link can have.
_ABSENT = frozenset({19, 34, 22})
# Where a message with IFLA_IFNAME first has that attribute's header and the longest name.
_NAME = slice(_LINK.size, _LINK.size + 4 + IFNAMSIZ)


class LinkMessage(NamedTuple):
    """One RTM_NEWLINK or RTM_DELLINK.

    removed: RTM_DELLINK. family: AF_UNSPEC, or AF_BRIDGE for a bridge's repeat. flags: IFF_*. name: "" when the message
    has none; odd bytes are kept as surrogate escapes. mtu: bytes, -1 when absent. master: ifindex, 0 when none.
    carrier_changes, carrier_down: the kernel's counters since the link was made, -1 when absent. kind: IFLA_INFO_KIND,
    "" when absent.
    """

    removed: bool
    family: int
    ifindex: int
    flags: int
    name: str
    mtu: int = -1
    master: int = 0
    carrier_changes: int = -1
    carrier_down: int = -1
    kind: str = ""


class Decoded(NamedTuple):
    """What one datagram says.

    done: NLMSG_DONE ended the answer. interrupted: NLM_F_DUMP_INTR stood on some message. acknowledged: NLMSG_ERROR
    with code 0. errno: the positive error code of NLMSG_ERROR or of a failed dump, 0 when none. overrun: NLMSG_OVERRUN.
    """

    links: list[LinkMessage]
    done: bool = False
    interrupted: bool = False
    acknowledged: bool = False
    errno: int = 0
    overrun: bool = False


def decode(datagram: bytes, *, sequence: int | None = None) -> Decoded:
    """Decode every message of one datagram; with ``sequence``, only the messages that carry that number.

    Types that the daemon has no use for are passed over. Raises ``DecodeError`` where lengths contradict each other.
    """
    links: list[LinkMessage] = []
    done = interrupted = acknowledged = overrun = False
    errno = 0
    start, size = 0, len(datagram)
    try:
        while start < size:
            length, kind, flags, number, _ = _HEADER.unpack_from(datagram, start)
            end = start + length
            if length < _HEADER.size or end > size:
                raise DecodeError(f"netlink message of {length} bytes in {size - start}")
            if sequence is None or number == sequence:
                interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
                if kind in (RTM_NEWLINK, RTM_DELLINK):
                    links.append(_decode_link(datagram, start, end))
                elif kind == _NLMSG_ERROR:
                    code = _status(datagram, start, end)
                    acknowledged = acknowledged or code == 0
                    errno = code or errno
                elif kind == _NLMSG_DONE:
                    done = True
                    if length > _HEADER.size:
                        errno = _status(datagram, start, end) or errno
                elif kind == _NLMSG_OVERRUN:
                    overrun = True
            start = (end + 3) & ~3
    except error as problem:
        raise DecodeError(f"netlink datagram of {size} bytes ends within a message") from problem
    return Decoded(links, done, interrupted, acknowledged, errno, overrun)


def sequence_of(datagram: bytes) -> int:
    """The sequence number of a datagram's first message."""
    if len(datagram) < _HEADER.size:
        raise DecodeError(f"netlink datagram of {len(datagram)} bytes")
    return int(_HEADER.unpack_from(datagram)[3])


def _status(data: bytes, start: int, end: int) -> int:
    """The positive errno of an NLMSG_ERROR or NLMSG_DONE; the kernel sends it negated."""
    if end - start < _HEADER.size + _S32.size:
        raise DecodeError(f"netlink status message of {end - start} bytes")
    (code,) = _S32.unpack_from(data, start + _HEADER.size)
    return -int(code) if code < 0 else 0


def _decode_link(data: bytes, start: int, end: int) -> LinkMessage:
    if end - start < _LINK.size:
        raise DecodeError(f"link message of {end - start} bytes")
    _, message_type, _, _, _, family, _, ifindex, flags, _ = _LINK.unpack_from(data, start)
    at = start + _LINK.size
    found = _shapes.recall(data, at, end)
    if found is None:
        found = _walk(data, at, end)
        _shapes.remember(data, at, end)
    value = found.get
    return LinkMessage(
        message_type == RTM_DELLINK,
        family,
        ifindex,
        flags,
        _text(value(_IFLA_IFNAME, b"")),
        value(_IFLA_MTU, -1),
        value(_IFLA_MASTER, 0),
        value(_IFLA_CARRIER_CHANGES, -1),
        value(_IFLA_CARRIER_DOWN_COUNT, -1),
        _text(value(_IFLA_LINKINFO, b"")),
    )


def _walk(data: bytes, at: int, end: int) -> dict[int, Any]:
    """The wanted attributes by tag: numbers, and the bytes of texts. Of several with one tag the last counts."""
    found: dict[int, Any] = {}
    while end - at >= 4:
        length, tag = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > end:
            raise DecodeError(f"link attribute {tag} of {length} bytes in {end - at}")
        tag &= _NLA_TYPE_MASK
        if tag in _NUMBERS:
            found[tag] = _number(data, at, length)
        elif tag == _IFLA_IFNAME:
            found[tag] = data[at + 4 : at + length]
        elif tag == _IFLA_LINKINFO:
            found[tag] = _kind(data, at + 4, at + length)
        at += (length + 3) & ~3
    return found


def _kind(data: bytes, at: int, end: int) -> bytes:
    """IFLA_INFO_KIND of a nested IFLA_LINKINFO."""
    while end - at >= 4:
        length, tag = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > end:
            raise DecodeError(f"link info attribute {tag} of {length} bytes in {end - at}")
        if tag & _NLA_TYPE_MASK == _IFLA_INFO_KIND:
            return data[at + 4 : at + length]
        at += (length + 3) & ~3
    return b""


def _number(data: bytes, at: int, length: int) -> int:
    if length < 8:
        raise DecodeError(f"link attribute of {length} bytes is too short for a number")
    return int(_U32.unpack_from(data, at + 4)[0])


def _text(raw: bytes) -> str:
    """A NUL-terminated string; the kernel allows any byte but NUL and ``/`` in a link's name."""
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


class Folder:
    """Folds the datagrams of one read: of several RTM_NEWLINK of one link, only the newest needs decoding.

    A storm or a long queue brings many messages per link, each complete in itself; what is folded away is counted, and
    an admin-down among it is remembered. Everything that could matter to another link keeps its place: a message with
    another name for the same ifindex, a removal, a bridge's repeat or anything unusual ends the folding of what came
    before it. So the link view ends the same as if every message had been applied, names and owners included.
    """

    __slots__ = ("_newest", "_ordered", "admin_downs", "count")

    def __init__(self) -> None:
        self._newest: dict[int, bytes] = {}
        self._ordered: list[bytes] = []
        self.admin_downs: set[int] = set()
        self.count = 0

    def add(self, datagram: bytes) -> None:
        """Take one datagram; the newest last."""
        self.count += 1
        if len(datagram) < _NAME.stop:
            self._keep(datagram)
            return
        length, kind, _, _, _, family, _, ifindex, flags, _ = _LINK.unpack_from(datagram)
        if kind != RTM_NEWLINK or family != AF_UNSPEC or length != len(datagram):
            self._keep(datagram)
            return
        older = self._newest.get(ifindex)
        # IFLA_IFNAME is the first attribute: header and name lie in these twenty bytes. If it were not, the comparison
        # would only find more differences, and fold less.
        if older is not None and older[_NAME] != datagram[_NAME]:
            self._keep(datagram)
            return
        if not flags & IFF_UP:
            self.admin_downs.add(ifindex)
        # It takes the older one's place: where a link took a name that another one took over from it has to be heard
        # first, whatever either says later.
        self._newest[ifindex] = datagram

    def _keep(self, datagram: bytes) -> None:
        self._ordered.extend(self._newest.values())
        self._newest.clear()
        self._ordered.append(datagram)

    def take(self) -> list[bytes]:
        """The datagrams that need decoding, in order; the folder is empty again but for its counters."""
        self._ordered.extend(self._newest.values())
        self._newest.clear()
        ordered, self._ordered = self._ordered, []
        return ordered


def dump_request(sequence: int) -> bytes:
    """RTM_GETLINK for all links."""
    return _request(
        RTM_GETLINK,
        _NLM_F_DUMP,
        sequence,
        attributes=(
            (
                _IFLA_EXT_MASK,
                _U32.pack(_RTEXT_FILTER_SKIP_STATS),
            ),
        ),
    )


def link_request(sequence: int, target: str | int) -> bytes:
    """RTM_GETLINK for one link, by name or by ifindex. The kernel looks a name up among altnames too, and refuses one that is
    too long (``is_absence``): of such a one, whatever its length, only so much is sent that it is."""
    if isinstance(target, int):
        return _request(RTM_GETLINK, 0, sequence, ifindex=target)
    name = target.encode("utf-8", "surrogateescape")[:IFNAMSIZ] + b"\0"
    return _request(RTM_GETLINK, 0, sequence, attributes=((_IFLA_IFNAME, name),))


def set_down_request(sequence: int, ifindex: int) -> bytes:
    """RTM_NEWLINK that clears IFF_UP of one link, to be acknowledged."""
    return _request(RTM_NEWLINK, _NLM_F_ACK, sequence, ifindex=ifindex, change=IFF_UP)


def noop_request(sequence: int) -> bytes:
    """NLMSG_NOOP, to be acknowledged: by netlink itself, which takes no lock for it (``netlink_rcv_skb`` in af_netlink.c). Any
    request of rtnetlink's own may wait for as long as somebody else changes links."""
    return _HEADER.pack(_HEADER.size, _NLMSG_NOOP, _NLM_F_REQUEST | _NLM_F_ACK, sequence, 0)


def _request(
    kind: int,
    flags: int,
    sequence: int,
    *,
    ifindex: int = 0,
    change: int = 0,
    attributes: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    payload = _IFINFO.pack(AF_UNSPEC, 0, ifindex, 0, change)
    for tag, value in attributes:
        payload += _ATTRIBUTE.pack(4 + len(value), tag) + value + bytes(-len(value) % 4)
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags | _NLM_F_REQUEST, sequence, 0) + payload


def is_absence(errno: int) -> bool:
    """Whether an answer's errno to ``link_request`` means that there is no such link."""
    return errno in _ABSENT
