"""What comes round does so at moments that all share."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.rounds import next_round


def test_whoever_asks_is_told_the_same_moment() -> None:
    assert {next_round(now, 2.0) for now in (6.0, 6.1, 7.9)} == {8.0}
    assert next_round(7.2, 1.0) == 8.0


@given(st.floats(0.0, 1e7), st.sampled_from((0.1, 0.25, 0.7, 1.0, 2.0, 10.0, 15.0)))
def test_it_comes_and_within_the_interval(now: float, interval: float) -> None:
    moment = next_round(now, interval)
    assert now < moment <= now + interval * (1 + 1e-6)
    # Who wakes up just then is told the one after.
    assert moment < next_round(moment, interval) <= moment + interval * (1 + 1e-6)


def test_a_multiple_that_was_rounded_down_is_not_told_twice() -> None:
    moments = [0.0]
    for _ in range(1000):
        moments.append(next_round(moments[-1], 0.7))
    assert all(later > earlier for earlier, later in pairwise(moments))
