"""Every metric of the daemon: name, type, labels, unit, buckets and help, in this one file.

Services record into ``Histogram`` and plain integers; ``Facts`` is one consistent look at all of it, taken when somebody
scrapes. So recording costs an addition, and the catalogue knows no service.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

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
        bounds, counts = self.bounds, self.counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            self.total += value


class PortCounters(NamedTuple):
    """What is counted for one port. flaps: carrier losses by the kernel's own counter; ups, downs: oper transitions;
    written, failed: writes acknowledged, and refused or left unknown."""

    flaps: int
    ups: int
    downs: int
    written: int
    failed: int


@dataclass(frozen=True, slots=True)
class WebFacts:
    """What the metrics endpoint knows of itself. Expiries are Unix seconds by role (server, ca)."""

    handshake_failures: Mapping[str, int] = field(default_factory=dict)
    reloads: Mapping[str, int] = field(default_factory=dict)
    certificate_expiries: Mapping[str, float] = field(default_factory=dict)
    tls_profile: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the daemon, for one scrape. Counters are totals since the process began; times are Unix seconds, None
    where it has not happened yet; ``port_counters`` is read lazily, while the scrape is rendered."""

    uptime: float
    memory_bytes: int
    health: str  # model.health.Status: healthy, degraded, unhealthy
    redis_connected: bool
    netlink_connected: bool
    events_processed: int
    events_failed: int
    events_conflated: int
    ports: Mapping[str, int]  # up, down, awaited, pending
    port_counters: Sequence[tuple[str, PortCounters]]
    queue_depth: int
    queue_bound: int
    event_latency: Histogram
    redis_latency: Histogram
    sync_duration: Histogram
    overruns: int
    last_certified_sync: float | None
    resyncs: Mapping[str, int]  # by reason
    restarts: Mapping[str, int]  # by service
    warm_restarts: int
    cold_starts: int
    eoiu_detected: int
    eoiu_timeouts: int
    last_warm_restart: float | None
    last_eoiu: float | None
    web: WebFacts
