"""What an operator should know of a history: the rules are the functions of ``RULES``, one each; the worst decides.

They look at what time tells. Whether the daemon serves its purpose at this moment is for ``model.health`` to say, whose
newest verdict is the first rule here. Nothing known is nothing wrong.
"""

from collections.abc import Callable
from typing import Final

from portsyncd.analytics.availability import RECENT, known_since, running
from portsyncd.analytics.figures import Analysis
from portsyncd.analytics.history import History
from portsyncd.analytics.series import DAY

HEALTHY: Final = "healthy"
DEGRADED: Final = "degraded"
UNHEALTHY: Final = "unhealthy"
# Rates and shares need something to be taken of: with fewer starts or less time one restart alone would break them.
MIN_STARTS: Final = 3
MIN_SECONDS: Final = 3600.0
RECOVERY: Final = 0.9
AVAILABILITY: Final = 0.99
# What caches and a growing switch take shows in the first hours and levels off. What after that would add half of the
# usual size within a week is a leak that has an end.
MEMORY_SECONDS: Final = 6 * 3600.0
MEMORY_HOURS: Final = 7 * 24
MEMORY_GROWTH: Final = 0.5
# Twice the score of an anomaly, and no less than what the event path promises by default: a latency that is odd and
# harmless is no news.
LATENCY_SCORE: Final = 7.0
LATENCY_SECONDS: Final = 0.010

_Finding = tuple[str, str]
"""A status, and the reason for it: a sentence for the operator."""


def verdict(analysis: Analysis, history: History) -> tuple[str, tuple[str, ...]]:
    """The status, and the reasons for it, worst first. ``history``: of the analysis' window, nothing in it unusable."""
    findings = [finding for rule in RULES if (finding := rule(analysis, history)) is not None]
    findings.sort(key=lambda finding: finding[0] != UNHEALTHY)
    return findings[0][0] if findings else HEALTHY, tuple(reason for _, reason in findings)


def _newest_health(_: Analysis, history: History) -> _Finding | None:
    health = max(history.samples, key=lambda sample: sample.at).health if history.samples else 1.0
    if health >= 1:
        return None
    if health > 0:
        return DEGRADED, "The daemon was degraded when last sampled."
    return UNHEALTHY, "The daemon was unhealthy when last sampled: Redis does not follow the kernel's links."


def _not_running(analysis: Analysis, history: History) -> _Finding | None:
    if not history.starts or running(history.starts, analysis.at):
        return None
    newest = history.starts[-1]
    how = "was stopped" if newest.stopped else "was last seen"
    return DEGRADED, f"The daemon {how} {_span(analysis.at - newest.seen)} ago and has not been started since."


def _restarts(analysis: Analysis, _: History) -> _Finding | None:
    limit = analysis.restart_limit
    if limit is None or not limit.exceeded:
        return None
    return (
        DEGRADED,
        f"The daemon was restarted {limit.count} times within {_span(limit.seconds)}; {limit.limit} are not unusual.",
    )


def _events(analysis: Analysis, _: History) -> _Finding | None:
    limit = analysis.event_limit
    if limit is None or not limit.exceeded:
        return None
    return (
        DEGRADED,
        f"There were {limit.count} link events within {_span(limit.seconds)}; {limit.limit} are not unusual.",
    )


def _recovery(analysis: Analysis, _: History) -> _Finding | None:
    success = analysis.recovery_success
    if success is None or analysis.starts < MIN_STARTS or success >= RECOVERY:
        return None
    return (
        DEGRADED,
        f"Of {analysis.starts} starts only {success:.1%} completed their initial sync; at least {RECOVERY:.0%} should.",
    )


def _available(analysis: Analysis, history: History) -> _Finding | None:
    first = known_since(history.starts, history.samples, history.since)
    share = analysis.availability
    if share is None or first is None or analysis.at - first < MIN_SECONDS or share >= AVAILABILITY:
        return None
    return (
        DEGRADED,
        f"A daemon ran and was not unhealthy for {share:.2%} of {_span(analysis.at - first)}; {AVAILABILITY:.0%} are usual.",
    )


def _memory(analysis: Analysis, history: History) -> _Finding | None:
    series = analysis.series.get("memory_bytes")
    if series is None or series.summary is None or series.trend is None or series.trend.direction != "rising":
        return None
    moments = [sample.at for sample in history.samples]
    growth = series.trend.slope * MEMORY_HOURS
    if max(moments) - min(moments) < MEMORY_SECONDS or growth < MEMORY_GROWTH * series.summary.p50:
        return None
    return (
        DEGRADED,
        f"Memory grows by {series.trend.slope / 1e6:.2f} MB an hour, which adds half of its usual size within a week.",
    )


def _latency(analysis: Analysis, _: History) -> _Finding | None:
    series = analysis.series.get("latency_p99")
    if series is None or not series.anomalies:
        return None
    newest = series.anomalies[-1]
    recent = analysis.at - newest.at <= RECENT
    if not recent or newest.score < LATENCY_SCORE or newest.value < LATENCY_SECONDS:
        return None
    return (
        DEGRADED,
        (
            f"One event of a hundred took {newest.value * 1000:.1f} ms or more {_span(analysis.at - newest.at)} ago, "
            f"{newest.score:.0f} times the usual variation above the usual."
        ),
    )


RULES: Final[tuple[Callable[[Analysis, History], _Finding | None], ...]] = (
    _newest_health,
    _not_running,
    _restarts,
    _events,
    _recovery,
    _available,
    _memory,
    _latency,
)


def _span(seconds: float) -> str:
    """A duration, in the unit that needs few digits."""
    for unit, size in (("days", DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
