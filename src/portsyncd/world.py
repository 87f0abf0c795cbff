"""What lies outside the process, as far as the daemon has to do with it: the switch it runs on, or a fake one.

``daemon`` puts the same services together on either.
"""

import os
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple

import trio

from portsyncd.backends import memory
from portsyncd.backends.base import HistoryStore, KeptDocument, LinkSource, OldLinksStore, ServiceManager, Store
from portsyncd.backends.files import OldLinksFile
from portsyncd.backends.kept import KeptFile
from portsyncd.backends.netlink import NetlinkSource
from portsyncd.backends.redis import RedisStore
from portsyncd.config import Config, read_databases
from portsyncd.errors import ConfigError, StoreUnavailableError
from portsyncd.inputs import read_all, retry_cap
from portsyncd.metrics import Metrics
from portsyncd.model.disk import HISTORY, PORT_STATE, Space
from portsyncd.services.loop_watch import LoopWatch

if TYPE_CHECKING:
    from portsyncd.backends.export import Exporter
    from portsyncd.web.credentials import Credentials
    from portsyncd.web.host import Host

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class World(Protocol):
    """One for the life of the process.

    retry_cap: the longest pause between attempts to connect to Redis, in seconds. credentials: what the metrics endpoint is
    served with; None where there is none. own_process: whether this process' figures are the daemon's. old_links, state,
    counters, history: where these are kept; None: nowhere.
    """

    retry_cap: float
    credentials: "Credentials | None"
    own_process: bool
    old_links: OldLinksStore
    state: KeptDocument | None
    counters: KeptDocument | None
    history: HistoryStore | None

    @property
    def manager(self) -> ServiceManager | None:
        """Who wants to know how it stands with this process; None: nobody."""

    def link_source(self) -> LinkSource:
        """A new one, not open yet."""

    def store(self) -> Store:
        """A new session with Redis, not open yet. Raises ``StoreUnavailableError`` where nobody says yet where that is."""

    def web_host(self) -> "Host":
        """What the metrics endpoint runs on."""

    def export(
        self, make_metrics: Callable[[], Metrics], document: Callable[[], Mapping[str, Any]]
    ) -> Callable[[], Awaitable[None]]:
        """What writes the metrics' files; see ``backends.export.Exporter``."""

    async def compute(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Call it where it does not hold the event loop up."""

    def unix(self) -> float:
        """The clock on the wall, in seconds."""

    def random(self) -> float:
        """At least 0, less than 1."""

    def fresh_id(self) -> str:
        """One that nobody else has."""

    def resident_bytes(self) -> int:
        """Resident memory of this process."""

    def release_memory(self) -> None:
        """Give back what is not used any more."""

    async def disks(self) -> Mapping[str, Space]:
        """The room on the disks, by what is kept there (port_state, history); what cannot be told is left out."""

    def loop_watch(self, limit: float) -> LoopWatch | None:
        """Who sees from outside of the event loop that it has not turned for so many seconds."""


class Machine:
    """The real ones: see ``World``. Raises ``ConfigError`` where files that the configuration names are wrong.

    manager: keeps the event socket over restarts, too; None: nobody does.
    """

    def __init__(self, config: Config, manager: ServiceManager | None = None) -> None:
        databases, self._access, self.credentials = read_all(config)
        self._config = config
        self.manager = manager
        self.own_process = True
        self._one_disk_at_a_time = trio.CapacityLimiter(1)
        self.retry_cap = retry_cap(config, databases.values())
        self.old_links: OldLinksStore = OldLinksFile(Path(config.netlink.run_dir))
        warm, metrics = config.warm_restart, config.metrics
        self.state: KeptDocument | None = None
        self.counters: KeptDocument | None = None
        self.history: HistoryStore | None = None
        if warm.state_file:
            self.state = KeptFile(
                Path(warm.state_file),
                kind="port state",
                version=1,
                max_backups=warm.max_backups,
                max_age=warm.max_age_secs,
                wall=self.unix,
            )
        if metrics.storage_path:
            from portsyncd.backends.history import HistoryFile

            folder = Path(metrics.storage_path)
            self.counters = KeptFile(
                folder / "counters.json", kind="counters", version=1, max_backups=warm.max_backups, wall=self.unix
            )
            self.history = HistoryFile(folder, metrics.max_file_size_mb << 20)
        kept = {PORT_STATE: warm.state_file, HISTORY: metrics.storage_path}
        self._kept = {what: Path(path).absolute() for what, path in kept.items() if path}

    def link_source(self) -> LinkSource:
        """Netlink."""
        netlink = self._config.netlink
        return NetlinkSource(
            receive_buffer_bytes=netlink.receive_buffer_bytes, prefixes=netlink.port_prefixes, store=self.manager
        )

    def store(self) -> Store:
        """Redis, where SONiC's list says now that it is: that may have come, or changed, since the last session."""
        try:
            databases = read_databases(self._config)
        except ConfigError as problem:
            raise StoreUnavailableError("; ".join(problem.problems)) from problem
        return RedisStore(databases, self._access)

    def web_host(self) -> "Host":
        """Sockets, files, threads. Loaded where there is an endpoint."""
        from portsyncd.web.host import RealHost

        return RealHost()

    def export(
        self, make_metrics: Callable[[], Metrics], document: Callable[[], Mapping[str, Any]]
    ) -> Callable[[], Awaitable[None]]:
        """Into ``metrics.storage_path``. Its libraries are loaded when they are needed first."""
        exporter: Exporter | None = None

        async def export() -> None:
            nonlocal exporter
            if exporter is None:
                from portsyncd.backends.export import Exporter

                metrics = self._config.metrics
                folder = Path(metrics.storage_path)
                exporter = Exporter(folder, metrics.export_format, make_metrics(), document, self.unix)
            await exporter.export()

        return export

    async def compute(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """In a worker thread."""
        return await trio.to_thread.run_sync(function, *arguments)

    def unix(self) -> float:
        """The system's clock."""
        return datetime.now(UTC).timestamp()

    def random(self) -> float:
        """The standard library's."""
        return random.random()

    def fresh_id(self) -> str:
        """A random UUID."""
        return uuid.uuid4().hex

    def resident_bytes(self) -> int:
        """As the kernel counts it."""
        return memory.resident_bytes()

    def release_memory(self) -> None:
        """To the kernel."""
        memory.release()

    async def disks(self) -> Mapping[str, Space]:
        """In a worker thread, since a disk may hang: it is given up when this is cancelled, and nobody asks beside it."""
        return await trio.to_thread.run_sync(self._disks, abandon_on_cancel=True, limiter=self._one_disk_at_a_time)

    def _disks(self) -> dict[str, Space]:
        spaces = {}
        for what, path in self._kept.items():
            # A disk that fails says nothing of another one.
            with suppress(OSError):
                # What is kept makes its folders when it is first written.
                there = next(folder for folder in (path, *path.parents) if folder.exists())
                status = os.statvfs(there)
                spaces[what] = Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
        return spaces

    def loop_watch(self, limit: float) -> LoopWatch:
        """A thread."""
        return LoopWatch(limit)
