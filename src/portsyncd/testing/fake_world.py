"""A switch in memory, for the whole daemon: kernel, Redis, disk and clock, each of which can fail. See ``world.World``."""

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

import trio

from portsyncd.backends.base import (
    HistoryStore,
    KeptDocument,
    LinkSource,
    OldLinksStore,
    ServiceManager,
    Store,
)
from portsyncd.config import Config
from portsyncd.metrics import Metrics
from portsyncd.model.disk import HISTORY, PORT_STATE, Space
from portsyncd.testing.fake_files import FakeKept, FakeOldLinks
from portsyncd.testing.fake_history import FakeHistory
from portsyncd.testing.fake_host import FakeHost
from portsyncd.testing.fake_kernel import FakeKernel
from portsyncd.testing.fake_links import FakeLinkSource
from portsyncd.testing.fake_redis import FakeRedis
from portsyncd.testing.fake_store import FakeStore
from portsyncd.tls.files import Files

if TYPE_CHECKING:
    from portsyncd.web.credentials import Credentials
    from portsyncd.web.host import Host

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

# 2026-01-01, as Unix seconds.
NEW_YEAR: Final = 1_767_225_600.0
_MEGABYTE: Final = 1 << 20
_DISK_BYTES: Final = 1 << 35


class FakeWorld:
    """See ``world.World``. It outlives the daemons that run on it, one after the other; none uses a thread.

    config: the daemon's. seed: of ``random``.

    kernel, redis: what the daemon meets. host: what its metrics endpoint runs on, where ``read_credentials`` gives it one.
    stepped: by how many seconds the clock on the wall was set; it says NEW_YEAR where Trio's clock says 0. resident: memory of
    the process, in bytes; releasable: how much of it ``release_memory`` gives back. released: how often it was asked to. free:
    bytes left of the disk; None: it does not answer. exports: how many were made.
    """

    def __init__(
        self, config: Config, *, kernel: FakeKernel | None = None, redis: FakeRedis | None = None, seed: int = 0
    ) -> None:
        self.config = config
        self.kernel = kernel or FakeKernel()
        self.redis = redis or FakeRedis()
        self.manager: ServiceManager | None = None
        self.stepped = 0.0
        self.resident = 64 * _MEGABYTE
        self.releasable = 0
        self.released = self.exports = 0
        self.free: int | None = 1 << 34
        self.retry_cap = min(config.database.retry_max_secs, 0.5)
        self.credentials: Credentials | None = None
        self.host = FakeHost()
        # Its own figures would be those of the machine that plays it, and never twice the same.
        self.own_process = False
        self.old_links: OldLinksStore = FakeOldLinks()
        warm, metrics = config.warm_restart, config.metrics
        self.kept_state = FakeKept(max_backups=warm.max_backups, max_age=warm.max_age_secs, wall=self.unix)
        self.kept_counters = FakeKept(max_backups=warm.max_backups, wall=self.unix)
        self.kept_history = FakeHistory()
        self.state: KeptDocument | None = self.kept_state if warm.state_file else None
        self.counters: KeptDocument | None = self.kept_counters if metrics.storage_path else None
        self.history: HistoryStore | None = self.kept_history if metrics.storage_path else None
        self._random = random.Random(seed)
        self._ids = 0

    def link_source(self) -> LinkSource:
        """On the fake kernel."""
        netlink = self.config.netlink
        return FakeLinkSource(
            self.kernel,
            receive_buffer_bytes=netlink.receive_buffer_bytes,
            prefixes=netlink.port_prefixes,
            store=self.manager,
        )

    def store(self) -> Store:
        """On the fake Redis."""
        return FakeStore(self.redis, timeout=self.config.database.connection_timeout_secs)

    def read_credentials(self) -> None:
        """Give the next process an endpoint, as a start of the daemon does. Raises ``ConfigError``."""
        from portsyncd.web.credentials import Credentials

        metrics = self.config.metrics
        files = Files(Path(metrics.cert), Path(metrics.key), Path(metrics.ca))
        self.credentials = Credentials(files, lambda: datetime.fromtimestamp(self.unix(), UTC), self.host)

    def web_host(self) -> "Host":
        """In memory, without threads."""
        return self.host

    def export(
        self, make_metrics: Callable[[], Metrics], document: Callable[[], Mapping[str, Any]]
    ) -> Callable[[], Awaitable[None]]:
        """Makes the text of both files, and drops it."""

        async def export() -> None:
            await trio.lowlevel.checkpoint()
            for _ in make_metrics().render(openmetrics=False):
                pass
            document()
            self.exports += 1

        return export

    async def compute(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """At once."""
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    def unix(self) -> float:
        """The clock on the wall."""
        return NEW_YEAR + trio.current_time() + self.stepped

    def random(self) -> float:
        """The same after the same seed."""
        return self._random.random()

    def fresh_id(self) -> str:
        """Numbered."""
        self._ids += 1
        return f"generation {self._ids}"

    def resident_bytes(self) -> int:
        """What it was set to."""
        return self.resident

    def release_memory(self) -> None:
        """Give back what is releasable."""
        self.released += 1
        self.resident -= self.releasable
        self.releasable = 0

    async def disks(self) -> Mapping[str, Space]:
        """One for all that is kept."""
        await trio.lowlevel.checkpoint()
        if self.free is None:
            await trio.sleep_forever()
            raise AssertionError("a sleep for ever does not end")
        return dict.fromkeys((PORT_STATE, HISTORY), Space(self.free, _DISK_BYTES))

    def loop_watch(self, _limit: float) -> None:
        """Nobody: threads do not go by the test clock."""
        return
