"""Whether the daemon serves its purpose: what was observed goes in, a verdict with reasons comes out.

*Healthy*: the databases follow the kernel's links. *Degraded*: they do as far as is known, or will when Redis is back,
and something wants a look. *Unhealthy*: they do not, and waiting will not help. The rules are the functions of
``CHECKS``, one each; the worst of them decides. None depends on another, so that no fault can hide a second one.

What the rules have in common:

- An idle switch is healthy: where nothing happened, no rate and no latency is judged.
- A Redis that cannot be reached, or does not answer, degrades and no more, however long: the writer waits, and makes up
  for everything. So time that passed while it was away is part of no ``stalled``, ``behind`` or ``unsynced``.
- Rates need a sample: see ``MIN_EVENTS``, ``MIN_WRITES`` and ``MIN_LOSSES``. The share of ports needs none, since it
  counts all that there are; it has to last instead, and so has a high latency.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from portsyncd.model.memory import Level
from portsyncd.model.reconcile import Contested, Difference
from portsyncd.model.report import (
    NAMED_PORTS,
    RESTARTS_SECONDS,
    SLOW_SECONDS,
    HealedReport,
    Report,
    ServiceReport,
    Thresholds,
    Waiting,
)
from portsyncd.model.words import clause, cut, span

# So many recent writes make a rate, if failures came about in so many different seconds: one lost reply can concern
# 512 ports, and one is what any restart of Redis may cost.
MIN_WRITES: Final = 10
MIN_LOSSES: Final = 3
# orchagent makes the links of a big switch within a few minutes after PortConfigDone; later one is soon made anew.
AWAITED_SECONDS: Final = 300.0
AWAITED_AGAIN_SECONDS: Final = 60.0
PENDING_SECONDS: Final = 60.0
# A start that has all that it needs takes far less.
START_SECONDS: Final = 60.0
# The reader tries again after 1, 2, 4 ... 60 s: by then it has failed ten times.
UNCERTIFIED_SECONDS: Final = 300.0
SATURATION: Final = 0.8
RESTARTS: Final = 3
EXPIRY_SECONDS: Final = 14 * 86400.0
# Differences that are shown, and contested ports that a reason names.
SHOWN_DIFFERENCES: Final = 16
_SHOWN_NAMES: Final = 4


class Status(StrEnum):
    """A verdict, best first."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @property
    def score(self) -> float:
        """The value of ``portsyncd_health_status``."""
        return _SCORES[self]


_SCORES: Final = {Status.HEALTHY: 1.0, Status.DEGRADED: 0.5, Status.UNHEALTHY: 0.0}


@dataclass(frozen=True, slots=True)
class Check:
    """One rule's verdict. reason: a sentence for the operator, "" if healthy. details: the figures, fit for JSON."""

    status: Status
    reason: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict. checks: by name, in the order of ``CHECKS``. awaited_ports, pending_ports: see ``Report``."""

    status: Status
    checks: Mapping[str, Check]
    awaited_ports: Waiting
    pending_ports: Waiting

    def reasons(self, without: Collection[str] = ()) -> list[str]:
        """Why it is not healthy, worst first. without: checks that are left out."""
        ill = [
            check for name, check in self.checks.items() if check.status is not Status.HEALTHY and name not in without
        ]
        return [check.reason for check in sorted(ill, key=lambda check: check.status.score)]


def judge(report: Report, thresholds: Thresholds) -> Health:
    """Apply every rule; the worst verdict is the verdict."""
    checks = {name: check(report, thresholds) for name, check in CHECKS.items()}
    status = min((check.status for check in checks.values()), key=lambda each: each.score)
    return Health(status, checks, report.awaited, report.pending)


# ---- the rules

_Verdict = tuple[Status, str]
_FINE: Final[_Verdict] = (Status.HEALTHY, "")


def _degraded(reason: str) -> _Verdict:
    return Status.DEGRADED, reason


def _unhealthy(reason: str) -> _Verdict:
    return Status.UNHEALTHY, reason


def _redis(report: Report, _: Thresholds) -> Check:
    """Degraded while Redis cannot be used."""
    verdict = _FINE
    if not report.redis_connected:
        verdict = _degraded(
            f"Redis has been unusable for {span(report.redis_away)}: {clause(report.redis_problem)}. Port states wait, "
            "and will be written when it is back."
        )
    return Check(*verdict, {"connected": report.redis_connected, "away_seconds": round(report.redis_away, 1)})


def _netlink(report: Report, thresholds: Thresholds) -> Check:
    """Degraded while nobody listens to the kernel, unhealthy after ``max_stall_seconds``."""
    verdict = _FINE
    if not report.netlink_connected:
        too_long = report.netlink_away >= thresholds.max_stall_seconds
        verdict = (_unhealthy if too_long else _degraded)(
            f"Nobody has listened to the kernel's link events for {span(report.netlink_away)}: Redis does not follow them."
        )
    return Check(*verdict, {"connected": report.netlink_connected, "away_seconds": round(report.netlink_away, 1)})


def _sync(report: Report, _: Thresholds) -> Check:
    """Degraded until the first sync has ended, unhealthy where it does not end within ``START_SECONDS`` although it has
    all that it needs. Degraded when the databases could not be proven for ``UNCERTIFIED_SECONDS``."""
    verdict = _FINE
    if report.unsynced >= START_SECONDS:
        verdict = _unhealthy(
            f"The first sync has not ended in {span(report.unsynced)}, although Redis and the kernel answer."
        )
    elif not report.synced:
        verdict = _degraded("The first sync has not ended: Redis may still say what was true before this start.")
    elif report.uncertified >= UNCERTIFIED_SECONDS:
        verdict = _degraded(
            f"No full read of the kernel's links has been consistent for {span(report.uncertified)}, because links come "
            "and go all the time or events are lost. A port that went away meanwhile may still be in Redis."
        )
    age = report.certified_age
    details = {
        "first_sync_done": report.synced,
        "in_sync": report.in_sync,
        "certified_seconds_ago": None if age is None else round(age, 1),
        "uncertified_seconds": round(report.uncertified, 1),
    }
    return Check(*verdict, details)


def _stall(report: Report, thresholds: Thresholds) -> Check:
    """Unhealthy when what waits has not moved for ``max_stall_seconds`` although Redis answers, or nobody has read for
    so long what there is to be read from the kernel."""
    verdict = _FINE
    if report.stalled >= thresholds.max_stall_seconds:
        verdict = _unhealthy(
            f"Nothing has been written for {span(report.stalled)} although Redis answers; {report.waiting} changes wait."
        )
    elif report.unread >= thresholds.max_stall_seconds:
        verdict = _unhealthy(f"Nobody has read for {span(report.unread)} what there is to be read from the kernel.")
    details = {
        "waiting": report.waiting,
        "stalled_seconds": round(report.stalled, 1),
        "unread_seconds": round(report.unread, 1),
    }
    return Check(*verdict, details)


def _mailbox(report: Report, _: Thresholds) -> Check:
    """Degraded when the mailbox is filled to ``SATURATION``."""
    verdict = _FINE
    depth, bound = report.queue_depth, report.queue_bound
    if depth >= SATURATION * bound:
        verdict = _degraded(
            f"The mailbox holds {depth} of {bound} ports (performance.max_event_queue). What does not fit is read from "
            "the kernel again."
        )
    return Check(*verdict, {"depth": depth, "bound": bound})


def _latency(report: Report, thresholds: Thresholds) -> Check:
    """Degraded when for ``SLOW_SECONDS`` one recent event of a hundred has taken longer than ``max_latency_us``."""
    verdict = _FINE
    if report.slow >= SLOW_SECONDS:
        verdict = _degraded(
            f"One event of a hundred has taken longer than {1e6 * thresholds.demands.max_latency:,.0f} us "
            f"(performance.max_latency_us) to Redis for {span(report.slow)}; of {report.events} in the last minute, "
            f"{1e6 * report.latency:,.0f} us or more."
        )
    details = {
        "recent_events": report.events,
        "p99_us": round(1e6 * report.latency),
        "slow_seconds": round(report.slow, 1),
    }
    return Check(*verdict, details)


def _writes(report: Report, thresholds: Thresholds) -> Check:
    """Degraded when fewer recent port writes than ``min_success_rate`` were acknowledged, unhealthy when more than
    ``max_failure_rate_percent`` were not; needs ``MIN_WRITES`` and ``MIN_LOSSES``."""
    verdict = _FINE
    if report.writes >= MIN_WRITES and report.losses >= MIN_LOSSES:
        failed = 100.0 * report.failed_writes / report.writes
        said = f"{failed:.1f} % of {report.writes} recent port writes were refused by Redis or got no answer;"
        demanded = thresholds.demands.min_success_rate
        if failed > thresholds.max_failure_rate:
            verdict = _unhealthy(f"{said} health.max_failure_rate_percent is {thresholds.max_failure_rate:g}.")
        elif failed > 100.0 - demanded:
            verdict = _degraded(f"{said} performance.min_success_rate is {demanded:g}.")
    return Check(*verdict, {"recent_writes": report.writes, "recent_failures": report.failed_writes})


def _ports(report: Report, thresholds: Thresholds) -> Check:
    """Unhealthy when Redis has held fewer ports than ``min_port_sync_rate`` for ``max_stall_seconds``."""
    verdict = _FINE
    ports, held = report.ports, report.held
    if thresholds.is_short(ports, held) and report.behind >= thresholds.max_stall_seconds:
        verdict = _unhealthy(
            f"Redis holds {held} of {ports} ports as the kernel says, and has held too few for {span(report.behind)}; "
            f"health.min_port_sync_rate is {thresholds.min_port_sync_rate:g}."
        )
    return Check(*verdict, {"publishable": ports, "held": held, "behind_seconds": round(report.behind, 1)})


def _awaited(report: Report, _: Thresholds) -> Check:
    """Degraded when an expected port has had no link for ``AWAITED_SECONDS``, once PortInitDone is out for
    ``AWAITED_AGAIN_SECONDS``: that orchagent makes the links only after a while is how a switch starts."""
    patience = AWAITED_AGAIN_SECONDS if report.initialized else AWAITED_SECONDS
    follows = "" if report.initialized else " PortInitDone waits for them; SIGUSR1 releases it."
    return _waiting(report.awaited, patience, "Ports of CONFIG_DB without a link", follows)


def _pending(report: Report, _: Thresholds) -> Check:
    """Degraded when a link that is a port by its name has had no APPL_DB entry for ``PENDING_SECONDS``: orchagent does
    not know it, or does not get on. Ports of that kind that CONFIG_DB does not know count, too; VLAN sub-interfaces do
    not, since their place is another table."""
    return _waiting(report.pending, PENDING_SECONDS, "Links without an APPL_DB entry", "")


def _waiting(ports: Waiting, patience: float, what: str, follows: str) -> Check:
    first = ports.longest[0] if ports.longest else None
    verdict = _FINE
    if first is not None and first.seconds >= patience:
        verdict = _degraded(
            f"{what}: {ports.total}, {first.name} for {span(first.seconds)} ({clause(first.reason)}).{follows}"
        )
    return Check(*verdict, {"ports": ports.total, "longest_seconds": round(first.seconds, 1) if first else 0.0})


def _services(report: Report, thresholds: Thresholds) -> Check:
    """Unhealthy when an essential service is beyond its restart budget, or has been down for ``max_stall_seconds``;
    degraded when any is down after a failure, takes ``START_SECONDS`` to start, or was restarted ``RESTARTS`` times
    within ``RESTARTS_SECONDS``."""
    verdicts = [_service(service, thresholds.max_stall_seconds) for service in report.services]
    ill = sorted((verdict for verdict in verdicts if verdict != _FINE), key=lambda verdict: verdict[0].score)
    status = ill[0][0] if ill else Status.HEALTHY
    details = {
        service.name: {
            "running": service.running,
            "essential": service.essential,
            "recent_restarts": service.restarts,
            "last_failure": service.last_failure or None,
        }
        for service in report.services
    }
    return Check(status, " ".join(reason for _, reason in ill), details)


def _service(service: ServiceReport, max_stall: float) -> _Verdict:
    name, essential = f"Service {service.name}", service.essential
    because = f" Last failure: {clause(service.last_failure)}." if service.last_failure else ""
    follows = because if essential else f"{because} The port sync goes on without it."
    worst = _unhealthy if essential else _degraded
    if service.spent:
        return worst(f"{name} fails again and again, beyond its restart budget.{follows}")
    if not service.running:
        if essential and service.down >= max_stall:
            return worst(f"{name} has been down for {span(service.down)}.{follows}")
        if essential or service.last_failure or service.down >= START_SECONDS:
            return _degraded(f"{name} has not been running for {span(service.down)}.{follows}")
    if service.restarts >= RESTARTS:
        return _degraded(f"{name} was restarted {service.restarts} times within {span(RESTARTS_SECONDS)}.{because}")
    return _FINE


def _endpoint(report: Report, thresholds: Thresholds) -> Check:
    """Degraded when the metrics endpoint has been closed for ``max_stall_seconds``."""
    endpoint = report.endpoint
    if endpoint is None:
        return Check(*_FINE, {"enabled": False})
    verdict = _FINE
    if endpoint.address is None and endpoint.closed >= thresholds.max_stall_seconds:
        verdict = _degraded(
            f"The metrics endpoint has been closed for {span(endpoint.closed)}: {clause(endpoint.problem)}."
        )
    return Check(*verdict, {"enabled": True, "address": endpoint.address, "problem": endpoint.problem or None})


# By role; of several CAs one that is valid will do.
_CERTIFICATES: Final = {
    "server": "The server certificate of the metrics endpoint",
    "ca": "The CA of the metrics endpoint (of several the last)",
}


def _certificates(report: Report, _: Thresholds) -> Check:
    """Degraded from ``EXPIRY_SECONDS`` before the metrics endpoint's certificate, or the last of its CAs, expires."""
    expires_in = {} if report.endpoint is None else report.endpoint.expires_in
    said = []
    for role, seconds in expires_in.items():
        which = _CERTIFICATES.get(role, role)
        if seconds <= 0:
            said.append(f"{which} expired {span(-seconds)} ago: replace it.")
        elif seconds < EXPIRY_SECONDS:
            said.append(f"{which} expires in {span(seconds)}: replace it.")
    status = Status.DEGRADED if said else Status.HEALTHY
    return Check(
        status, " ".join(said), {f"{role}_expires_in_seconds": round(left) for role, left in expires_in.items()}
    )


# What follows when it cannot be written.
_STORED: Final = {
    "port_state": "The state of the ports cannot be saved: {}. The port sync goes on; the next start will know an older "
    "state, or none.",
    "history": "The history cannot be written: {}. The port sync goes on; analytics lack what happens meanwhile.",
}


def _storage(report: Report, _: Thresholds) -> Check:
    """Degraded while something that is kept cannot be written, or the history is held back because a disk is nearly full."""
    low_disk = report.guard.low_disk
    # Who is held back says so, too.
    said = [
        _STORED[what].format(clause(problem))
        for what, problem in report.storage.items()
        if problem and problem != low_disk
    ]
    if low_disk:
        said.append(
            f"The history is held back, so that what a restart needs can be saved: {clause(low_disk)}. The port sync goes on."
        )
    status = Status.DEGRADED if said else Status.HEALTHY
    details: dict[str, Any] = {what: problem or None for what, problem in report.storage.items()}
    details["low_disk"] = low_disk or None
    details["free_bytes"] = dict(report.guard.free_bytes)
    return Check(status, " ".join(said), details)


def _reconciliation(report: Report, _: Thresholds) -> Check:
    """Degraded while entries in Redis come back wrong again and again: somebody else writes them, and means something else."""
    result, now = report.reconciliation, report.now
    verdict = _FINE
    contested = result.contested
    if contested:
        names = "; ".join(
            f"{cut(each.port)} ({each.kind.value}, {each.times} times in {span(now - each.since)})"
            for each in contested[:_SHOWN_NAMES]
        )
        more = f"; and {len(contested) - _SHOWN_NAMES} more" if len(contested) > _SHOWN_NAMES else ""
        verdict = _degraded(
            f"Entries in Redis come back wrong again and again: {names}{more}. Somebody else writes them; each is left as it "
            "is until the kernel has news of the port, or an hour has passed."
        )
    details = {
        "runs": result.runs,
        "running": result.running,
        "last_run_seconds_ago": None if result.finished_at is None else round(now - result.finished_at, 1),
        "differences": {kind.value: count for kind, count in result.counts.items()},
        "recent": [_difference(each, now) for each in result.recent[: -SHOWN_DIFFERENCES - 1 : -1]],
        "contested": [_contested(each, now) for each in contested[:NAMED_PORTS]],
        "contested_total": len(contested),
        "unpublished": list(map(cut, result.unpublished[:NAMED_PORTS])),
        "unpublished_total": result.unpublished_total,
    }
    return Check(*verdict, details)


def _difference(difference: Difference, now: float) -> dict[str, Any]:
    return {
        "port": cut(difference.port),
        "kind": difference.kind.value,
        # Redis may hold anything.
        "held": None if difference.held is None else list(map(cut, difference.held)),
        "wanted": None if difference.wanted is None else list(difference.wanted),
        "cause": cut(difference.cause),
        "seconds_ago": round(now - difference.at, 1),
    }


def _contested(contested: Contested, now: float) -> dict[str, Any]:
    return {
        "port": cut(contested.port),
        "kind": contested.kind.value,
        "times": contested.times,
        "for_seconds": round(now - contested.since, 1),
    }


def _memory(report: Report, _: Thresholds) -> Check:
    """Degraded where memory is too much or grows too fast, and giving it back has not helped or is switched off."""
    memory = report.guard.memory
    verdict = _FINE
    if memory.level in (Level.HIGH, Level.LEAVE):
        follows = " The process ends, to be started anew." if memory.level is Level.LEAVE else ""
        verdict = _degraded(f"Memory is too much, and stays so: {clause(memory.reason)}.{follows}")
    details = {
        "level": memory.level.value,
        "resident_bytes": memory.resident,
        "limit_bytes": memory.limit,
        "growth_bytes_per_hour": None if memory.growth is None else round(memory.growth),
        "growth_limit_bytes_per_hour": round(memory.growth_limit),
    }
    return Check(*verdict, details)


def _healing(report: Report, _: Thresholds) -> Check:
    """Never ill: what was healed is well. What could not be is another check's matter."""
    guard = report.guard
    details = {
        "kinds": {kind: _healed(healed) for kind, healed in guard.healed.items()},
        "clock_steps": guard.clock_steps,
        "last_clock_step_seconds": round(guard.last_clock_step, 3),
        "loop_blocks": guard.blocks,
        "longest_loop_block_seconds": round(guard.longest_block, 3),
    }
    return Check(*_FINE, details)


def _healed(healed: HealedReport) -> dict[str, Any]:
    return {"count": healed.times, "last": healed.last, "what": cut(healed.what) or None}


# By name, in the order of /health.
CHECKS: Final[Mapping[str, Callable[[Report, Thresholds], Check]]] = MappingProxyType(
    {
        "redis": _redis,
        "netlink": _netlink,
        "sync": _sync,
        "stall": _stall,
        "mailbox": _mailbox,
        "latency": _latency,
        "writes": _writes,
        "port_sync": _ports,
        "awaited_ports": _awaited,
        "pending_ports": _pending,
        "services": _services,
        "metrics_endpoint": _endpoint,
        "certificates": _certificates,
        "storage": _storage,
        "reconciliation": _reconciliation,
        "memory": _memory,
        "healing": _healing,
    }
)
