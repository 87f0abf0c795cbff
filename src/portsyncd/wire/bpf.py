"""The classic BPF program that keeps other links' events out of the event socket.

The kernel runs it in the context of whoever changes a link, so that a message it drops costs this process nothing. It
lets through: whatever is no link message; a link whose name begins like one of the prefixes (the first four bytes are
compared); and a link whose ifindex lies in the range of the ports known, so that a rename away from the prefixes is
heard. Instructions and ancillary loads are those of ``linux/filter.h``; BPF loads bytes in network order.
"""

from collections.abc import Sequence
from struct import Struct
from sys import byteorder
from typing import Final, NamedTuple

from portsyncd.wire.netlink import RTM_DELLINK, RTM_NEWLINK

ACCEPT_BYTES: Final = 0xFFFFFFFF
_ATTRIBUTES_AT = 32
_TYPE_AT = 4
_IFINDEX_AT = 20
_IFLA_IFNAME = 3
# SKF_AD_OFF + SKF_AD_NLATTR: search from offset A for attribute X; A becomes its offset, or 0.
_FIND_ATTRIBUTE = 0xFFFFF000 + 12

_LD_WORD, _LD_HALF, _LD_BYTE, _LD_WORD_X = 0x20, 0x28, 0x30, 0x40
_LD_IMMEDIATE, _LDX_IMMEDIATE, _LD_MEMORY, _LDX_MEMORY, _STORE = 0x00, 0x01, 0x60, 0x61, 0x02
_OR_X, _AND, _SHIFT_LEFT, _TO_X = 0x4C, 0x54, 0x64, 0x07
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL = 0x15, 0x25, 0x35
_RETURN = 0x06

_PACKED = Struct("=HBBI")


class Instruction(NamedTuple):
    """``struct sock_filter``; while a program is built, a jump may name its target instead of counting."""

    code: int
    k: int = 0
    if_true: str = ""
    if_false: str = ""


def link_filter(prefixes: Sequence[str], first: int, last: int) -> bytes:
    """The program as an array of ``struct sock_filter``.

    prefixes: each at least one byte; shorter than four bytes are compared under a mask. first, last: ifindexes, both
    included; an empty range (first > last) lets no index through.
    """
    program: list[Instruction | str] = [
        Instruction(_LD_HALF, _TYPE_AT),
        Instruction(_JUMP_EQUAL, _seen_half(RTM_NEWLINK), "link", ""),
        Instruction(_JUMP_EQUAL, _seen_half(RTM_DELLINK), "", "accept"),
        "link",
        *_load_ifindex(),
        Instruction(_JUMP_GREATER_EQUAL, first, "", "name"),
        Instruction(_JUMP_GREATER, last, "", "accept"),
        "name",
        Instruction(_LD_IMMEDIATE, _ATTRIBUTES_AT),
        Instruction(_LDX_IMMEDIATE, _IFLA_IFNAME),
        Instruction(_LD_WORD, _FIND_ATTRIBUTE),
        # No name at all: unusual enough to be looked at.
        Instruction(_JUMP_EQUAL, 0, "accept", ""),
        Instruction(_TO_X),
        Instruction(_LD_WORD_X, 4),
        Instruction(_STORE, 0),
    ]
    for prefix in sorted({prefix.encode("utf-8", "surrogateescape")[:4] for prefix in prefixes}):
        program += (
            Instruction(_LD_MEMORY, 0),
            Instruction(_AND, int.from_bytes((b"\xff" * len(prefix)).ljust(4, b"\0"), "big")),
            Instruction(_JUMP_EQUAL, int.from_bytes(prefix.ljust(4, b"\0"), "big"), "accept", ""),
        )
    program += (Instruction(_RETURN, 0), "accept", Instruction(_RETURN, ACCEPT_BYTES))
    return _assemble(program)


def _seen_half(value: int) -> int:
    """How BPF sees a 16-bit host-order number of the message."""
    return int.from_bytes(value.to_bytes(2, byteorder), "big")


def _load_ifindex() -> list[Instruction]:
    """A := ifi_index, put together byte by byte: the number is in host order, and BPF has no byte swap."""
    order = range(4) if byteorder == "little" else range(3, -1, -1)
    loads = [Instruction(_LD_IMMEDIATE, 0), Instruction(_STORE, 0)]
    for shift, position in enumerate(order):
        loads += (
            Instruction(_LD_BYTE, _IFINDEX_AT + position),
            Instruction(_SHIFT_LEFT, 8 * shift),
            Instruction(_LDX_MEMORY, 0),
            Instruction(_OR_X),
            Instruction(_STORE, 0),
        )
    return loads


def _assemble(program: Sequence[Instruction | str]) -> bytes:
    """Turn labels (the strings) into the relative jumps that BPF counts; "" means the next instruction."""
    labels: dict[str, int] = {}
    instructions: list[Instruction] = []
    for step in program:
        if isinstance(step, str):
            labels[step] = len(instructions)
        else:
            instructions.append(step)
    packed = b""
    for at, (code, k, if_true, if_false) in enumerate(instructions):
        jumps = (labels[label] - at - 1 if label else 0 for label in (if_true, if_false))
        packed += _PACKED.pack(code, *jumps, k)
    return packed
