"""Trends: answers of other implementations and of the hand, and what holds for any series."""

from math import isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.trend import FEWEST, MOST, SIGNIFICANT, Trend, trend
from tests.analytics.histories import HOUR, NOW

values = st.lists(st.integers(min_value=-1000, max_value=1000), min_size=FEWEST, max_size=30)


def hourly(numbers: list[float]) -> list[tuple[float, float]]:
    return [(NOW + n * HOUR, value) for n, value in enumerate(numbers)]


def of(numbers: list[float]) -> Trend:
    found = trend(hourly(numbers))
    assert found is not None
    return found


def test_ties_are_corrected_for() -> None:
    # pymannkendall.original_test: S = 54, variance 210.667, p = 0.000260656; scipy.stats.theilslopes: 0.894444.
    found = of([10, 12, 11, 13, 15, 14, 14, 16, 19, 18, 18, 21])
    assert found.direction == "rising"
    assert found.slope == pytest.approx(0.8944444444444444)
    assert found.p_value == pytest.approx(0.0002606563091740455)


def test_times_need_not_be_regular() -> None:
    # pymannkendall.original_test: S = -40, variance 124, p = 0.000461254; scipy.stats.theilslopes with these times: -0.25.
    levels = [9.0, 8.5, 8.7, 8.1, 7.9, 7.9, 7.0, 6.6, 6.8, 5.1]
    hours = [0, 1, 2, 4, 5, 7, 8, 9, 12, 13]
    found = trend([(NOW + hour * HOUR, level) for hour, level in zip(hours, levels, strict=True)])
    assert found is not None
    assert found.direction == "falling"
    assert found.slope == pytest.approx(-0.25)
    assert found.p_value == pytest.approx(0.0004612540671704579)


def test_a_straight_line_by_hand() -> None:
    # S = 45 of 45 pairs, variance 10 * 9 * 25 / 18 = 125, z = 44 / sqrt(125) = 3.935, two-sided p = 8.30e-5.
    found = of([3.0 * n for n in range(10)])
    assert found.direction == "rising"
    assert (found.slope, found.p_value) == pytest.approx((3.0, 8.303e-5), rel=1e-3)


def test_two_outliers_among_equals_are_no_trend() -> None:
    # pymannkendall.original_test: S = 3, variance 59.667, p = 0.795698; the median slope is 0.
    found = of([5, 5, 5, 6, 5, 5, 5, 7, 5, 5])
    assert (found.direction, found.slope) == ("steady", 0.0)
    assert found.p_value == pytest.approx(0.7956976522687824)


def test_a_step_that_most_pairs_do_not_see_is_significant_but_no_slope() -> None:
    found = of([0.0] * 20 + [1.0] * 4)
    assert found.p_value < SIGNIFICANT
    assert (found.direction, found.slope) == ("steady", 0.0)


def test_nothing_has_no_trend_and_few_values_a_steady_one() -> None:
    assert trend([]) is None
    assert trend([(NOW, float("nan"))]) is None
    assert of([float(n) for n in range(FEWEST - 1)]) == Trend("steady", 0.0, 1.0)
    assert of([float(n) for n in range(FEWEST)]).direction == "rising"


def test_values_of_one_moment_are_one_value() -> None:
    assert trend([(NOW, float(n)) for n in range(100)]) == Trend("steady", 0.0, 1.0)


def test_a_long_series_is_thinned_and_keeps_its_trend() -> None:
    line = [(NOW + 10.0 * n, 100.0 + 0.01 * n) for n in range(50 * MOST)]
    found = trend(line)
    assert found is not None
    assert found.direction == "rising"
    assert found.slope == pytest.approx(3.6, rel=1e-3)


def test_one_outlier_hides_no_trend() -> None:
    line = [float(n) for n in range(20)]
    line[10] = 1e9
    assert of(line).slope == pytest.approx(1.0)


@given(st.floats(min_value=-1e9, max_value=1e9), st.integers(min_value=0, max_value=3 * MOST))
def test_a_constant_series_is_steady(value: float, count: int) -> None:
    assert trend(hourly([value] * count)) == (Trend("steady", 0.0, 1.0) if count else None)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=30))
def test_any_series_has_a_finite_trend(points: list[tuple[float, float]]) -> None:
    found = trend(points)
    if found is None:
        return
    assert isfinite(found.slope)
    assert 0 <= found.p_value <= 1


@given(values, st.integers(min_value=-1000, max_value=1000), st.sampled_from([0.25, 2.0, 1024.0]))
def test_shifting_changes_nothing_and_scaling_only_the_slope(numbers: list[int], shift: int, scale: float) -> None:
    plain = of([float(n) for n in numbers])
    moved = of([scale * (n + shift) for n in numbers])
    assert (moved.direction, moved.p_value) == (plain.direction, plain.p_value)
    assert moved.slope == pytest.approx(scale * plain.slope)


@given(values)
def test_what_rises_falls_when_upside_down(numbers: list[int]) -> None:
    upright, turned = of([float(n) for n in numbers]), of([-float(n) for n in numbers])
    assert turned.p_value == upright.p_value
    assert turned.slope == pytest.approx(-upright.slope)
    assert {upright.direction, turned.direction} in ({"steady"}, {"rising", "falling"})


@given(values, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(numbers: list[int], random: Random) -> None:
    points = hourly([float(n) for n in numbers])
    shuffled = list(points)
    random.shuffle(shuffled)
    assert trend(shuffled) == trend(points)
