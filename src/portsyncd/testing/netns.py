"""Network namespaces without names, without iproute2, and where the system allows it without root.

A namespace lives as long as something refers to it; here that is one file descriptor. It is made by a thread that
leaves the process' namespace and ends: ``unshare`` and ``setns`` concern one thread only (``nsproxy`` is per task), so the
rest of the process never notices.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from portsyncd.errors import NoPermissionError

# <linux/sched.h>, <linux/sockios.h>, <linux/if.h>
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_IFREQ: Final = struct.Struct("16sh14x")

_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
# With IPv6 an MTU change costs O(ports) in the kernel (each device's routes are walked), and links send unasked.
_DISABLE_IPV6: Final = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")

_libc = ctypes.CDLL(None, use_errno=True)


class NetworkNamespace:
    """A fresh network namespace: ``lo`` is up, IPv6 is off on links made in it. A context manager; closing gives it back.

    Making and entering one needs CAP_SYS_ADMIN (root, or a process after ``enter_user_namespace``); without it
    ``NoPermissionError`` is raised. Once closed, the kernel removes the namespace and every link in it as soon as no
    process or socket is left inside.
    """

    def __init__(self) -> None:
        self._fd: int = -1
        failures: list[OSError] = []

        def make() -> None:
            try:
                _unshare(_CLONE_NEWNET)
                _prepare()
                self._fd = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                failures.append(error)

        thread = threading.Thread(target=make, name="make-namespace")
        thread.start()
        thread.join()
        if failures:
            raise NoPermissionError(
                f"cannot make a network namespace ({failures[0].strerror}): run as root, or inside a user namespace"
            ) from failures[0]

    @property
    def fd(self) -> int:
        """What keeps the namespace alive; -1 once closed."""
        return self._fd

    @contextmanager
    def enter(self) -> Iterator[None]:
        """This thread works inside until the block ends: sockets opened and processes started here belong there."""
        before = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._fd)
            try:
                yield
            finally:
                _setns(before)
        finally:
            os.close(before)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """``subprocess.Popen`` of a child that runs inside."""
        with self.enter():
            return subprocess.Popen(argv, **options)

    def run(self, argv: Sequence[str], *, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end, with its output as text; raises ``CalledProcessError`` unless told not to."""
        with self.enter():
            return subprocess.run(argv, check=check, capture_output=True, text=True, **options)

    def close(self) -> None:
        """Let go of the namespace. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def enter_user_namespace() -> None:
    """Move this whole process into a new user and network namespace in which it is root, with no privilege outside.

    To be called while the process has one thread only (the kernel refuses it otherwise). ``NetworkNamespace`` works
    from then on. Raises ``NoPermissionError`` with what forbids it where the system does.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        # Without "deny" the kernel does not let an unprivileged process map its group (user_namespaces(7)).
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        _prepare()
    except OSError as error:
        raise NoPermissionError(f"cannot enter a user namespace: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Why the kernel refused a user namespace, and what the operator does about it."""
    match error.errno:
        case errno.EINVAL:
            return "the process already has more than one thread, or the kernel has no user namespaces (CONFIG_USER_NS)"
        case errno.ENOSPC:
            return "the limit is used up: raise the sysctl user.max_user_namespaces, or run as root"
        case errno.EPERM | errno.EACCES:
            return (
                "the system forbids it to unprivileged users: run as root, or allow it (sysctl"
                " kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, kernel.unprivileged_userns_clone=1 on Debian;"
                " in a container its seccomp profile decides)"
            )
        case _:
            return error.strerror or str(error)


def _unshare(flags: int) -> None:
    # os.unshare and os.setns came with Python 3.12.
    if _libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _prepare() -> None:
    """Bring ``lo`` up and turn IPv6 off for links to come, in this thread's namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        answer = fcntl.ioctl(anything, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        _, flags = _IFREQ.unpack_from(answer)
        fcntl.ioctl(anything, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
    # The file is missing where the kernel was started without IPv6, which is what is wanted.
    with suppress(FileNotFoundError):
        _DISABLE_IPV6.write_text("1")
