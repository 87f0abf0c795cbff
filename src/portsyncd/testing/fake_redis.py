"""A Redis in memory: the little that a switch's port tables need, and every way in which it can fail a client.

Its clients are ``fake_connection.FakeConnection``, what they ask is carried out by ``fake_commands``. No threads, so that
Trio's test clock can jump.
"""

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from math import inf
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import trio

from portsyncd.errors import StoreError, StoreLoadingError, StoreRefusedError, StoreUnavailableError
from portsyncd.testing.monitor import Write
from portsyncd.wire import schema
from portsyncd.wire.producer import Row

V = TypeVar("V", dict[str, str], set[str])

READONLY: Final = "READONLY You can't write against a read only replica."
# What ``FakeRedis.cut`` calls a session's connection for notifications; the others go by their database's name.
NOTIFICATIONS: Final = "notifications"
OOM: Final = "OOM command not allowed when used memory > 'maxmemory'."
NOAUTH: Final = "NOAUTH Authentication required."

_NAMES: Final = {number: name for name, number in schema.DEFAULT_NUMBERS.items()}
# A key's value: a hash, a set, a string.
_Value = dict[str, str] | set[str] | str


class Client(Protocol):
    """What the server knows of a connection. name: of its database, or ``NOTIFICATIONS``."""

    @property
    def name(self) -> str: ...

    def heard(self, number: int, key: str, event: str) -> None:
        """A keyspace notification."""

    def broken(self) -> None:
        """The connection is gone."""

    def cut(self) -> None:
        """Nothing comes through any more, and nobody is told."""


class Popped(NamedTuple):
    """What a consumer of APPL_DB took: a key and its fields, none for a deletion."""

    key: str
    fields: dict[str, str]


class _Fate(NamedTuple):
    """What becomes of one pipeline: so many of its requests are carried out, then its connection breaks, or is cut."""

    requests: int
    silent: bool


class _Pending:
    """A pipeline that has reached the server. work: requests still to be carried out; replies: of the others, errors among
    them. held: somebody will go on with it later. over: set when there is nothing more to come."""

    def __init__(
        self, client: Client, work: Sequence[Callable[[], object]], fate: _Fate | None, *, writes: bool
    ) -> None:
        self.client = client
        self.writes = writes
        self.held = False
        self.work = deque(work if fate is None else work[: fate.requests])
        self.fate = fate
        self.replies: list[Any] = []
        self.error: StoreError | None = None
        self.over = trio.Event()

    def fail(self, error: StoreError) -> None:
        self.error = error
        self.work.clear()
        self.over.set()


class FakeRedis:
    """One server with all its logical databases, by number.

    notify: whether keyspace notifications are on. latency: seconds that a reply takes. loading: answers LOADING.
    refuses_writes, refuses_all: an error reply (``READONLY``, ``OOM``, ``NOAUTH``) to what would write, or to
    everything; "" for none. forbidden: keys that clients may not write. attempts: when somebody began to open a session.
    pipelines: how many have arrived. writes: what clients have written, in order. published: channel and message.
    scripts: digests of those that it knows. stride: requests of one pipeline that are carried out before others have their
    turn; page: keys that a SCAN names at once.
    """

    def __init__(self, *, notify: bool = True, latency: float = 0.0) -> None:
        self.notify = notify
        self.latency = latency
        self.loading = False
        self.refuses_writes = ""
        self.refuses_all = ""
        self.forbidden: frozenset[str] = frozenset()
        self.attempts: list[float] = []
        self.pipelines = 0
        self.writes: list[Write] = []
        self.published: list[tuple[str, str]] = []
        self.scripts: set[str] = set()
        self.stride = self.page = 1024
        self._databases: dict[int, dict[str, _Value]] = {}
        self._saved: dict[int, dict[str, _Value]] = {}
        self._clients: list[Client] = []
        self._running = True
        self._paused = False
        # How often it was started.
        self._lives = 1
        # Set while packets come through.
        self._plugged = trio.Event()
        self._plugged.set()
        self._waiting: deque[_Pending] = deque()
        # Of the next pipelines that write, and of the next ones whatever they do; None: an answer.
        self._fates: dict[bool, deque[_Fate | None]] = {True: deque(), False: deque()}
        self._serving = False

    # ---- contents

    def client(self, number: int) -> "FakeClient":
        """What an operator, or another daemon, does on one database; no fault concerns it."""
        return FakeClient(self, number)

    def database(self, number: int) -> dict[str, _Value]:
        """The keys of one database."""
        return self._databases.setdefault(number, {})

    def hash(self, number: int, key: str) -> dict[str, str]:
        """A copy of a hash; empty where there is none."""
        return dict(self._typed(number, key, dict)) if key in self.database(number) else {}

    def _typed(self, number: int, key: str, kind: type[V]) -> V:
        """A key's value, made where it is absent."""
        value = self.database(number).setdefault(key, kind())
        if not isinstance(value, kind):
            raise _wrong_type()
        return value

    def text(self, number: int, key: str) -> str | None:
        """GET."""
        value = self.database(number).get(key)
        if value is not None and not isinstance(value, str):
            raise _wrong_type()
        return value

    def entry(self, number: int, key: str) -> dict[str, str]:
        """A hash; empty where there is none, or a key of another type."""
        value = self.database(number).get(key)
        return value if isinstance(value, dict) else {}

    def remove_entry(self, number: int, key: str) -> None:
        """Delete an entry of STATE_DB's port table, if it is one of ours."""
        if "state" in self.entry(number, key):
            self.delete(number, key)

    def put_entry(self, number: int, key: str, fields: Mapping[str, str]) -> int:
        """Set fields of an entry, as ``hset``; a key of another type gives way."""
        if not self.entry(number, key):
            self.delete(number, key)
        return self.hset(number, key, fields)

    def hset(self, number: int, key: str, fields: Mapping[str, str]) -> int:
        """HSET; how many of the fields are new."""
        self._may_write(key)
        row = self._typed(number, key, dict)
        before = len(row)
        row.update(fields)
        self._note(number, "hset", key, fields)
        return len(row) - before

    def delete(self, number: int, key: str) -> bool:
        """DEL; one that is out of memory still does it."""
        if key not in self.database(number):
            return False
        self._may_write(key, frees=True)
        del self.database(number)[key]
        self._note(number, "del", key, {})
        return True

    def set(self, number: int, key: str, value: str) -> None:
        """SET."""
        self._may_write(key)
        self.database(number)[key] = value
        self._note(number, "set", key, {})

    def add_member(self, number: int, key: str, member: str) -> bool:
        """SADD of one member; whether it is new."""
        self._may_write(key)
        members = self._typed(number, key, set)
        new = member not in members
        members.add(member)
        return new

    def members(self, number: int, key: str) -> frozenset[str]:
        """SMEMBERS."""
        return frozenset(self._typed(number, key, set) if key in self.database(number) else ())

    def produce(self, number: int, row: Row) -> None:
        """ProducerStateTable set or del (see ``wire.producer``)."""
        staged = f"{schema.STAGED_PORT_TABLE}:{row.key}"
        new = self.add_member(number, schema.PORT_KEY_SET, row.key)
        if row.fields:
            self._typed(number, staged, dict).update(row.fields)
        else:
            self.add_member(number, schema.PORT_DEL_SET, row.key)
            self.database(number).pop(staged, None)
        self._note(number, "producer_set" if row.fields else "producer_del", row.key, dict(row.fields))
        if new:
            self.published.append((f"{schema.PORT_CHANNEL_PREFIX}{number}", "G"))

    def pop(self, number: int = 0) -> list[Popped]:
        """What orchagent does: take every waiting key, in the order of names (``ConsumerStateTable::pops``)."""
        database = self.database(number)
        popped: list[Popped] = []
        deleted = self.members(number, schema.PORT_DEL_SET)
        for key in sorted(self.members(number, schema.PORT_KEY_SET)):
            staged, final = f"{schema.STAGED_PORT_TABLE}:{key}", f"{schema.PORT_TABLE}:{key}"
            fields = self.hash(number, staged)
            database.pop(staged, None)
            if key in deleted:
                self.delete(number, final)
            if fields:
                self.hset(number, final, fields)
            popped.append(Popped(key, fields))
        database.pop(schema.PORT_KEY_SET, None)
        database.pop(schema.PORT_DEL_SET, None)
        return popped

    def flush(self, number: int) -> None:
        """FLUSHDB, of which no notification tells."""
        self._databases.pop(number, None)

    def _may_answer(self) -> None:
        if self.loading:
            raise StoreLoadingError("fake Redis is loading its data set")
        if self.refuses_all:
            raise StoreRefusedError(f"fake Redis refused: {self.refuses_all}")

    def _may_write(self, key: str, *, frees: bool = False) -> None:
        if self._serving and key in self.forbidden:
            raise StoreRefusedError("fake Redis refused: NOPERM this user has no permissions to access that key")
        if self._serving and self.refuses_writes and not (frees and self.refuses_writes.startswith("OOM")):
            raise StoreRefusedError(f"fake Redis refused: {self.refuses_writes}")

    def _note(self, number: int, kind: str, key: str, fields: Mapping[str, str]) -> None:
        if self._serving:
            self.writes.append(Write(_NAMES.get(number, str(number)), kind, key, dict(fields)))
        if self.notify and not kind.startswith("producer"):
            for client in self._clients:
                client.heard(number, key, kind)

    # ---- faults

    def stop(self) -> None:
        """SIGKILL: every connection breaks, and nobody listens."""
        self._running = self._paused = False
        self._lives += 1
        self.scripts.clear()
        clients, self._clients = self._clients, []
        for client in clients:
            client.broken()
        while self._waiting:
            self._waiting.popleft().fail(gone())

    def start(self) -> None:
        """Listen again, with the contents as they are."""
        self._running = True

    def save(self) -> None:
        """Keep the present contents for ``restart(empty=False)``."""
        self._saved = deepcopy(self._databases)

    def restart(self, *, empty: bool) -> None:
        """Break every connection and come back: without any data, or with the data of the last ``save()``."""
        self.stop()
        self._databases = {} if empty else deepcopy(self._saved)
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self._paused = True

    def resume(self) -> None:
        """SIGCONT: whatever was asked meanwhile is carried out, in order, whoever still waits for it."""
        self._paused = False
        while self._waiting:
            self._carry_out(self._waiting.popleft())

    def flush_scripts(self) -> None:
        """SCRIPT FLUSH."""
        self.scripts.clear()

    def cut(self, *connections: str) -> None:
        """Half-open: these connections of the present sessions (a database's name, ``NOTIFICATIONS``) stay, and nothing
        comes through any more, either way and for ever. New sessions are whole."""
        for client in self._clients:
            if client.name in connections:
                client.cut()

    def unplug(self) -> None:
        """Packets are dropped: the present connections are cut, also from being told that the server ended; who connects
        waits."""
        self._plugged = trio.Event()
        clients, self._clients = self._clients, []
        for client in clients:
            client.cut()

    def plug(self) -> None:
        """Packets come through again: who still waits to connect does, and old connections stay cut."""
        self._plugged.set()

    def lose_reply(self, *, carried_out: bool, after: int = 0) -> None:
        """Break the connection at a pipeline that writes, the next or the one after so many: when it has been carried
        out, or before."""
        self._fates[True].extend([None] * after + [_Fate(sys.maxsize if carried_out else 0, silent=False)])

    def interrupt(self, *, requests: int, silent: bool, after: int = 0) -> None:
        """Carry out so many requests of a pipeline, of the next or of the one after so many; then break its connection,
        or let nothing more come through on it."""
        self._fates[False].extend([None] * after + [_Fate(requests, silent)])

    def lose_nothing(self) -> None:
        """Replies that were still to be lost are not."""
        for fates in self._fates.values():
            fates.clear()

    # ---- clients

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._clients)

    async def connect(self, client: Client) -> None:
        """Take a new connection in. Raises ``StoreError``."""
        if client.name == schema.APPL_DB:
            self.attempts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        await self._plugged.wait()
        if not self._running:
            raise StoreUnavailableError("fake Redis is unreachable: connection refused")
        await self.serve(client, [bool], writes=False)
        self._clients.append(client)

    def leave(self, client: Client) -> None:
        """A connection ends."""
        if client in self._clients:
            self._clients.remove(client)

    async def serve(self, client: Client, work: Sequence[Callable[[], object]], *, writes: bool) -> list[Any]:
        """Carry out the requests of a pipeline, each in one step; a refusal is a reply, too. Raises ``StoreError``; a pause
        has no end here but the caller's deadline."""
        await trio.lowlevel.checkpoint()
        if not self._running:
            raise gone()
        life = self._lives
        pending = self.take(client, work, writes=writes)
        while not (pending.over.is_set() or pending.held):
            await trio.lowlevel.checkpoint()
            if life != self._lives:
                # Of a client that was not told.
                await trio.sleep_forever()
            self._go_on(pending)
        await pending.over.wait()
        await _arrive(trio.current_time() + self.latency)
        if pending.error is not None:
            raise pending.error
        return pending.replies

    def take(self, client: Client, work: Sequence[Callable[[], object]], *, writes: bool = False) -> _Pending:
        """A pipeline arrives; its first requests are carried out, if that is possible now."""
        self.pipelines += 1
        fates = [fates.popleft() for kind, fates in self._fates.items() if fates and (writes or not kind)]
        pending = _Pending(client, work, next(filter(None, fates), None), writes=writes)
        self._go_on(pending)
        return pending

    def _go_on(self, pending: _Pending) -> None:
        if self._paused:
            pending.held = True
            self._waiting.append(pending)
        else:
            self._carry_out(pending, self.stride)

    def _carry_out(self, pending: _Pending, most: float = inf) -> None:
        """So many requests of it."""
        end = len(pending.replies) + most
        while pending.work and len(pending.replies) < end:
            self._step(pending)
        if pending.work or pending.over.is_set():
            return
        if pending.fate is not None and pending.fate.silent:
            pending.client.cut()
        elif pending.fate is not None:
            pending.error = gone()
        pending.over.set()

    def _step(self, pending: _Pending) -> None:
        work = pending.work.popleft()
        self._serving = True
        try:
            self._may_answer()
            pending.replies.append(work())
        except StoreRefusedError as refusal:
            pending.replies.append(refusal)
        except StoreError as error:
            pending.fail(error)
        finally:
            self._serving = False


async def _arrive(due: float) -> None:
    """Wait for a reply that is there at ``due``: also where the time jumps past that and the caller's deadline."""
    try:
        await trio.sleep_until(due)
    except trio.Cancelled:
        if trio.current_time() < due:
            raise


def gone() -> StoreUnavailableError:
    """Of a connection that is no more."""
    return StoreUnavailableError("fake Redis is unreachable: connection closed")


def _wrong_type() -> StoreRefusedError:
    return StoreRefusedError("fake Redis refused: WRONGTYPE Operation against a key holding the wrong kind of value")


class FakeClient:
    """One database as redis-py's client shows it, as far as tests need it."""

    def __init__(self, server: FakeRedis, number: int) -> None:
        self._server = server
        self._number = number

    def hset(self, name: str, mapping: Mapping[str, str]) -> None:
        self._server.hset(self._number, name, mapping)

    def hgetall(self, name: str) -> dict[str, str]:
        return self._server.hash(self._number, name)

    def set(self, name: str, value: str) -> None:
        self._server.set(self._number, name, value)

    def delete(self, name: str) -> None:
        self._server.delete(self._number, name)

    def exists(self, name: str) -> bool:
        return name in self._server.database(self._number)

    def smembers(self, name: str) -> frozenset[str]:
        return self._server.members(self._number, name)

    def keys(self) -> list[str]:
        return list(self._server.database(self._number))

    def flushdb(self) -> None:
        self._server.flush(self._number)

    def script_flush(self) -> None:
        self._server.flush_scripts()
