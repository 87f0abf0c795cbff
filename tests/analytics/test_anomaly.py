"""Anomalies: scores by hand, series without variance, the same hour of earlier days, and any series."""

from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.anomaly import DAYS, FEWEST, HIGHEST, THRESHOLD, Anomaly, scored, strongest
from tests.analytics.histories import DAY, HOUR, NOW

MIDNIGHT = NOW - NOW % DAY


def minutely(values: list[float]) -> list[tuple[float, float]]:
    return [(MIDNIGHT + 60.0 * n, value) for n, value in enumerate(values)]


def scores(values: list[float]) -> list[float]:
    return [point.score for point in scored(minutely(values))]


def test_two_outliers_do_not_hide_each_other() -> None:
    # Median 2.45, MAD 0.15 (by hand; the same from scipy.stats.median_abs_deviation): 0.6745 * 5.75 / 0.15 = 25.86. An
    # ordinary z-score finds neither: mean 3.5 and standard deviation 2.5 make 1.9 of 8.3.
    found = scores([2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3])
    assert found[:3] == pytest.approx([-1.57383333, 0.6745, -0.22483333])
    assert found[-2:] == pytest.approx([25.85583333, 26.3055])


def test_one_other_value_among_equal_ones_is_told_by_the_mean_distance() -> None:
    # MAD 0; mean distance 5 / 10; 5 / (1.253314 * 0.5) = 7.979.
    found = scores([4.0] * 9 + [9.0])
    assert found == [0.0] * 9 + [pytest.approx(7.979, abs=0.001)]


def test_the_last_digits_of_a_float_are_no_anomaly() -> None:
    assert scores([0.3] * 9 + [0.1 + 0.2]) == [0.0] * 10


def test_a_short_series_has_none() -> None:
    assert scored(minutely([1.0] * (FEWEST - 2) + [1e6])) == []
    assert len(scored(minutely([1.0] * (FEWEST - 1) + [1e6]))) == FEWEST


def test_what_is_no_number_takes_no_part() -> None:
    plain = minutely([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert scored([*plain, (NOW, nan), (NOW, inf), (nan, 1.0)]) == scored(plain)


def test_scores_are_bounded() -> None:
    assert max(scores([1e-300 * n for n in range(20)] + [1e90])) == HIGHEST
    assert min(scores([1e-300 * n for n in range(20)] + [-1e90])) == -HIGHEST


def days(count: int) -> list[tuple[float, float]]:
    """Each hour of so many days; a value of about 10, and about 100 at three in the morning."""
    return [
        (MIDNIGHT + day * DAY + hour * HOUR, (100.0 if hour == 3 else 10.0) + day % 3)
        for day in range(count)
        for hour in range(24)
    ]


def test_what_happens_every_night_is_an_anomaly_only_until_enough_nights_are_known() -> None:
    nights = [point for point in scored(days(DAYS + 2)) if (point.at - MIDNIGHT) % DAY == 3 * HOUR]
    assert [point.seasonal for point in nights] == [False] * DAYS + [True] * 2
    assert all(point.score > THRESHOLD for point in nights[:DAYS])
    assert all(abs(point.score) < THRESHOLD for point in nights[DAYS:])


def test_the_usual_value_at_an_unusual_hour_is_an_anomaly() -> None:
    series = [*days(10), (MIDNIGHT + 10 * DAY + 2 * HOUR, 100.0), (MIDNIGHT + 10 * DAY + 3 * HOUR, 10.0)]
    high, low = scored(series)[-2:]
    assert high.seasonal
    assert high.score > THRESHOLD
    assert low.seasonal
    assert low.score < -THRESHOLD


def test_the_first_other_value_after_equal_nights_is_an_anomaly() -> None:
    series = [(MIDNIGHT + day * DAY, 1.0) for day in range(DAYS + 1)] + [(MIDNIGHT + (DAYS + 1) * DAY, 2.0)]
    newest = scored(series)[-1]
    assert newest.seasonal
    assert newest.score > THRESHOLD


def test_the_strongest_are_kept_in_order_of_time() -> None:
    points = [Anomaly(float(n), 1.0, score) for n, score in enumerate([4.0, 3.4, -9.0, 5.0, 3.6])]
    assert [point.score for point in strongest(points, 3)] == [4.0, -9.0, 5.0]
    assert [point.score for point in strongest(points, 10)] == [4.0, -9.0, 5.0, 3.6]


@given(st.floats(min_value=-1e9, max_value=1e9), st.integers(min_value=0, max_value=50))
def test_a_constant_series_has_none(value: float, count: int) -> None:
    assert not any(scores([value] * count))


@given(st.lists(st.integers(min_value=0, max_value=100), min_size=FEWEST, max_size=40))
def test_one_far_outlier_is_always_found(values: list[int]) -> None:
    found = scored(minutely([*map(float, values), 1e6]))
    assert found[-1].score > THRESHOLD
    assert found[-1] in strongest(found, 1)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=40))
def test_any_series_has_bounded_scores(points: list[tuple[float, float]]) -> None:
    assert all(-HIGHEST <= point.score <= HIGHEST for point in scored(points))


@given(
    st.lists(st.integers(min_value=-100, max_value=100), min_size=FEWEST, max_size=40),
    st.integers(min_value=-1000, max_value=1000),
    st.sampled_from([0.5, 4.0]),
)
def test_shifting_and_scaling_change_no_score(values: list[int], shift: int, scale: float) -> None:
    assert scores([scale * (value + shift) for value in values]) == pytest.approx(
        scores([float(each) for each in values])
    )


@given(st.lists(st.integers(min_value=-100, max_value=100), max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(values: list[int], random: Random) -> None:
    points = minutely([float(value) for value in values])
    shuffled = list(points)
    random.shuffle(shuffled)
    assert scored(shuffled) == scored(points)
