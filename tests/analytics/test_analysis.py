"""A whole history in figures: that each part comes from where it should, and that any history can be told in JSON."""

import json
from collections.abc import Iterable
from dataclasses import fields
from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.analysis import ANOMALIES, Analysis, Anomaly, Limit, SeriesAnalysis, analyze, document
from portsyncd.analytics.history import History, Outcome, PortFlaps, Restored, Sample
from tests.analytics.histories import DAY, HOUR, NOW, histories, life, sample

SERIES = ["health", "events_per_second", "latency_p99", "flaps", "resyncs", "memory_bytes"]


def day() -> History:
    """A day with two starts, one minute between them, and a sample each minute; one of them is odd in everything."""
    samples = [
        sample(
            NOW - DAY + 60.0 * n,
            seconds=60.0,
            events=600 + n % 7,
            latency_p99=0.001 + n % 5 * 1e-5,
            memory_bytes=40_000_000 + n % 11 * 1000,
        )
        for n in range(1, 1441)
    ]
    odd = samples[700]
    samples[700] = sample(
        odd.at, seconds=60.0, health=0.0, events=60_000, flaps=9, resyncs=3, latency_p99=0.5, memory_bytes=90_000_000
    )
    starts = [
        life(NOW - DAY, NOW - HOUR - 60.0, events=500, healthy=True, sync_seconds=2.0, eoiu_seconds=1.0),
        life(NOW - HOUR, NOW, Outcome.TIMEOUT, damaged=1, restored=Restored.BACKUP, sync_seconds=4.0),
    ]
    return History(NOW - 7 * DAY, starts, samples, [PortFlaps(odd.at, "Ethernet0", 9, 9)])


def test_every_figure_of_a_day() -> None:
    found = analyze(day(), NOW)
    assert (found.at, found.since) == (NOW, NOW - 7 * DAY)
    assert (found.starts, found.restarts) == (2, 1)
    assert found.recovery_success == 0.5
    assert found.corruption_recovery == 1.0
    assert found.eoiu_timeouts == 0.5
    assert found.events_per_restart == 500.0
    assert found.last_healthy_restart == NOW - DAY
    # Two of 1440 minutes: between the lives, and the unhealthy one.
    assert found.availability == pytest.approx(1438 / 1440)
    assert found.eoiu_latency is not None
    assert found.eoiu_latency.p50 == 1.0
    assert found.sync_duration is not None
    assert found.sync_duration.p50 == 3.0
    assert found.restart_limit == Limit(0, 5, 3600.0, exceeded=False)
    assert found.event_limit == Limit(605, 100_000, 60.0, exceeded=False)
    assert [(port.name, port.flaps, port.penalty) for port in found.flapping] == [("Ethernet0", 9, 0.0)]
    assert (found.status, found.reasons) == ("healthy", ())


def test_every_series_tells_its_odd_minute() -> None:
    found = analyze(day(), NOW).series
    odd = {name: max(series.anomalies, key=lambda each: abs(each.score)) for name, series in found.items()}
    assert {name: (each.at, each.value) for name, each in odd.items()} == {
        "health": (NOW - DAY + 701 * 60.0, 0.0),
        "events_per_second": (NOW - DAY + 701 * 60.0, 1000.0),
        "latency_p99": (NOW - DAY + 701 * 60.0, 0.5),
        "flaps": (NOW - DAY + 701 * 60.0, 9.0),
        "resyncs": (NOW - DAY + 701 * 60.0, 3.0),
        "memory_bytes": (NOW - DAY + 701 * 60.0, 90_000_000),
    }
    assert odd["health"].score < 0
    for series in found.values():
        assert series.summary is not None
        assert series.summary.count == 1440
        assert series.trend is not None
        assert series.trend.direction == "steady"
        assert abs(series.latest_score) < 3.5


def test_the_newest_value_has_its_score() -> None:
    history = day()
    history = History(history.since, history.starts, [*history.samples, sample(NOW + 60.0, flaps=50)])
    assert analyze(history, NOW + 60.0).series["flaps"].latest_score > 3.5


def test_no_more_anomalies_than_anybody_reads() -> None:
    samples = [sample(NOW - 60.0 * n, flaps=n % 20 == 0) for n in range(400)]
    anomalies = analyze(History(NOW - DAY, (), samples), NOW).series["flaps"].anomalies
    assert len(anomalies) == ANOMALIES
    assert [each.at for each in anomalies] == sorted(each.at for each in anomalies)


def test_an_empty_history_is_no_figures() -> None:
    found = analyze(History(NOW - DAY), NOW)
    assert found == Analysis(
        NOW,
        NOW - DAY,
        restart_limit=Limit(0, 5, 3600.0, exceeded=False),
        event_limit=Limit(0, 100_000, 60.0, exceeded=False),
        series={name: SeriesAnalysis(None, None) for name in SERIES},
    )


def test_an_idle_interval_has_no_latency_and_one_without_length_no_rate() -> None:
    series = analyze(History(0.0, (), [sample(NOW, seconds=0.0, events=5)]), NOW).series
    assert series["latency_p99"] == SeriesAnalysis(None, None)
    assert series["events_per_second"] == SeriesAnalysis(None, None)
    assert series["flaps"].summary is not None


def test_samples_of_a_clock_that_was_ahead_are_left_out() -> None:
    history = History(
        NOW - DAY,
        [life(NOW - HOUR, NOW), life(NOW + DAY, NOW)],
        [sample(NOW - 2 * DAY, health=0.0), sample(NOW), sample(NOW + DAY, health=0.0), sample(nan, health=0.0)],
        [PortFlaps(NOW - 2 * DAY, "a", 1, 1), PortFlaps(NOW, "b", 1, 1), PortFlaps(NOW + DAY, "c", 1, 1)],
    )
    found = analyze(history, NOW)
    assert found.starts == 2
    assert found.series["health"].summary is not None
    assert found.series["health"].summary.count == 1
    assert [port.name for port in found.flapping] == ["b"]
    assert found.status == "healthy"


def test_what_has_no_moment_is_left_out() -> None:
    assert analyze(History(0.0, [life(nan, NOW), life(NOW, inf)]), NOW).starts == 0


def test_a_long_history_is_looked_at_as_a_whole() -> None:
    # A month of samples each five minutes; memory that doubles in it.
    samples = [
        sample(NOW - 30 * DAY + 300.0 * n, memory_bytes=round(40e6 * (1 + n / 8640)), latency_p99=0.001)
        for n in range(1, 8641)
    ]
    found = analyze(History(NOW - 30 * DAY, [life(NOW - 30 * DAY, NOW)], samples), NOW)
    memory = found.series["memory_bytes"].trend
    assert memory is not None
    assert memory.direction == "rising"
    assert memory.slope == pytest.approx(40e6 / 720, rel=0.01)
    # Half of its usual size takes 22 days at this rate: it is shown, and no reason to act.
    assert found.status == "healthy"


def test_a_leak_is_a_reason() -> None:
    samples = [sample(NOW - DAY + 60.0 * n, memory_bytes=40_000_000 + 10_000 * n) for n in range(1, 1441)]
    found = analyze(History(NOW - DAY, [life(NOW - DAY, NOW)], samples), NOW)
    assert found.status == "degraded"
    assert found.reasons == ("Memory grows by 0.60 MB an hour, which adds half of its usual size within a week.",)


def test_a_document_has_the_fields_by_their_names() -> None:
    analysis = analyze(day(), NOW)
    found = document(analysis)
    assert list(found) == [field.name for field in fields(Analysis)]
    assert found["restart_limit"] == {"count": 0, "limit": 5, "seconds": 3600.0, "exceeded": False}
    assert found["series"]["flaps"]["trend"] == {
        "direction": "steady",
        "slope": 0.0,
        "p_value": pytest.approx(0.9714128),
    }
    assert list(found["series"]) == SERIES
    assert found["flapping"] == [
        {"name": "Ethernet0", "flaps": 9, "penalty": 0.0, "suppressed": False, "crosses_in": None}
    ]
    assert found["reasons"] == []
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_json_does_not_know_is_none() -> None:
    odd = Analysis(nan, -inf, series={"a": SeriesAnalysis(None, None, [Anomaly(inf, 1.0, nan)])})
    found = document(odd)
    assert (found["at"], found["since"]) == (None, None)
    assert found["series"]["a"]["anomalies"] == [{"at": None, "value": 1.0, "score": None, "seasonal": False}]


def numbers(value: object) -> Iterable[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


@given(histories, st.just(NOW) | st.floats())
def test_any_history_can_be_told_in_json(history: History, now: float) -> None:
    found = analyze(history, now)
    told = document(found)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert all(map(isfinite, numbers(told)))
    for share in (found.recovery_success, found.corruption_recovery, found.eoiu_timeouts, found.availability):
        assert share is None or 0 <= share <= 1
    assert (found.status == "healthy") == (not found.reasons)


@given(st.lists(st.builds(sample, st.floats(NOW - DAY, NOW), flaps=st.integers(0, 9)), max_size=30))
def test_series_do_not_depend_on_the_order_of_samples(samples: list[Sample]) -> None:
    forwards, backwards = History(NOW - DAY, (), samples), History(NOW - DAY, (), samples[::-1])
    assert analyze(forwards, NOW).series == analyze(backwards, NOW).series
