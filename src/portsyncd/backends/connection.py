"""One connection to Redis: redis-py's synchronous ``Connection`` in a worker thread, with Trio's deadlines.

A request whose deadline passes, or that is cancelled, shuts the socket down: the worker thread's ``recv`` returns at
once, and the connection is beyond use. redis-py's own time-outs count per ``recv`` and would keep the thread longer.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
import redis.exceptions
import trio
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from portsyncd.errors import StoreError, StoreLoadingError, StoreRefusedError, StoreUnavailableError
from portsyncd.wire.database_config import Database, Endpoint

T = TypeVar("T")
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
    """A connection to one database of one Redis."""

    def __init__(self, database: Database, access: Access) -> None:
        self._where = f"{database.name} at {database.endpoint}"
        self._timeout = access.timeout
        self._connection = _make(database.endpoint, database.number, access)
        # One request at a time; also keeps a thread that is on its way out from using up a shared limit.
        self._limiter = trio.CapacityLimiter(2)
        self._threads = 0
        self._closed = False

    async def open(self) -> None:
        """Connect, authenticate, select the database. Raises ``StoreError``."""
        await self.run(self._connection.connect)

    async def call(self, *requests: Request) -> list[Any]:
        """Send these requests in one write and read all replies. An error reply raises ``StoreError``, after all of
        them have been read; the connection stays good then."""
        return await self.run(self._converse, requests)

    def _converse(self, requests: Sequence[Request]) -> list[Any]:
        connection = self._connection
        connection.send_packed_command(connection.pack_commands(requests), check_health=False)
        replies: list[Any] = []
        refusal: redis.RedisError | None = None
        for _ in requests:
            try:
                replies.append(connection.read_response())
            except redis.ResponseError as problem:
                refusal = refusal or problem
        if refusal is not None:
            raise refusal
        return replies

    async def send(self, *requests: Request) -> None:
        """Send without reading; for a connection that ``receive`` is reading."""
        packed = self._connection.pack_commands(requests)
        await self.run(self._connection.send_packed_command, packed, False)  # noqa: FBT003 - check_health, by position

    async def receive(self) -> list[Any]:
        """Wait without limit until something comes in unasked, and read all of it."""
        sock = self._socket()
        if sock is None:
            raise StoreUnavailableError(f"{self._where}: the connection is closed")
        try:
            await trio.lowlevel.wait_readable(sock)
        except (OSError, trio.ClosedResourceError) as problem:
            raise StoreUnavailableError(f"{self._where}: the connection was closed") from problem
        return await self.run(self._read_all)

    def _read_all(self) -> list[Any]:
        messages = [self._connection.read_response()]
        while self._connection.can_read(0):
            messages.append(self._connection.read_response())
        return messages

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run ``work`` in the worker thread, with the deadline and the errors of this connection."""
        if self._closed:
            raise StoreUnavailableError(f"{self._where}: the connection is closed")
        with _as_store_error(self._where):
            try:
                with trio.fail_after(self._timeout):
                    return await trio.to_thread.run_sync(
                        self._guarded, work, arguments, abandon_on_cancel=True, limiter=self._limiter
                    )
            except trio.TooSlowError:
                raise StoreUnavailableError(f"{self._where} did not answer within {self._timeout:g} s") from None
            except BaseException as problem:
                # Error replies leave the connection in step. After anything else - a cancelled request whose reply
                # will still come among it - nobody could tell to which request the next reply belongs.
                if not isinstance(problem, redis.ResponseError):
                    self.close()
                raise

    def _guarded(self, work: Callable[..., T], arguments: Sequence[object]) -> T:
        """Runs in the thread. A connection that was closed meanwhile is given back here, where nobody reads from it."""
        self._threads += 1
        try:
            return work(*arguments)
        finally:
            self._threads -= 1
            if self._closed:
                self._connection.disconnect()

    def close(self) -> None:
        """Shut the socket down at once, whoever reads from it."""
        if self._closed:
            return
        self._closed = True
        sock = self._socket()
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the peer was faster
        if not self._threads:
            self._connection.disconnect()

    def _socket(self) -> socket.socket | None:
        """redis-py has no public name for a connection's socket; ``contract`` tests fail should this one go."""
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
        "client_name": "portsyncd",
        "driver_info": None,
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
    }
    if endpoint.unix_socket:
        # Abstract by its annotations only: it has no host.
        over_unix_socket: Any = UnixDomainSocketConnection
        connection: AbstractConnection = over_unix_socket(path=endpoint.unix_socket, **options)
        return connection
    options |= {"host": endpoint.host, "port": endpoint.port, "socket_keepalive": True}
    if access.tls:
        return SSLConnection(ssl_ca_certs=access.tls_ca or None, **options)
    return Connection(**options)


@contextmanager
def _as_store_error(where: str) -> Iterator[None]:
    """The edge: what redis-py and the socket raise becomes one of our errors, with the database that it concerns."""
    try:
        yield
    except StoreError:
        raise
    except redis.exceptions.BusyLoadingError as problem:
        raise StoreLoadingError(f"{where} is loading its data set") from problem
    except (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError) as problem:
        raise StoreRefusedError(f"{where} refused to authenticate: {problem}") from problem
    except redis.exceptions.NoScriptError as problem:
        raise ScriptUnknownError(f"{where} does not know the script") from problem
    except redis.exceptions.ResponseError as problem:
        raise StoreRefusedError(f"{where} refused: {problem}") from problem
    except (redis.RedisError, OSError) as problem:
        raise StoreUnavailableError(f"{where} is unreachable: {problem}") from problem
