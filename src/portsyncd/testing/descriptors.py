"""The file descriptors of another process: none left for it, or one of its sockets in our hands."""

import ctypes
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

# Beside standard input, output and error nothing can be opened; what is open already stays so.
_NONE: Final = 3
# <asm-generic/unistd.h>; the same number on all machines.
_PIDFD_GETFD: Final = 438

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def no_descriptors_left(pid: int) -> Iterator[None]:
    """The process can open no file and no socket, and accept no connection, until the block ends."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (_NONE, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def borrowed_socket(pid: int, inode: int) -> Iterator[socket.socket]:
    """A socket of the process, by the inode that /proc shows: what is set on it here is set there too.

    Raises ``LookupError`` where it has none such; needs CAP_SYS_PTRACE.
    """
    wanted = f"socket:[{inode}]"
    found = [int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir() if _target(link) == wanted]
    if not found:
        raise LookupError(wanted)
    process = os.pidfd_open(pid)
    try:
        ours = _libc.syscall(_PIDFD_GETFD, process, found[0], 0)
    finally:
        os.close(process)
    if ours < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with closing(socket.socket(fileno=ours)) as borrowed:
        yield borrowed


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed meanwhile
        return ""
