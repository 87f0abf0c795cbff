"""A server that says what a test tells it to, in Redis' protocol or against it."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import hiredis
import trio
import trio.abc

from portsyncd.wire.database_config import Database, Endpoint

# What is sent back for a command: bytes, or a function that sends them by itself.
Answer = bytes | Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def scripted(answers: Mapping[str, Answer], tls: ssl.SSLContext | None = None) -> AsyncIterator[Database]:
    """A database on such a server, on a port of loopback that was free (over TLS on ::1, else on 127.0.0.1); commands without
    an answer get ``+OK``."""
    host = "127.0.0.1" if tls is None else "::1"

    async def serve(stream: trio.abc.Stream) -> None:
        commands = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        async for data in stream:
            commands.feed(bytes(data))
            while (command := commands.gets()) is not False:
                answer = answers.get(command[0].upper(), b"+OK\r\n")
                if isinstance(answer, bytes):
                    await stream.send_all(answer)
                else:
                    await answer(stream)

    async def serve_until_closed(plain: trio.SocketStream) -> None:
        stream = plain if tls is None else trio.SSLStream(plain, tls, server_side=True)
        # The client went, or the answer was to close.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await serve(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        nursery.start_soon(trio.serve_listeners, serve_until_closed, [listener])
        port = listener.socket.getsockname()[1]
        yield Database("STATE_DB", Endpoint(host=host, port=port), 6, "|")
        nursery.cancel_scope.cancel()
