"""The whole picture: a history goes in, rates, trends, anomalies and an overall verdict come out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

from portsyncd.analytics.anomaly import Anomaly, scored, strongest
from portsyncd.analytics.availability import availability
from portsyncd.analytics.figures import Analysis, SeriesAnalysis
from portsyncd.analytics.flaps import FlappingPort, flapping
from portsyncd.analytics.history import History, Sample
from portsyncd.analytics.limits import Limit, event_limit, restart_limit
from portsyncd.analytics.restarts import restarts
from portsyncd.analytics.series import Point, buckets, dips, kept, means, peaks
from portsyncd.analytics.stats import Summary, ratio, summarize, usable
from portsyncd.analytics.trend import Trend, trend
from portsyncd.analytics.verdict import verdict

__all__ = [
    "Analysis",
    "Anomaly",
    "FlappingPort",
    "Limit",
    "SeriesAnalysis",
    "Summary",
    "Trend",
    "analyze",
    "document",
]

# So many stretches of a series are looked at: one for each hour of a month, or for each two minutes of a day.
POINTS: Final = 750
# More of a series' anomalies nobody reads.
ANOMALIES: Final = 5

_Value = Callable[[Sample], float | None]
_Extremes = Callable[[Iterable[Sequence[Point]]], list[Point]]
# By name: what a sample has of it, and on which side what is odd in a stretch of time lies.
_SERIES: Final[Mapping[str, tuple[_Value, _Extremes]]] = MappingProxyType(
    {
        "health": (lambda sample: sample.health, dips),
        "events_per_second": (lambda sample: ratio(sample.events, sample.seconds), peaks),
        "latency_p99": (lambda sample: sample.latency_p99, peaks),
        "flaps": (lambda sample: sample.flaps, peaks),
        "resyncs": (lambda sample: sample.resyncs, peaks),
        "memory_bytes": (lambda sample: sample.memory_bytes, peaks),
    }
)


def analyze(history: History, now: float) -> Analysis:
    """The figures of a history at the moment ``now`` (Unix seconds).

    About 8 us for each sample (CPython 3.11, one core of a shared server): 75 ms for a day of 10 s samples (8,640),
    1.8 s for thirty days (259,200). Sorting a day of them holds up other threads for no longer than Python's switch
    interval (5 ms), sorting thirty days for 80 ms: a process with other things to do analyzes a day.

    A daemon that analyzes its own history first brings ``seen`` of its start up to date; it counts as gone otherwise.
    """
    window = _window(history, now)
    lives = restarts(window.starts, window.since)
    analysis = Analysis(
        at=now,
        since=history.since,
        starts=lives.starts,
        restarts=lives.restarts,
        recovery_success=lives.recovery_success,
        corruption_recovery=lives.corruption_recovery,
        eoiu_timeouts=lives.eoiu_timeouts,
        events_per_restart=lives.events_per_restart,
        availability=availability(window.starts, window.samples, window.since, now),
        last_healthy_restart=lives.last_healthy_restart,
        eoiu_latency=lives.eoiu_latency,
        sync_duration=lives.sync_duration,
        restart_limit=restart_limit(window.starts, now),
        event_limit=event_limit(window.samples, now),
        series={name: _series(window, now, *how) for name, how in _SERIES.items()},
        flapping=tuple(flapping(window.flaps, window.since, now)),
    )
    status, reasons = verdict(analysis, window)
    return replace(analysis, status=status, reasons=reasons)


def _window(history: History, now: float) -> History:
    """What of a history has a moment that can be computed with; samples and flaps of a clock that was ahead are left out,
    starts are not: they did happen."""
    since = history.since
    return History(
        since,
        [start for start in history.starts if usable(start.at) and usable(start.seen)],
        [sample for sample in history.samples if since <= sample.at <= now],
        [flaps for flaps in history.flaps if since <= flaps.at <= now],
    )


def _series(window: History, now: float, value: _Value, extremes: _Extremes) -> SeriesAnalysis:
    found = ((sample.at, value(sample)) for sample in window.samples)
    points = kept([(at, each) for at, each in found if each is not None], window.since, now)
    # The summary is of all points. A trend is seen as well in the means of stretches, and an anomaly in their extremes.
    stretches = buckets(points, POINTS)
    judged = scored(extremes(stretches))
    return SeriesAnalysis(
        summarize(each for _, each in points),
        trend(means(stretches)),
        tuple(strongest(judged, ANOMALIES)),
        judged[-1].score if judged else 0.0,
    )


def document(analysis: Analysis) -> dict[str, Any]:
    """As a JSON document: plain dicts, lists, numbers, strings and None; no NaN or infinity."""
    return {each.name: _plain(getattr(analysis, each.name)) for each in fields(analysis)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
