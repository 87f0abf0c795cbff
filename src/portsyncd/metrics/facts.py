"""What services record into, and one consistent look at all of it, taken when somebody scrapes."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf
from typing import Any, Final

from portsyncd.analytics.analysis import Analysis
from portsyncd.errors import DecodeError
from portsyncd.model.port import Counted

EVENT_LATENCY_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
REDIS_LATENCY_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1)
SYNC_DURATION_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0)


class Histogram:
    """Counts per bucket; what services record durations into. All in seconds.

    counts: one more than there are bounds, for what is above the last; not cumulated. total: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Record one value; one that equals a bound belongs below it (Prometheus' ``le``)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Record a batch."""
        bounds, counts, total = self.bounds, self.counts, self.total
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total = total

    def copy(self) -> "Histogram":
        """As it is now."""
        made = Histogram(self.bounds)
        made.counts[:] = self.counts
        made.total = self.total
        return made


@dataclass(frozen=True, slots=True)
class WebFacts:
    """What the metrics endpoint knows of itself. Expiries are Unix seconds by role (server, ca)."""

    handshake_failures: Mapping[str, int] = field(default_factory=dict)
    reloads: Mapping[str, int] = field(default_factory=dict)
    certificate_expiries: Mapping[str, float] = field(default_factory=dict)
    tls_profile: str = ""


@dataclass(frozen=True, slots=True)
class HealingFacts:
    """What self-healing has found and done. counts, last (Unix seconds): by kind, see ``model.healing``. differences: by kind,
    see ``model.reconcile``. memory_limit: bytes, None where memory is not looked at. reconcile_interval: seconds, None where
    Redis is not compared by itself."""

    counts: Mapping[str, int] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    differences: Mapping[str, int] = field(default_factory=dict)
    contested_ports: int = 0
    clock_steps: int = 0
    loop_blocks: int = 0
    memory_limit: int | None = None
    reconcile_interval: float | None = None


@dataclass(frozen=True, slots=True)
class Chronicle:
    """Counters over all lives of the daemon, and when things last happened (Unix seconds, None: not yet)."""

    warm_restarts: int = 0
    cold_starts: int = 0
    eoiu_detected: int = 0
    eoiu_timeouts: int = 0
    state_recoveries: int = 0
    corruptions_detected: int = 0
    backups_created: int = 0
    backups_cleaned: int = 0
    last_warm_restart: float | None = None
    last_eoiu: float | None = None
    last_state_recovery: float | None = None
    last_corruption: float | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Chronicle":
        """What was saved; what this version does not know is passed over, what is missing is 0. Raises ``DecodeError``."""
        known = {each.name: content[each.name] for each in fields(cls) if each.name in content}
        for name, value in known.items():
            is_moment = name in _MOMENTS
            if value is None and is_moment:
                continue
            if type(value) not in ((int, float) if is_moment else (int,)) or not 0 <= value < inf:
                raise DecodeError(f"{name} is {value!r}")
        return cls(**known)

    def then(self, later: "Chronicle") -> "Chronicle":
        """Both in one."""
        counts = [getattr(self, name) + getattr(later, name) for name in _COUNTERS]
        last = [getattr(self if getattr(later, name) is None else later, name) for name in _MOMENTS]
        return Chronicle(*counts, *last)


_MOMENTS: Final = [each.name for each in fields(Chronicle) if each.name.startswith("last_")]
_COUNTERS: Final = [each.name for each in fields(Chronicle) if each.name not in _MOMENTS]


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the daemon, for one scrape. Counters are totals since the process began (but see ``Chronicle``); times are
    Unix seconds, None where it has not happened yet; ``port_counters`` is read lazily, while the scrape is rendered."""

    uptime: float
    memory_bytes: int
    health: str  # model.health.Status: healthy, degraded, unhealthy
    redis_connected: bool
    netlink_connected: bool
    events_processed: int
    events_failed: int
    events_conflated: int
    ports: Mapping[str, int]  # up, down, awaited, pending
    port_counters: Sequence[tuple[str, Counted]]
    queue_depth: int
    queue_bound: int
    event_latency: Histogram
    redis_latency: Histogram
    sync_duration: Histogram
    overruns: int
    last_certified_sync: float | None
    resyncs: Mapping[str, int]  # by reason
    restarts: Mapping[str, int]  # by service
    chronicle: Chronicle
    set_aside: Mapping[str, int]  # saved files that this process did not trust, by wire.statefile.Flaw
    storage: Mapping[str, bool]  # port_state, history: whether it can be written
    analysis: Analysis | None  # of the last 24 hours; None before the first, and where no history is kept
    flap_penalties: Mapping[str, float]  # by port; without those below 1
    healing: HealingFacts
    web: WebFacts
