"""A TCP address that leads to a Unix socket: to whoever listens there when a connection is made."""

import threading
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

import trio

_CHUNK: Final = 65536


class Forwarder:
    """Who is connected stays with the server that was there then, also when another one has taken the socket's place (see
    ``RedisServer.supersede``). It listens on loopback from when it is made, in the network namespace of the
    thread that makes it. A context manager; ends with its connections. Raises ``OSError``.

    port: 0 for one that is free; afterwards it is the one.
    """

    def __init__(self, path: str, port: int = 0) -> None:
        self.port = port
        self._path = path
        self._scope = trio.CancelScope()
        self._started: SimpleQueue[trio.lowlevel.TrioToken | OSError] = SimpleQueue()
        # A new thread is in the namespace of the one that starts it.
        self._thread = threading.Thread(target=self._run, name="forwarder")
        self._thread.start()
        started = self._started.get()
        if isinstance(started, OSError):
            raise started
        self._token = started

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except OSError as problem:
            self._started.put(problem)

    async def _serve(self) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        self._started.put(trio.lowlevel.current_trio_token())
        with self._scope:
            await trio.serve_listeners(self._forward, listeners)

    async def _forward(self, client: trio.SocketStream) -> None:
        with suppress(OSError):
            server = await trio.open_unix_socket(self._path)
            async with server, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, client, server, nursery.cancel_scope)
                nursery.start_soon(_copy, server, client, nursery.cancel_scope)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()


async def _copy(source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
    """Until one of them is closed; then the other one is, too."""
    with suppress(trio.BrokenResourceError):
        while data := await source.receive_some(_CHUNK):
            await sink.send_all(data)
    both.cancel()
