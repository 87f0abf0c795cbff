"""A server that says what a test tells it to, in Redis' protocol or against it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import hiredis
import trio

from portsyncd.wire.database_config import Database, Endpoint

# What is sent back for a command: bytes, or a function that sends them by itself.
Answer = bytes | Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def scripted(answers: Mapping[str, Answer]) -> AsyncIterator[Database]:
    """A database on such a server, on a port of loopback that was free; commands without an answer get ``+OK``."""

    async def serve(stream: trio.SocketStream) -> None:
        commands = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        async for data in stream:
            commands.feed(bytes(data))
            while (command := commands.gets()) is not False:
                answer = answers.get(command[0].upper(), b"+OK\r\n")
                if isinstance(answer, bytes):
                    await stream.send_all(answer)
                else:
                    await answer(stream)

    async def serve_until_closed(stream: trio.SocketStream) -> None:
        # The client went, or the answer was to close.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await serve(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve_until_closed, [listener])
        port = listener.socket.getsockname()[1]
        yield Database("STATE_DB", Endpoint(host="127.0.0.1", port=port), 6, "|")
        nursery.cancel_scope.cancel()
