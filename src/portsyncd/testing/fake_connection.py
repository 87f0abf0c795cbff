"""A connection to a ``fake_redis.FakeRedis``: what ``backends.connection.RedisConnection`` is to a real one."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, TypeVar

import trio

from portsyncd.backends.replies import Fits, Request, fits
from portsyncd.errors import StoreRefusedError, StoreUnavailableError
from portsyncd.testing.fake_commands import execute, writes
from portsyncd.testing.fake_redis import FakeRedis, gone
from portsyncd.wire.database_config import Database

T = TypeVar("T")


class FakeConnection:
    """See ``backends.replies.Connection``. name: as faults call it (see ``FakeRedis.cut``); timeout: seconds."""

    def __init__(self, server: FakeRedis, database: Database, name: str, timeout: float) -> None:
        self.name = name
        self.waiting_since: float | None = None
        self._server = server
        self._number = database.number
        self._timeout = timeout
        self._closed = self._is_cut = False
        # Who waits for something.
        self._waits: dict[trio.CancelScope, None] = {}
        # What a subscriber has to hear, with the moment when it is there; and what wakes him.
        self._said: deque[tuple[float, Any]] = deque()
        self._spoken = trio.Event()
        self._channels: set[str] = set()
        self._patterns: set[str] = set()

    async def open(self) -> None:
        """Connect."""
        with self._edge(self._timeout):
            await self._wait(partial(self._server.connect, self))

    async def call(self, *requests: Request, fits: Fits = fits) -> list[Any]:
        """All requests in one pipeline; the first error among the replies is raised."""
        with self._edge(self._timeout):
            replies = await self._wait(partial(self._exchange, requests))
            for request, reply in zip(requests, replies, strict=True):
                if isinstance(reply, StoreRefusedError):
                    raise reply
                if not fits(request, reply):
                    raise TypeError(f"no Redis answers {request[0]!s} with {reply!r}")
        return replies

    async def _exchange(self, requests: tuple[Request, ...]) -> list[Any]:
        await self._unless_cut()
        work = [partial(execute, self._server, self._number, request) for request in requests]
        replies = await self._server.serve(self, work, writes=any(map(writes, requests)))
        # Carried out, or under way when it was cut.
        await self._unless_cut()
        return replies

    async def _unless_cut(self) -> None:
        if self._is_cut:
            await trio.sleep_forever()

    async def ping(self) -> None:
        """A round trip."""
        await self.call(("PING",))

    async def send(self, *requests: Request) -> None:
        """Subscribe, unsubscribe."""
        with self._edge(self._timeout):
            await trio.lowlevel.checkpoint()
            if not self._is_cut:
                self._server.take(self, [partial(self._answer, request) for request in requests])

    def _answer(self, request: Request) -> None:
        kind, *channels = (
            text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text) for text in request
        )
        known = self._patterns if kind.startswith("P") else self._channels
        for channel in channels:
            (known.discard if "UNSUB" in kind else known.add)(channel)
            self._hear([kind.lower(), channel, len(self._channels) + len(self._patterns)], self._server.latency)

    async def receive(self) -> list[Any]:
        """What a subscriber hears."""
        with self._edge(inf):
            return await self._wait(self._listen)

    async def _listen(self) -> list[Any]:
        await trio.lowlevel.checkpoint()
        while not self._said or self._said[0][0] > trio.current_time():
            if self._said:
                await trio.sleep_until(self._said[0][0])
            else:
                self._spoken = trio.Event()
                await self._spoken.wait()
        messages = []
        while self._said and self._said[0][0] <= trio.current_time():
            messages.append(self._said.popleft()[1])
        return messages

    def _hear(self, message: Any, delay: float = 0.0) -> None:
        # Nothing overtakes what was said before.
        due = max([trio.current_time() + delay, *(due for due, _ in list(self._said)[-1:])])
        self._said.append((due, message))
        self._spoken.set()

    # ---- as the server sees it

    def heard(self, number: int, key: str, event: str) -> None:
        """A keyspace notification, for who has subscribed to it."""
        channel = f"__keyspace@{number}__:{key}"
        if self._is_cut:
            return
        if channel in self._channels:
            self._hear(["message", channel, event])
        for pattern in self._patterns:
            if channel.startswith(pattern.removesuffix("*")):
                self._hear(["pmessage", pattern, channel, event])

    def cut(self) -> None:
        """Nothing comes through any more."""
        self._is_cut = True
        self._said.clear()

    def broken(self) -> None:
        """The server has closed it; who is cut off is not told."""
        if not self._is_cut:
            self._end()

    # ---- its end

    def close(self) -> None:
        """At once; requests under way in other tasks fail."""
        self._server.leave(self)
        self._end()

    def _end(self) -> None:
        self._closed = True
        for scope in self._waits:
            scope.cancel()

    async def _wait(self, what: Callable[[], Awaitable[T]]) -> T:
        """Until then, or until it is closed."""
        with trio.CancelScope() as scope:
            self._waits[scope] = None
            try:
                return await what()
            finally:
                del self._waits[scope]
        raise gone()

    @contextmanager
    def _edge(self, timeout: float) -> Iterator[None]:
        """Its deadline. After any error but a refusal it is closed."""
        if self._closed:
            raise gone()
        if timeout != inf:
            self.waiting_since = trio.current_time()
        try:
            with trio.fail_after(timeout):
                yield
        except StoreRefusedError:
            raise
        except BaseException as problem:
            # Also when cancelled: the reply will still come, and would be taken for that of the next request.
            self.close()
            if isinstance(problem, trio.TooSlowError):
                raise StoreUnavailableError(f"fake Redis did not answer within {timeout:g} s") from None
            raise
        finally:
            if timeout != inf:
                self.waiting_since = None
