"""Gives back what a flood of connections leaves behind.

The objects of a connection refer to each other in circles, which Python frees only in a full collection, and rarely makes
one; and what is freed, glibc keeps for itself. Together that is some 25 MB after a few hundred connections.
"""

import ctypes
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

# An ordinary scraper makes less than one connection a minute.
_MANY = 16
_QUIET_SECONDS = 1.0
_LONGEST_SECONDS = 10.0


class Tidier:
    """Tidies up once many connections have ended, when none has for a while, or a flood goes on for long."""

    def __init__(self, tidy: Callable[[], Awaitable[object]]) -> None:
        self._tidy = tidy
        self._ended = 0
        self._many = trio.Event()

    def connection_ended(self) -> None:
        """One more; also one whose handshake failed."""
        self._ended += 1
        if self._ended >= _MANY:
            self._many.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._many.wait()
            with trio.move_on_after(_LONGEST_SECONDS):
                before = 0
                while before != self._ended:
                    before = self._ended
                    await trio.sleep(_QUIET_SECONDS)
            self._ended, self._many = 0, trio.Event()
            await self._tidy()


def give_back() -> None:
    """Have the C library return free memory to the system (malloc_trim(3), which glibc alone has)."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
