"""HTTP/1.1 by Hypercorn for one connection, and all that leans on names which Hypercorn does not promise.

Hypercorn 0.18 on Trio, measured: a client's ``Upgrade: h2c`` with bad settings, a websocket upgrade with a byte too many
and an HTTP/2 preface end the whole server; CONNECT, and pipelining followed by a reset, leave a connection behind.
So here HTTP/1.1 is all there is: what asks for anything else is refused before Hypercorn sees it, and deadlines are the
connection's own (``connection.Connection``). A test fails when these names change.
"""

from collections.abc import Callable
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ConnectionState, Scope

from portsyncd.web.connection import Connection, ConnectionStream
from portsyncd.web.limits import Limits

# In ``scope["extensions"]``: who asks.
PEER = "portsyncd.peer"
# For whatever host a client names: nothing here depends on it, and Quart fails over one that is no domain name.
_HOST = b"localhost"
# What is parsed element by element. Full of commas it would hold up link events for 20 ms; Prometheus sends 200 bytes.
_LISTS = (b"accept", b"accept-encoding")
_LONGEST_LIST = 1000


def refusal(request: h11.Request) -> int | None:
    """The status with which a request is refused whatever it asks for; None for one that the app may see."""
    names = {name for name, _ in request.headers}
    if request.http_version not in (b"1.0", b"1.1"):
        return 505
    if request.method == b"CONNECT":
        return 405
    if b"upgrade" in names:
        return 501
    if any(name == b"content-length" and value != b"0" for name, value in request.headers):
        return 413
    if b"transfer-encoding" in names:
        return 413
    return None if origin_form(request.target) else 400


def origin_form(target: bytes) -> bytes | None:
    """The path and query of a request target; None where it has none.

    A server has to take the absolute form too (RFC 9112, 3.2.2); host and scheme in it mean nothing here.
    """
    if target.startswith(b"/"):
        return target
    scheme, separator, rest = target.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        return b"/" + rest.partition(b"/")[2]
    return None


class _RefusedError(Exception):
    """A request was refused and answered."""


class Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1, and no way out of it."""

    async def handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except _RefusedError:
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        status = refusal(event)
        if status is not None:
            await self._send_error_response(status)
            raise _RefusedError

    async def _create_stream(self, request: h11.Request) -> None:
        path = origin_form(request.target) or b"/"
        headers = [
            (name, _HOST if name == b"host" else value)
            for name, value in request.headers
            if name not in _LISTS or len(value) <= _LONGEST_LIST
        ]
        await super()._create_stream(
            h11.Request(method=request.method, target=path, headers=headers, http_version=request.http_version)
        )


class Server(TCPServer):
    """Hypercorn's TCP server for one connection whose handshake has been carried out."""

    def __init__(self, site: "Site", stream: ConnectionStream, connection: Connection) -> None:
        app = _ConnectionApp(site.app, connection)
        # It is typed for trio's own streams, and uses what ours has.
        super().__init__(app, site.config, site.context, ConnectionState({}), stream)  # type: ignore[arg-type]

    async def run(self) -> None:
        """Serve requests until either side ends the connection."""
        try:
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol = Protocol(  # type: ignore[assignment]  # what ProtocolWrapper would choose for HTTP/1.1
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState({}),
                    True,
                    # The app is told who asks by certificate; a socket that has been reset knows no addresses.
                    None,
                    None,
                    self.protocol_send,
                )
                await self._read_data()
                # The client has gone: nobody waits for what is still being made.
                nursery = task_group._nursery  # noqa: SLF001 - Hypercorn has no name for it
                assert nursery is not None  # noqa: S101 - it is within its own block
                nursery.cancel_scope.cancel()
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        # The connection has its own deadlines; Hypercorn's idle task would outlive it.
        if not isinstance(event, Updated):
            await super().protocol_send(event)


class Site:
    """The app with what Hypercorn needs to serve it: one per life of the metrics server."""

    def __init__(self, app: ASGIFramework, limits: Limits) -> None:
        self.app = app
        self.config = Config()
        # Our log says what is worth saying.
        self.config.errorlog = self.config.accesslog = None
        self.config.include_server_header = False
        self.config.h11_max_incomplete_size = limits.header_bytes
        self.config.keep_alive_max_requests = limits.requests
        self.context = WorkerContext(max_requests=None)

    async def serve(self, stream: ConnectionStream, connection: Connection) -> None:
        """Serve one connection to its end."""
        await Server(self, stream, connection).run()

    async def start(self, nursery: trio.Nursery) -> None:
        """Bring the app up."""
        lifespan = Lifespan(_plain(self.app), self.config, {})
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()


def _plain(app: ASGIFramework) -> Any:
    async def call(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable, _to_thread: Any, _from_thread: Any
    ) -> None:
        await app(scope, receive, send)

    return call


class _ConnectionApp:
    """The app as one connection calls it: it learns who asks, and the connection when it has been answered."""

    def __init__(self, app: ASGIFramework, connection: Connection) -> None:
        self._app = app
        self._connection = connection

    async def __call__(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        _to_thread: Callable[..., Any],
        _from_thread: Callable[..., Any],
    ) -> None:
        # Of pipelined requests the later ones have arrived before.
        self._connection.asked()
        assert scope["type"] == "http"  # noqa: S101 - a websocket is refused before
        scope["extensions"][PEER] = {"subject": self._connection.peer.subject}
        try:
            await self._app(scope, receive, send)
        except Exception:
            # Of its answer a part may have gone out: whoever asks for more would wait for it.
            self._connection.retire()
            raise
        finally:
            self._connection.answered()
