"""What the metrics endpoint needs of the machine: connections, the certificates' files, and where it computes."""

import gc
import os
import socket
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from errno import EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, TypeVarTuple, cast

import trio

from portsyncd.errors import EndpointError
from portsyncd.rules import Listen
from portsyncd.tls import files as certificates
from portsyncd.tls.files import Files, Material
from portsyncd.web.memory import give_back

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

Transport: TypeAlias = trio.abc.HalfCloseableStream
Listener: TypeAlias = trio.abc.Listener[trio.abc.HalfCloseableStream]

_HINTS = {
    # Prometheus' own port is the same, on a machine that has both.
    EADDRINUSE: "; another program has the port: choose another metrics.listen",
    EADDRNOTAVAIL: "; no interface that is up has this address (lo has [::1]): set it up, or choose another metrics.listen",
}
_BACKLOG = 1024
_NICENESS = 10


class Host(Protocol):
    """One for the life of the process."""

    def listen(self, listen: Listen) -> tuple[Listener, str]:
        """What accepts connections at this address, and the address that it has. Raises ``EndpointError``."""

    def client_of(self, transport: Transport) -> str:
        """The address at the other end of what was accepted. Raises ``OSError`` where that has been reset."""

    def signature(self, files: Files) -> Hashable:
        """Another one when any of the files has changed."""

    def read(self, files: Files) -> Material:
        """What they hold. Raises ``ConfigError``."""

    async def compute(
        self, function: Callable[[*Arguments], T], *arguments: *Arguments, limiter: trio.CapacityLimiter | None = None
    ) -> T:
        """Call it where it does not hold the event loop up. limiter: of how many such calls may be under way."""

    def give_way(self) -> None:
        """Called where a handshake is computed, before it begins."""

    def settle(self) -> None:
        """The web stack has been imported, which stays for the life of the process."""

    async def tidy(self) -> None:
        """Free what many connections have left behind, and give its memory back."""


class RealHost:
    """This machine: sockets, files, worker threads. See ``Host``."""

    def listen(self, listen: Listen) -> tuple[Listener, str]:
        """A TCP socket, of IPv6 alone."""
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                listen.host, listen.port, socket.AF_INET6, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )[0]
            bound = socket.socket(family, kind)
            try:
                # [::] is not to mean IPv4 too, whatever net.ipv6.bindv6only says.
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind(address)
                bound.listen(_BACKLOG)
            except OSError:
                bound.close()
                raise
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "")
            raise EndpointError(f"the metrics endpoint cannot listen at {listen}: {error.strerror}{hint}") from error
        bound.setblocking(False)
        host, port = bound.getsockname()[:2]
        return trio.SocketListener(trio.socket.from_stdlib_socket(bound)), f"[{host}]:{port}"

    def client_of(self, transport: Transport) -> str:
        """As the kernel knows it."""
        return str(cast("trio.SocketStream", transport).socket.getpeername()[0])

    def signature(self, files: Files) -> Hashable:
        """Inode, size and times of each file; None for one that is not there. The last time is of owner and mode, too."""
        return tuple(map(_stat, (files.cert, files.key, files.ca)))

    def read(self, files: Files) -> Material:
        """From the disk."""
        return certificates.read(files)

    async def compute(
        self, function: Callable[[*Arguments], T], *arguments: *Arguments, limiter: trio.CapacityLimiter | None = None
    ) -> T:
        """In a worker thread."""
        return await trio.to_thread.run_sync(function, *arguments, limiter=limiter)

    def give_way(self) -> None:
        """Let the link events' thread go first where both share a core. Of a thread these settings are its own
        (sched_setscheduler(2), setpriority(2)); where the system forbids them, it does without."""
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)

    def settle(self) -> None:
        """A full collection that had to look at all of that would hold up link events for 40 ms."""
        gc.freeze()

    async def tidy(self) -> None:
        """What is freed, glibc keeps for itself, and walks through all of it to give it back: that is done in a thread."""
        # A few milliseconds, as what was imported is frozen: not more, and no more often than this.
        gc.collect()
        await trio.to_thread.run_sync(give_back)


def _stat(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
