"""What the service manager hears of the daemon: which fields of sd_notify(3) are due, and its state in one line.

- READY=1 after the first sync, and not before. Until then EXTEND_TIMEOUT_USEC asks for more time, again and again, since
  the first sync may rightly wait for Redis.
- WATCHDOG=1 and EXTEND_TIMEOUT_USEC only while events move or there are none: who stands still is to be started anew.
  The first WATCHDOG=1 arms the watchdog, also before READY=1.
- STATUS is sent where it has changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from portsyncd.model.health import Health
from portsyncd.model.report import Report, Waiting
from portsyncd.model.words import clause, cut, span

# How much more time is asked for, and how often.
EXTENSION_SECONDS: Final = 30.0
EXTEND_EVERY_SECONDS: Final = 10.0
_NAMES: Final = 4
# One message to systemd holds 4,096 bytes.
_CHARACTERS: Final = 1000
# What the line has told already when it comes to the reasons.
_TOLD_CHECKS: Final = frozenset({"awaited_ports", "pending_ports"})
_TOLD_AT_START: Final = _TOLD_CHECKS | {"sync", "redis", "netlink"}

Fields = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Terms:
    """feed_every: seconds from one WATCHDOG=1 to the next, at most; None: the manager is to do without its watchdog.
    look_every: seconds from one decision to the next. max_stall: seconds that events may not move for."""

    feed_every: float | None
    look_every: float
    max_stall: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The daemon at one moment. synced: its first sync is over. stood: for how many seconds events have not moved. line: see
    ``status_line``."""

    synced: bool
    stood: float
    line: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the manager knows. unwatched: that it is to do without its watchdog. Moments are monotonic seconds."""

    ready: bool = False
    unwatched: bool = False
    line: str = ""
    fed_at: float = -inf
    extended_at: float = -inf


def due(terms: Terms, told: Told, seen: Seen, now: float) -> tuple[Fields, Told]:
    """The fields of one message, none where there is nothing to say; and what the manager knows once it has them."""
    fields: dict[str, str | int] = {}
    moves = seen.stood < terms.max_stall
    if seen.synced and not told.ready:
        fields["READY"] = 1
        told = replace(told, ready=True)
    if not told.ready and moves and now - told.extended_at >= EXTEND_EVERY_SECONDS:
        fields["EXTEND_TIMEOUT_USEC"] = round(EXTENSION_SECONDS * 1e6)
        told = replace(told, extended_at=now)
    if terms.feed_every is None and not told.unwatched:
        fields["WATCHDOG_USEC"] = 0
        told = replace(told, unwatched=True)
    # The next look would be too late.
    if terms.feed_every is not None and moves and now + terms.look_every > told.fed_at + terms.feed_every:
        fields["WATCHDOG"] = 1
        told = replace(told, fed_at=now)
    if seen.line != told.line:
        fields["STATUS"] = seen.line
        told = replace(told, line=seen.line)
    return fields, told


def status_line(report: Report, health: Health) -> str:
    """The state of the ports, and what is wrong: "128 ports in sync, 2 awaited: Ethernet8 for 40 s, Ethernet12 for 20 s"."""
    line = _ports(report) if report.synced else _first_sync(report)
    line += _waiting("awaited", report.awaited) + _waiting("without an APPL_DB entry", report.pending)
    reasons = health.reasons(_TOLD_CHECKS if report.synced else _TOLD_AT_START)
    if reasons:
        line += f"; {health.status.value}: {' '.join(reasons)}"
    return cut(line, _CHARACTERS)


def _first_sync(report: Report) -> str:
    if not report.redis_connected:
        return f"first sync: waiting for Redis for {span(report.redis_away)}: {clause(report.redis_problem)}"
    if not report.netlink_connected:
        return f"first sync: waiting for the kernel for {span(report.netlink_away)}"
    return f"first sync: Redis holds {report.held} of {report.ports} ports"


def _ports(report: Report) -> str:
    ports = "1 port" if report.ports == 1 else f"{report.ports} ports"
    if not report.redis_connected:
        return ports
    return f"{report.held} of {ports} in sync" if report.held < report.ports else f"{ports} in sync"


def _waiting(what: str, waiting: Waiting) -> str:
    """Who waits longest, after a comma; "" where nobody does."""
    if not waiting.total:
        return ""
    shown = [f"{port.name} for {span(port.seconds)}" for port in waiting.longest[:_NAMES]]
    more = [f"{waiting.total - len(shown)} more"] if waiting.total > len(shown) else []
    return f", {waiting.total} {what}: {', '.join(shown + more)}"
