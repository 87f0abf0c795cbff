"""Classic BPF as the kernel runs it on a socket, in a few lines: enough to run any filter of ``wire.bpf`` in a test.

Instructions are those of ``linux/filter.h``, decoded by their class, size and mode, not by the list that the program
under test was made from. A load beyond the packet ends the program with 0, as in the kernel.
"""

import struct
from typing import Final

MEMORY_CELLS: Final = 16
_MASK: Final = 0xFFFFFFFF
# SKF_AD_OFF and SKF_AD_NLATTR.
_ANCILLARY: Final = 0xFFFFF000
_FIND_ATTRIBUTE: Final = _ANCILLARY + 12

_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1}
_IMM, _ABS, _IND, _MEM = 0x00, 0x20, 0x40, 0x60
_JA, _JEQ, _JGT, _JGE, _JSET = 0x00, 0x10, 0x20, 0x30, 0x40


class BeyondPacketError(Exception):
    """A load from outside the packet."""


def run(program: bytes, packet: bytes) -> int:
    """The bytes of the packet that the filter lets through; 0: it is dropped."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    memory = [0] * MEMORY_CELLS
    a = x = at = 0
    while True:
        code, if_true, if_false, k = instructions[at]
        at += 1
        operand = x if code & 0x08 else k
        match code & 0x07:
            case 0 | 1 as load:
                try:
                    value = memory[k] if code & 0xE0 == _MEM else _load(code, k, packet, a, x)
                except BeyondPacketError:
                    return 0
                a, x = (value, x) if load == _LD else (a, value)
            case 2 | 3 as store:
                memory[k] = a if store == _ST else x
            case 4:
                a = _calculate(code & 0xF0, a, operand)
            case 5:
                at += if_true if _holds(code & 0xF0, a, operand) else if_false
            case 6:
                return a if code & 0x18 == 0x10 else k
            case _:
                a, x = (x, x) if code & 0xF8 == 0x80 else (a, a)


def _load(code: int, k: int, packet: bytes, a: int, x: int) -> int:
    mode = code & 0xE0
    if mode == _IMM:
        return k
    assert mode in (_ABS, _IND), hex(code)
    if mode == _ABS and k == _FIND_ATTRIBUTE:
        return _find_attribute(packet, a, x)
    start, size = k + (x if mode == _IND else 0), _SIZES[code & 0x18]
    if start + size > len(packet):
        raise BeyondPacketError
    return int.from_bytes(packet[start : start + size], "big")


def _find_attribute(packet: bytes, at: int, wanted: int) -> int:
    """The offset of a netlink attribute, searched for from ``at``; 0 when there is none (``bpf_skb_get_nlattr``)."""
    while at + 4 <= len(packet):
        length, tag = struct.unpack_from("=HH", packet, at)
        if length < 4 or at + length > len(packet):
            return 0
        if tag & 0x3FFF == wanted:
            return at
        at += length + -length % 4
    return 0


def _calculate(operation: int, a: int, operand: int) -> int:
    match operation:
        case 0x40:
            return a | operand
        case 0x50:
            return a & operand
        case 0x60:
            return a << operand & _MASK
    raise AssertionError(hex(operation))


def _holds(comparison: int, a: int, operand: int) -> bool:
    return {
        _JA: True,
        _JEQ: a == operand,
        _JGT: a > operand,
        _JGE: a >= operand,
        _JSET: bool(a & operand),
    }[comparison]
