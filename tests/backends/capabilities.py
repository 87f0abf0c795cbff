"""A thread without CAP_NET_ADMIN, for as long as a block lasts."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CAP_NET_ADMIN: Final = 12
# linux/capability.h: version 3 has two words of 32 bits for each set.
_VERSION: Final = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def without_net_admin() -> Iterator[None]:
    """Take CAP_NET_ADMIN out of this thread's effective set; it comes back with the block's end."""
    header, data = _Header(_VERSION, 0), (_Data * 2)()
    _call("capget", header, data)
    before = data[0].effective
    data[0].effective = before & ~(1 << _CAP_NET_ADMIN)
    _call("capset", header, data)
    try:
        yield
    finally:
        data[0].effective = before
        _call("capset", header, data)


def _call(name: str, header: _Header, data: "ctypes.Array[_Data]") -> None:
    if getattr(_libc, name)(ctypes.byref(header), data) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
