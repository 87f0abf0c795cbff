"""One connection to Redis: redis-py's ``Connection`` on a socket that Trio waits for.

redis-py makes the connection (in a worker thread, since its handshake waits), packs requests and parses replies; the
waiting is Trio's. So a request costs no change of thread (two of them cost more than Redis does), a deadline is an
ordinary one, and a cancelled request leaves nothing behind but a closed connection.
"""

import math
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis
import redis.exceptions
import trio
from redis.connection import AbstractConnection, Connection, UnixDomainSocketConnection

from portsyncd.backends.replies import Fits, Request, fits, fits_message
from portsyncd.errors import StoreError, StoreLoadingError, StoreRefusedError, StoreUnavailableError
from portsyncd.wire.database_config import Database, Endpoint

_NOTHING: Final = object()
# struct linger: on, for no time.
_RESET: Final = struct.pack("ii", 1, 0)
# Seconds, seconds, times: a subscriber hears nothing for long, and has to notice that its path is gone.
_KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
# struct ucred: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("3i")
# Connections that are made at once, in a thread each. One that is given up keeps its thread until redis-py's own time-out:
# those must never use up the threads that everybody else shares.
_AT_ONCE: Final = 8
# What hiredis and redis-py raise for things that only RESP3 has (a list as the key of a map, an empty push, a thousand pushes),
# and for more elements than there is memory.
_UNREADABLE: Final = (TypeError, ValueError, LookupError, RecursionError, MemoryError)
_connecting: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("connecting to Redis")


@dataclass(frozen=True, slots=True)
class Access:
    """How to connect. timeout: seconds, for connecting and for each request. password: None for no AUTH. tls_ca: a file with
    the certificates that are trusted, and no others; None: the system's."""

    timeout: float = 2.0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_ca: str | None = None


class ScriptUnknownError(StoreRefusedError):
    """Redis does not know the script of an EVALSHA. Caused by its restart or by SCRIPT FLUSH; nothing was done."""


class RedisConnection:
    """A connection to one database of one Redis. After any error but a refusal it is closed and beyond use.

    waiting_since: since when a request has waited for its reply (monotonic seconds), None: none does. To be opened is a
    request, too; to wait in ``receive`` is none.
    """

    def __init__(self, database: Database, access: Access) -> None:
        self._where = f"{database.name} at {database.endpoint}"
        self._timeout = access.timeout
        self._connection = _make(database.endpoint, database.number, access)
        self._path = database.endpoint.unix_socket
        # The socket file that was connected to, as it was just before.
        self._file: tuple[int, ...] | None = None
        self._opening = trio.CancelScope()
        self._closed = False
        self.waiting_since: float | None = None

    async def open(self) -> None:
        """Connect, authenticate, select the database. Raises ``StoreError``."""
        with self._edge(self._timeout), self._opening:
            await trio.to_thread.run_sync(self._connect, abandon_on_cancel=True, limiter=_limiter())
        if self._closed:
            raise StoreUnavailableError(f"{self._where}: the connection is closed")

    def _connect(self) -> None:
        """In a worker thread: redis-py's handshake waits. From then on the socket never does."""
        self._file = self._identify()
        try:
            self._connection.connect()
        except _UNREADABLE as problem:
            raise redis.InvalidResponse(repr(problem)) from problem
        self._connection.update_current_socket_timeout(0)
        if self._closed:
            # Given up meanwhile; nobody else would close it.
            self._connection.disconnect()

    async def call(self, *requests: Request, fits: Fits = fits) -> list[Any]:
        """Send these requests in one write and read all replies. An error reply raises ``StoreError``, after all of
        them have been read; the connection stays good then. So does a reply that does not fit its request, at once, and it
        does not."""
        replies: list[Any] = []
        refusal: redis.ResponseError | None = None
        with self._edge(self._timeout):
            await self._write(requests)
            for number, request in enumerate(requests):
                try:
                    # Before the first wait nothing can have come: to look would cost an exception.
                    reply = await self._reply(look=number > 0)
                except redis.ResponseError as problem:
                    refusal = refusal or problem
                except redis.InvalidResponse as problem:
                    raise _nonsense(problem, request[0]) from problem
                else:
                    if not fits(request, reply):
                        raise _nonsense(type(reply).__name__, request[0])
                    replies.append(reply)
            if refusal is not None:
                raise refusal
        return replies

    async def ping(self) -> None:
        """A round trip, which must be with the server that others find now: one whose socket file another server has taken
        goes on serving who was connected to it. Raises ``StoreError``."""
        await self.call(("PING",))
        with self._edge(self._timeout):
            if self._is_superseded():
                raise ConnectionAbortedError(f"another server has taken {self._path}")

    def _is_superseded(self) -> bool:
        """Whether others find another server at our socket's name. Its file tells that something changed, perhaps no more than
        its owner or mode; who listens there tells who it is."""
        found = self._identify()
        if found in (self._file, None):
            # No file is no other server.
            return False
        mine, other = _peer(self._socket()), _listener(self._path)
        if other is None:
            return False
        if not mine:
            # In another PID namespace, as all servers there are.
            return self._file is not None and found[:2] != self._file[:2]
        if other != mine:
            return True
        self._file = found
        return False

    def _identify(self) -> tuple[int, ...] | None:
        """What tells the present socket file from another one of its name; None where there is none."""
        if not self._path:
            return None
        try:
            found = Path(self._path).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_ctime_ns

    async def send(self, *requests: Request) -> None:
        """Send without reading; for a connection of which another task reads with ``receive``."""
        with self._edge(self._timeout):
            await self._write(requests)

    async def receive(self) -> list[Any]:
        """Wait without limit until something comes in unasked, and read all of it."""
        with self._edge(math.inf):
            messages = [await self._reply()]
            while (message := self._buffered()) is not _NOTHING:
                messages.append(message)
            for message in messages:
                if not fits_message(message):
                    raise _nonsense(type(message).__name__, "SUBSCRIBE")
        return messages

    async def _write(self, requests: Sequence[Request]) -> None:
        sock = self._socket()
        left = memoryview(b"".join(self._pack(requests)))
        while left:
            try:
                left = left[sock.send(left) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                await trio.lowlevel.wait_writable(sock)

    def _pack(self, requests: Sequence[Request]) -> list[bytes]:
        try:
            packed: list[bytes] = self._connection.pack_commands(requests)
        except UnicodeEncodeError:
            # hiredis refuses the surrogates that stand for a name's odd bytes; it takes the bytes themselves.
            packed = self._connection.pack_commands([tuple(map(_raw, request)) for request in requests])
        return packed

    async def _reply(self, *, look: bool = True) -> Any:
        """The next reply. look: it may have arrived already."""
        reply = self._buffered() if look else _NOTHING
        while reply is _NOTHING:
            reply = await self._wait()
        return reply

    async def _wait(self) -> Any:
        """Wait until something arrives; as ``_buffered``."""
        try:
            await trio.lowlevel.wait_readable(self._socket())
        except trio.Cancelled:
            # Where nobody ran for long (the process was stopped, the loop blocked), the reply may have come in time, or just
            # now: it is taken, and who cancelled is heeded at the next wait.
            if self._closed or (reply := self._buffered()) is _NOTHING:
                raise
            return reply
        return self._buffered()

    def _buffered(self) -> Any:
        """The next reply if it has arrived whole, else ``_NOTHING``; what has come of it is kept."""
        try:
            return self._connection.read_response(timeout=0, disconnect_on_error=False)
        except redis.TimeoutError:
            return _NOTHING
        except _UNREADABLE as problem:
            raise redis.InvalidResponse(repr(problem)) from problem

    @contextmanager
    def _edge(self, timeout: float) -> Iterator[None]:
        """Deadline and errors of one request: redis-py's and the socket's become ours, with what they concern."""
        if self._closed:
            raise StoreUnavailableError(f"{self._where}: the connection is closed")
        if timeout != math.inf:
            self.waiting_since = trio.current_time()
        try:
            with trio.fail_after(timeout):
                yield
        except redis.ResponseError as problem:
            raise _refusal(self._where, problem) from problem
        except BaseException as problem:
            # Also when cancelled: the reply will still come, and would be taken for that of the next request.
            self.close()
            if isinstance(problem, trio.TooSlowError):
                raise StoreUnavailableError(f"{self._where} did not answer within {timeout:g} s") from None
            if isinstance(problem, redis.exceptions.BusyLoadingError):
                raise StoreLoadingError(f"{self._where} is loading its data set") from problem
            if isinstance(problem, redis.exceptions.AuthenticationError | redis.exceptions.AuthorizationError):
                raise StoreRefusedError(f"{self._where} refused to authenticate: {problem}") from problem
            if isinstance(problem, redis.InvalidResponse):
                raise StoreUnavailableError(
                    f"{self._where} makes no sense: {problem}; it is no Redis, or what it says is garbled on the way"
                ) from problem
            if isinstance(problem, redis.RedisError | OSError | trio.ClosedResourceError):
                raise StoreUnavailableError(f"{self._where} is unreachable: {problem}") from problem
            raise
        finally:
            if timeout != math.inf:
                self.waiting_since = None

    def close(self) -> None:
        """Close at once; tasks that wait for the connection are told, who opens it among them."""
        if self._closed:
            return
        self._closed = True
        self._opening.cancel()
        sock = self._socket_if_open()
        # Whatever is wrong with this one (somebody closed its descriptor), others are to be closed after it.
        with suppress(OSError, ValueError):
            if sock is not None:
                trio.lowlevel.notify_closing(sock)
                if sock.family != socket.AF_UNIX:
                    # Reset, so that the kernel throws away what it has not delivered: after a broken path has healed, a
                    # request given up here would still arrive, behind what the next session wrote.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with suppress(OSError, ValueError):
            self._connection.disconnect()

    def _socket(self) -> socket.socket:
        sock = self._socket_if_open()
        if sock is None:
            raise trio.ClosedResourceError("the connection is closed")
        return sock

    def _socket_if_open(self) -> socket.socket | None:
        """redis-py has no public name for a connection's socket; the contract tests fail should this one go."""
        sock: socket.socket | None = self._connection._sock  # noqa: SLF001 - see above
        return sock


class _TlsConnection(Connection):
    """As redis-py's own for TLS; that one would trust the system's certificates beside those that it is told to trust."""

    def __init__(self, ca: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._ca = ca

    def _connect(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self._ca)
        sock = super()._connect()
        try:
            return context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise


def _make(endpoint: Endpoint, number: int, access: Access) -> AbstractConnection:
    options: dict[str, Any] = {
        "db": number,
        "username": access.username or None,
        "password": access.password,
        "socket_timeout": access.timeout,
        "socket_connect_timeout": access.timeout,
        "protocol": 2,
        "driver_info": None,
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
    }
    if endpoint.unix_socket:
        # Abstract by its annotations only: it has no host.
        over_unix_socket: Any = UnixDomainSocketConnection
        connection: AbstractConnection = over_unix_socket(path=endpoint.unix_socket, **options)
        return connection
    options |= {
        "host": endpoint.host,
        "port": endpoint.port,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
    }
    if access.tls:
        return _TlsConnection(access.tls_ca, **options)
    return Connection(**options)


def _limiter() -> trio.CapacityLimiter:
    """Of all connections of the process."""
    try:
        limiter = _connecting.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_AT_ONCE)
        _connecting.set(limiter)
    return limiter


def _peer(sock: socket.socket) -> int:
    """The process that listened when this Unix socket was connected; 0 for one in a PID namespace that is not ours. Raises
    ``OSError``."""
    pid, _, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(pid)


def _listener(path: str) -> int | None:
    """The process that listens at a Unix socket's name now; None where nobody takes a connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
            return _peer(asking)
        except OSError:
            return None


def _raw(argument: str | bytes | int) -> bytes | int:
    return argument.encode("utf-8", "surrogateescape") if isinstance(argument, str) else argument


def _nonsense(what: object, command: str | bytes | int) -> redis.InvalidResponse:
    """The error of a reply that is none. Its kind is told, and not what is in it, which may be long, or nobody's business."""
    return redis.InvalidResponse(f"{what} in reply to {command!s}")


def _refusal(where: str, problem: redis.ResponseError) -> StoreError:
    """An error reply as one of our errors."""
    if isinstance(problem, redis.exceptions.NoScriptError):
        return ScriptUnknownError(f"{where} does not know the script")
    return StoreRefusedError(f"{where} refused: {problem}")
