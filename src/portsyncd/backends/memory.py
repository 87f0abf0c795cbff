"""The memory of this process: how much it is, and how what is not used any more is given back."""

import ctypes
import gc
import os
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process (proc(5), statm, in pages)."""
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES


def release() -> None:
    """Collect what only refers to itself, and have the C library give free pages back to the kernel. glibc keeps them
    otherwise (malloc_trim(3)); musl has no such function, and does so by itself."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
