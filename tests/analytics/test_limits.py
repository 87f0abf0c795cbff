"""Limits: what of the past counts, and from how much on it is too much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.history import Sample, Start
from portsyncd.analytics.limits import (
    EVENT_SECONDS,
    EVENTS,
    RESTART_SECONDS,
    RESTARTS,
    Limit,
    event_limit,
    restart_limit,
)
from tests.analytics.histories import DAY, NOW, life, plausible, sample


def restarted(count: int, *, ago: float = 60.0) -> list[Start]:
    return [life(NOW - DAY, NOW), *[life(NOW - ago, NOW) for _ in range(count)]]


def test_as_many_restarts_as_the_limit_are_within_it() -> None:
    assert restart_limit(restarted(RESTARTS), NOW) == Limit(RESTARTS, RESTARTS, RESTART_SECONDS, exceeded=False)
    assert restart_limit(restarted(RESTARTS + 1), NOW) == Limit(RESTARTS + 1, RESTARTS, RESTART_SECONDS, exceeded=True)


def test_the_first_start_is_no_restart() -> None:
    assert restart_limit([], NOW).count == 0
    assert restart_limit([life(NOW, NOW)], NOW).count == 0


@pytest.mark.parametrize("ago", [RESTART_SECONDS, DAY, -1.0])
def test_restarts_outside_of_the_window_do_not_count(ago: float) -> None:
    assert restart_limit(restarted(9, ago=ago), NOW).count == 0


def test_events_of_the_newest_minute_count() -> None:
    samples = [sample(NOW - 10 * n, events=100) for n in range(20)]
    assert event_limit(samples, NOW) == Limit(600, EVENTS, EVENT_SECONDS, exceeded=False)


def test_more_events_than_the_limit_exceed_it() -> None:
    assert not event_limit([sample(NOW, events=EVENTS)], NOW).exceeded
    assert event_limit([sample(NOW, events=EVENTS + 1)], NOW).exceeded


def test_a_sample_longer_than_the_window_counts_by_its_share() -> None:
    assert event_limit([sample(NOW - 200.0, seconds=300.0, events=500)], NOW).count == 100


def test_a_sample_without_length_counts_whole() -> None:
    assert event_limit([sample(NOW, seconds=0.0, events=7)], NOW).count == 7


def test_the_order_of_samples_does_not_matter() -> None:
    samples = [sample(NOW - 10 * n, events=n) for n in range(20)]
    assert event_limit(samples[::-1], NOW) == event_limit(samples, NOW)


def test_samples_of_a_daemon_that_is_gone_say_nothing_of_now() -> None:
    samples = [sample(NOW - 61.0, events=2 * EVENTS)]
    assert event_limit(samples, NOW).count == 0
    assert event_limit([], NOW).count == 0


@given(
    st.lists(st.builds(sample, plausible, seconds=st.floats(), events=st.integers(0, 2**63 - 1))),
    plausible,
)
def test_a_count_is_never_more_than_all_events(samples: list[Sample], now: float) -> None:
    # Counts beyond 2**53 are rounded to floats.
    assert 0 <= event_limit(samples, now).count <= sum(each.events for each in samples) * (1 + 1e-9) + 1
