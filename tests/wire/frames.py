"""Netlink datagrams for tests: captured ones (``tests/data/frames``), and ones taken apart and put together.

Nothing here uses the decoder that is under test; layout and numbers are those of ``linux/netlink.h`` and
``linux/if_link.h``.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from portsyncd.wire.netlink import Decoded, LinkMessage

FOLDER: Final = Path(__file__).parents[1] / "data" / "frames"

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4
NEWLINK: Final = 16
DELLINK: Final = 17
AF_BRIDGE: Final = 7

IFNAME: Final = 3
MTU: Final = 4
MASTER: Final = 10
TXQLEN: Final = 13
LINKINFO: Final = 18
CARRIER_CHANGES: Final = 35
CARRIER_DOWN_COUNT: Final = 48
INFO_KIND: Final = 1
INFO_SLAVE_KIND: Final = 4

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
IFINFO_BYTES: Final = 16


class Frame(NamedTuple):
    """One captured datagram and what it says."""

    sample: str
    data: bytes
    expected: Decoded


class Attribute(NamedTuple):
    """tag: with its flags (NLA_F_NESTED). value: the payload without padding."""

    tag: int
    value: bytes


class Parts(NamedTuple):
    """One netlink message taken apart. body: what stands between the header and the attributes."""

    kind: int
    flags: int
    sequence: int
    port_id: int
    body: bytes
    attributes: tuple[Attribute, ...]


def read_sample(path: Path) -> list[Frame]:
    """The datagrams of one sample, in the order in which the kernel sent them."""
    sample = json.loads(path.read_text())
    return [Frame(path.stem, bytes.fromhex("".join(d["hex"])), _expected(d)) for d in sample["datagrams"]]


def _expected(datagram: dict[str, Any]) -> Decoded:
    links = [LinkMessage(**link) for link in datagram["links"]]
    return Decoded(links, **datagram.get("status", {}))


SAMPLES: Final = {path.stem: read_sample(path) for path in sorted(FOLDER.glob("*.json"))}
FRAMES: Final = [frame for frames in SAMPLES.values() for frame in frames]
# Those that consist of link messages: what can be taken apart and put together again.
LINK_FRAMES: Final = [frame for frame in FRAMES if frame.expected.links]


def take_apart(datagram: bytes) -> list[Parts]:
    """The messages of a well-formed datagram of link messages; others are left out."""
    messages, at = [], 0
    while at < len(datagram):
        length, kind, flags, sequence, port_id = _HEADER.unpack_from(datagram, at)
        payload = datagram[at + _HEADER.size : at + length]
        if kind in (NEWLINK, DELLINK):
            attributes = tuple(split_attributes(payload[IFINFO_BYTES:]))
            messages.append(Parts(kind, flags, sequence, port_id, payload[:IFINFO_BYTES], attributes))
        at += length + -length % 4
    return messages


def split_attributes(payload: bytes) -> Iterable[Attribute]:
    """The attributes of a well-formed payload, or of a well-formed nested attribute."""
    at = 0
    while at < len(payload):
        length, tag = _ATTRIBUTE.unpack_from(payload, at)
        yield Attribute(tag, payload[at + 4 : at + length])
        at += length + -length % 4


def attribute(tag: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(value), tag) + value + bytes(-len(value) % 4)


def put_together(parts: Parts) -> bytes:
    """One message; the inverse of ``take_apart``."""
    payload = parts.body + b"".join(attribute(tag, value) for tag, value in parts.attributes)
    return message(parts.kind, payload, flags=parts.flags, sequence=parts.sequence, port_id=parts.port_id)


def message(kind: int, payload: bytes = b"", *, flags: int = 0, sequence: int = 0, port_id: int = 0) -> bytes:
    """One netlink message with any payload."""
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, port_id) + payload


def status(kind: int, code: int, **header: int) -> bytes:
    """NLMSG_ERROR or NLMSG_DONE with a code, which the kernel sends negated."""
    return message(kind, struct.pack("=i", code), **header)


def ifinfo(ifindex: int, flags: int = 0, family: int = 0) -> bytes:
    """``struct ifinfomsg``."""
    return struct.pack("=BxHiII", family, 1, ifindex, flags, 0)


def number(tag: int, value: int) -> Attribute:
    """A 32-bit attribute."""
    return Attribute(tag, struct.pack("=I", value))


def text(tag: int, value: str) -> Attribute:
    """A NUL-terminated string; surrogate escapes stand for odd bytes."""
    return Attribute(tag, value.encode("utf-8", "surrogateescape") + b"\0")


def encode(link: LinkMessage, *, more: Sequence[Attribute] = (), sequence: int = 0) -> bytes:
    """A link message as the kernel would send it: IFLA_IFNAME first, absent values left out, ``more`` in its middle."""
    attributes = [text(IFNAME, link.name)] if link.name else []
    attributes.append(number(TXQLEN, 1000))
    if link.mtu >= 0:
        attributes.append(number(MTU, link.mtu))
    attributes += more
    if link.master:
        attributes.append(number(MASTER, link.master))
    if link.carrier_changes >= 0:
        attributes.append(number(CARRIER_CHANGES, link.carrier_changes))
    if link.carrier_down >= 0:
        attributes.append(number(CARRIER_DOWN_COUNT, link.carrier_down))
    if link.kind:
        attributes.append(Attribute(LINKINFO, attribute(*text(INFO_KIND, link.kind))))
    body = ifinfo(link.ifindex, link.flags, link.family)
    return put_together(Parts(DELLINK if link.removed else NEWLINK, 0, sequence, 0, body, tuple(attributes)))
