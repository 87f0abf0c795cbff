"""The fakes that the daemon runs on, with an onlooker at every door."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import trio

from portsyncd.backends.base import LinkSource, Received, Store
from portsyncd.config import Config
from portsyncd.errors import LinkSourceError
from portsyncd.model.commands import PortWrite, Snapshot
from portsyncd.testing.fake_kernel import FakeKernel, FakeLink
from portsyncd.testing.fake_links import FakeDescriptorStore, FakeLinkSource
from portsyncd.testing.fake_manager import FakeServiceManager
from portsyncd.testing.fake_redis import FakeRedis, _Pending
from portsyncd.testing.fake_store import FakeStore
from portsyncd.testing.fake_world import FakeWorld
from portsyncd.testing.monitor import Write
from portsyncd.wire import schema
from portsyncd.wire.netlink import AF_UNSPEC, IFF_UP, LinkMessage
from portsyncd.wire.producer import Row
from tests.chaos.simulation.book import Book
from tests.chaos.simulation.trace import Trace

APPL, CONFIG, STATE = (schema.DEFAULT_NUMBERS[db] for db in (schema.APPL_DB, schema.CONFIG_DB, schema.STATE_DB))
# As the unit has it.
WATCHDOG_SECONDS = 30.0
_STATE_PREFIX = f"{schema.STATE_PORT_TABLE}|"
_CONFIG_PREFIX = f"{schema.CONFIG_PORT_TABLE}|"


class Kernel(FakeKernel):
    """Tells the book which names lost their link, and which were set down."""

    def __init__(self, book: Book, is_held: Callable[[str], bool]) -> None:
        super().__init__()
        self.book = book
        self._is_held = is_held
        self._dumping = 0
        self._called: dict[int, str] = {}
        self._found: dict[str, int] = {}

    def find(self, name: str) -> FakeLink | None:
        """As it is, and fast for many links."""
        link = self.links.get(self._found.get(name, 0))
        if link is None or link.name != name:
            link = super().find(name)
            if link is not None:
                self._found[name] = link.ifindex
        return link

    def dump(self) -> Iterator[tuple[list[LinkMessage], bool]]:
        """As it is. A link that is made anew meanwhile may be seen in the dump, and the old one's end no more."""
        self._dumping += 1
        try:
            yield from super().dump()
        finally:
            self._dumping -= 1

    def multicast(self, said: LinkMessage) -> None:
        """Every change of a link comes by here."""
        if said.family == AF_UNSPEC:
            before = self._called.get(said.ifindex, said.name)
            if said.removed or before != said.name:
                for name in {before, said.name}:
                    self.book.lost_link(name)
                self.book.blind_spots += bool(self._dumping)
                if self._is_held(before):
                    self.book.owed_removals.add(before)
            if said.removed:
                self._called.pop(said.ifindex, None)
            else:
                self._called[said.ifindex] = said.name
                self.book.names.add(said.name)
            if not said.flags & IFF_UP:
                self.book.excuse([said.name])
                if self._is_held(said.name):
                    self.book.owed_writes.add(said.name)
        super().multicast(said)


class Redis(FakeRedis):
    """One server. It tells the book what the daemon wrote, and what became of what was in it. numbers: of the databases that
    it holds."""

    def __init__(self, book: Book, trace: Trace, numbers: Collection[int], *, notify: bool) -> None:
        super().__init__(notify=notify)
        self.book = book
        self.numbers = frozenset(numbers)
        self._trace = trace
        # Writes that shall come late, and those that are on their way.
        self.delays = 0
        self._delayed: list[_Pending] = []
        # Set when somebody stages something in APPL_DB, and replaced by a new one.
        self.staged = trio.Event()

    @property
    def serves(self) -> bool:
        """Whether others are answered."""
        return self._running and not self._paused

    def _note(self, number: int, kind: str, key: str, fields: Mapping[str, str]) -> None:
        super()._note(number, kind, key, fields)
        if kind.startswith("producer"):
            self.staged.set()
            self.staged = trio.Event()
        if not self._serving:
            if number == STATE and kind == "del":
                self.book.owed_removals.discard(key.removeprefix(_STATE_PREFIX))
            return
        self._trace.say(f"redis: {number} {kind} {key} {' '.join(fields.values())}")
        if number == STATE and key.startswith(_STATE_PREFIX):
            name = key.removeprefix(_STATE_PREFIX)
            self.book.changed(name, deleted=kind == "del")
        elif kind == "producer_set" and key == schema.PORT_INIT_DONE:
            self.book.init_done()

    def remove_entry(self, number: int, key: str) -> None:
        """As it is. Where there is a link of that name, it must have been another one's."""
        entry, name = self.entry(number, key), key.removeprefix(_STATE_PREFIX)
        if self._serving and "state" in entry and self.book.has_link(name):
            self.book.spend(name, removal=True, held=" ".join(entry.values()))
        super().remove_entry(number, key)

    def put_entry(self, number: int, key: str, fields: Mapping[str, str]) -> int:
        """As it is."""
        entry = self.entry(number, key)
        if self._serving and all(entry.get(field) == value for field, value in fields.items()):
            self.book.spend(key.removeprefix(_STATE_PREFIX), removal=False, held=" ".join(fields.values()))
        return super().put_entry(number, key, fields)

    def _go_on(self, pending: _Pending) -> None:
        if pending.writes and self.delays and self.serves and self._answers:
            self.delays -= 1
            self._trace.say("redis: a write is on its way")
            # Whoever waits for the reply gives up in time.
            pending.held = True
            self._delayed.append(pending)
        else:
            super()._go_on(pending)

    @property
    def _answers(self) -> bool:
        return not (self.loading or self.refuses_all or self.refuses_writes)

    def deliver(self) -> None:
        """What was on its way arrives."""
        delayed, self._delayed = self._delayed, []
        for pending in delayed:
            self._trace.say("redis: a write comes late")
            self._carry_out(pending)

    def stop(self) -> None:
        """What was on its way is lost."""
        super().stop()
        self._delayed.clear()

    def flush(self, number: int) -> None:
        """FLUSHDB."""
        self.book.foreign += 1
        super().flush(number)
        if number == APPL:
            self.book.emptied()
        elif number == CONFIG:
            self.book.expected.clear()
        else:
            self.book.excuse()
            self.book.owed_removals.clear()

    def restart(self, *, empty: bool) -> None:
        """Come back with nothing, or with what was kept."""
        self.book.foreign += 1
        super().restart(empty=empty)
        if APPL in self.numbers:
            self.book.emptied() if empty else self.book.went_back()
        elif STATE in self.numbers:
            self.book.lost_entries(key.removeprefix(_STATE_PREFIX) for key in self.database(STATE))
        if CONFIG in self.numbers:
            self.book.expected.intersection_update(self.book.config_ports())


class Servers:
    """The Redis servers of a switch: one, or some that share its databases. layout: the databases' numbers, by server."""

    def __init__(self, book: Book, trace: Trace, layout: Sequence[Sequence[int]], *, notify: bool) -> None:
        self.book = book
        self.each = [Redis(book, trace, numbers, notify=notify) for numbers in layout]
        self._by_number = {number: server for server in self.each for number in server.numbers}
        # What clients have written, in order.
        self.writes: list[Write] = []
        for server in self.each:
            server.writes = self.writes
        # Who begins to write ports now never goes on, and waits for nothing that a probe would find.
        self.hangs = False

    def of(self, number: int) -> Redis:
        """The server that holds a database."""
        return self._by_number[number]

    @property
    def by_name(self) -> dict[str, FakeRedis]:
        """Servers by the names of their databases."""
        return {name: self._by_number[number] for name, number in schema.DEFAULT_NUMBERS.items()}

    def database(self, number: int) -> dict[str, Any]:
        """The keys of one database."""
        return self.of(number).database(number)

    def hash(self, number: int, key: str) -> dict[str, str]:
        """A copy of a hash; empty where there is none."""
        return self.of(number).hash(number, key)

    def hset(self, number: int, key: str, fields: Mapping[str, str]) -> None:
        """HSET."""
        self.of(number).hset(number, key, fields)

    def delete(self, number: int, key: str) -> bool:
        """DEL."""
        return self.of(number).delete(number, key)

    def flush(self, number: int) -> None:
        """FLUSHDB."""
        self.of(number).flush(number)

    def holds(self, name: str) -> bool:
        """Whether STATE_DB has an entry of ours."""
        return "state" in self.hash(STATE, _STATE_PREFIX + name)

    def config_ports(self) -> list[str]:
        """The names of CONFIG_DB's PORT keys."""
        keys = self.database(CONFIG)
        return [key.removeprefix(_CONFIG_PREFIX) for key in keys if key.startswith(_CONFIG_PREFIX)]

    def save(self) -> None:
        """Keep what there is."""
        for server in self.each:
            server.save()
        self.book.save()

    def deliver(self) -> None:
        """What was on its way arrives."""
        for server in self.each:
            server.deliver()

    def lose_nothing(self) -> None:
        """Neither replies nor requests are lost from now on, nor late."""
        for server in self.each:
            server.lose_nothing()
            server.delays = 0

    @property
    def connections(self) -> int:
        """With all of them."""
        return sum(server.connections for server in self.each)


class Session(FakeStore):
    """A session that tells the book what it was answered."""

    def __init__(self, servers: Servers, *, timeout: float) -> None:
        super().__init__(servers.by_name, timeout=timeout)
        self._servers = servers
        self._book = servers.book

    async def snapshot(self) -> Snapshot:
        """As it is; what the session before has lost arrives after it at the latest."""
        try:
            return await super().snapshot()
        finally:
            self._servers.deliver()

    async def write_ports(self, writes: Sequence[PortWrite]) -> list[bool]:
        """As it is; without a reply nobody knows what was done, and it may be done again."""
        try:
            if self._servers.hangs:
                await trio.sleep_forever()
            answer = await super().write_ports(writes)
        except BaseException:
            for write in writes:
                self._book.reasons[write.name] += 1
                self._book.removals[write.name] += 1
            raise
        self._book.writes += sum(answer)
        return answer

    async def produce(self, rows: Sequence[Row]) -> None:
        """As it is."""
        await super().produce(rows)
        self._book.produced([row.key for row in rows])


class Source(FakeLinkSource):
    """An event source that fails where it is told to. troubles: for the next requests, by name (open, dump, ask, read): how
    many of them fail."""

    def __init__(self, world: "Switch") -> None:
        netlink = world.config.netlink
        super().__init__(
            world.kernel,
            receive_buffer_bytes=netlink.receive_buffer_bytes // 2,
            prefixes=netlink.port_prefixes,
            store=world.manager,
        )
        self._world = world

    def _may_fail(self, what: str) -> None:
        troubles = self._world.troubles
        if troubles.get(what, 0) > 0:
            troubles[what] -= 1
            self._world.kernel_trouble_at = trio.current_time()
            raise LinkSourceError(f"the fake kernel fails at {what}")

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """What is raised ends the reader's life."""
        try:
            yield
        except LinkSourceError:
            self._world.source_errors += 1
            raise

    def open(self) -> None:
        """Whoever listens anew may have missed something."""
        with self._counting():
            self._may_fail("open")
        super().open()
        self._world.sources.append(self)
        self._world.book.blinded()

    def close(self) -> None:
        """Another source is open then, or none."""
        super().close()
        if self in self._world.sources:
            self._world.sources.remove(self)

    async def readable(self) -> None:
        """As it is."""
        with self._counting():
            await super().readable()

    def receive(self, limit: int) -> Received:
        """What is lost may have been anything."""
        with self._counting():
            self._may_fail("read")
            received = super().receive(limit)
        self._world.book.datagrams += len(received.datagrams)
        if received.lost:
            self._world.book.losses += 1
            self._world.book.blinded()
        return received

    def drops(self) -> int:
        """As it is."""
        with self._counting():
            return super().drops()

    async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
        """As it is, or failing, or without end."""
        with self._counting():
            self._may_fail("dump")
            if self._world.deaf:
                await trio.sleep_forever()
            return await super().dump(handle)

    async def _expect_answer(self) -> None:
        """As it is. What was asked while the kernel was silent stays without an answer."""
        self._world.unanswered += 1
        try:
            await super()._expect_answer()
        finally:
            self._world.unanswered -= 1

    async def ask(self, targets: Sequence[str | int]) -> list[LinkMessage | None]:
        """As it is, or failing. A probe asks for one link that is always there; what it finds is its own affair."""
        if list(targets) == [1]:
            return await super().ask(targets)
        with self._counting():
            if targets:
                self._may_fail("ask")
            return await super().ask(targets)

    def listen_to(self, first: int, last: int) -> None:
        """As it is."""
        with self._counting():
            super().listen_to(first, last)

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """As it is. It is the writer that asks for it."""
        try:
            return await super().set_down(ifindexes)
        except LinkSourceError:
            self._world.set_down_errors += 1
            raise


class Switch(FakeWorld):
    """The world of one simulation; it outlives the daemons."""

    kernel: Kernel
    manager: FakeServiceManager

    def __init__(self, config: Config, book: Book, servers: Servers, *, descriptors: bool, seed: int) -> None:
        super().__init__(config, kernel=Kernel(book, servers.holds), redis=servers.of(APPL), seed=seed)
        self.servers = servers
        self.book = book
        self.kept_descriptors = FakeDescriptorStore(self.kernel) if descriptors else None
        self.manager = FakeServiceManager(watchdog=WATCHDOG_SECONDS, store=self.kept_descriptors)
        self.troubles: dict[str, int] = {}
        self.sources: list[Source] = []
        # Errors that ended a life of the reader, or the writer.
        self.source_errors = self.set_down_errors = 0
        # Who begins to read all links now never goes on.
        self.deaf = False
        # Questions that wait for the kernel's answer.
        self.unanswered = 0
        # When the kernel last gave a reason to begin anew with it.
        self.kernel_trouble_at = -math.inf

    def link_source(self) -> LinkSource:
        """Watched."""
        return Source(self)

    def store(self) -> Store:
        """Watched."""
        return Session(self.servers, timeout=self.config.database.connection_timeout_secs)

    def fields_of(self, name: str) -> dict[str, str]:
        """A STATE_DB entry."""
        return self.servers.hash(STATE, _STATE_PREFIX + name)
