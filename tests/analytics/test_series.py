"""Series: windows, order, and thinning to a bounded number of points."""

from itertools import pairwise
from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.series import Point, buckets, dips, kept, means, peaks
from tests.analytics.histories import DAY, NOW

points = st.lists(
    st.tuples(st.floats(min_value=0, max_value=4e9), st.floats(min_value=-1e6, max_value=1e6)), max_size=60
)


def test_a_window_is_kept_in_order_with_both_its_ends() -> None:
    given_points = [(3.0, 30.0), (1.0, 10.0), (5.0, 50.0), (2.0, 20.0), (0.9, 9.0)]
    assert kept(given_points, 1.0, 3.0) == [(1.0, 10.0), (2.0, 20.0), (3.0, 30.0)]


def test_what_is_no_number_is_not_kept() -> None:
    odd = [(nan, 1.0), (inf, 1.0), (-inf, 1.0), (1.0, nan), (1.0, inf), (1.0, 1e300), (1e300, 1.0)]
    assert kept([*odd, (2.0, 2.0)], -inf, inf) == [(2.0, 2.0)]


def test_few_points_stay_single_but_for_those_of_a_millisecond() -> None:
    assert buckets([(1.0, 1.0), (1.0, 5.0), (1.0003, 6.0), (2.0, 2.0)], 10) == [
        [(1.0, 1.0), (1.0, 5.0), (1.0003, 6.0)],
        [(2.0, 2.0)],
    ]


def test_no_points_have_no_buckets() -> None:
    assert buckets([], 10) == []


def test_stretches_begin_at_multiples_of_their_width() -> None:
    # 21 s in fewer than 10 stretches: 5 s each, from 100 on, 105 on, ...
    groups = buckets([(float(at), 0.0) for at in range(103, 125)], 10)
    assert [(group[0][0], group[-1][0]) for group in groups] == [
        (103, 104),
        (105, 109),
        (110, 114),
        (115, 119),
        (120, 124),
    ]


def test_a_window_that_moves_on_keeps_its_inner_stretches() -> None:
    day = [(NOW + 10 * number, float(number)) for number in range(8640)]
    before, after = buckets(day[:-100], 750), buckets(day[100:], 750)
    assert [group for group in before if group in after] == before[9:-1]


@pytest.mark.parametrize(("days", "seconds", "count"), [(1, 10, 720), (7, 60, 672), (30, 600, 720), (4000, DAY, 667)])
def test_stretches_divide_days_or_are_days(days: int, seconds: float, count: int) -> None:
    midnight = NOW - NOW % DAY
    series = [(midnight + number * seconds, 0.0) for number in range(round(days * DAY / seconds))]
    assert len(buckets(series, 750)) == count


def test_each_stretch_has_one_mean_one_peak_and_one_dip() -> None:
    groups = [[(1.0, 5.0), (2.0, -1.0), (3.0, 2.0)], [(7.0, 4.0)]]
    assert means(groups) == [(2.0, 2.0), (7.0, 4.0)]
    assert peaks(groups) == [(1.0, 5.0), (7.0, 4.0)]
    assert dips(groups) == [(2.0, -1.0), (7.0, 4.0)]


@given(points, st.integers(min_value=2, max_value=40))
def test_buckets_hold_every_point_once_in_order_and_are_no_more_than_asked(series: list[Point], most: int) -> None:
    ordered = kept(series, 0.0, inf)
    groups = buckets(ordered, most)
    assert [point for group in groups for point in group] == ordered
    assert len(groups) <= most
    assert all(groups)


@given(points, st.integers(min_value=2, max_value=40))
def test_points_of_different_buckets_have_different_times(series: list[Point], most: int) -> None:
    thinned = means(buckets(kept(series, 0.0, inf), most))
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(thinned))


@given(points, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(series: list[Point], random: Random) -> None:
    shuffled = list(series)
    random.shuffle(shuffled)
    assert kept(shuffled, 0.0, inf) == kept(series, 0.0, inf)
