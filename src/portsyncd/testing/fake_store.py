"""A ``Store`` on ``FakeRedis`` servers: the same answers, the same errors, no threads."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import trio

from portsyncd.backends.base import Notices
from portsyncd.errors import StoreChangedError, StoreError, StoreRefusedError, StoreUnavailableError
from portsyncd.model.commands import Look, Op, PortNames, PortRead, PortWrite, Snapshot
from portsyncd.model.ports import Fields
from portsyncd.testing.fake_redis import NOTIFICATIONS, FakeRedis
from portsyncd.wire import schema
from portsyncd.wire.producer import Row

T = TypeVar("T")

_APPL: Final = schema.DEFAULT_NUMBERS[schema.APPL_DB]
_CONFIG: Final = schema.DEFAULT_NUMBERS[schema.CONFIG_DB]
_STATE: Final = schema.DEFAULT_NUMBERS[schema.STATE_DB]
_APPL_PREFIX: Final = f"{schema.PORT_TABLE}:"
_CONFIG_PREFIX: Final = f"{schema.CONFIG_PORT_TABLE}|"
_STATE_PREFIX: Final = f"{schema.STATE_PORT_TABLE}|"


class FakeStore:
    """See ``backends.base.Store``. servers: by SONiC name, which may be one and the same; timeout: seconds."""

    def __init__(self, servers: FakeRedis | Mapping[str, FakeRedis], *, timeout: float = 2.0) -> None:
        if isinstance(servers, FakeRedis):
            servers = dict.fromkeys(schema.DEFAULT_NUMBERS, servers)
        self._servers = servers
        self._timeout = timeout
        self._appl = servers[schema.APPL_DB]
        self._config = servers[schema.CONFIG_DB]
        self._state = servers[schema.STATE_DB]
        self._closed = False
        self._watching = trio.Event()
        self._waited_for: frozenset[str] = frozenset()
        # Notifications that ``watch`` has not reported yet, and what wakes it.
        self._notices = Notices()
        self._noticed = trio.Event()
        # Requests, and since when they wait.
        self._under_way: dict[trio.CancelScope, float] = {}
        # Connections on which nothing comes through.
        self._cut: set[tuple[FakeRedis, str]] = set()
        self.notifying = False

    async def open(self) -> None:
        """Connect to every server."""
        for server in dict.fromkeys(self._servers.values()):
            await self._within_deadline(partial(server.connect, self))
        self.notifying = self._appl.notify and self._config.notify

    def close(self) -> None:
        """End the session at once; requests under way in other tasks fail."""
        for server in self._servers.values():
            server.leave(self)
        self.broken()

    def broken(self) -> None:
        """The session is over: a server ended it, or a request in it failed."""
        self._closed = True
        self._noticed.set()
        for scope in self._under_way:
            scope.cancel()

    def cut(self, server: FakeRedis, connections: Collection[str]) -> None:
        """Nothing comes through on these connections any more."""
        self._cut.update((server, name) for name in connections)

    @property
    def waiting_since(self) -> float | None:
        """Since when the oldest request has waited, None: none does."""
        return min(self._under_way.values(), default=None)

    async def _request(self, db: str, work: Callable[[], T], *, writes: bool = False) -> T:
        return await self._within_deadline(partial(self._serve, self._servers[db], db, work, writes=writes))

    async def _serve(self, server: FakeRedis, connection: str, work: Callable[[], T], *, writes: bool = False) -> T:
        if (server, connection) in self._cut:
            await trio.sleep_forever()
        reply = await server.serve(self, work, writes=writes)
        if (server, connection) in self._cut:
            # Carried out, or under way when it was cut.
            await trio.sleep_forever()
        return reply

    async def probe(self) -> None:
        """A round trip on every connection, all at once."""
        problems: list[StoreError] = []

        async def ask(server: FakeRedis, connection: str) -> None:
            try:
                await self._within_deadline(partial(self._probe, server, connection))
            except StoreError as problem:
                problems.append(problem)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for db, server in self._servers.items():
                nursery.start_soon(ask, server, db)
            for server in dict.fromkeys((self._appl, self._config)):
                nursery.start_soon(ask, server, NOTIFICATIONS)
        if problems:
            raise problems[0]

    async def _probe(self, server: FakeRedis, connection: str) -> None:
        if connection == NOTIFICATIONS:
            # Who watches hears the answer.
            await self._watching.wait()
        with suppress(StoreRefusedError):
            await self._serve(server, connection, lambda: None)

    async def _within_deadline(self, ask: Callable[[], Awaitable[T]]) -> T:
        """An error reply leaves the session good; whatever else ends a request early, ends the session."""
        if self._closed:
            raise _gone()
        with trio.move_on_after(self._timeout) as scope:
            self._under_way[scope] = trio.current_time()
            try:
                return await ask()
            except StoreRefusedError:
                raise
            except BaseException:
                # Cancelled, too: the reply that was not waited for makes the connection useless.
                self.broken()
                raise
            finally:
                self._under_way.pop(scope, None)
        raise _gone()

    # ---- reading

    async def config_initialized(self) -> str | None:
        """CONFIG_DB_INITIALIZED."""
        database = self._config.database
        value = await self._request(schema.CONFIG_DB, lambda: database(_CONFIG).get(schema.CONFIG_DB_INITIALIZED))
        return None if value is None else str(value)

    async def config_is_empty(self) -> bool:
        """Whether CONFIG_DB holds no key."""
        return await self._request(schema.CONFIG_DB, lambda: not self._config.database(_CONFIG))

    async def snapshot(self) -> Snapshot:
        """Everything at once, from each server in one request."""
        config, state = self._config, self._state

        def read_config() -> Snapshot:
            return Snapshot(
                config_ports={name: config.hash(_CONFIG, _CONFIG_PREFIX + name) for name in self._config_names()},
                switch_type=config.hash(_CONFIG, schema.DEVICE_METADATA_KEY).get("switch_type") or "switch",
                warm_timer=config.hash(_CONFIG, schema.WARM_TIMER_KEY).get("portsyncd_timer"),
                log_level=config.hash(_CONFIG, schema.LOGGER_KEY).get("LOGLEVEL"),
            )

        def read_state() -> Snapshot:
            enabled = (state.hash(_STATE, key).get("enable") for key in schema.WARM_ENABLE_KEYS)
            return Snapshot(
                state=self._held(),
                warm_enabled="true" in enabled,
                restore_count=state.hash(_STATE, schema.WARM_KEY).get("restore_count"),
            )

        said = await self._request(schema.CONFIG_DB, read_config)
        held = await self._request(schema.STATE_DB, read_state)
        look = await self.look()
        return replace(
            said,
            state=held.state,
            warm_enabled=held.warm_enabled,
            restore_count=held.restore_count,
            generation=look.generation,
            config_done=look.config_done,
            init_done=look.init_done,
            own_row=look.own_row,
        )

    def _held(self) -> dict[str, Fields]:
        return {name: held for name in self._state_names() if (held := self._read(name)) is not None}

    def _state_names(self) -> list[str]:
        keys = self._state.database(_STATE)
        return [key.removeprefix(_STATE_PREFIX) for key in keys if key.startswith(_STATE_PREFIX)]

    def _entry(self, name: str) -> dict[str, str]:
        """An entry of STATE_DB's port table; empty where there is none, or a key of another type."""
        row = self._state.database(_STATE).get(_STATE_PREFIX + name)
        return row if isinstance(row, dict) else {}

    def _read(self, name: str) -> Fields | None:
        """What an entry says of ours."""
        row = self._entry(name)
        if "state" not in row:
            return None
        oper, admin, mtu = (row.get(field, "") for field in schema.STATE_FIELDS[1:])
        return row["state"], oper, admin, mtu

    async def port_names(self) -> PortNames:
        """Which ports the databases hold."""
        state = await self._request(schema.STATE_DB, self._state_names)
        config = await self._request(schema.CONFIG_DB, self._config_names)
        # In order, unlike a set.
        return PortNames(state, dict.fromkeys(config).keys(), await self.look())

    async def read_ports(self, names: Sequence[str]) -> list[PortRead]:
        """What the databases hold of these names."""
        held = await self._request(schema.STATE_DB, lambda: [self._read(name) for name in names])
        there = await self._request(schema.APPL_DB, lambda: self._are_present(names))
        return [PortRead(*row) for row in zip(names, held, there, strict=True)]

    def _config_names(self) -> list[str]:
        keys = sorted(self._config.database(_CONFIG))
        return [key.removeprefix(_CONFIG_PREFIX) for key in keys if key.startswith(_CONFIG_PREFIX)]

    async def look(self) -> Look:
        """Which generation, which markers, is our own row still there."""

        def read_appl() -> Look:
            there = self._appl.database(_APPL).keys()
            config_done, init_done = (
                f"{schema.STAGED_PORT_TABLE}:{marker}" in there or _APPL_PREFIX + marker in there
                for marker in schema.MARKERS
            )
            generation = self._appl.hash(_APPL, schema.GENERATION_KEY).get(schema.GENERATION_FIELD, "")
            return Look(generation, config_done, init_done, own_row=False)

        look = await self._request(schema.APPL_DB, read_appl)
        own_row = await self._request(schema.STATE_DB, lambda: schema.WARM_KEY in self._state.database(_STATE))
        return replace(look, own_row=own_row)

    async def config_port_names(self) -> frozenset[str]:
        """The names of CONFIG_DB's PORT keys."""
        return frozenset(await self._request(schema.CONFIG_DB, self._config_names))

    async def log_level(self) -> str | None:
        """LOGLEVEL of our LOGGER row."""
        return await self._request(
            schema.CONFIG_DB, lambda: self._config.hash(_CONFIG, schema.LOGGER_KEY).get("LOGLEVEL")
        )

    # ---- writing

    async def write_ports(self, writes: Sequence[PortWrite]) -> list[bool]:
        """Port writes in order: one request where the databases share a server, else check, write, check again."""
        names = [write.name for write in writes]
        if self._appl is self._state:
            return await self._request(
                schema.STATE_DB, lambda: self._carry_out(writes, self._are_present(names)), writes=True
            )
        before = await self._request(schema.APPL_DB, lambda: self._are_present(names))
        await self._request(schema.STATE_DB, lambda: self._carry_out(writes, before), writes=True)
        if await self._request(schema.APPL_DB, lambda: self._are_present(names)) != before:
            raise StoreChangedError("fake APPL_DB changed while STATE_DB was written")
        return [write.op is Op.DELETE or there for write, there in zip(writes, before, strict=True)]

    def _are_present(self, names: Sequence[str]) -> list[bool]:
        there = self._appl.database(_APPL).keys()
        return [_APPL_PREFIX + name in there for name in names]

    def _carry_out(self, writes: Sequence[PortWrite], present: Sequence[bool]) -> list[bool]:
        for (name, op, fields), there in zip(writes, present, strict=True):
            key = _STATE_PREFIX + name
            if op is not Op.SET and "state" in self._entry(name):
                self._state.delete(_STATE, key)
            if fields is not None and there:
                if not self._entry(name):
                    # A key of another type gives way.
                    self._state.delete(_STATE, key)
                self._state.hset(_STATE, key, dict(zip(schema.STATE_FIELDS, fields, strict=True)))
        return [write.op is Op.DELETE or there for write, there in zip(writes, present, strict=True)]

    async def produce(self, rows: Sequence[Row]) -> None:
        """ProducerStateTable sets, in order."""

        def produce_all() -> None:
            for row in rows:
                self._appl.produce(_APPL, row)

        await self._request(schema.APPL_DB, produce_all, writes=True)

    async def set_hash(self, db: str, key: str, fields: Mapping[str, str]) -> None:
        """One HSET."""
        server, number = self._servers[db], schema.DEFAULT_NUMBERS[db]
        await self._request(db, lambda: server.hset(number, key, fields), writes=True)

    # ---- notifications

    def heard(self, server: FakeRedis, number: int, key: str) -> None:
        """A key of some database changed; kept until ``watch`` reports it."""
        said = Notices()
        if (server, NOTIFICATIONS) in self._cut:
            return
        if server is self._config and number == _CONFIG:
            if key.startswith(_CONFIG_PREFIX):
                said = Notices(config_ports=frozenset({key.removeprefix(_CONFIG_PREFIX)}))
            elif key == schema.LOGGER_KEY:
                said = Notices(logger=True)
        elif server is self._appl and number == _APPL and key.startswith(_APPL_PREFIX):
            said = Notices(ports=self._waited_for & {key.removeprefix(_APPL_PREFIX)})
        if said != Notices():
            self._notices = self._notices.also(said)
            self._noticed.set()

    async def wait_for_ports(self, names: Collection[str]) -> None:
        """From now on report these names; needs ``watch`` to run, which hears the confirmation."""
        if not self.notifying:
            return
        wanted = frozenset(names)
        if wanted - self._waited_for:
            await self._within_deadline(self._watching.wait)
        await self._within_deadline(partial(self._serve, self._appl, NOTIFICATIONS, lambda: None))
        self._waited_for = wanted

    async def watch(self, report: Callable[[Notices], None]) -> None:
        """Report notifications until cancelled, or until the session ends."""
        self._watching.set()
        while not self._closed:
            await self._noticed.wait()
            self._noticed = trio.Event()
            notices, self._notices = self._notices, Notices()
            if notices != Notices():
                report(notices)
        raise _gone()


def _gone() -> StoreUnavailableError:
    return StoreUnavailableError("fake Redis is unreachable: the session was closed, or no answer came in time")
