"""What is remembered from one look to the next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.services.watches import Calendar, Growth, Stretch


def test_a_stretch_lasts_from_the_first_look_that_saw_it() -> None:
    stretch = Stretch()
    looks = [(1.0, False), (2.0, True), (3.0, True), (7.5, True), (8.0, False), (9.0, True), (10.0, True)]
    assert [stretch.seconds(now, so) for now, so in looks] == [0, 0, 1, 5.5, 0, 0, 1]


def test_a_stretch_begins_anew_with_another_mark() -> None:
    stretch = Stretch()
    assert [stretch.seconds(now, so=True, mark=now // 3) for now in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_growth_is_that_of_the_last_while() -> None:
    growth = Growth(10.0, 2, 0.0)
    # One counter gains 1 a second, the other gained all it has at 5.
    told = [growth.within(float(now), (now, 7 * (now >= 5))) for now in range(20)]
    assert told[4] == [4, 0]
    assert told[9] == [9, 7]
    assert told[14] == [10, 7]
    assert told[15] == [10, 0]


def test_growth_after_a_silence_is_all_there_was_since_the_last_look() -> None:
    growth = Growth(10.0, 1, 0.0)
    growth.within(1.0, (5,))
    assert growth.within(1000.0, (9,)) == [4]
    assert growth.within(1001.0, (9,)) == [4]
    assert growth.within(1010.0, (9,)) == [0]


@given(st.lists(st.floats(0, 0.01), max_size=2000))
def test_what_growth_keeps_is_bounded_however_often_it_is_asked(pauses: list[float]) -> None:
    growth, now = Growth(5.0, 1, 0.0), 0.0
    for pause in pauses:
        now += pause
        assert growth.within(now, (0,)) == [0]
    assert len(growth._samples) <= 7


def test_a_calendar_follows_no_drift_but_a_step() -> None:
    offset = 1000.0
    calendar = Calendar(lambda: 5.0, lambda: 5.0 + offset)
    assert calendar.unix(7.0) == 1007.0
    for offset, step, expected in (  # noqa: B007
        (1000.5, 0.0, 1007.0),
        (999.6, 0.0, 1007.0),
        (1000.6, 0.6, 1007.6),
        (1001.0, 0.0, 1007.6),
        (0.0, -1000.6, 7.0),
    ):
        assert calendar.follow() == pytest.approx(step)
        assert calendar.unix(7.0) == pytest.approx(expected)
