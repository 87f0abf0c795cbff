"""What the configuration demands of the event path, and when it is not met."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.performance import Demands, quantile, shortfalls

DEMANDS = Demands(max_latency=0.01, min_success_rate=99.0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [((), 0.5, 0.0), ((3.0,), 0.99, 3.0), ((3.0, 1.0, 2.0), 0.5, 2.0), (tuple(range(101)), 0.99, 99)],
)
def test_quantile(values: Sequence[float], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values(values: list[float], share: float) -> None:
    assert quantile(values, share) in values


def test_nothing_measured_is_nothing_missed() -> None:
    assert shortfalls(DEMANDS, [], []) == []


def test_one_slow_event_of_a_hundred_and_one_is_within_the_demand() -> None:
    assert shortfalls(DEMANDS, [0.001] * 100 + [5.0], [True]) == []


def test_slow_events_are_a_shortfall() -> None:
    (said,) = shortfalls(DEMANDS, [0.001] * 90 + [0.02] * 10, [True])
    assert "10,000 us" in said


def test_unacknowledged_writes_are_a_shortfall() -> None:
    assert shortfalls(DEMANDS, [], [True] * 99 + [False]) == []
    (said,) = shortfalls(DEMANDS, [], [True] * 98 + [False] * 2)
    assert "99 %" in said
