"""What an analysis consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from portsyncd.analytics.anomaly import Anomaly
from portsyncd.analytics.flaps import FlappingPort
from portsyncd.analytics.limits import Limit
from portsyncd.analytics.stats import Summary
from portsyncd.analytics.trend import Trend


@dataclass(frozen=True, slots=True)
class SeriesAnalysis:
    """What a series says. summary, trend: None where it has no values. anomalies: newest last, the strongest few.
    latest_score: robust z-score of the newest value, 0 where it cannot be told."""

    summary: Summary | None
    trend: Trend | None
    anomalies: Sequence[Anomaly] = ()
    latest_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Analysis:
    """A history in figures. Ratios are 0 to 1, None where there is nothing to divide by; times Unix seconds.

    starts: lives of the daemon in the window. restarts: those that began in it with one before them. recovery_success:
    of the starts whose initial sync has ended, or never will, those that ended by EOIU. corruption_recovery: of the
    starts that found damaged files, those that restored a state all the same. eoiu_timeouts: of the starts whose initial
    sync has ended, those completed by timeout. events_per_restart: mean of the lives that have ended. availability:
    share of the window, since the first thing known of it, in which a daemon ran and was not unhealthy.
    last_healthy_restart: newest start that became healthy. eoiu_latency, sync_duration: of those starts that have one.
    restart_limit, event_limit: see ``limits``. series: by name (health, events_per_second, latency_p99, flaps, resyncs,
    memory_bytes). flapping: ports by penalty, highest first. status: "healthy", "degraded" or "unhealthy"; reasons: why,
    worst first.
    """

    at: float
    since: float
    starts: int = 0
    restarts: int = 0
    recovery_success: float | None = None
    corruption_recovery: float | None = None
    eoiu_timeouts: float | None = None
    events_per_restart: float | None = None
    availability: float | None = None
    last_healthy_restart: float | None = None
    eoiu_latency: Summary | None = None
    sync_duration: Summary | None = None
    restart_limit: Limit | None = None
    event_limit: Limit | None = None
    series: Mapping[str, SeriesAnalysis] = field(default_factory=dict)
    flapping: Sequence[FlappingPort] = ()
    status: str = "healthy"
    reasons: Sequence[str] = ()
