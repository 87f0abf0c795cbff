"""A ``web.host.Host`` in memory: connections of bounded buffers, the certificates' files, and computing at once."""

import os
import stat
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from errno import ECONNREFUSED, EINVAL
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple, cast

import trio

from portsyncd.errors import EndpointError
from portsyncd.rules import Listen
from portsyncd.tls import files as certificates
from portsyncd.tls.files import Files, Material
from portsyncd.web.host import Listener, Transport

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

# Little, so that a scrape is more than one of them.
BUFFER_BYTES: Final = 8192
CLIENT: Final = "2001:db8::1"


class _Pipe:
    """One direction of a connection. ended: nothing more will come; reset: what is in it is lost, and nobody reads it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._changed = trio.lowlevel.ParkingLot()
        self.ended = self.reset = self.closed = False

    def __len__(self) -> int:
        return len(self._data)

    async def put(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            if self.ended:
                raise trio.ClosedResourceError
            if self.reset or self.closed:
                raise trio.BrokenResourceError("the other side is gone")
            if room := BUFFER_BYTES - len(self._data):
                self._data += rest[:room]
                rest = rest[room:]
                self.tell()
            else:
                await self._changed.park()

    async def get(self, most: int | None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not (self._data or self.ended or self.reset or self.closed):
            await self._changed.park()
        if self.closed:
            raise trio.ClosedResourceError
        if self.reset:
            raise trio.BrokenResourceError("connection reset")
        piece = bytes(self._data[:most])
        del self._data[: len(piece)]
        self.tell()
        return piece

    async def wait_for_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while len(self._data) >= BUFFER_BYTES and not (self.ended or self.reset or self.closed):
            await self._changed.park()

    def tell(self) -> None:
        self._changed.unpark_all()


class FakeTransport(trio.abc.HalfCloseableStream):
    """One end of a connection, with buffers as a socket has them: who does not read holds up who sends.

    client: the client's address. opened_at: when the connection was made; of the server's end, when it was accepted. heard_at:
    when this end last received something.
    """

    def __init__(
        self, incoming: _Pipe, outgoing: _Pipe, client: str, closed: Callable[["FakeTransport"], object]
    ) -> None:
        self.client = client
        self.opened_at = self.heard_at = trio.current_time()
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = closed

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As a socket's: b"" at the end. Raises ``trio.BrokenResourceError`` after a reset."""
        data = await self._incoming.get(max_bytes)
        self.heard_at = trio.current_time()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As a socket's; waits while the other side's buffer is full."""
        await self._outgoing.put(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Until the other side's buffer has room."""
        await self._outgoing.wait_for_room()

    async def send_eof(self) -> None:
        """Say that nothing more will come."""
        await trio.lowlevel.checkpoint()
        self._outgoing.ended = True
        self._outgoing.tell()

    def close(self) -> None:
        """As a socket is closed: with unread data the other side sees a reset."""
        if self._incoming.closed:
            return
        self._outgoing.ended = True
        self._outgoing.reset = self._outgoing.reset or bool(len(self._incoming))
        self._incoming.closed = True
        self._outgoing.tell()
        self._incoming.tell()
        self._closed(self)

    def abort(self) -> None:
        """Close it with a reset."""
        self._outgoing.reset = True
        self.close()

    async def aclose(self) -> None:
        """Close it."""
        self.close()
        await trio.lowlevel.checkpoint()


class _Listener(trio.abc.Listener[FakeTransport]):
    def __init__(self, host: "FakeHost") -> None:
        self.queue: deque[FakeTransport] = deque()
        self.changed = trio.lowlevel.ParkingLot()
        self.broken = self.closed = False
        self._host = host

    async def accept(self) -> FakeTransport:
        await trio.lowlevel.checkpoint()
        while True:
            if self.closed:
                raise trio.ClosedResourceError
            if self.broken:
                self._host.breaks += 1
                raise OSError(EINVAL, os.strerror(EINVAL))
            if number := self._host.accept_error:
                self._host.starved += 1
                raise OSError(number, os.strerror(number))
            if self.queue:
                transport = self.queue.popleft()
                transport.opened_at = transport.heard_at = trio.current_time()
                self._host.accepted[transport] = None
                return transport
            await self.changed.park()

    async def aclose(self) -> None:
        self.closed = True
        if self._host.listener is self:
            self._host.listener = None
        for transport in self.queue:
            transport.abort()
        self.changed.unpark_all()
        await trio.lowlevel.checkpoint()


class FakeHost:
    """See ``web.host.Host``. It outlives the daemons that listen on it, one after the other.

    files: what the certificates' files hold, by path; see ``put``. taken: another program has the address; accept_error: the
    errno with which accepting fails, 0: it does not.

    listener: the one that is open; accepted: the server's ends of connections that are open. refused: how often nobody could
    listen; breaks: how often a listener broke; starved: how often accepting failed; tidied: how often memory was tidied.
    """

    def __init__(self) -> None:
        self.files: dict[Path, bytes] = {}
        self.taken = False
        self.accept_error = 0
        self.listener: _Listener | None = None
        self.accepted: dict[FakeTransport, None] = {}
        self.refused = self.breaks = self.starved = self.tidied = 0
        self._version = 0

    # ---- what clients and faults do

    async def connect(self, client: str = CLIENT) -> FakeTransport:
        """The client's end of a new connection. Raises ``ConnectionRefusedError`` where nobody listens."""
        await trio.lowlevel.checkpoint()
        if self.listener is None:
            raise ConnectionRefusedError(ECONNREFUSED, os.strerror(ECONNREFUSED))
        there, back = _Pipe(), _Pipe()
        self.listener.queue.append(FakeTransport(there, back, client, lambda end: self.accepted.pop(end, None)))
        self.listener.changed.unpark_all()
        return FakeTransport(back, there, client, bool)

    def break_listener(self) -> None:
        """Whoever accepts now, or next, is told that there is nothing to accept from."""
        if self.listener is not None:
            self.listener.broken = True
            self.listener.changed.unpark_all()

    @property
    def is_broken(self) -> bool:
        """Whether the listener is, and nobody may have noticed."""
        return self.listener is not None and self.listener.broken

    def put(self, contents: Mapping[Path, bytes]) -> None:
        """Replace files."""
        self.files.update(contents)
        self._version += 1

    # ---- what the endpoint does

    def listen(self, listen: Listen) -> tuple[Listener, str]:
        """At this address, whatever its port is."""
        if self.taken:
            self.refused += 1
            raise EndpointError(f"the metrics endpoint cannot listen at {listen}: the fake host's address is taken")
        if self.listener is not None:
            raise EndpointError(f"the metrics endpoint cannot listen at {listen}: it listens already")
        self.listener = _Listener(self)
        return self.listener, str(listen)

    def client_of(self, transport: Transport) -> str:
        """As it said when it connected."""
        return cast("FakeTransport", transport).client

    def signature(self, _files: Files) -> Hashable:
        """How often files were replaced."""
        return self._version

    def read(self, files: Files) -> Material:
        """What was put there."""
        return certificates.read(files, self._read_one)

    def _read_one(self, path: Path, _most: int) -> tuple[bytes, os.stat_result]:
        if path not in self.files:
            raise FileNotFoundError
        return self.files[path], os.stat_result((stat.S_IFREG | 0o600, *[0] * 9))

    async def compute(
        self, function: Callable[[*Arguments], T], *arguments: *Arguments, limiter: trio.CapacityLimiter | None = None
    ) -> T:
        """At once, when it is its turn."""
        async with limiter or nullcontext():
            await trio.lowlevel.checkpoint()
            return function(*arguments)

    def give_way(self) -> None:
        """There is one thread, and it is not this fake's."""

    def settle(self) -> None:
        """What others of this process still collect stays collectable."""

    async def tidy(self) -> None:
        """Nothing, and it is counted."""
        await trio.lowlevel.checkpoint()
        self.tidied += 1
