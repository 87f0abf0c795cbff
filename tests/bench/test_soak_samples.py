"""What follows from the looks at a daemon: rates, latencies, growth, the verdict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.soak.samples import MB, Check, Sample, growth, latencies, parse, quantile, row, rows, total, verdict
from tests.bench.soaking import LATENCY, sample

GOOD = [Check(1.0, "SIGHUP", 0.2, 0)]


def test_a_scrape_is_read_without_the_ports() -> None:
    text = (
        "# HELP portsyncd_resyncs_total Times.\n"
        "# TYPE portsyncd_resyncs_total counter\n"
        'portsyncd_resyncs_total{reason="start"} 1\n'
        'portsyncd_resyncs_total{reason="overrun"} 2.0\n'
        'portsyncd_port_flaps_total{port="Ethernet0"} 7\n'
        "portsyncd_queue_depth 0\n"
    )
    metrics = parse(text)
    assert metrics == {
        'portsyncd_resyncs_total{reason="start"}': 1,
        'portsyncd_resyncs_total{reason="overrun"}': 2,
        "portsyncd_queue_depth": 0,
    }
    assert total(metrics, "portsyncd_resyncs_total") == 3
    assert total(metrics, "portsyncd_resyncs") is None


def test_latencies_are_those_between_two_scrapes() -> None:
    before = {LATENCY % "0.001": 10.0, LATENCY % "0.01": 12.0, LATENCY % "+Inf": 12.0}
    after = {LATENCY % "+Inf": 33.0, LATENCY % "0.001": 20.0, LATENCY % "0.01": 32.0}
    assert latencies(before, after) == [(0.001, 10.0), (0.01, 10.0), (math.inf, 1.0)]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (0.99, 3.0), (1.0, 3.0)], ids=str
)
def test_quantiles_are_linear_within_a_bucket(share: float, expected: float) -> None:
    buckets = [(1.0, 50.0), (2.0, 25.0), (3.0, 20.0), (math.inf, 5.0)]
    assert quantile(buckets, share) == pytest.approx(expected)


def test_no_observations_have_no_quantile() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(1.0, 0.0), (math.inf, 0.0)], 0.5) is None


def test_a_row_counts_from_the_last_look_before_it() -> None:
    samples = [
        sample(9, events_processed_total=100, netlink_overruns_total=1),
        sample(11, events_processed_total=300, netlink_overruns_total=1),
        sample(19, resident=60, descriptors=20, events_processed_total=1100, netlink_overruns_total=3),
        sample(21, events_processed_total=9999, netlink_overruns_total=9),
    ]
    found = row(samples, [Check(12.0, "SIGHUP", 0.5, 1), Check(25.0, "later", 9.0, 9)], 10.0, 20.0)
    assert found is not None
    assert (found.made, found.handled, found.cpu) == pytest.approx((1000.0, 100.0, 10.0))
    assert (found.overruns, found.resyncs, found.healed) == (2, 0, None)
    assert (found.checks, found.wrong, found.recovery, found.faults) == (1, 1, 0.5, ("SIGHUP",))
    assert found.resident == 55 * MB


def test_scrapes_that_failed_are_bridged() -> None:
    samples = [
        sample(1, events_processed_total=100),
        sample(2),
        sample(11),
        sample(12, events_processed_total=400),
        sample(13),
    ]
    found = row(samples, [], 10.0, 20.0)
    assert found is not None
    assert found.handled == pytest.approx(300 / 11)
    assert found.p99 is None
    assert found.recovery is None


def test_rows_cover_all_of_it_and_leave_out_what_nobody_saw() -> None:
    assert [(each.start, each.end) for each in rows([sample(1), sample(25)], [], 10.0, 26.0)] == [
        (0.0, 10.0),
        (20.0, 26.0),
    ]


def test_growth_is_found_under_noise() -> None:
    points = [(float(at), 10.0 + 0.01 * at + (5.0 if at % 50 == 7 else 0.0)) for at in range(1000)]
    found = growth(points)
    assert found is not None
    assert found.slope == pytest.approx(9.99, rel=0.02)
    assert found.ends == pytest.approx(9.0, rel=0.02)


def test_a_peak_is_no_growth() -> None:
    found = growth([(float(at), 99.0 if 400 < at < 500 else 10.0) for at in range(1000)])
    assert found is not None
    assert (found.slope, found.ends) == (0.0, 0.0)


def test_too_few_points_have_no_growth() -> None:
    assert growth([(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]) is None


@given(st.lists(st.floats(0, 1e9), min_size=4, max_size=60))
def test_what_falls_backwards_grows_forwards(values: list[float]) -> None:
    forwards = growth([(float(at), value) for at, value in enumerate(values)])
    backwards = growth([(float(at), value) for at, value in enumerate(reversed(values))])
    assert forwards is not None
    assert backwards is not None
    assert forwards.ends == pytest.approx(-backwards.ends, abs=1e-3)
    assert forwards.slope == pytest.approx(-backwards.slope, abs=1e-3)


@pytest.mark.parametrize(
    ("samples", "checks", "violated"),
    [
        ([sample(at) for at in range(100)], GOOD, []),
        ([sample(at, resident=50 + at / 100) for at in range(100)], GOOD, []),
        ([sample(at, resident=50 + at / 10) for at in range(100)], GOOD, ["end less beginning", "trend"]),
        # Before the end of the warm-up it may.
        ([sample(at, resident=50 + min(at, 19)) for at in range(100)], GOOD, []),
        ([sample(at, descriptors=18 + at // 50) for at in range(100)], GOOD, ["descriptors"]),
        # Connections of scrapes come and go.
        ([sample(at, descriptors=18 + at % 3) for at in range(100)], GOOD, []),
        ([sample(at) for at in range(100)], [Check(1.0, "SIGHUP", 0.2, 1)], ["wrong ports"]),
        ([sample(at) for at in range(100)], [Check(1.0, "SIGHUP", math.inf, 3)], ["wrong ports", "without recovery"]),
        # What was never checked is not known to be right.
        ([sample(at) for at in range(100)], [], ["wrong ports"]),
        ([], GOOD, []),
    ],
)
def test_the_verdict(samples: list[Sample], checks: list[Check], violated: list[str]) -> None:
    rules = verdict(samples, checks, warm_up=20, max_growth=2 * MB)
    found = [rule.what for rule in rules if not rule.kept]
    assert len(found) == len(violated)
    assert all(word in what for word, what in zip(violated, found, strict=True))
