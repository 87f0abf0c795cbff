"""Tries what a service may and may not do: ``python3 probe.py`` prints what came of each, as one line of JSON.

"done", or the name of the error. It needs nothing but Python, and runs as it is in a guest.
"""

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

# <linux/sched.h>, <sys/personality.h>, <sys/mount.h>, <sys/ptrace.h>, <linux/keyctl.h>
_NEW: Final = {"user": 0x10000000, "mount": 0x00020000, "net": 0x40000000, "pid": 0x20000000, "uts": 0x04000000}
_ADDR_NO_RANDOMIZE: Final = 0x0040000
_PTRACE_SEIZE: Final = 0x4206  # stops nobody
# <asm/unistd.h>: add_key, bpf, io_uring_setup; the last has one number everywhere.
_SYS_ADD_KEY, _SYS_BPF = {"x86_64": (248, 321), "aarch64": (217, 280)}[os.uname().machine]
_SYS_IO_URING_SETUP: Final = 425
_INIT: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _write(path: str) -> Callable[[], object]:
    def run() -> None:
        Path(path).write_text("probe")
        Path(path).unlink()

    return run


def _make_folder(path: str) -> Callable[[], object]:
    def run() -> None:
        Path(path).mkdir()
        Path(path).rmdir()

    return run


def _list(path: str) -> Callable[[], object]:
    return lambda: list(Path(path).iterdir())


def _read(path: str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()


def _socket(family: int, kind: int, protocol: int = 0) -> Callable[[], object]:
    return lambda: socket.socket(family, kind, protocol).close()


def _unshare(flag: int) -> Callable[[], object]:
    # In a child: what it unshares is gone with it.
    return _in_child(lambda: _call("unshare", flag))


def _in_child(action: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        child = os.fork()
        if child == 0:
            try:
                action()
            except OSError as error:
                os._exit(error.errno or 255)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code < 0:
            raise OSError(errno.EINTR, f"killed by {signal.Signals(-code).name}")
        if code:
            raise OSError(code, "in the child")

    return run


def _executable_memory() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _set_user_id_file() -> None:
    file = Path("/run/portsyncd/probe")
    file.touch()
    file.chmod(0o4755)


ATTEMPTS: Final[dict[str, Callable[[], object]]] = {
    # What it needs.
    "write state": _write("/var/lib/sonic/portsyncd/probe"),
    "write run": _write("/run/portsyncd/probe"),
    "read key": _read("/etc/portsyncd/metrics/server.key"),
    "read boot id": _read("/proc/sys/kernel/random/boot_id"),
    "read network namespace": Path("/proc/self/ns/net").stat,
    "connect to Redis": lambda: socket.socket(socket.AF_UNIX).connect("/run/redis/redis.sock"),
    "socket netlink": _socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE),
    "socket inet6": _socket(socket.AF_INET6, socket.SOCK_STREAM),
    "socket inet": _socket(socket.AF_INET, socket.SOCK_STREAM),
    "batch scheduling": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, 10),
    # What it does not.
    "write etc": _write("/etc/probe"),
    "write sonic": _write("/etc/sonic/probe"),
    "write certificates": _write("/etc/portsyncd/metrics/probe"),
    "write usr": _write("/usr/probe"),
    "write opt": _write("/opt/venvs/portsyncd/probe"),
    "write var": _write("/var/lib/probe"),
    "write other run": _write("/run/probe"),
    "make cgroup": _make_folder("/sys/fs/cgroup/probe"),
    "list home": _list("/home"),
    "list root": _list("/root"),
    "read shadow": _read("/etc/shadow"),
    "read others' tmp": _read("/tmp/secret"),  # noqa: S108 - others may, too
    "read others' processes": _read(f"/proc/{_INIT}/status"),
    "socket packet": _socket(socket.AF_PACKET, socket.SOCK_RAW),
    "socket raw": _socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "socket vsock": _socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    **{f"namespace {name}": _unshare(flag) for name, flag in _NEW.items()},
    "mount": _in_child(lambda: _call("mount", b"probe", b"/mnt", b"tmpfs", 0, None)),
    "executable memory": _executable_memory,
    "set-user-id file": _set_user_id_file,
    "real-time scheduling": _in_child(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
    "personality": _in_child(lambda: _call("personality", _ADDR_NO_RANDOMIZE)),
    "change user": _in_child(lambda: os.setuid(65534)),
    "change owner": lambda: os.chown("/run/portsyncd/probe", 65534, 65534),
    "host name": _in_child(lambda: _call("sethostname", b"probe", 5)),
    "signal others": lambda: os.kill(_INIT, 0),
    "trace": _in_child(lambda: _call("ptrace", _PTRACE_SEIZE, os.getppid(), None, None)),
    "keys": lambda: _call("syscall", _SYS_ADD_KEY, b"user", b"probe", b"x", 1, -1),
    "io_uring": lambda: _call("syscall", _SYS_IO_URING_SETUP, 1, bytes(120)),
    "bpf": lambda: _call("syscall", _SYS_BPF, 0, bytes([2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0]), 16),
}


def outcome(attempt: Callable[[], object]) -> str:
    """What came of it."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: outcome(attempt) for name, attempt in ATTEMPTS.items()}))
