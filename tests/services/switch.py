"""Reader and writer on a fake kernel and a fake Redis: a whole switch that the test clock can rule."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from trio.testing import wait_all_tasks_blocked

from portsyncd.model.generation import Policy
from portsyncd.model.ports import published_fields
from portsyncd.model.retry import Backoff
from portsyncd.model.sync import PortSync
from portsyncd.services.inbox import Inbox
from portsyncd.services.reader import Reader
from portsyncd.services.writer import Writer
from portsyncd.testing.fake_files import FakeOldLinks
from portsyncd.testing.fake_kernel import FakeKernel
from portsyncd.testing.fake_links import FakeDescriptorStore, FakeLinkSource
from portsyncd.testing.fake_redis import FakeClient, FakeRedis
from portsyncd.testing.fake_store import FakeStore
from portsyncd.wire import schema

TIMEOUT: Final = 2.0
LOGGER: Final = "LOGGER|portsyncd"


class FakeSwitch:
    """resyncs: what the writer asked of the reader. levels: log levels that were set. ids: of the generations, in order.
    descriptors: keeps the event socket over restarts, where there is somebody. timeout: seconds that a request to Redis
    may take."""

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        notify: bool = True,
        bound: int = 100_000,
        buffer_bytes: int = 1 << 24,
        timeout: float = TIMEOUT,
    ) -> None:
        self.policy = policy or Policy()
        self.kernel = FakeKernel()
        self.redis = FakeRedis(notify=notify)
        self.old_links = FakeOldLinks()
        self.descriptors: FakeDescriptorStore | None = None
        self.resyncs: list[tuple[str, frozenset[str]]] = []
        self.levels: list[str] = []
        self.ids: list[str] = []
        self._bound = bound
        self._buffer_bytes = buffer_bytes
        self._timeout = timeout
        self.begin_process()

    def begin_process(self) -> None:
        """A daemon is started (again): kernel and Redis are what they are, everything else is new."""
        self.inbox = Inbox(self._bound)
        self.reader = Reader(self._make_source, self.inbox, self.policy.prefixes)
        self.writer = Writer(
            lambda: FakeStore(self.redis, timeout=self._timeout),
            self.inbox,
            PortSync(self.policy),
            self,
            old_links=self.old_links,
            backoff=Backoff(cap=5.0),
            jitter=lambda: 1.0,
            fresh_id=self._fresh_id,
            set_log_level=self.levels.append,
        )

    def _make_source(self) -> FakeLinkSource:
        return FakeLinkSource(
            self.kernel,
            receive_buffer_bytes=self._buffer_bytes // 2,
            prefixes=self.policy.prefixes,
            store=self.descriptors,
        )

    def _fresh_id(self) -> str:
        self.ids.append(f"generation {len(self.ids) + 1}")
        return self.ids[-1]

    # ---- what the writer asks of the reader

    def request_resync(self, reason: str, names: Collection[str] = ()) -> None:
        self.resyncs.append((reason, frozenset(names)))
        self.reader.request_resync(reason, names)

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        return await self.reader.set_down(ifindexes)

    # ---- databases

    @property
    def appl_db(self) -> FakeClient:
        return self.redis.client(schema.DEFAULT_NUMBERS[schema.APPL_DB])

    @property
    def config_db(self) -> FakeClient:
        return self.redis.client(schema.DEFAULT_NUMBERS[schema.CONFIG_DB])

    @property
    def state_db(self) -> FakeClient:
        return self.redis.client(schema.DEFAULT_NUMBERS[schema.STATE_DB])

    def load_config(self, names: Iterable[str]) -> None:
        """CONFIG_DB as it is once it has been loaded, our LOGGER row among it."""
        for name in names:
            self.config_db.hset(f"PORT|{name}", {"alias": name, "mtu": "9100"})
        self.config_db.hset(LOGGER, {"LOGLEVEL": "NOTICE", "LOGOUTPUT": "SYSLOG"})
        self.config_db.set("CONFIG_DB_INITIALIZED", "1")

    def add_ports(self, names: Iterable[str]) -> None:
        """Make the links of ports, up and running."""
        for name in names:
            self.kernel.add_port(name)
            self.kernel.set(name, up=True)
            self.kernel.carrier(name, up=True)

    def has_marker(self, name: str) -> bool:
        """Whether APPL_DB holds it, staged or popped."""
        return self.appl_db.exists(f"PORT_TABLE:{name}") or self.appl_db.exists(f"_PORT_TABLE:{name}")

    def states(self) -> dict[str, dict[str, str]]:
        """STATE_DB's entries that carry ``state``."""
        keys = [key for key in self.redis.database(6) if key.startswith("PORT_TABLE|")]
        entries = {key.removeprefix("PORT_TABLE|"): self.state_db.hgetall(key) for key in keys}
        return {name: entry for name, entry in entries.items() if "state" in entry}

    def expected_states(self) -> dict[str, dict[str, str]]:
        """What they ought to be: every link that is a port by its name and by APPL_DB."""
        return {
            link.name: dict(zip(schema.STATE_FIELDS, published_fields(link.message()), strict=True))
            for link in self.kernel.links.values()
            if link.name.startswith(self.policy.prefixes) and self.appl_db.exists(f"PORT_TABLE:{link.name}")
        }

    def written(self, name: str) -> list[str]:
        """The kinds of writes to a port's STATE_DB entry, in order."""
        return [w.kind for w in self.redis.writes if w.db == schema.STATE_DB and w.key == f"PORT_TABLE|{name}"]

    def produced(self) -> list[str]:
        """The keys that were staged in APPL_DB, in order."""
        return [write.key for write in self.redis.writes if write.kind == "producer_set"]

    # ---- time

    async def settle(self) -> None:
        """Let everybody do what can be done without time passing."""
        await wait_all_tasks_blocked()

    async def until(self, condition: Callable[[], Any], seconds: float) -> float:
        """Let time pass until this is so; returns how long that took. Fails after so many seconds."""
        start = trio.current_time()
        while not condition():
            assert trio.current_time() - start < seconds, "not in time"
            await trio.sleep(0.01)
        return trio.current_time() - start

    async def bring_up(self, names: Iterable[str]) -> None:
        """From PortConfigDone to PortInitDone, with orchagent taking the ports before their links are made."""
        names = list(names)
        await self.settle()
        self.redis.pop()
        self.add_ports(names)
        await self.settle()
        assert self.has_marker("PortInitDone")
        self.redis.pop()
        await self.settle()
        self.redis.writes.clear()


@asynccontextmanager
async def running(switch: FakeSwitch) -> AsyncIterator[None]:
    """Writer and reader run; they are cancelled at the end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.writer.run)
        await nursery.start(switch.reader.run)
        await switch.settle()
        yield
        nursery.cancel_scope.cancel()
