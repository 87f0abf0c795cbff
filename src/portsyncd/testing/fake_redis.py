"""A Redis in memory: the few commands that a switch's port tables need, and every way in which it can fail a client.

Sessions with it are ``fake_store.FakeStore``. No threads, so that Trio's test clock can jump.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import trio

from portsyncd.errors import StoreError, StoreLoadingError, StoreRefusedError, StoreUnavailableError
from portsyncd.testing.monitor import Write
from portsyncd.wire import schema
from portsyncd.wire.producer import Row

T = TypeVar("T")
V = TypeVar("V", dict[str, str], set[str])

READONLY: Final = "READONLY You can't write against a read only replica."
# What ``FakeRedis.cut`` calls a session's connection for notifications; the others go by their database's name.
NOTIFICATIONS: Final = "notifications"
OOM: Final = "OOM command not allowed when used memory > 'maxmemory'."
NOAUTH: Final = "NOAUTH Authentication required."

_NAMES: Final = {number: name for name, number in schema.DEFAULT_NUMBERS.items()}
# A key's value: a hash, a set, a string.
_Value = dict[str, str] | set[str] | str


class Session(Protocol):
    """What the server knows of who is connected."""

    def heard(self, server: "FakeRedis", number: int, key: str) -> None:
        """A keyspace notification."""

    def broken(self) -> None:
        """The connection is gone."""

    def cut(self, server: "FakeRedis", connections: Collection[str]) -> None:
        """Nothing comes through on these connections any more, and nobody is told."""


class Popped(NamedTuple):
    """What a consumer of APPL_DB took: a key and its fields, none for a deletion."""

    key: str
    fields: dict[str, str]


class _Pending:
    """A request that has reached the server."""

    def __init__(self, work: Callable[[], object], *, writes: bool) -> None:
        self.work = work
        self.writes = writes
        self.answered = trio.Event()
        self.reply: Any = None
        self.error: StoreError | None = None

    def fail(self, error: StoreError) -> None:
        self.error = error
        self.answered.set()


class FakeRedis:
    """One server with all its logical databases, by number.

    notify: whether keyspace notifications are on. latency: seconds that a reply takes. loading: answers LOADING.
    refuses_writes, refuses_all: an error reply (``READONLY``, ``OOM``, ``NOAUTH``) to what would write, or to
    everything; "" for none. forbidden: keys that sessions may not write. attempts: when somebody tried to connect.
    requests: how many have arrived. writes: what sessions have written, in order. published: channel and message.
    """

    def __init__(self, *, notify: bool = True, latency: float = 0.0) -> None:
        self.notify = notify
        self.latency = latency
        self.loading = False
        self.refuses_writes = ""
        self.refuses_all = ""
        self.forbidden: frozenset[str] = frozenset()
        self.attempts: list[float] = []
        self.requests = 0
        self.writes: list[Write] = []
        self.published: list[tuple[str, str]] = []
        self._databases: dict[int, dict[str, _Value]] = {}
        self._saved: dict[int, dict[str, _Value]] = {}
        self._sessions: list[Session] = []
        self._running = True
        self._paused = False
        # Set while packets come through.
        self._plugged = trio.Event()
        self._plugged.set()
        self._waiting: deque[_Pending] = deque()
        # For the next requests that write: None for an answer, else whether it is carried out all the same.
        self._lost_replies: deque[bool | None] = deque()
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
            raise StoreRefusedError(
                "fake Redis refused: WRONGTYPE Operation against a key holding the wrong kind of value"
            )
        return value

    def hset(self, number: int, key: str, fields: Mapping[str, str]) -> None:
        """HSET."""
        self._may_write(key)
        self._typed(number, key, dict).update(fields)
        self._note(number, "hset", key, fields)

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

    def _may_write(self, key: str, *, frees: bool = False) -> None:
        if self._serving and key in self.forbidden:
            raise StoreRefusedError("fake Redis refused: NOPERM this user has no permissions to access that key")
        if self._serving and self.refuses_writes and not (frees and self.refuses_writes.startswith("OOM")):
            raise StoreRefusedError(f"fake Redis refused: {self.refuses_writes}")

    def _note(self, number: int, kind: str, key: str, fields: Mapping[str, str]) -> None:
        if self._serving:
            self.writes.append(Write(_NAMES.get(number, str(number)), kind, key, dict(fields)))
        if self.notify and not kind.startswith("producer"):
            for session in self._sessions:
                session.heard(self, number, key)

    # ---- faults

    def stop(self) -> None:
        """SIGKILL: every connection breaks, and nobody listens."""
        self._running = self._paused = False
        sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.broken()
        while self._waiting:
            self._waiting.popleft().fail(_gone())

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

    def cut(self, *connections: str) -> None:
        """Half-open: these connections of the present sessions (a database's name, ``NOTIFICATIONS``) stay, and nothing
        comes through any more, either way and for ever. New sessions are whole."""
        for session in self._sessions:
            session.cut(self, connections)

    def unplug(self) -> None:
        """Packets are dropped: the present sessions are cut, also from being told that the server ended; who connects
        waits."""
        self._plugged = trio.Event()
        self.cut(*_NAMES.values(), NOTIFICATIONS)
        self._sessions.clear()

    def plug(self) -> None:
        """Packets come through again: who still waits to connect does, and old sessions stay cut."""
        self._plugged.set()

    def lose_reply(self, *, carried_out: bool, after: int = 0) -> None:
        """Break the connection at a request that writes, the next or the one after so many: when it has been carried
        out, or before."""
        self._lost_replies.extend([None] * after + [carried_out])

    # ---- sessions

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    async def connect(self, session: Session) -> None:
        """Take a new session in. Raises ``StoreError``."""
        self.attempts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        await self._plugged.wait()
        if not self._running:
            raise StoreUnavailableError("fake Redis is unreachable: connection refused")
        await self.serve(session, lambda: None)
        if session not in self._sessions:
            self._sessions.append(session)

    def leave(self, session: Session) -> None:
        """A session ends."""
        if session in self._sessions:
            self._sessions.remove(session)

    async def serve(self, session: Session, work: Callable[[], T], *, writes: bool = False) -> T:
        """Carry out one request, atomically. Raises ``StoreError``; a pause has no end here but the caller's deadline."""
        await trio.lowlevel.checkpoint()
        if not self._running:
            raise _gone()
        self.requests += 1
        pending = _Pending(work, writes=writes)
        if self._paused:
            self._waiting.append(pending)
        else:
            self._carry_out(pending)
        await pending.answered.wait()
        await _arrive(trio.current_time() + self.latency)
        if isinstance(pending.error, StoreUnavailableError):
            self.leave(session)
            session.broken()
        if pending.error is not None:
            raise pending.error
        reply: T = pending.reply
        return reply

    def _carry_out(self, pending: _Pending) -> None:
        fate = self._lost_replies.popleft() if pending.writes and self._lost_replies else None
        try:
            if self.loading:
                raise StoreLoadingError("fake Redis is loading its data set")
            if self.refuses_all:
                raise StoreRefusedError(f"fake Redis refused: {self.refuses_all}")
            if fate is not False:
                self._serving = True
                pending.reply = pending.work()
        except StoreError as error:
            pending.error = error
        finally:
            self._serving = False
        if fate is not None:
            pending.error = _gone()
        pending.answered.set()


async def _arrive(due: float) -> None:
    """Wait for a reply that is there at ``due``: also where the time jumps past that and the caller's deadline."""
    try:
        await trio.sleep_until(due)
    except trio.Cancelled:
        if trio.current_time() < due:
            raise


def _gone() -> StoreUnavailableError:
    return StoreUnavailableError("fake Redis is unreachable: connection closed")


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
