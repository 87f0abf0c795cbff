"""The rules of the verdict: each from both sides of what it asks for."""

from dataclasses import replace

import pytest

from portsyncd.analytics.anomaly import Anomaly
from portsyncd.analytics.availability import RECENT
from portsyncd.analytics.figures import Analysis, SeriesAnalysis
from portsyncd.analytics.history import History
from portsyncd.analytics.limits import Limit
from portsyncd.analytics.stats import summarize
from portsyncd.analytics.trend import Trend
from portsyncd.analytics.verdict import verdict
from tests.analytics.histories import DAY, HOUR, NOW, life, sample

ANALYSIS = Analysis(at=NOW, since=NOW - DAY)
# A day of a daemon that runs and is well.
HISTORY = History(NOW - DAY, [life(NOW - DAY, NOW)], [sample(NOW - DAY), sample(NOW)])


def of(analysis: Analysis = ANALYSIS, history: History = HISTORY) -> tuple[str, str]:
    status, reasons = verdict(analysis, history)
    return status, " ".join(reasons)


def test_a_daemon_that_is_well_is_healthy() -> None:
    assert verdict(ANALYSIS, HISTORY) == ("healthy", ())


def test_nothing_known_is_nothing_wrong() -> None:
    assert verdict(ANALYSIS, History(0.0)) == ("healthy", ())


@pytest.mark.parametrize(
    ("health", "status", "reason"),
    [
        (1.0, "healthy", ""),
        (0.5, "degraded", "The daemon was degraded when last sampled."),
        (0.0, "unhealthy", "The daemon was unhealthy when last sampled: Redis does not follow the kernel's links."),
    ],
)
def test_the_newest_sample_decides_whatever_its_place(health: float, status: str, reason: str) -> None:
    history = replace(HISTORY, samples=[sample(NOW, health=health), sample(NOW - 10.0, health=0.25)])
    assert of(history=history) == (status, reason)


@pytest.mark.parametrize(
    ("ago", "stopped", "reason"),
    [
        (RECENT, False, ""),
        (RECENT + 1, False, "The daemon was last seen 15 min ago and has not been started since."),
        (30.0, True, "The daemon was stopped 30 s ago and has not been started since."),
        (-5.0, True, "The daemon was stopped 0 s ago and has not been started since."),
        (3 * DAY, True, "The daemon was stopped 3 days ago and has not been started since."),
    ],
)
def test_a_daemon_that_does_not_run_degrades(ago: float, stopped: bool, reason: str) -> None:
    history = replace(HISTORY, starts=[life(NOW - 9 * DAY, NOW - ago, stopped=stopped)])
    assert of(history=history) == ("degraded" if reason else "healthy", reason)


def test_limits_degrade_when_they_are_exceeded() -> None:
    limits = replace(
        ANALYSIS,
        restart_limit=Limit(6, 5, 3600.0, exceeded=True),
        event_limit=Limit(120_000, 100_000, 60.0, exceeded=True),
    )
    assert verdict(limits, HISTORY) == (
        "degraded",
        (
            "The daemon was restarted 6 times within 60 min; 5 are not unusual.",
            "There were 120000 link events within 60 s; 100000 are not unusual.",
        ),
    )
    within = replace(
        ANALYSIS, restart_limit=Limit(5, 5, 3600.0, exceeded=False), event_limit=Limit(1, 100_000, 60.0, exceeded=False)
    )
    assert of(within) == ("healthy", "")


@pytest.mark.parametrize(
    ("starts", "success", "reason"),
    [
        (4, 0.75, "Of 4 starts only 75.0% completed their initial sync; at least 90% should."),
        (2, 0.0, ""),
        (10, 0.9, ""),
        (3, None, ""),
    ],
)
def test_starts_that_recover_too_seldom_degrade(starts: int, success: float | None, reason: str) -> None:
    analysis = replace(ANALYSIS, starts=starts, recovery_success=success)
    assert of(analysis) == ("degraded" if reason else "healthy", reason)


@pytest.mark.parametrize(
    ("share", "known", "reason"),
    [
        (0.98, DAY, "A daemon ran and was not unhealthy for 98.00% of 24 h; 99% are usual."),
        (0.99, DAY, ""),
        (0.5, 0.9 * HOUR, ""),
        (None, DAY, ""),
    ],
)
def test_an_availability_that_is_too_low_degrades_once_it_means_something(
    share: float | None, known: float, reason: str
) -> None:
    history = History(NOW - DAY, [life(NOW - known, NOW)])
    assert of(replace(ANALYSIS, availability=share), history) == ("degraded" if reason else "healthy", reason)


def test_availability_of_nothing_known_is_not_judged() -> None:
    assert of(replace(ANALYSIS, availability=0.5), History(0.0)) == ("healthy", "")


MEMORY = summarize([40e6])
LEAK = "Memory grows by 0.20 MB an hour, which adds half of its usual size within a week."


@pytest.mark.parametrize(
    ("series", "hours", "reason"),
    [
        (SeriesAnalysis(MEMORY, Trend("rising", 0.2e6, 0.001)), 6, LEAK),
        (SeriesAnalysis(MEMORY, Trend("rising", 0.2e6, 0.001)), 5.9, ""),
        (SeriesAnalysis(MEMORY, Trend("rising", 0.1e6, 0.001)), 6, ""),
        (SeriesAnalysis(MEMORY, Trend("steady", 0.2e6, 0.2)), 6, ""),
        (SeriesAnalysis(None, None), 6, ""),
        (SeriesAnalysis(MEMORY, None), 6, ""),
    ],
)
def test_memory_that_grows_for_long_and_fast_degrades(series: SeriesAnalysis, hours: float, reason: str) -> None:
    history = replace(HISTORY, samples=[sample(NOW), sample(NOW - hours * HOUR)])
    assert of(replace(ANALYSIS, series={"memory_bytes": series}), history) == (
        "degraded" if reason else "healthy",
        reason,
    )


SLOW = "One event of a hundred took 40.0 ms or more 60 s ago, 12 times the usual variation above the usual."


@pytest.mark.parametrize(
    ("anomalies", "reason"),
    [
        ([Anomaly(NOW - 60.0, 0.040, 12.0)], SLOW),
        ([Anomaly(NOW - 60.0, 0.040, 12.0), Anomaly(NOW - 30.0, 0.020, 4.0)], ""),
        ([Anomaly(NOW - 60.0, 0.040, 6.9)], ""),
        ([Anomaly(NOW - 60.0, 0.009, 12.0)], ""),
        ([Anomaly(NOW - RECENT - 1, 0.040, 12.0)], ""),
        ([], ""),
    ],
)
def test_a_recent_latency_far_above_the_usual_degrades(anomalies: list[Anomaly], reason: str) -> None:
    series = {"latency_p99": SeriesAnalysis(None, None, anomalies)}
    assert of(replace(ANALYSIS, series=series)) == ("degraded" if reason else "healthy", reason)


def test_the_worst_reason_comes_first_and_decides() -> None:
    analysis = replace(ANALYSIS, restart_limit=Limit(6, 5, 3600.0, exceeded=True), starts=4, recovery_success=0.5)
    history = replace(HISTORY, samples=[sample(NOW, health=0.0)])
    status, reasons = verdict(analysis, history)
    assert status == "unhealthy"
    assert [reason.split()[2] for reason in reasons] == ["was", "was", "starts"]
    assert reasons[0].startswith("The daemon was unhealthy")
