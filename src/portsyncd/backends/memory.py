"""The memory of this process: how much it is, and how what is not used any more is given back."""

import ctypes
import gc
import os
from functools import cache
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Three numbers of pages of at most 20 digits would be less.
_STATM_BYTES: Final = 256


def resident_bytes() -> int:
    """Resident memory of this process (proc(5), statm, in pages)."""
    return int(os.pread(_statm(), _STATM_BYTES, 0).split()[1]) * _PAGE_BYTES


@cache
def _statm() -> int:
    """Opened once: it can be read also when no descriptor is left."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def release() -> None:
    """Collect what only refers to itself, and have the C library give free pages back to the kernel. glibc keeps them
    otherwise (malloc_trim(3)); musl has no such function, and does so by itself."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
