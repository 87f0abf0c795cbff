"""Figures of a sample: known answers, and what holds for any numbers, NaN, infinities and the largest among them."""

from math import inf, isfinite, nan
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.stats import Summary, deviation, mean, median, percentile, ratio, summarize

moderate = st.floats(min_value=-1e6, max_value=1e6)


def test_a_sample_has_the_figures_that_numpy_gives_it() -> None:
    # numpy.percentile(values, [50, 95, 99]) and numpy.mean of numpy 2.
    found = summarize([3.1, 0.2, 4.7, 4.7, 1.9, 8.8, 2.4])
    assert found is not None
    assert (found.count, found.minimum, found.maximum) == (7, 0.2, 8.8)
    assert (found.p50, found.p95, found.p99) == pytest.approx((3.1, 7.57, 8.554))
    assert found.mean == pytest.approx(3.6857142857142855)


def test_one_value_is_all_of_its_figures() -> None:
    assert summarize([2.5]) == Summary(1, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5)


@pytest.mark.parametrize("values", [[], [nan], [inf, -inf], [1e300, nan]])
def test_what_is_no_number_has_no_figures(values: list[float]) -> None:
    assert summarize(values) is None


def test_what_is_no_number_is_left_out() -> None:
    assert summarize([nan, 1.0, inf, 3.0, -inf, 1e308]) == summarize([1.0, 3.0])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.25, 1.75), (1 / 3, 2.0), (0.5, 2.5), (0.75, 3.25), (1.0, 4.0)]
)
def test_percentiles_lie_on_the_line_between_the_closest_ranks(share: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == pytest.approx(expected)


def test_medians_and_deviations_by_hand() -> None:
    assert median([9.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 9.0]) == 3.0
    # Distances from 2: 1, 0, 7. Their median is 1, their mean 8/3.
    assert deviation([1.0, 2.0, 9.0], 2.0) == pytest.approx((1.0, 8 / 3))


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(1, 4, 0.25), (0, 3, 0.0), (3, 3, 1.0), (0, 0, None), (2, 0, None)]
)
def test_a_share_of_nothing_is_none(part: float, whole: float, expected: float | None) -> None:
    assert ratio(part, whole) == expected


@given(st.lists(st.floats()))
def test_figures_are_in_order_and_finite_whatever_the_values(values: list[float]) -> None:
    found = summarize(values)
    if found is None:
        return
    assert found.minimum <= found.p50 <= found.p95 <= found.p99 <= found.maximum
    assert found.minimum <= found.mean <= found.maximum
    assert all(isfinite(each) for each in (found.minimum, found.maximum, found.mean, found.p50, found.p95, found.p99))


@given(st.floats(min_value=-1e99, max_value=1e99), st.integers(min_value=1, max_value=50))
def test_equal_values_have_equal_figures(value: float, count: int) -> None:
    assert summarize([value] * count) == Summary(count, value, value, value, value, value, value)


@given(st.lists(moderate, min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_values_does_not_matter(values: list[float], random: Random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert summarize(shuffled) == summarize(values)


@given(st.lists(moderate, min_size=1))
def test_the_mean_is_the_mean(values: list[float]) -> None:
    assert mean(values) == pytest.approx(fmean(values))
