"""Which services a daemon has on a world, and what each of them is given of the others.

::

    supervisor
    ├── notifier  tells systemd how it stands with all of them, where there is a systemd
    ├── writer    owns the Redis connections
    ├── reader    owns the netlink sockets
    ├── keeper    saves what a restart has to know
    ├── recorder  writes the history
    ├── observer  looks at all of them, for metrics and health
    ├── guardian  looks after all of them, and heals what it can
    └── metrics   the endpoint for Prometheus; without it the port sync goes on
"""

from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import trio

from portsyncd import __version__, logs
from portsyncd.analytics.analysis import Analysis, analyze, document
from portsyncd.analytics.history import History
from portsyncd.backends.base import HistoryStore, ServiceManager
from portsyncd.config import Config
from portsyncd.errors import PortsyncdError
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
from portsyncd.world import World

if TYPE_CHECKING:
    from portsyncd.web.credentials import Credentials
    from portsyncd.web.server import MetricsServer


log = logs.get_logger()

# What a first sync takes that has all it needs.
_FIRST_SYNC_SECONDS = 1.0
# The metrics app waits for the first sync, then imports much.
_WEB_START_SECONDS = 60.0


class Services:
    """One set of them, for one daemon. leave: ends the process in good order, None where it may not end by itself."""

    def __init__(self, config: Config, world: World, leave: Callable[[PortsyncdError], object] | None) -> None:
        prefixes = config.netlink.port_prefixes
        policy = Policy(
            prefixes=prefixes,
            existing_links=ExistingLinks(config.netlink.existing_links),
            warm_allowed=config.warm_restart.enabled,
            eoiu_timeout=config.warm_restart.eoiu_timeout_secs,
        )
        demands = Demands(config.performance.max_latency_us / 1e6, config.performance.min_success_rate)
        self._config = config
        self._world = world
        self._leave = leave
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
        warm = self._config.warm_restart
        return Keeper(
            self.writer,
            self.reader,
            self.book,
            state=self._world.state,
            counters=self._world.counters,
            state_interval=warm.save_interval_secs,
            counters_interval=self._config.metrics.save_interval_secs,
            max_age=warm.max_age_secs,
            calendar=Calendar(trio.current_time, self._world.unix),
        )

    def _make_recorder(self, history: HistoryStore) -> Recorder:
        metrics = self._config.metrics
        return Recorder(
            history,
            self.book,
            self._observation,
            export=self._world.export(self._make_exported, self._document),
            count_damage=self.keeper.count_damage,
            sample_interval=metrics.sample_interval_secs,
            save_interval=metrics.save_interval_secs,
            retention_seconds=metrics.retention_days * 86400,
            wall=self._world.unix,
            started_at=trio.current_time(),
            compute=self._analyze,
        )

    def _make_guardian(self, settings: Settings) -> Guardian:
        world, recorder, web = self._world, self.recorder, self.web
        return Guardian(
            self.reader,
            self.writer,
            self.inbox,
            self._cancel_child,
            settings=settings,
            resident=world.resident_bytes,
            wall=world.unix,
            trim=(*(() if recorder is None else (recorder.drop_waiting,)), fields.cache_clear, world.release_memory),
            leave=self._leave,
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
            feed_every=feed_every(self._config),
            max_stall=self._config.health.max_stall_seconds,
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
        return await self._world.compute(analyze, history, now)

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

        metrics = self._config.metrics
        return MetricsServer(
            lambda: _View(self.observer, process=self._world.own_process),
            Listen.parse(metrics.listen),
            credentials,
            self._world.web_host(),
            allowed_sans=metrics.client_allowed_sans,
            after=self.writer.first_sync.wait,
        )


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


def feed_every(config: Config) -> float | None:
    """How often the service manager's watchdog is fed at least, in seconds; None: it is switched off."""
    return config.health.watchdog_interval_secs if config.health.enable_watchdog else None


def _set_sonic_level(text: str) -> None:
    level = logs.level_of_sonic(text)
    if level is None:
        log.warning("CONFIG_DB LOGGER|portsyncd has an unknown LOGLEVEL; it is ignored", value=text)
        return
    log.notice("log level set by CONFIG_DB", level=level)
    logs.set_level(level)
