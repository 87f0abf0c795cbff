"""Availability: which time counts as up, as ill, and as known at all; clocks that jump."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.availability import RECENT, availability, known_since, running
from portsyncd.analytics.history import Sample, Start
from tests.analytics.histories import DAY, HOUR, NOW, life, plausible, sample

SINCE = NOW - 10 * HOUR


def test_nothing_known_is_no_availability() -> None:
    assert availability([], [], SINCE, NOW) is None
    assert known_since([], [], SINCE) is None


def test_a_window_without_length_has_none() -> None:
    assert availability([life(NOW, NOW)], [], SINCE, NOW) is None


def test_time_counts_from_the_first_thing_known() -> None:
    lives = [life(NOW - 4 * HOUR, NOW - 3 * HOUR), life(NOW - 2 * HOUR, NOW)]
    assert known_since(lives, [], SINCE) == NOW - 4 * HOUR
    assert availability(lives, [], SINCE, NOW) == pytest.approx(0.75)


def test_a_sample_is_something_known_too() -> None:
    samples = [sample(NOW - 3 * HOUR, seconds=HOUR), sample(NOW)]
    assert known_since([life(NOW - HOUR, NOW)], samples, SINCE) == NOW - 4 * HOUR
    assert availability([life(NOW - HOUR, NOW)], samples, SINCE, NOW) == pytest.approx(0.25)


def test_time_never_counts_from_before_the_window() -> None:
    assert known_since([life(SINCE - DAY, NOW)], [], SINCE) == SINCE
    assert availability([life(SINCE - DAY, SINCE + HOUR), life(NOW - HOUR, NOW)], [], SINCE, NOW) == pytest.approx(0.2)


def test_an_unhealthy_sample_takes_its_interval_away() -> None:
    lives = [life(SINCE, NOW)]
    ill = [sample(NOW - 2 * HOUR, seconds=HOUR, health=0.0), sample(NOW, seconds=HOUR, health=0.5)]
    assert availability(lives, ill, SINCE, NOW) == pytest.approx(0.9)


def test_an_unhealthy_sample_takes_nothing_twice() -> None:
    lives = [life(SINCE, SINCE + 5 * HOUR), life(NOW - HOUR, NOW)]
    twice = [sample(SINCE + 7 * HOUR, seconds=3 * HOUR, health=0.0)] * 2
    # Up for 6 of 10 hours, one of which was ill; two of the ill hours were down as well.
    assert availability(lives, twice, SINCE, NOW) == pytest.approx(0.5)


def test_lives_that_overlap_count_once() -> None:
    lives = [life(SINCE, SINCE + 6 * HOUR), life(SINCE + HOUR, SINCE + 5 * HOUR), life(SINCE, SINCE)]
    assert availability(lives, [], SINCE, NOW) == pytest.approx(0.6)


def test_rounding_makes_no_more_than_all_of_it() -> None:
    # 2.6 - 2.3 + 10.0 - 2.6 is more than 10.0 - 2.3 in floats.
    assert availability([life(2.3, 2.6), life(2.6, 10.0)], [], 0.0, 10.0) == 1.0


def test_the_newest_life_goes_on_when_it_was_seen_lately() -> None:
    lives = [life(SINCE, NOW - RECENT)]
    assert running(lives, NOW)
    assert availability(lives, [], SINCE, NOW) == 1.0


@pytest.mark.parametrize(
    "newest", [life(SINCE, NOW - HOUR), life(SINCE, NOW - HOUR, stopped=True)], ids=["not seen", "stopped"]
)
def test_the_newest_life_ends_when_it_was_last_seen(newest: Start) -> None:
    assert not running([newest], NOW)
    assert availability([newest], [], SINCE, NOW) == pytest.approx(0.9)


def test_a_stop_just_now_is_a_stop() -> None:
    assert not running([life(SINCE, NOW, stopped=True)], NOW)
    assert not running([], NOW)


def test_a_life_that_ended_before_it_began_lasted_no_time() -> None:
    lives = [life(SINCE, SINCE - HOUR), life(NOW - HOUR, NOW)]
    assert availability(lives, [], SINCE, NOW) == pytest.approx(0.1)


def test_a_clock_that_was_ahead_counts_as_far_as_now() -> None:
    assert availability([life(SINCE, NOW + DAY)], [sample(NOW + DAY, health=0.0)], SINCE, NOW) == 1.0
    lives = [life(NOW - HOUR, NOW + DAY), life(SINCE, SINCE + HOUR)]
    assert availability(lives, [], SINCE, NOW) == pytest.approx(0.2)


def test_a_life_from_before_the_clock_was_set_fills_the_window() -> None:
    assert availability([life(0.0, NOW)], [], SINCE, NOW) == 1.0


@given(
    st.lists(st.builds(life, plausible, plausible, stopped=st.booleans())),
    st.lists(st.builds(sample, plausible, seconds=st.floats(), health=st.sampled_from([0.0, 0.5, 1.0]))),
    plausible,
    plausible,
)
def test_it_is_a_share_for_any_lives_and_samples(
    lives: list[Start], samples: list[Sample], since: float, now: float
) -> None:
    found = availability(lives, samples, since, now)
    assert found is None or 0 <= found <= 1


@given(st.lists(st.builds(life, plausible, plausible), min_size=1), st.lists(st.builds(sample, plausible), min_size=1))
def test_illness_never_adds_to_it(lives: list[Start], samples: list[Sample]) -> None:
    ill = [sample(each.at, health=0.0) for each in samples]
    well, worse = (availability(lives, each, SINCE, NOW) for each in (samples, ill))
    assert (well is None) == (worse is None)
    assert well is None or worse is None or worse <= well
