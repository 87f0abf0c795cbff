"""A small parent that plays systemd for one service: its notify socket, and its file descriptor store.

What systemd does with both is in sd_notify(3) and sd_listen_fds(3).
"""

import array
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from portsyncd.testing.wait import until

_MESSAGE_BYTES: Final = 4096
_DESCRIPTORS_AT_ONCE: Final = 253
# Only the child knows its process id before it is the service. First it moves its descriptors away from the numbers that
# they are to have, which may be in use by another of them. Arguments: how many, their present numbers, the service's.
_LAUNCHER: Final = (
    "import fcntl,os,sys;"
    "n=int(sys.argv[1]);"
    "given=[int(a) for a in sys.argv[2:2+n]];"
    "away=[fcntl.fcntl(d,fcntl.F_DUPFD_CLOEXEC,100) for d in given];"
    "[os.close(d) for d in given];"
    "[os.dup2(d,3+i) for i,d in enumerate(away)];"
    "n and os.environ.update(LISTEN_PID=str(os.getpid()));"
    "os.execvp(sys.argv[2+n],sys.argv[2+n:])"
)


class DescriptorStoreParent:
    """Keeps what a service tells it to, and passes it to the next process of that service.

    folder: where the notify socket is made (an abstract one would be of one network namespace). A context manager: what is
    kept is closed at its end.
    """

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify.sock")
        self._lock = threading.Lock()
        self._messages: list[str] = []
        self._kept: list[tuple[str, int]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen, name="descriptor-store")

    def __enter__(self) -> Self:
        self._socket.bind(self.address)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        with self._lock:
            self._drain()
            self._forget([name for name, _ in self._kept])
            self._socket.close()

    @property
    def messages(self) -> list[str]:
        """What the service has said up to now, as it has written it."""
        with self._lock:
            self._drain()
            return list(self._messages)

    @property
    def names(self) -> list[str]:
        """What is kept now, oldest first."""
        with self._lock:
            self._drain()
            return [name for name, _ in self._kept]

    def wait_for(self, *names: str) -> None:
        """Wait until just these are kept."""
        until(lambda: self.names == list(names), what=lambda: f"the store keeps {names}")

    def popen(
        self,
        start: Callable[..., subprocess.Popen[Any]],
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a process of the service with what is kept. start: ``subprocess.Popen``, or what has its arguments."""
        with self._lock:
            # What the former process has sent is here, be it dead or alive: sending to a Unix socket is receiving.
            self._drain()
            names, descriptors = [name for name, _ in self._kept], [descriptor for _, descriptor in self._kept]
            environment = {**env, "NOTIFY_SOCKET": self.address}
            if names:
                environment |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(len(names)), *map(str, descriptors)]
            return start([*launcher, *argv], env=environment, pass_fds=descriptors, **options)

    def _listen(self) -> None:
        """Empty the socket as messages come, so that the service always finds room."""
        while self._socket.recv(1, socket.MSG_PEEK):
            with self._lock:
                self._drain()

    def _drain(self) -> None:
        while True:
            try:
                message, ancillary, _, _ = self._socket.recvmsg(
                    _MESSAGE_BYTES,
                    socket.CMSG_SPACE(_DESCRIPTORS_AT_ONCE * 4),
                    socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return
            if not message:
                return
            descriptors = array.array("i")
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(data)
            self._heed(message.decode(), descriptors.tolist())

    def _heed(self, message: str, descriptors: Sequence[int]) -> None:
        self._messages.append(message)
        fields = dict(line.split("=", 1) for line in message.splitlines())
        name = fields.get("FDNAME", "stored")
        if "FDSTOREREMOVE" in fields:
            self._forget([name])
        for descriptor in descriptors:
            if "FDSTORE" in fields and not self._has(name, descriptor):
                self._kept.append((name, descriptor))
            else:
                os.close(descriptor)

    def _has(self, name: str, descriptor: int) -> bool:
        return any(named == name and os.path.sameopenfile(kept, descriptor) for named, kept in self._kept)

    def _forget(self, names: Sequence[str]) -> None:
        for kept in [kept for kept in self._kept if kept[0] in names]:
            self._kept.remove(kept)
            os.close(kept[1])
