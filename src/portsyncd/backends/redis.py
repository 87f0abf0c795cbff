"""SONiC's databases in Redis: a ``Store`` over one connection per database and one per instance for notifications; over TCP,
another one now and then (``addresses``)."""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, KeysView, Mapping, Sequence
from typing import Any

import trio

from portsyncd.backends.addresses import Address
from portsyncd.backends.base import Notices
from portsyncd.backends.connection import Access, RedisConnection, ScriptUnknownError
from portsyncd.backends.notifications import Notifications
from portsyncd.backends.replies import Connection, Fits, Request, fits, marks_of, rows_of
from portsyncd.errors import StoreChangedError, StoreError, StoreRefusedError
from portsyncd.model.commands import Look, Op, PortNames, PortRead, PortWrite, Snapshot
from portsyncd.model.ports import Fields
from portsyncd.wire import producer, publish, schema
from portsyncd.wire.database_config import Database
from portsyncd.wire.producer import Row

_OPERATIONS = {Op.SET: publish.SET, Op.DELETE: publish.DELETE, Op.REPLACE: publish.REPLACE}
# Requests that are sent before their replies are read.
_PIPELINE = 1024


class RedisStore:
    """See ``backends.base.Store``. databases: by SONiC name, with endpoint, number and separator. connect: makes a
    connection that is not open yet."""

    def __init__(
        self,
        databases: Mapping[str, Database],
        access: Access,
        connect: Callable[[Database, Access], Connection] = RedisConnection,
    ) -> None:
        def make(database: Database) -> Connection:
            return connect(database, access)

        self._databases = databases
        self._appl_prefix = f"{schema.PORT_TABLE}{databases[schema.APPL_DB].separator}"
        self._state_prefix = f"{schema.STATE_PORT_TABLE}{databases[schema.STATE_DB].separator}"
        self._config_prefix = f"{schema.CONFIG_PORT_TABLE}{databases[schema.CONFIG_DB].separator}"
        self._connections = {name: make(database) for name, database in databases.items()}
        over_tcp = {each.endpoint: each for each in databases.values() if not each.endpoint.unix_socket}
        self._addresses = {endpoint: Address(database, make) for endpoint, database in over_tcp.items()}
        self._appl = self._connections[schema.APPL_DB]
        self._config = self._connections[schema.CONFIG_DB]
        self._state = self._connections[schema.STATE_DB]
        self._together = databases[schema.APPL_DB].endpoint == databases[schema.STATE_DB].endpoint
        self._notifications = Notifications(
            databases, make, self._appl_prefix, self._config_prefix, timeout=access.timeout
        )

    async def open(self) -> None:
        """Connect and authenticate every database, and subscribe to what is watched always."""
        unknown = dict(self._addresses)
        for name, connection in self._connections.items():
            await connection.open()
            if (address := unknown.pop(self._databases[name].endpoint, None)) is not None:
                await address.learn(connection)
        await self._notifications.open()

    def close(self) -> None:
        """Shut every connection down at once."""
        for connection in self._connections.values():
            connection.close()
        self._notifications.close()

    @property
    def notifying(self) -> bool:
        """Whether keyspace notifications are on for what is watched."""
        return self._notifications.on

    @property
    def waiting_since(self) -> float | None:
        """Since when the oldest request has waited for its reply (monotonic seconds), None: none does."""
        moments = (self._notifications.waiting_since, *(each.waiting_since for each in self._connections.values()))
        return min((moment for moment in moments if moment is not None), default=None)

    async def probe(self) -> None:
        """A round trip on every connection, those for notifications among them; all at once, since a Redis that is slow
        is not dead. That an address was taken is ``watch``'s to find: to connect may take long, and is no fault then."""
        for address in self._addresses.values():
            address.look()
        problems: list[StoreError] = []

        async def ask(question: Callable[[], Awaitable[object]]) -> None:
            try:
                await question()
            except StoreRefusedError:
                # Who may not ask has been answered.
                pass
            except StoreError as problem:
                # Kept, and raised below: the nursery would wrap it in a group.
                problems.append(problem)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for connection in self._connections.values():
                nursery.start_soon(ask, connection.ping)
            nursery.start_soon(ask, self._notifications.probe)
        if problems:
            raise problems[0]

    async def config_initialized(self) -> str | None:
        """CONFIG_DB_INITIALIZED, or None where the key does not exist."""
        (value,) = await self._config.call(("GET", schema.CONFIG_DB_INITIALIZED))
        return None if value is None else str(value)

    async def config_is_empty(self) -> bool:
        """Whether CONFIG_DB holds no key at all."""
        (size,) = await self._config.call(("DBSIZE",))
        return bool(size == 0)

    async def snapshot(self) -> Snapshot:
        """Read everything that a decision at the start of a session needs."""
        names = sorted(await self.config_port_names())
        config_ports: dict[str, dict[str, str]] = {}
        for start in range(0, len(names), _PIPELINE):
            # Not all replies at once, and then all hashes: there may be many.
            part = names[start : start + _PIPELINE]
            rows = await self._config.call(*(("HGETALL", self._config_prefix + name) for name in part))
            config_ports |= {name: dict(_pairs(flat)) for name, flat in zip(part, rows, strict=True) if flat}
        switch_type, warm_timer, log_level = await self._config.call(
            ("HGET", schema.DEVICE_METADATA_KEY, "switch_type"),
            ("HGET", schema.WARM_TIMER_KEY, "portsyncd_timer"),
            ("HGET", schema.LOGGER_KEY, "LOGLEVEL"),
        )
        *enables, restore_count = await self._state.call(
            *(("HGET", key, "enable") for key in schema.WARM_ENABLE_KEYS),
            ("HGET", schema.WARM_KEY, "restore_count"),
        )
        look = await self.look()
        return Snapshot(
            config_ports=config_ports,
            state=await self._held(),
            generation=look.generation,
            config_done=look.config_done,
            init_done=look.init_done,
            switch_type=switch_type or "switch",
            warm_enabled="true" in enables,
            own_row=look.own_row,
            restore_count=restore_count,
            warm_timer=warm_timer,
            log_level=log_level,
        )

    async def _held(self) -> dict[str, tuple[str, str, str, str]]:
        """STATE_DB entries that carry ``state``; a field that is absent is ""."""
        (keys,) = await self._state.call(("KEYS", f"{self._state_prefix}*"))
        names = [key[len(self._state_prefix) :] for key in keys]
        rows: list[Fields | None] = []
        for start in range(0, len(names), _PIPELINE):
            rows += await self._read(names[start : start + _PIPELINE])
        return {name: row for name, row in zip(names, rows, strict=True) if row is not None}

    async def _read(self, names: Sequence[str]) -> list[Fields | None]:
        """Per name what STATE_DB holds of ours; None where the entry does not carry ``state``, or is no hash."""
        rows = await _evaluate(self._state, _READ, 0, [self._state_prefix, *names], rows_of(len(names)))
        return [None if row is None else (row[0], row[1] or "", row[2] or "", row[3] or "") for row in rows]

    async def port_names(self) -> PortNames:
        """Which ports the databases hold."""
        return PortNames(
            state=await _scan(self._state, self._state_prefix),
            config=await _scan(self._config, self._config_prefix),
            look=await self.look(),
        )

    async def read_ports(self, names: Sequence[str]) -> list[PortRead]:
        """What the databases hold of these names."""
        held = await self._read(names)
        there = await self._are_present(names)
        return [PortRead(*row) for row in zip(names, held, there, strict=True)]

    async def write_ports(self, writes: Sequence[PortWrite]) -> list[bool]:
        """Carry out port writes in order; per write, whether APPL_DB had the port (always, for a removal)."""
        if not self._together:
            return await self._write_apart(writes)
        arguments = publish.script_arguments(
            ((name, _OPERATIONS[op], fields) for name, op, fields in writes),
            appl_number=self._databases[schema.APPL_DB].number,
            state_number=self._databases[schema.STATE_DB].number,
            appl_prefix=self._appl_prefix,
            state_prefix=self._state_prefix,
        )
        answer: str = await _evaluate(self._state, _PUBLISH, 0, arguments, marks_of(len(writes)))
        return [character == "1" for character in answer]

    async def _write_apart(self, writes: Sequence[PortWrite]) -> list[bool]:
        """Two instances cannot be written in one step: check, write, and check again. Where an entry came or went
        meanwhile, what was written is not known, and the session ends."""
        names = [write.name for write in writes]
        before = await self._are_present(names)
        requests: list[Request] = []
        for (name, op, fields), present in zip(writes, before, strict=True):
            key = self._state_prefix + name
            if op is not Op.SET:
                requests.append(("EVAL", publish.REMOVE_SCRIPT, 1, key))
            if fields is not None and present:
                requests.append(("EVAL", publish.PUT_SCRIPT, 1, key, *publish.field_pairs(fields)))
        await _pipeline(self._state, requests)
        if await self._are_present(names) != before:
            raise StoreChangedError("APPL_DB changed while STATE_DB was written in another Redis: comparing anew")
        return [write.op is Op.DELETE or present for write, present in zip(writes, before, strict=True)]

    async def _are_present(self, names: Sequence[str]) -> list[bool]:
        replies = await _pipeline(self._appl, [("EXISTS", self._appl_prefix + name) for name in names])
        return [reply == 1 for reply in replies]

    async def produce(self, rows: Sequence[Row]) -> None:
        """ProducerStateTable set on APPL_DB PORT_TABLE, row by row, in order."""
        arguments = producer.script_arguments(rows, db_number=self._databases[schema.APPL_DB].number)
        await _evaluate(self._appl, _PRODUCE, 2, arguments)

    async def set_hash(self, db: str, key: str, fields: Mapping[str, str]) -> None:
        """One HSET of all fields."""
        await self._connections[db].call(("HSET", key, *(text for pair in fields.items() for text in pair)))

    async def look(self) -> Look:
        """Which generation, which markers, is our own row still there."""
        # A pop moves a marker from the staged table to the other in one step: looking there first cannot miss it.
        generation, *present = await self._appl.call(
            ("HGET", schema.GENERATION_KEY, schema.GENERATION_FIELD),
            *(("EXISTS", f"{schema.STAGED_PORT_TABLE}:{marker}") for marker in schema.MARKERS),
            *(("EXISTS", self._appl_prefix + marker) for marker in schema.MARKERS),
        )
        config_staged, init_staged, config_popped, init_popped = present
        (own_row,) = await self._state.call(("EXISTS", schema.WARM_KEY))
        return Look(
            generation=generation or "",
            config_done=bool(config_staged or config_popped),
            init_done=bool(init_staged or init_popped),
            own_row=bool(own_row),
        )

    async def config_port_names(self) -> frozenset[str]:
        """The names of CONFIG_DB's PORT keys."""
        (keys,) = await self._config.call(("KEYS", f"{self._config_prefix}*"))
        return frozenset(key[len(self._config_prefix) :] for key in keys)

    async def log_level(self) -> str | None:
        """LOGLEVEL of CONFIG_DB ``LOGGER|portsyncd``; None where the row is absent."""
        (level,) = await self._config.call(("HGET", schema.LOGGER_KEY, "LOGLEVEL"))
        return None if level is None else str(level)

    async def wait_for_ports(self, names: Collection[str]) -> None:
        """Make ``watch`` report these names, and only these, from when this returns."""
        await self._notifications.wait_for_ports(names)

    async def watch(self, report: Callable[[Notices], None]) -> None:
        """Report notifications as they come, until cancelled. After a probe, find out who is at the addresses."""
        await self._notifications.watch(report, *(address.watch for address in self._addresses.values()))


class _Script:
    """A Lua script and the name under which Redis caches it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_PRODUCE = _Script(producer.SCRIPT)
_PUBLISH = _Script(publish.SCRIPT)
_READ = _Script(publish.READ_SCRIPT)


async def _evaluate(
    connection: Connection, script: _Script, keys: int, arguments: Sequence[Any], fits: Fits = fits
) -> Any:
    """EVALSHA; where Redis does not know the script (restarted, SCRIPT FLUSH), EVAL, which makes it known."""
    try:
        (reply,) = await connection.call(("EVALSHA", script.sha, keys, *arguments), fits=fits)
    except ScriptUnknownError:
        (reply,) = await connection.call(("EVAL", script.text, keys, *arguments), fits=fits)
    return reply


async def _pipeline(connection: Connection, requests: Sequence[Request]) -> list[Any]:
    """Many requests in few round trips."""
    replies: list[Any] = []
    for start in range(0, len(requests), _PIPELINE):
        replies += await connection.call(*requests[start : start + _PIPELINE])
    return replies


async def _scan(connection: Connection, prefix: str) -> KeysView[str]:
    """What follows the prefix in all keys that have it; Redis serves others in between."""
    names: dict[str, None] = {}
    cursor = "0"
    while True:
        ((cursor, keys),) = await connection.call(("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", _PIPELINE))
        # Redis may name a key twice.
        names.update(dict.fromkeys(key[len(prefix) :] for key in keys))
        if cursor == "0":
            return names.keys()


def _pairs(flat: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Field and value of RESP2's flat list."""
    numbered: Iterable[str] = iter(flat)
    return zip(numbered, numbered, strict=True)
