"""The composition root: real backends, the tree of services, signals, exit codes.

::

    Daemon.serve
    ├── signals     TERM, INT: drain and leave; HUP: read configuration and certificates again; USR1: release PortInitDone
    └── supervisor
        ├── writer    owns the Redis connections
        ├── reader    owns the netlink sockets
        ├── keeper    saves what a restart has to know
        ├── recorder  writes the history
        ├── observer  looks at all of them, for metrics and health
        └── metrics   the endpoint for Prometheus; without it the port sync goes on
"""

import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from portsyncd import __version__, logs
from portsyncd.analytics.analysis import document
from portsyncd.analytics.history import History
from portsyncd.backends.base import DescriptorStore
from portsyncd.backends.files import OldLinksFile
from portsyncd.backends.inherited import give_up
from portsyncd.backends.kept import KeptFile
from portsyncd.backends.netlink import NetlinkSource
from portsyncd.backends.redis import RedisStore
from portsyncd.backends.systemd import Systemd
from portsyncd.config import Config
from portsyncd.errors import EXIT_OK, ConfigError, PortsyncdError
from portsyncd.inputs import read_all, retry_cap
from portsyncd.metrics import Metrics
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.health import Status
from portsyncd.model.performance import Demands
from portsyncd.model.report import Thresholds
from portsyncd.model.restart import RestartPolicy
from portsyncd.model.retry import Backoff
from portsyncd.model.sync import PortSync
from portsyncd.rules import Listen
from portsyncd.services.flapbook import FlapBook
from portsyncd.services.inbox import Inbox
from portsyncd.services.keeper import Keeper
from portsyncd.services.observer import Observer
from portsyncd.services.reader import Reader
from portsyncd.services.recorder import Observation, Recorder
from portsyncd.services.supervisor import Child, Run, Supervisor
from portsyncd.services.watches import Calendar
from portsyncd.services.writer import Writer

if TYPE_CHECKING:
    from portsyncd.backends.export import Exporter
    from portsyncd.web.credentials import Credentials
    from portsyncd.web.server import MetricsServer

log = logs.get_logger()

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_DRAIN_SECONDS = 1.0
_FINISH_SECONDS = 1.0
# What a first sync takes that has all it needs.
_FIRST_SYNC_SECONDS = 1.0
# The metrics app waits for the first sync, then imports much.
_WEB_START_SECONDS = 60.0
_SWITCH_SECONDS = 0.0002


class Daemon:
    """One daemon with its services. Raises ``ConfigError`` where files that the configuration names are wrong.

    descriptors: keeps the event socket over restarts; None: nobody does.
    """

    def __init__(self, config: Config, descriptors: DescriptorStore | None = None) -> None:
        databases, access, credentials = read_all(config)
        netlink, prefixes = config.netlink, config.netlink.port_prefixes
        policy = Policy(
            prefixes=prefixes,
            existing_links=ExistingLinks(netlink.existing_links),
            warm_allowed=config.warm_restart.enabled,
            eoiu_timeout=config.warm_restart.eoiu_timeout_secs,
        )
        demands = Demands(config.performance.max_latency_us / 1e6, config.performance.min_success_rate)
        self.config = config
        self.inbox = Inbox(config.performance.max_event_queue)
        self._exporter: Exporter | None = None
        self.reader = Reader(
            lambda: NetlinkSource(
                receive_buffer_bytes=netlink.receive_buffer_bytes, prefixes=prefixes, store=descriptors
            ),
            self.inbox,
            prefixes,
        )
        self.writer = Writer(
            lambda: RedisStore(databases, access),
            self.inbox,
            PortSync(policy),
            self.reader,
            old_links=OldLinksFile(Path(netlink.run_dir)),
            backoff=Backoff(cap=retry_cap(config, databases.values())),
            jitter=random.random,
            fresh_id=lambda: uuid.uuid4().hex,
            set_log_level=_set_sonic_level,
        )
        self.book = FlapBook(self.writer.sync.take_flaps)
        self.keeper = self._make_keeper()
        self.recorder = self._make_recorder(trio.current_time()) if config.metrics.storage_path else None
        self.web = None if credentials is None else self._make_web(credentials)
        self.supervisor = Supervisor(
            list(self._children()), RestartPolicy(), exit_to_restart=config.daemon.exit_to_restart
        )
        self.observer = Observer(
            self.reader,
            self.writer,
            self.supervisor,
            self.inbox,
            keeper=self.keeper.statistics,
            recorder=None if self.recorder is None else self.recorder.statistics,
            web=None if self.web is None else self.web.statistics,
            thresholds=Thresholds(
                max_stall_seconds=config.health.max_stall_seconds,
                max_failure_rate=config.health.max_failure_rate_percent,
                min_port_sync_rate=config.health.min_port_sync_rate,
                demands=demands,
            ),
            version=__version__,
        )

    def _children(self) -> Iterator[Child]:
        """In the order of their start."""
        yield Child("writer", self.writer.run, essential=True)
        yield Child("reader", self.reader.run, essential=True)
        yield Child("keeper", self.keeper.run, essential=False)
        yield Child("observer", self._observe, essential=False)
        if self.recorder is not None:
            yield Child("recorder", self._after_first_sync(self.recorder.run), essential=False, start_deadline=inf)
        if self.web is not None:
            yield Child("metrics", self.web.run, essential=False, start_deadline=_WEB_START_SECONDS)

    async def _observe(self, *, task_status: trio.TaskStatus[None]) -> None:
        # It observes the supervisor too, which has to know it first.
        await self.observer.run(task_status=task_status)

    def _make_keeper(self) -> Keeper:
        warm, metrics = self.config.warm_restart, self.config.metrics
        state = counters = None
        if warm.state_file:
            state = KeptFile(
                Path(warm.state_file),
                kind="port state",
                version=1,
                max_backups=warm.max_backups,
                max_age=warm.max_age_secs,
                wall=_unix_now,
            )
        if metrics.storage_path:
            counters = KeptFile(
                Path(metrics.storage_path, "counters.json"),
                kind="counters",
                version=1,
                max_backups=warm.max_backups,
                wall=_unix_now,
            )
        return Keeper(
            self.writer,
            self.reader,
            self.book,
            state=state,
            counters=counters,
            state_interval=warm.save_interval_secs,
            counters_interval=metrics.save_interval_secs,
            max_age=warm.max_age_secs,
            calendar=Calendar(trio.current_time, _unix_now),
        )

    def _make_recorder(self, started_at: float) -> Recorder:
        from portsyncd.backends.history import HistoryFile

        metrics = self.config.metrics
        return Recorder(
            HistoryFile(Path(metrics.storage_path), metrics.max_file_size_mb << 20),
            self.book,
            self._observation,
            export=self._export,
            count_damage=self.keeper.count_damage,
            sample_interval=metrics.sample_interval_secs,
            save_interval=metrics.save_interval_secs,
            retention_seconds=metrics.retention_days * 86400,
            wall=_unix_now,
            started_at=started_at,
        )

    async def _export(self) -> None:
        if self._exporter is None:
            from portsyncd.backends.export import Exporter

            metrics = self.config.metrics
            self._exporter = Exporter(
                Path(metrics.storage_path),
                metrics.export_format,
                Metrics(self.observer.facts, version=__version__, process=False),
                self._document,
                _unix_now,
            )
        await self._exporter.export()

    def _document(self) -> dict[str, Any]:
        analysis = None if self.recorder is None else self.recorder.statistics().analysis
        return {
            "portsyncd": __version__,
            "health": self.observer.document(self.observer.health()),
            "analysis": None if analysis is None else document(analysis),
        }

    def _observation(self) -> Observation:
        # It observes the recorder too, which has to be there first.
        return self.observer.observation()

    def _after_first_sync(self, run: Run) -> Run:
        """Its libraries take time that the first sync has a better use for, if that does not take long."""

        async def run_later(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.move_on_after(_FIRST_SYNC_SECONDS):
                await self.writer.first_sync.wait()
            await run(task_status=task_status)

        return run_later

    def _make_web(self, credentials: "Credentials") -> "MetricsServer":
        from portsyncd.web.server import MetricsServer

        metrics = self.config.metrics
        return MetricsServer(
            lambda: _View(self.observer),
            Listen.parse(metrics.listen),
            credentials,
            allowed_sans=metrics.client_allowed_sans,
            after=self.writer.first_sync.wait,
        )

    async def drain(self) -> None:
        """Let what has been heard reach Redis, within bounds; then it is safe to cancel everything."""
        if not self.writer.statistics().connected:
            return
        with trio.move_on_after(_DRAIN_SECONDS) as draining:
            await self.writer.drained()
        if draining.cancelled_caught:
            log.warning("left before everything was written; the next start compares everything")

    async def finish(self) -> None:
        """Leave the next process what it has to know, within bounds."""
        with trio.move_on_after(_FINISH_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.keeper.finish)
                if self.recorder is not None:
                    nursery.start_soon(self.recorder.finish)


class _View:
    """What the metrics endpoint sees of the daemon."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._metrics = Metrics(observer.facts, version=__version__)

    def scrape(self, *, openmetrics: bool) -> Iterator[str]:
        return self._metrics.render(openmetrics)

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        health = self._observer.health()
        return health.status is not Status.UNHEALTHY, self._observer.document(health)


async def serve(config: Config, reload: Callable[[], Config], manager: DescriptorStore | None = None) -> None:
    """Run until told to stop; returns then. reload: reads the configuration anew, for SIGHUP. manager: of the service."""
    with trio.open_signal_receiver(*_STOPPING, signal.SIGHUP, signal.SIGUSR1) as signals:
        log.info("portsyncd starts", version=__version__)
        if not config.daemon.enabled:
            log.warning("daemon.enabled is false: idle until told to stop")
            if manager is not None:
                give_up(manager)
            await _wait_for(_STOPPING, signals, {signal.SIGHUP: lambda: _reload(reload)})
            return
        daemon = Daemon(config, manager)
        heeded = {signal.SIGHUP: lambda: _reload(reload, daemon.web), signal.SIGUSR1: daemon.writer.release}
        await daemon.keeper.restore()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.supervisor.run)
            number = await _wait_for(_STOPPING, signals, heeded)
            log.info("stopping", signal=signal.Signals(number).name)
            async with trio.open_nursery() as stopping:
                stopping.start_soon(_cancel_on, _STOPPING, signals, stopping.cancel_scope)
                await daemon.drain()
                await daemon.finish()
                stopping.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        log.info("stopped")


async def _wait_for(
    wanted: tuple[signal.Signals, ...],
    signals: AsyncIterator[int],
    heeded: Mapping[signal.Signals, Callable[[], object]],
) -> int:
    """Wait for one of these signals, heeding the others."""
    async for number in signals:
        if number in wanted:
            return number
        action = heeded.get(signal.Signals(number))
        if action is not None:
            action()
    raise AssertionError("a signal receiver does not end")


async def _cancel_on(wanted: tuple[signal.Signals, ...], signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    await _wait_for(wanted, signals, {})
    log.warning("told to stop twice: leaving at once")
    scope.cancel()


def _reload(reload: Callable[[], Config], web: "MetricsServer | None" = None) -> None:
    """SIGHUP: what can change at run time is the log's level and what the certificate files hold; what is wrong changes
    nothing."""
    if web is not None:
        web.credentials.request_reload()
    try:
        config = reload()
    except ConfigError as problem:
        log.error("the configuration is wrong, the old one stays in force", problems=list(problem.problems))
        return
    logs.set_level(config.daemon.log_level)
    log.info("configuration read again", log_level=config.daemon.log_level)


def _set_sonic_level(text: str) -> None:
    level = logs.level_of_sonic(text)
    if level is None:
        log.warning("CONFIG_DB LOGGER|portsyncd has an unknown LOGLEVEL; it is ignored", value=text)
        return
    log.notice("log level set by CONFIG_DB", level=level)
    logs.set_level(level)


def _unix_now() -> float:
    return datetime.now(UTC).timestamp()


def read_history(folder: Path, since: float, until: float) -> History:
    """What a daemon has kept in ``folder`` (metrics.storage_path) of the time from ``since`` to ``until`` (Unix seconds),
    whether or not one runs. Raises ``FileError``."""
    from portsyncd.backends import history

    return history.read_history(folder, since, until)


def main(config: Config, *, reload: Callable[[], Config]) -> int:
    """Run the daemon to its end; returns the exit code. Raises ``PortsyncdError``, each with its exit code."""
    # A worker thread that computes (imports, certificates) gives the interpreter back after this long when the event
    # loop wants it; Python's own 5 ms would be paid at each system call of a link event's way.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Before Trio opens descriptors of its own, should the numbers that were passed be wrong.
    manager = Systemd.from_environment(os.environ, os.getpid())
    try:
        trio.run(serve, config, reload, manager, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    return EXIT_OK


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that stands for a group: one of ours where there is one, since it says what to do."""
    ours = group.subgroup(PortsyncdError)
    leaf: BaseException = ours or group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
