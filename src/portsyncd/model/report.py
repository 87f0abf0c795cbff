"""What was observed of the daemon, for ``model.health`` to judge: plain values, and what the operator demands of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from portsyncd.model.memory import MemoryStatistics
from portsyncd.model.performance import Demands
from portsyncd.model.port import Port
from portsyncd.model.ports import SUB_INTERFACE_SEPARATOR
from portsyncd.model.reconcile import Reconciliation

# Ports that are named; of the others the number is told.
NAMED_PORTS: Final = 64
# "Recent" is this many seconds for events and writes, and for restarts of a service.
RECENT_SECONDS: Final = 60.0
RESTARTS_SECONDS: Final = 300.0
# A port counts as held until Redis has lacked its state for so long: one that flaps all the time always lags a little.
LAG_SECONDS: Final = 1.0
# So many recent events make a 99th percentile.
MIN_EVENTS: Final = 100
# A high latency is a fault when every look of so many seconds has found it; one burst is found for RECENT_SECONDS, as
# long as it is recent, so that a boot is none. It is over when none of RECENT_SECONDS has.
SLOW_SECONDS: Final = 180.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the operator demands: ``[health]`` and, in ``demands``, ``[performance]``. Rates are percent."""

    max_stall_seconds: float = 10.0
    max_failure_rate: float = 5.0
    min_port_sync_rate: float = 90.0
    demands: Demands = field(default_factory=Demands)

    def is_short(self, ports: int, held: int) -> bool:
        """Whether Redis holds too few of these ports."""
        return 100.0 * held < self.min_port_sync_rate * ports

    def is_slow(self, events: int, latency: float) -> bool:
        """Whether so many recent events are enough to judge, and ``latency`` (see ``Report``) is above the limit."""
        return events >= MIN_EVENTS and latency > self.demands.max_latency


class WaitingPort(NamedTuple):
    """A port that is not in Redis, why, and for how many seconds."""

    name: str
    reason: str
    seconds: float


class Waiting(NamedTuple):
    """Ports that wait. longest: at most ``NAMED_PORTS`` of them, who waits longest comes first; total: how many there are."""

    longest: Sequence[WaitingPort] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """One of the supervisor's children.

    essential: without it there is no port sync. down: seconds that it has not been running, 0 while it is. spent: it
    failed beyond its restart budget. restarts: recent ones. last_failure: "" if it never failed.
    """

    name: str
    essential: bool
    running: bool = True
    down: float = 0.0
    spent: bool = False
    restarts: int = 0
    last_failure: str = ""


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """The metrics endpoint. address: where it listens, None while it is closed; problem: why; closed: for how long, in
    seconds. expires_in: seconds that the certificate of each role is still valid for; negative after that."""

    address: str | None
    problem: str = ""
    closed: float = 0.0
    expires_in: Mapping[str, float] = field(default_factory=dict)


class HealedReport(NamedTuple):
    """A kind of healing: how many times it was done, when last (UTC, as a text; None: never), and what was done then."""

    times: int
    last: str | None
    what: str


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What the guardian found and did. healed: by kind; the others are those of ``services.guardian.GuardianStatistics``."""

    healed: Mapping[str, HealedReport] = field(default_factory=dict)
    memory: MemoryStatistics = field(default_factory=MemoryStatistics)
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    low_disk: str = ""
    clock_steps: int = 0
    last_clock_step: float = 0.0
    blocks: int = 0
    longest_block: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """One look. The defaults are those of an idle switch. All times are seconds that something has lasted.

    redis_connected, redis_problem, redis_away: whether Redis is usable, why not, for how long. netlink_connected,
    netlink_away: whether the kernel's events are heard.

    synced: the first sync of this process has ended. unsynced: how long it has not, although Redis and kernel answered.
    in_sync: no port owes Redis a write. certified_age: since the databases were last proven equal to the kernel, None
    before; a long one is no fault, as every event since then was heard. uncertified: how long there has been reason to
    prove it again, and no full read succeeded.

    waiting: changes that wait, in the mailbox or with the writer. stalled: how long none of them has moved
    although Redis answers. unread: how long the kernel has had events that nobody reads, or a full read has
    not moved on. queue_depth, queue_bound: of the mailbox, in ports.

    events, latency: how many recent events there were, and the seconds that 99 of 100 took at most; slow: how long that
    has been too long (see ``Thresholds.is_slow`` and ``SLOW_SECONDS``). writes, failed_writes, losses: recent port
    writes, those of them without an acknowledgement, and in how many different seconds that came about.

    ports, held: publishable ports, and those that Redis holds as the kernel says (see ``count_held``); behind: how long
    the latter have been too few although Redis answers.

    initialized: PortInitDone is out. awaited: expected ports without a link; pending: links without an APPL_DB entry.
    endpoint: None where it is not enabled. storage: for what is kept on disk (port_state, history) why it cannot be
    written, "" where it can.

    now: the moment of this look, for the moments in reconciliation (monotonic seconds). guard: see there.
    """

    redis_connected: bool = True
    redis_problem: str = ""
    redis_away: float = 0.0
    netlink_connected: bool = True
    netlink_away: float = 0.0
    synced: bool = True
    unsynced: float = 0.0
    in_sync: bool = True
    certified_age: float | None = 0.0
    uncertified: float = 0.0
    waiting: int = 0
    stalled: float = 0.0
    unread: float = 0.0
    queue_depth: int = 0
    queue_bound: int = 100_000
    events: int = 0
    latency: float = 0.0
    slow: float = 0.0
    writes: int = 0
    failed_writes: int = 0
    losses: int = 0
    ports: int = 0
    held: int = 0
    behind: float = 0.0
    initialized: bool = True
    awaited: Waiting = field(default_factory=Waiting)
    pending: Waiting = field(default_factory=Waiting)
    services: Sequence[ServiceReport] = ()
    endpoint: EndpointReport | None = None
    storage: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0
    reconciliation: Reconciliation = field(default_factory=Reconciliation)
    guard: GuardReport = field(default_factory=GuardReport)


def count_held(ports: Mapping[str, Port], pending: Collection[str], now: float) -> tuple[int, int]:
    """How many ports are publishable (they have a link and an APPL_DB entry, and are no VLAN sub-interfaces), and how
    many of these Redis holds as the kernel says, or said until ``LAG_SECONDS`` ago. now: monotonic seconds."""
    publishable = held = 0
    settled = now - LAG_SECONDS
    for name, port in ports.items():
        if port.link is not None and name not in pending and SUB_INTERFACE_SEPARATOR not in name:
            publishable += 1
            held += port.held == port.link.fields or port.changed > settled
    return publishable, held
