"""A TCP address of Redis: whether it still leads to the server that a session is connected to.

Who loses its address (a virtual one has moved, a rule sends new connections elsewhere) goes on serving who was connected:
no connection breaks, every probe is answered, and everybody else reads another server. Only who connects anew can tell.
For a Unix socket ``RedisConnection.ping`` tells it without that.
"""

import re
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Final

import trio

from portsyncd.backends.replies import Connection
from portsyncd.errors import StoreError, StoreRefusedError, StoreUnavailableError
from portsyncd.logs import get_logger
from portsyncd.wire.database_config import Database, Endpoint

log = get_logger()

# Between two looks, each of which is a connection, with its handshake.
_PAUSE_SECONDS: Final = 3.0
# An address that has been taken so often in so many seconds is no server's: behind it is a balancer, or a name with several
# addresses, and each connection may find another one.
_MOST_TAKEN: Final = 3
_TAKEN_SECONDS: Final = 600.0
_RUN_ID: Final = re.compile(r"^run_id:(\w+)\r?$", re.MULTILINE)
_taken: Final = trio.lowlevel.RunVar[dict[Endpoint, deque[float]]]("when Redis' addresses were taken")


class Address:
    """One TCP address, for one session. database: one that is there; connect: makes a connection that is not open yet."""

    def __init__(self, database: Database, connect: Callable[[Database], Connection]) -> None:
        self._database = database
        self._connect = connect
        # Who serves this session, "" where that is not known.
        self._server = ""
        self._asked = trio.Event()
        # When it was taken, of all sessions.
        self._taken: deque[float]

    async def learn(self, connection: Connection) -> None:
        """Learn who serves the session; connection: its first one to this address, so that one that is made after the address
        was taken counts as taken, too. Raises ``StoreError``."""
        self._taken = _history().setdefault(self._database.endpoint, deque(maxlen=_MOST_TAKEN))
        if not self._is_shared():
            self._server = await _server(connection)

    def look(self) -> None:
        """Have ``watch`` look, as soon as that is due."""
        self._asked.set()

    async def watch(self) -> None:
        """Whenever a look was asked for, connect anew, and compare. Raises ``StoreUnavailableError`` when another server
        answers; who cannot be reached, or does not say who it is, is no other one. Returns where there is nothing to find."""
        while self._server:
            await self._asked.wait()
            self._asked = trio.Event()
            due = trio.current_time() + _PAUSE_SECONDS
            if await self._found() not in (self._server, ""):
                self._note()
                raise StoreUnavailableError(
                    f"{self._database.name} at {self._database.endpoint} is unreachable: another server has taken the address"
                )
            await trio.sleep_until(due)

    async def _found(self) -> str:
        """Who is found at the address now, "" where that cannot be told."""
        try:
            with closing(self._connect(self._database)) as connection:
                await connection.open()
                return await _server(connection)
        except StoreError:
            return ""

    def _note(self) -> None:
        self._taken.append(trio.current_time())
        if self._is_shared():
            log.warning(
                "an address of Redis leads to one server and another: that it does is no reason any more to connect anew",
                address=str(self._database.endpoint),
            )

    def _is_shared(self) -> bool:
        """For good: once it is, no more is noted."""
        return len(self._taken) == _MOST_TAKEN and self._taken[-1] - self._taken[0] < _TAKEN_SECONDS


def _history() -> dict[Endpoint, deque[float]]:
    """When which addresses were taken last, over all sessions of the process (monotonic seconds)."""
    try:
        history = _taken.get()
    except LookupError:
        history = {}
        _taken.set(history)
    return history


async def _server(connection: Connection) -> str:
    """Who answers: an identifier that each start of a Redis makes anew; "" where it does not say. Raises ``StoreError``."""
    try:
        (info,) = await connection.call(("INFO", "server"))
    except StoreRefusedError:
        return ""
    found = _RUN_ID.search(info)
    return found[1] if found else ""
