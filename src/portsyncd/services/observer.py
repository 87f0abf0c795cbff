"""Looks at all services, and says what there is to be said of them: facts for the metrics, a verdict for /health.

Both come from the same look and the same judge, so that they always agree. ``run`` looks once a second, whether anybody
asks or not: how long something has lasted is known even if the last question was an hour ago.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import trio

from portsyncd.analytics.history import Outcome
from portsyncd.logs import get_logger
from portsyncd.metrics import Facts, HealingFacts, WebFacts
from portsyncd.model.health import Health, Status, judge
from portsyncd.model.performance import quantile
from portsyncd.model.reconcile import Reconciliation
from portsyncd.model.report import (
    NAMED_PORTS,
    RECENT_SECONDS,
    RESTARTS_SECONDS,
    SLOW_SECONDS,
    EndpointReport,
    GuardReport,
    HealedReport,
    Report,
    ServiceReport,
    Thresholds,
    Waiting,
    WaitingPort,
    count_held,
)
from portsyncd.model.rounds import next_round
from portsyncd.model.service_state import status_line
from portsyncd.model.warm import Phase
from portsyncd.services import health_document
from portsyncd.services.guardian import GuardianStatistics
from portsyncd.services.inbox import Inbox, InboxStatistics
from portsyncd.services.keeper import KeeperStatistics
from portsyncd.services.reader import RECONCILE, Reader, ReaderStatistics
from portsyncd.services.recorder import Observation, RecorderStatistics
from portsyncd.services.supervisor import ChildState, ChildStatistics, SupervisorStatistics
from portsyncd.services.watches import Calendar, EventPath, Growth, Stretch
from portsyncd.services.writer import Writer, WriterStatistics

log = get_logger()

LOOK_SECONDS = 1.0
_RECENT_LOOK_SECONDS = 3.0
# One look comes a little later than the other.
_LOSS_SECONDS = 0.9
# How the initial sync ended, once it has.
_OUTCOMES = {Phase.COMPLETE: Outcome.EOIU, Phase.TIMED_OUT: Outcome.TIMEOUT, Phase.FAILED: Outcome.FAILED}
_NO_ENTRY = "orchagent has not taken it: no APPL_DB entry"


class Children(Protocol):
    """The supervisor, as far as it is looked at."""

    def statistics(self) -> SupervisorStatistics:
        """A snapshot."""


class WebStatistics(Protocol):
    """The metrics server's statistics, as far as they are looked at; see there."""

    @property
    def listening(self) -> str | None:
        """Its address, None while it is closed."""

    @property
    def problem(self) -> str:
        """Why it is closed."""

    @property
    def handshake_failures(self) -> Mapping[str, int]:
        """By reason."""

    @property
    def reloads(self) -> Mapping[str, int]:
        """Of certificates, by result."""

    @property
    def certificate_expiries(self) -> Mapping[str, float]:
        """Unix seconds by role."""

    @property
    def tls_profile(self) -> str:
        """Its name."""


class _Look(NamedTuple):
    """All statistics of one moment. recorder: None where no history is kept; web: None where the endpoint is not enabled."""

    now: float
    reader: ReaderStatistics
    writer: WriterStatistics
    inbox: InboxStatistics
    children: tuple[ChildStatistics, ...]
    keeper: KeeperStatistics
    recorder: RecorderStatistics | None
    web: WebStatistics | None
    guardian: GuardianStatistics
    reconciliation: Reconciliation

    def storage(self) -> dict[str, str]:
        """For what is kept on disk why it cannot be written, "" where it can."""
        recorded = {} if self.recorder is None else {"history": self.recorder.problem}
        return {"port_state": self.keeper.problem} | recorded


class Observer:
    """One for the life of the process.

    keeper: the keeper's statistics. recorder: the recorder's; None where no history is kept. web: the metrics server's;
    None where the endpoint is not enabled. guardian: the guardian's; None where self-healing is off. reconcile_interval:
    seconds; None where Redis is not compared by itself. clock: monotonic seconds, the services' own; wall: Unix
    seconds. memory: resident bytes.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        supervisor: Children,
        inbox: Inbox,
        *,
        keeper: Callable[[], KeeperStatistics],
        recorder: Callable[[], RecorderStatistics] | None,
        web: Callable[[], WebStatistics] | None,
        thresholds: Thresholds,
        version: str,
        guardian: Callable[[], GuardianStatistics] | None = None,
        reconcile_interval: float | None = None,
        clock: Callable[[], float] = trio.current_time,
        wall: Callable[[], float],
        memory: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._supervisor = supervisor
        self._inbox = inbox
        self._keeper = keeper
        self._recorder = recorder
        self._web = web
        self._thresholds = thresholds
        self._version = version
        # Nothing found and nothing done, where there is no guardian.
        self._guardian = guardian or GuardianStatistics
        self._reconcile_interval = reconcile_interval
        self._clock = clock
        self._memory = memory
        self._calendar = Calendar(clock, wall)
        self._status: Status | None = None
        # The worst score since the last observation.
        self._worst = Status.HEALTHY.score
        # A fault that stays while others come and go is told when it comes.
        self._verdicts: dict[str, Status] = {}
        now = self._born = self._since = clock()
        self._redis_away, self._netlink_away, self._unsynced = Stretch(), Stretch(), Stretch()
        self._path, self._uncertified, self._behind = EventPath(), Stretch(), Stretch()
        self._closed, self._slow = Stretch(), Stretch()
        # For how long events have been slow, and when they last were.
        self._slow_for, self._slow_at = 0.0, now
        self._down = {child.name: Stretch() for child in supervisor.statistics().children}
        self._restarts = Growth(RESTARTS_SECONDS, len(self._down), now)
        # Latencies, writes, failed writes, and seconds in which there were such.
        self._recent = Growth(RECENT_SECONDS, 4, now)
        self._losses, self._lost_seen, self._lost_at = 0, 0, -LOOK_SECONDS
        self._latest: tuple[Report, Health] | None = None
        # When the links were last proven complete, and how many full reads had been counted by then.
        self._certified: tuple[float | None, int] = (None, 0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look once a second until cancelled."""
        task_status.started()
        while True:
            self.health()
            await trio.sleep_until(next_round(trio.current_time(), LOOK_SECONDS))

    # ---- what others may ask

    def health(self) -> Health:
        """The verdict on this moment."""
        return self._look_and_judge()[1]

    def facts(self) -> Facts:
        """Everything that the metrics tell, of this moment."""
        look = self._look()
        status = self._judge(look)[1].status
        reader, writer, inbox, web = look.reader, look.writer, look.inbox, look.web
        return Facts(
            uptime=look.now - self._born,
            memory_bytes=self._memory(),
            health=status.value,
            redis_connected=self._redis(look)[0],
            netlink_connected=reader.listening,
            events_processed=writer.events_processed,
            events_failed=reader.failed + writer.events_failed,
            events_conflated=reader.folded + inbox.conflated,
            ports=writer.counts,
            port_counters=self._writer.sync.port_counters(),
            queue_depth=inbox.depth,
            queue_bound=inbox.bound,
            event_latency=writer.event_latency,
            redis_latency=writer.redis_latency,
            sync_duration=writer.sync_duration,
            overruns=reader.overruns,
            last_certified_sync=self._unix(writer.certified_sync_at),
            resyncs=reader.resyncs,
            restarts={child.name: child.restarts for child in look.children},
            chronicle=look.keeper.chronicle,
            set_aside=look.keeper.set_aside,
            storage={what: not problem for what, problem in look.storage().items()},
            analysis=None if look.recorder is None else look.recorder.analysis,
            flap_penalties={} if look.recorder is None else look.recorder.penalties,
            web=WebFacts()
            if web is None
            else WebFacts(web.handshake_failures, web.reloads, web.certificate_expiries, web.tls_profile),
            healing=self._healing_facts(look),
        )

    def _healing_facts(self, look: _Look) -> HealingFacts:
        guardian, reconciliation = look.guardian, look.reconciliation
        by_kind = guardian.healings.by_kind
        return HealingFacts(
            counts={kind.value: healed.count for kind, healed in by_kind.items()},
            last={
                kind.value: self._calendar.unix(healed.at) for kind, healed in by_kind.items() if healed.at is not None
            },
            differences={kind.value: count for kind, count in reconciliation.counts.items()},
            contested_ports=len(reconciliation.contested),
            clock_steps=guardian.clock_steps,
            loop_blocks=guardian.blocks,
            memory_limit=guardian.memory.limit or None,
            reconcile_interval=self._reconcile_interval,
        )

    def observation(self) -> Observation:
        """What the history gets of this moment, and the worst health since the last call: for one recorder."""
        look = self._look()
        status = self._judge(look)[1].status
        worst, self._worst = self._worst, status.score
        reader, writer, keeper = look.reader, look.writer, look.keeper
        return Observation(
            health=worst,
            healthy=status is Status.HEALTHY,
            events=writer.events_processed,
            # One that is due at intervals is nothing to be looked into.
            resyncs=sum(count for reason, count in reader.resyncs.items() if reason != RECONCILE),
            event_latency=writer.event_latency,
            memory_bytes=self._memory(),
            queue_depth=look.inbox.depth,
            warm=writer.warm_start,
            outcome=_OUTCOMES.get(writer.phase, Outcome.OPEN),
            restored=keeper.restored,
            damaged=keeper.damaged,
            ports=reader.ports,
            differences=writer.differences,
            sync_seconds=_between(writer.began_at, writer.ended_at),
            eoiu_seconds=_between(writer.began_at, writer.eoiu_at),
        )

    def status_line(self) -> str:
        """The present state in one line, for the service manager: that of the last look, where it is recent."""
        report, health = self._latest or self._look_and_judge()
        if report.synced != self._writer.first_sync.is_set() or self._clock() - report.now > _RECENT_LOOK_SECONDS:
            report, health = self._look_and_judge()
        return status_line(report, health)

    def document(self, health: Health) -> dict[str, Any]:
        """What /health answers, fit for JSON."""
        analysis = None if self._recorder is None else self._recorder().analysis
        return health_document.document(health, self._calendar.unix(self._since), self._version, analysis)

    # ---- one look

    def _unix(self, moment: float | None) -> float | None:
        return None if moment is None else self._calendar.unix(moment)

    def _look(self) -> _Look:
        self._calendar.follow()
        return _Look(
            self._clock(),
            self._reader.statistics(),
            self._writer.statistics(),
            self._inbox.statistics(),
            self._supervisor.statistics().children,
            self._keeper(),
            None if self._recorder is None else self._recorder(),
            None if self._web is None else self._web(),
            self._guardian(),
            self._writer.reconciliation,
        )

    def _look_and_judge(self) -> tuple[Report, Health]:
        return self._judge(self._look())

    def _judge(self, look: _Look) -> tuple[Report, Health]:
        report = self._report(look)
        health = judge(report, self._thresholds)
        self._latest = report, health
        verdicts = {name: check.status for name, check in health.checks.items()}
        if verdicts != self._verdicts and self._status is not None:
            say = log.info if health.status is Status.HEALTHY else log.warning
            say("health changed", status=health.status.value, before=self._status.value, reasons=health.reasons())
        self._verdicts = verdicts
        self._worst = min(self._worst, health.status.score)
        if health.status is not self._status:
            self._status, self._since = health.status, look.now
        return report, health

    def _report(self, look: _Look) -> Report:
        now, reader, writer, inbox = look.now, look.reader, look.writer, look.inbox
        synced = self._writer.first_sync.is_set()
        ports, held = self._count_ports(look)
        connected, problem = self._redis(look)
        too_few = connected and synced and self._thresholds.is_short(ports, held)
        stood = self._path.stood(now, reader, writer, inbox, synced=synced)
        latencies, writes, failed, losses = self._count_recent(look)
        latency = quantile(writer.latencies[-latencies:], 0.99) if latencies else 0.0
        awaited, pending = self._name_waiting(look)
        return Report(
            redis_connected=connected,
            redis_problem=problem,
            redis_away=self._redis_away.seconds(now, not connected),
            netlink_connected=reader.listening,
            netlink_away=self._netlink_away.seconds(now, not reader.listening),
            synced=synced,
            unsynced=self._unsynced.seconds(now, connected and reader.listening and not synced),
            in_sync=writer.in_sync,
            certified_age=None if writer.certified_sync_at is None else now - writer.certified_sync_at,
            uncertified=self._uncertified.seconds(now, self._is_uncertified(reader)),
            waiting=stood.waiting,
            stalled=stood.stalled,
            unread=stood.unread,
            queue_depth=inbox.depth,
            queue_bound=inbox.bound,
            events=latencies,
            latency=latency,
            slow=self._slow_seconds(now, slow=self._thresholds.is_slow(latencies, latency)),
            writes=writes,
            failed_writes=failed,
            losses=losses,
            ports=ports,
            held=held,
            behind=self._behind.seconds(now, too_few),
            initialized=writer.initialized,
            awaited=awaited,
            pending=pending,
            services=self._report_services(look),
            endpoint=self._report_endpoint(look),
            storage=look.storage(),
            now=now,
            reconciliation=look.reconciliation,
            guard=self._report_guard(look.guardian),
        )

    def _redis(self, look: _Look) -> tuple[bool, str]:
        """Whether it can be used, and why not. One that leaves a request unanswered for as long as a standstill may last is as
        good as away, though the writer still waits for it."""
        writer, since = look.writer, look.writer.waiting_since
        if writer.connected and since is not None and look.now - since >= self._thresholds.max_stall_seconds:
            return False, f"it has not answered for {look.now - since:.0f} s"
        return writer.connected, writer.problem

    def _count_ports(self, look: _Look) -> tuple[int, int]:
        """Publishable ports, and those that Redis holds."""
        counts = look.writer.counts
        if look.writer.in_sync:
            publishable = counts["up"] + counts["down"] - counts["pending"]
            return publishable, publishable
        sync = self._writer.sync
        return count_held(sync.ports, sync.pending, look.now)

    def _count_recent(self, look: _Look) -> list[int]:
        """Recent latencies, port writes, those of them that failed, and in how many different seconds some did."""
        writer = look.writer
        if writer.lost_writes > self._lost_seen and look.now - self._lost_at >= _LOSS_SECONDS:
            self._losses += 1
            self._lost_seen, self._lost_at = writer.lost_writes, look.now
        lost = writer.lost_writes
        counters = (sum(writer.event_latency.counts), writer.writes + lost, lost, self._losses)
        return self._recent.within(look.now, counters)

    def _slow_seconds(self, now: float, *, slow: bool) -> float:
        """For how long events have been slow. Once that is a fault, a look that finds them just below the limit, or few,
        does not end it: it would come and go."""
        if slow:
            self._slow_at = now
        stays = self._slow_for >= SLOW_SECONDS and now - self._slow_at < RECENT_SECONDS
        self._slow_for = self._slow.seconds(now, slow or stays)
        return self._slow_for

    def _is_uncertified(self, reader: ReaderStatistics) -> bool:
        """Whether the last full read was not proven complete, or one is under way."""
        reads = sum(reader.resyncs.values())
        if reader.certified_at != self._certified[0]:
            self._certified = (reader.certified_at, reads)
        return reader.resyncing or reads > self._certified[1]

    def _name_waiting(self, look: _Look) -> tuple[Waiting, Waiting]:
        """The expected ports without a link, and the links without an APPL_DB entry. While Redis is away, PortSync waits for
        more: also for ports that have only to be written again."""
        sync, now, counts = self._writer.sync, look.now, look.writer.counts
        awaited = [WaitingPort(port.name, port.reason, now - port.since) for port in sync.longest_awaited(NAMED_PORTS)]
        pending = [WaitingPort(name, _NO_ENTRY, now - since) for name, since in sync.longest_pending(NAMED_PORTS)]
        return Waiting(awaited, counts["awaited"]), Waiting(pending, counts["pending"])

    def _report_services(self, look: _Look) -> list[ServiceReport]:
        restarts = self._restarts.within(look.now, [child.restarts for child in look.children])
        return [
            ServiceReport(
                name=child.name,
                essential=child.essential,
                running=child.state is ChildState.RUNNING,
                down=self._down[child.name].seconds(look.now, child.state is not ChildState.RUNNING),
                spent=child.unhealthy,
                restarts=recent,
                last_failure=child.last_failure or "",
            )
            for child, recent in zip(look.children, restarts, strict=True)
        ]

    def _report_guard(self, guardian: GuardianStatistics) -> GuardReport:
        return GuardReport(
            healed={
                kind.value: HealedReport(
                    healed.count,
                    None if healed.at is None else health_document.timestamp(self._calendar.unix(healed.at)),
                    healed.what,
                )
                for kind, healed in guardian.healings.by_kind.items()
            },
            memory=guardian.memory,
            free_bytes=guardian.free_bytes,
            low_disk=guardian.low_disk,
            clock_steps=guardian.clock_steps,
            last_clock_step=guardian.last_clock_step,
            blocks=guardian.blocks,
            longest_block=guardian.longest_block,
        )

    def _report_endpoint(self, look: _Look) -> EndpointReport | None:
        web = look.web
        if web is None:
            return None
        today = self._calendar.unix(look.now)
        return EndpointReport(
            address=web.listening,
            problem=web.problem,
            closed=self._closed.seconds(look.now, web.listening is None),
            expires_in={role: expiry - today for role, expiry in web.certificate_expiries.items()},
        )


def _between(earlier: float | None, later: float | None) -> float | None:
    return None if earlier is None or later is None else later - earlier
