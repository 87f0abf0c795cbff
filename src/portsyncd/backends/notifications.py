"""Redis' keyspace notifications: hints that something which is waited for may have come.

What is watched always is CONFIG_DB's ports and our LOGGER row. An APPL_DB entry is watched only while a port waits for
it, by its own channel: orchagent writes those entries all the time, and nobody should be woken for that.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from portsyncd.backends.base import Notices
from portsyncd.backends.replies import Connection
from portsyncd.errors import StoreError, StoreRefusedError, StoreUnavailableError
from portsyncd.wire import schema
from portsyncd.wire.database_config import Database

_ALL_KEYSPACE_EVENTS = "A"
# What HSET, HDEL and DEL are announced as, where not all events are on.
_NEEDED_EVENTS = frozenset("hg")
# To unsubscribe from what is not subscribed to changes nothing and is answered all the same. PING has another reply in
# subscriber mode than out of it, and may be forbidden to a user who may subscribe.
_PROBE_CHANNEL = "portsyncd:probe"


class Notifications:
    """The subscriptions of one session, over one connection per Redis instance. make: a connection that is not open yet;
    timeout: seconds for each answer."""

    def __init__(
        self,
        databases: Mapping[str, Database],
        make: Callable[[Database], Connection],
        appl_prefix: str,
        config_prefix: str,
        *,
        timeout: float,
    ) -> None:
        appl, config = databases[schema.APPL_DB], databases[schema.CONFIG_DB]
        ends = {appl.endpoint: appl, config.endpoint: config}
        self._connections = {endpoint: make(database) for endpoint, database in ends.items()}
        self._appl, self._config = self._connections[appl.endpoint], self._connections[config.endpoint]
        self._appl_channel = f"__keyspace@{appl.number}__:{appl_prefix}"
        self._config_channel = f"__keyspace@{config.number}__:{config_prefix}"
        self._logger_channel = f"__keyspace@{config.number}__:{schema.LOGGER_KEY}"
        self._timeout = timeout
        self._waited_for: frozenset[str] = frozenset()
        # Subscriptions that Redis has not confirmed yet, and who waits for that.
        self._unconfirmed = 0
        self._confirmed = trio.Event()
        # Connections whose probe is not answered yet, and who waits for that.
        self._unanswered: set[Connection] = set()
        self._answered = trio.Event()
        # Since when a confirmation or the answer to a probe is waited for (monotonic seconds).
        self._asked_at: float | None = None
        # Why ``watch`` ended.
        self._problems: list[StoreError] = []
        self.on = False

    async def open(self) -> None:
        """Connect, see whether notifications are on, and subscribe to what is watched always."""
        self.on = True
        for connection in self._connections.values():
            await connection.open()
            self.on = self.on and await _sends_notifications(connection)
        await self._config.send(
            ("PSUBSCRIBE", f"{_escape(self._config_channel)}*"), ("SUBSCRIBE", self._logger_channel)
        )

    def close(self) -> None:
        """Shut the connections down; ``watch`` raises."""
        for connection in self._connections.values():
            connection.close()

    async def wait_for_ports(self, names: Collection[str]) -> None:
        """Watch these APPL_DB entries and no others. Returns when Redis has confirmed it, so that an entry which is
        absent now will be announced; ``watch`` must be running in another task meanwhile."""
        if not self.on:
            return
        self._raise_problem()
        wanted = frozenset(names)
        gained, lost = wanted - self._waited_for, self._waited_for - wanted
        if lost:
            await self._appl.send(("UNSUBSCRIBE", *(self._channel(name) for name in lost)))
        if gained:
            self._confirmed = trio.Event()
            self._unconfirmed += len(gained)
            await self._appl.send(("SUBSCRIBE", *(self._channel(name) for name in gained)))
            await self._hear(self._confirmed, "confirm a subscription")
        self._waited_for = wanted

    async def probe(self) -> None:
        """A round trip on every connection; ``watch`` must be running in another task meanwhile."""
        self._raise_problem()
        self._answered = trio.Event()
        self._unanswered.update(self._connections.values())
        for connection in self._connections.values():
            await connection.send(("UNSUBSCRIBE", _PROBE_CHANNEL))
        await self._hear(self._answered, "answer on a connection for notifications")

    async def _hear(self, said: trio.Event, what: str) -> None:
        """Wait until ``watch`` has heard it, or has ended."""
        self._asked_at = trio.current_time()
        try:
            with trio.move_on_after(self._timeout):
                await _heard(said)
        finally:
            self._asked_at = None
        self._raise_problem()
        if not said.is_set():
            raise StoreUnavailableError(f"Redis did not {what} within {self._timeout:g} s")

    def _raise_problem(self) -> None:
        """Where ``watch`` has ended, nothing will be heard: why it did."""
        if self._problems:
            raise self._problems[0]

    @property
    def waiting_since(self) -> float | None:
        """Since when an answer has been waited for (monotonic seconds), None: none is."""
        moments = (self._asked_at, *(connection.waiting_since for connection in self._connections.values()))
        return min((moment for moment in moments if moment is not None), default=None)

    def _channel(self, name: str) -> bytes:
        return (self._appl_channel + name).encode("utf-8", "surrogateescape")

    async def watch(self, report: Callable[[Notices], None], *beside: Callable[[], Awaitable[None]]) -> None:
        """Report notifications of all connections until cancelled. The first error of any ends it, or of what goes on
        beside it; it is raised here and to those who wait for what would have been heard."""

        async def run(task: Callable[[], Awaitable[None]]) -> None:
            try:
                await task()
            except StoreError as problem:
                # Kept, and raised below: the nursery would wrap it in a group.
                self._problems.append(problem)
                self._confirmed.set()
                self._answered.set()
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for connection in self._connections.values():
                nursery.start_soon(run, partial(self._listen, connection, report))
            for task in beside:
                nursery.start_soon(run, task)
        raise self._problems[0]

    async def _listen(self, connection: Connection, report: Callable[[Notices], None]) -> None:
        while not self._problems:
            try:
                messages = await connection.receive()
            except StoreRefusedError:
                # A user who may not subscribe; open() has sent it, and here is the answer. Poll, then.
                self.on = False
                self._confirmed.set()
                self._heard_from(connection)
            else:
                self._take(messages, report)
                if any(message[-2] == _PROBE_CHANNEL for message in messages):
                    self._heard_from(connection)

    def _heard_from(self, connection: Connection) -> None:
        self._unanswered.discard(connection)
        if not self._unanswered:
            self._answered.set()

    def _take(self, messages: Iterable[Sequence[Any]], report: Callable[[Notices], None]) -> None:
        """Sort one read's messages: confirmations, and notifications, which end with channel and event."""
        ports: set[str] = set()
        config_ports: set[str] = set()
        logger = False
        for message in messages:
            kind, channel = message[0], str(message[-2])
            if kind == "subscribe" and channel.startswith(self._appl_channel):
                self._unconfirmed -= 1
                if not self._unconfirmed:
                    self._confirmed.set()
            elif kind not in ("message", "pmessage"):
                continue
            elif channel == self._logger_channel:
                logger = True
            elif channel.startswith(self._config_channel):
                config_ports.add(channel.removeprefix(self._config_channel))
            elif channel.startswith(self._appl_channel):
                ports.add(channel.removeprefix(self._appl_channel))
        notices = Notices(frozenset(ports), frozenset(config_ports), logger)
        if notices != Notices():
            report(notices)


async def _heard(said: trio.Event) -> None:
    try:
        await said.wait()
    except trio.Cancelled:
        # Where nobody ran for long, the answer may lie in the socket; within two turns ``watch`` has read it.
        for _ in range(2):
            await trio.lowlevel.cancel_shielded_checkpoint()
        if not said.is_set():
            raise


async def _sends_notifications(connection: Connection) -> bool:
    """Whether ``notify-keyspace-events`` covers keyspace channels for hashes; a Redis that will not say: no."""
    try:
        (reply,) = await connection.call(("CONFIG", "GET", "notify-keyspace-events"))
    except StoreRefusedError:
        return False
    flags = set(reply[1]) if len(reply) == 2 else set()
    return "K" in flags and (_ALL_KEYSPACE_EVENTS in flags or flags >= _NEEDED_EVENTS)


def _escape(channel: str) -> str:
    """PSUBSCRIBE takes a glob; a key separator or table name holds none of its characters, brackets aside."""
    return channel.replace("[", "\\[").replace("]", "\\]")
