"""The composition root: the tree of services on a world, signals, exit codes.

::

    Daemon.serve
    ├── signals     TERM, INT: drain and leave; HUP: read configuration and certificates again; USR1: release PortInitDone;
    │               USR2: compare Redis with the kernel
    └── supervisor
        ├── notifier  tells systemd how it stands with all of them, where there is a systemd
        ├── writer    owns the Redis connections
        ├── reader    owns the netlink sockets
        ├── keeper    saves what a restart has to know
        ├── recorder  writes the history
        ├── observer  looks at all of them, for metrics and health
        ├── guardian  looks after all of them, and heals what it can
        └── metrics   the endpoint for Prometheus; without it the port sync goes on
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import nullcontext
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from portsyncd import __version__, logs
from portsyncd.analytics.analysis import Analysis, analyze, document
from portsyncd.analytics.history import History
from portsyncd.backends.base import HistoryStore, ServiceManager
from portsyncd.backends.inherited import give_up
from portsyncd.backends.systemd import Systemd
from portsyncd.config import Config
from portsyncd.errors import EXIT_OK, ConfigError, PortsyncdError
from portsyncd.metrics import Metrics
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.healing import Kind
from portsyncd.model.health import Status
from portsyncd.model.performance import Demands
from portsyncd.model.ports import fields
from portsyncd.model.report import Thresholds
from portsyncd.model.restart import RestartPolicy
from portsyncd.model.retry import Backoff
from portsyncd.model.sync import PortSync
from portsyncd.rules import Listen
from portsyncd.services.flapbook import FlapBook
from portsyncd.services.guardian import Guardian, Settings
from portsyncd.services.inbox import Inbox
from portsyncd.services.keeper import Keeper
from portsyncd.services.notifier import Notifier
from portsyncd.services.observer import Observer
from portsyncd.services.reader import Reader
from portsyncd.services.recorder import Observation, Recorder
from portsyncd.services.supervisor import Child, Run, Supervisor
from portsyncd.services.watches import Calendar, EventPath
from portsyncd.services.writer import Writer
from portsyncd.world import Machine, World

if TYPE_CHECKING:
    from portsyncd.web.credentials import Credentials
    from portsyncd.web.server import MetricsServer

log = logs.get_logger()

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_DRAIN_SECONDS = 1.0
# Certificates are read in far less; nobody reads them while the endpoint is closed.
_RELOAD_SECONDS = 2.0
_FINISH_SECONDS = 1.0
# What a first sync takes that has all it needs.
_FIRST_SYNC_SECONDS = 1.0
# The metrics app waits for the first sync, then imports much.
_WEB_START_SECONDS = 60.0
_SWITCH_SECONDS = 0.0002
# Why it stops, as the service manager hears it.
_TOLD = "told to"


class Daemon:
    """One daemon with its services, on a world."""

    def __init__(self, config: Config, world: World) -> None:
        prefixes = config.netlink.port_prefixes
        policy = Policy(
            prefixes=prefixes,
            existing_links=ExistingLinks(config.netlink.existing_links),
            warm_allowed=config.warm_restart.enabled,
            eoiu_timeout=config.warm_restart.eoiu_timeout_secs,
        )
        demands = Demands(config.performance.max_latency_us / 1e6, config.performance.min_success_rate)
        self.config = config
        self.world = world
        self.inbox = Inbox(config.performance.max_event_queue)
        self.reader = Reader(world.link_source, self.inbox, prefixes)
        self.writer = Writer(
            world.store,
            self.inbox,
            PortSync(policy),
            self.reader,
            old_links=world.old_links,
            backoff=Backoff(cap=world.retry_cap),
            jitter=world.random,
            fresh_id=world.fresh_id,
            set_log_level=_set_sonic_level,
        )
        self.book = FlapBook(self.writer.sync.take_flaps)
        self.keeper = self._make_keeper()
        self.recorder = None if world.history is None else self._make_recorder(world.history)
        self.web = None if world.credentials is None else self._make_web(world.credentials)
        healing = _healing_settings(config)
        self.guardian = self._make_guardian(healing)
        self.notifier = self._make_notifier(world.manager) if world.manager and world.manager.listens else None
        self.supervisor = Supervisor(
            list(self._children()),
            RestartPolicy(),
            exit_to_restart=config.daemon.exit_to_restart,
            random=world.random,
        )
        self.observer = Observer(
            self.reader,
            self.writer,
            self.supervisor,
            self.inbox,
            keeper=self.keeper.statistics,
            recorder=None if self.recorder is None else self.recorder.statistics,
            web=None if self.web is None else self.web.statistics,
            guardian=self.guardian.statistics,
            reconcile_interval=healing.reconcile_interval if healing.heals(Kind.RECONCILE) else None,
            thresholds=Thresholds(
                max_stall_seconds=config.health.max_stall_seconds,
                max_failure_rate=config.health.max_failure_rate_percent,
                min_port_sync_rate=config.health.min_port_sync_rate,
                demands=demands,
            ),
            version=__version__,
            wall=world.unix,
            memory=world.resident_bytes,
        )
        # Why it ends by itself, and what waits for somebody to end it.
        self._reason: PortsyncdError | None = None
        self._told_to_stop = False
        self._listening = trio.CancelScope()

    def _children(self) -> Iterator[Child]:
        """In the order of their start."""
        if self.notifier is not None:
            yield Child("notifier", self.notifier.run, essential=False)
        yield Child("writer", self.writer.run, essential=True)
        yield Child("reader", self.reader.run, essential=True)
        yield Child("keeper", self.keeper.run, essential=False)
        yield Child("observer", self._observe, essential=False)
        if self.recorder is not None:
            yield Child("recorder", self._after_first_sync(self.recorder.run), essential=False, start_deadline=inf)
        yield Child("guardian", self.guardian.run, essential=False)
        if self.web is not None:
            yield Child("metrics", self.web.run, essential=False, start_deadline=_WEB_START_SECONDS)

    async def _observe(self, *, task_status: trio.TaskStatus[None]) -> None:
        # It observes the supervisor too, which has to know it first.
        await self.observer.run(task_status=task_status)

    def _make_keeper(self) -> Keeper:
        warm = self.config.warm_restart
        return Keeper(
            self.writer,
            self.reader,
            self.book,
            state=self.world.state,
            counters=self.world.counters,
            state_interval=warm.save_interval_secs,
            counters_interval=self.config.metrics.save_interval_secs,
            max_age=warm.max_age_secs,
            calendar=Calendar(trio.current_time, self.world.unix),
        )

    def _make_recorder(self, history: HistoryStore) -> Recorder:
        metrics = self.config.metrics
        return Recorder(
            history,
            self.book,
            self._observation,
            export=self.world.export(self._make_exported, self._document),
            count_damage=self.keeper.count_damage,
            sample_interval=metrics.sample_interval_secs,
            save_interval=metrics.save_interval_secs,
            retention_seconds=metrics.retention_days * 86400,
            wall=self.world.unix,
            started_at=trio.current_time(),
            compute=self._analyze,
        )

    def _make_guardian(self, settings: Settings) -> Guardian:
        world, recorder, web = self.world, self.recorder, self.web
        return Guardian(
            self.reader,
            self.writer,
            self.inbox,
            self._cancel_child,
            settings=settings,
            resident=world.resident_bytes,
            wall=world.unix,
            trim=(*(() if recorder is None else (recorder.drop_waiting,)), fields.cache_clear, world.release_memory),
            leave=self.leave if self.config.daemon.exit_to_restart else None,
            disks=world.disks,
            recorder=recorder,
            expiries=None if web is None else lambda: web.statistics().certificate_expiries,
            reload=None if web is None else web.credentials.request_reload,
            loop_watch=world.loop_watch(settings.max_stall),
        )

    def _make_notifier(self, manager: ServiceManager) -> Notifier:
        path, reader, writer, inbox = EventPath(), self.reader, self.writer, self.inbox

        def stood() -> float:
            now, synced = trio.current_time(), writer.first_sync.is_set()
            found = path.stood(now, reader.statistics(), writer.statistics(), inbox.statistics(), synced=synced)
            return max(found.stalled, found.unread)

        return Notifier(
            manager,
            feed_every=_feed_every(self.config),
            max_stall=self.config.health.max_stall_seconds,
            ready=writer.first_sync,
            stood=stood,
            line=self._status_line,
        )

    def _status_line(self) -> str:
        # It observes the notifier too, which has to be there first.
        return self.observer.status_line()

    def _cancel_child(self, name: str, why: str) -> bool:
        # It is one of its children that asks.
        return self.supervisor.cancel_child(name, why)

    async def _analyze(self, history: History, now: float) -> Analysis:
        return await self.world.compute(analyze, history, now)

    def _make_exported(self) -> Metrics:
        return Metrics(self.observer.facts, version=__version__, process=False)

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
            lambda: _View(self.observer, process=self.world.own_process),
            Listen.parse(metrics.listen),
            credentials,
            self.world.web_host(),
            allowed_sans=metrics.client_allowed_sans,
            after=self.writer.first_sync.wait,
        )

    # ---- from start to end

    async def serve(self, signals: AsyncIterator[int], reload: Callable[[], Config]) -> None:
        """Run until one of the signals, or ``leave``, ends it. Raises what ended it, if that is an error."""
        await self.keeper.restore()
        try:
            await self._serve(signals, reload)
        except BaseExceptionGroup as group:
            # A cancellation may be in it beside the errors, and alone is nothing to tell.
            errors = group.subgroup(Exception)
            if errors is not None:
                self._tell_of_the_end(str(_first(errors)))
            raise
        if self._reason is not None:
            raise self._reason
        log.info("stopped")

    async def _serve(self, signals: AsyncIterator[int], reload: Callable[[], Config]) -> None:
        async with trio.open_nursery() as nursery:
            heeded: dict[signal.Signals, Callable[[], object]] = {
                signal.SIGHUP: lambda: nursery.start_soon(self.reload, reload),
                signal.SIGUSR1: self.writer.release,
                signal.SIGUSR2: self.guardian.request_reconcile,
            }
            nursery.start_soon(self.supervisor.run)
            with self._listening:
                number = await _wait_for(_STOPPING, signals, heeded)
                self._told_to_stop = True
                log.info("stopping", signal=signal.Signals(number).name)
            self._tell_of_the_end(_TOLD if self._reason is None else str(self._reason))
            async with trio.open_nursery() as stopping:
                stopping.start_soon(self._hurry_on, signals, stopping.cancel_scope)
                await self.drain()
                await self.finish()
                stopping.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    def _tell_of_the_end(self, why: str) -> None:
        if self.notifier is not None:
            self.notifier.stop(why)

    async def reload(self, read: Callable[[], Config]) -> None:
        """Read the configuration and the certificates again, and wait within bounds until these are in force. read: the
        configuration."""
        with nullcontext() if self.notifier is None else self.notifier.reloading():
            over = None if self.web is None else self.web.credentials.request_reload()
            _read_again(read)
            if over is not None:
                with trio.move_on_after(_RELOAD_SECONDS):
                    await over.wait()

    def leave(self, reason: PortsyncdError) -> None:
        """End in good order, so that the service manager starts the daemon anew. Who is being stopped goes on stopping."""
        if self._told_to_stop:
            return
        log.error("the daemon ends", reason=str(reason))
        self._reason = reason
        self._listening.cancel()

    async def _hurry_on(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        """Leave at once when told to stop for the second time."""
        while True:
            await _wait_for(_STOPPING, signals, {})
            if self._told_to_stop:
                log.warning("told to stop twice: leaving at once")
                scope.cancel()
            self._told_to_stop = True

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


def _healing_settings(config: Config) -> Settings:
    healing = config.self_healing
    return Settings(
        enabled=healing.enabled,
        check_interval=healing.check_interval_secs,
        probe_timeout=healing.probe_timeout_secs,
        reconcile_interval=healing.reconcile_interval_secs,
        memory_limit=healing.memory_limit_mb << 20,
        memory_growth=healing.memory_growth_mb_per_hour * (1 << 20),
        max_stall=config.health.max_stall_seconds,
        kinds=frozenset(kind for kind in Kind if getattr(healing, f"heal_{kind.value}")),
    )


class _View:
    """What the metrics endpoint sees of the daemon."""

    def __init__(self, observer: Observer, *, process: bool) -> None:
        self._observer = observer
        self._metrics = Metrics(observer.facts, version=__version__, process=process)

    def scrape(self, *, openmetrics: bool) -> Iterator[str]:
        return self._metrics.render(openmetrics)

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        health = self._observer.health()
        return health.status is not Status.UNHEALTHY, self._observer.document(health)


async def serve(config: Config, reload: Callable[[], Config], manager: ServiceManager | None = None) -> None:
    """Run until told to stop; returns then. reload: reads the configuration anew, for SIGHUP. manager: of the service."""
    with trio.open_signal_receiver(*_STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2) as signals:
        log.info("portsyncd starts", version=__version__)
        if not config.daemon.enabled:
            await _idle(config, signals, reload, manager)
            return
        await Daemon(config, Machine(config, manager)).serve(signals, reload)


async def _idle(
    config: Config, signals: AsyncIterator[int], reload: Callable[[], Config], manager: ServiceManager | None
) -> None:
    """Do nothing until told to stop, as a service that is well."""
    log.warning("daemon.enabled is false: idle until told to stop")
    if manager is not None:
        give_up(manager)
    if manager is None or not manager.listens:
        await _wait_for(_STOPPING, signals, {signal.SIGHUP: lambda: _read_again(reload)})
        return
    ready = trio.Event()
    ready.set()
    notifier = Notifier(
        manager,
        feed_every=_feed_every(config),
        max_stall=inf,
        ready=ready,
        stood=lambda: 0.0,
        line=lambda: "idle: daemon.enabled is false",
    )

    def read() -> None:
        with notifier.reloading():
            _read_again(reload)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.run)
        await _wait_for(_STOPPING, signals, {signal.SIGHUP: read})
        notifier.stop(_TOLD)
        nursery.cancel_scope.cancel()


def _feed_every(config: Config) -> float | None:
    return config.health.watchdog_interval_secs if config.health.enable_watchdog else None


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


def _read_again(read: Callable[[], Config]) -> None:
    """What can change of the configuration at run time is the log's level; what is wrong changes nothing."""
    try:
        config = read()
    except ConfigError as problem:
        log.error("the configuration is wrong, the old one stays in force", problems=list(problem.problems))
        return
    except Exception as problem:  # A reload must not end what works, whatever it was.
        log.error("the configuration cannot be read, the old one stays in force", exc_info=problem)
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
