"""When a storm of events is worth a line, and what the line says."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.storm import Storm, StormMeter


@pytest.mark.parametrize(
    ("storm", "line"),
    [
        (Storm(2314, 12), "2,314 events on 12 ports in 1 s"),
        (Storm(1, 1), "1 event on 1 port in 1 s"),
        (Storm(1_000_000, 4096), "1,000,000 events on 4,096 ports in 1 s"),
    ],
)
def test_the_line(storm: Storm, line: str) -> None:
    assert str(storm) == line


def test_a_storm_is_told_once_when_its_second_is_over() -> None:
    meter = StormMeter(threshold=10)
    assert meter.feed(100.0, 6, ["Ethernet0", "Ethernet4"]) is None
    assert meter.feed(100.9, 4, ["Ethernet4", "Ethernet8"]) is None
    assert meter.flush(100.99) is None
    assert meter.flush(101.0) == Storm(events=10, ports=3)
    assert meter.flush(102.0) is None


def test_a_later_batch_closes_the_second_and_opens_the_next() -> None:
    meter = StormMeter(threshold=10)
    meter.feed(0.0, 10, [1])
    assert meter.feed(1.5, 20, [2, 3]) == Storm(10, 1)
    assert meter.feed(2.4, 5, [4]) is None
    assert meter.feed(2.5, 1, []) == Storm(25, 3)


def test_less_than_the_threshold_is_no_storm() -> None:
    meter = StormMeter(threshold=10)
    meter.feed(0.0, 9, [1])
    assert meter.flush(1.0) is None
    meter.feed(1.0, 9, [1])
    assert meter.flush(2.0) is None


def test_nothing_is_no_storm() -> None:
    assert StormMeter(threshold=0).flush(5.0) is None


def test_when_a_storm_can_be_told_is_known_as_soon_as_it_is_one() -> None:
    meter = StormMeter(threshold=10)
    assert meter.closes_at == math.inf
    meter.feed(100.0, 9, [1])
    assert meter.closes_at == math.inf
    meter.feed(100.5, 1, [1])
    assert meter.closes_at == 101.0
    assert meter.flush(meter.closes_at) == Storm(10, 1)
    assert meter.closes_at == math.inf


BATCHES = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 50), st.sets(st.integers(0, 5))))


@given(BATCHES)
def test_no_event_is_lost_or_told_twice_and_no_second_is_told_twice(
    batches: Sequence[tuple[float, int, set[int]]],
) -> None:
    meter, now, told = StormMeter(threshold=0), 0.0, []
    for pause, events, ports in batches:
        now += pause
        told.append(meter.feed(now, events, ports))
    told.append(meter.flush(now + 2))
    storms = [storm for storm in told if storm]
    assert sum(storm.events for storm in storms) == sum(events for _, events, _ in batches)
    assert len(storms) <= now + 1
