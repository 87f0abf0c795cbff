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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import redis
import redis.exceptions
import trio
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from portsyncd.errors import StoreError, StoreLoadingError, StoreRefusedError, StoreUnavailableError
from portsyncd.wire.database_config import Database, Endpoint

_NOTHING: Final = object()
# struct linger: on, for no time.
_RESET: Final = struct.pack("ii", 1, 0)
# Seconds, seconds, times: a subscriber hears nothing for long, and has to notice that its path is gone.
_KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
# One command: its name and arguments.
Request = tuple[str | bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """How to connect. timeout: seconds, for connecting and for each request. password: None for no AUTH."""

    timeout: float = 2.0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_ca: str | None = None


class ScriptUnknownError(StoreRefusedError):
    """Redis does not know the script of an EVALSHA. Caused by its restart or by SCRIPT FLUSH; nothing was done."""


class RedisConnection:
    """A connection to one database of one Redis. After any error but a refusal it is closed and beyond use."""

    def __init__(self, database: Database, access: Access) -> None:
        self._where = f"{database.name} at {database.endpoint}"
        self._timeout = access.timeout
        self._connection = _make(database.endpoint, database.number, access)
        self._closed = False

    async def open(self) -> None:
        """Connect, authenticate, select the database. Raises ``StoreError``."""
        with self._edge(self._timeout):
            await trio.to_thread.run_sync(self._connect, abandon_on_cancel=True)

    def _connect(self) -> None:
        """In a worker thread: redis-py's handshake waits. From then on the socket never does."""
        self._connection.connect()
        self._connection.update_current_socket_timeout(0)
        if self._closed:
            # Given up meanwhile; nobody else would close it.
            self._connection.disconnect()

    async def call(self, *requests: Request) -> list[Any]:
        """Send these requests in one write and read all replies. An error reply raises ``StoreError``, after all of
        them have been read; the connection stays good then."""
        replies: list[Any] = []
        refusal: redis.ResponseError | None = None
        with self._edge(self._timeout):
            await self._write(requests)
            # Nothing can have come yet: to look first would cost an exception.
            await trio.lowlevel.wait_readable(self._socket())
            for _ in requests:
                try:
                    replies.append(await self._reply())
                except redis.ResponseError as problem:
                    refusal = refusal or problem
            if refusal is not None:
                raise refusal
        return replies

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

    async def _reply(self) -> Any:
        reply = self._buffered()
        while reply is _NOTHING:
            await trio.lowlevel.wait_readable(self._socket())
            reply = self._buffered()
        return reply

    def _buffered(self) -> Any:
        """The next reply if it has arrived whole, else ``_NOTHING``; what has come of it is kept."""
        try:
            return self._connection.read_response(timeout=0, disconnect_on_error=False)
        except redis.TimeoutError:
            return _NOTHING

    @contextmanager
    def _edge(self, timeout: float) -> Iterator[None]:
        """Deadline and errors of one request: redis-py's and the socket's become ours, with what they concern."""
        if self._closed:
            raise StoreUnavailableError(f"{self._where}: the connection is closed")
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
            if isinstance(problem, redis.RedisError | OSError | trio.ClosedResourceError):
                raise StoreUnavailableError(f"{self._where} is unreachable: {problem}") from problem
            raise

    def close(self) -> None:
        """Close at once; tasks that wait for the connection are told."""
        if self._closed:
            return
        self._closed = True
        sock = self._socket_if_open()
        if sock is not None:
            trio.lowlevel.notify_closing(sock)
            if sock.family != socket.AF_UNIX:
                # Reset, so that the kernel throws away what it has not delivered: after a broken path has healed, a
                # request given up here would still arrive, behind what the next session wrote.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
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
        return SSLConnection(ssl_ca_certs=access.tls_ca or None, **options)
    return Connection(**options)


def _raw(argument: str | bytes | int) -> bytes | int:
    return argument.encode("utf-8", "surrogateescape") if isinstance(argument, str) else argument


def _refusal(where: str, problem: redis.ResponseError) -> StoreError:
    """An error reply as one of our errors."""
    if isinstance(problem, redis.exceptions.NoScriptError):
        return ScriptUnknownError(f"{where} does not know the script")
    return StoreRefusedError(f"{where} refused: {problem}")
