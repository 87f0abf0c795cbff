"""How long to wait before connecting to Redis again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.retry import Backoff

BACKOFF = Backoff(first=0.05, cap=5.0, refused_first=0.5, refused_cap=4.0)

failures = st.integers(1, 10**6)
jitters = st.floats(0, 1)


def longest(number: int, *, refused: bool = False) -> float:
    return BACKOFF.delay(number, 1.0, refused=refused)


def test_the_first_retry_comes_at_once() -> None:
    assert BACKOFF.delay(1, 1.0, refused=False) == 0.0


def test_delays_double_up_to_the_cap() -> None:
    assert [longest(number) for number in range(2, 11)] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_a_redis_that_refuses_is_never_asked_again_at_once() -> None:
    assert [longest(number, refused=True) for number in range(1, 6)] == pytest.approx([0.5, 1.0, 2.0, 4.0, 4.0])
    assert BACKOFF.delay(1, 0.0, refused=True) == pytest.approx(0.25)


def test_half_of_a_delay_is_left_to_chance() -> None:
    assert [BACKOFF.delay(3, jitter, refused=False) for jitter in (0.0, 0.5, 1.0)] == pytest.approx([0.05, 0.075, 0.1])


def test_a_redis_on_this_machine_can_have_a_low_cap() -> None:
    assert Backoff(cap=0.5).delay(100, 1.0, refused=False) == 0.5


def test_a_cap_below_the_first_delay_wins() -> None:
    assert Backoff(first=1.0, cap=0.5).delay(2, 1.0, refused=False) == 0.5


@given(failures, jitters, st.booleans())
def test_no_delay_is_beyond_its_cap_and_none_after_the_first_is_nearly_nothing(
    number: int, jitter: float, refused: bool
) -> None:
    delay = BACKOFF.delay(number, jitter, refused=refused)
    assert delay <= (BACKOFF.refused_cap if refused else BACKOFF.cap)
    if refused or number > 1:
        assert delay >= (BACKOFF.refused_first if refused else BACKOFF.first) / 2


@given(failures, failures, jitters, st.booleans())
def test_more_failures_never_mean_a_shorter_delay(one: int, other: int, jitter: float, refused: bool) -> None:
    fewer, more = sorted((one, other))
    assert BACKOFF.delay(fewer, jitter, refused=refused) <= BACKOFF.delay(more, jitter, refused=refused)
