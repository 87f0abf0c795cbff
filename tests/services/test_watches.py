"""What is remembered from one look to the next."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.services.watches import Calendar, EventPath, Growth, Stretch
from tests.services.switch import FakeSwitch


def test_a_stretch_lasts_from_the_first_look_that_saw_it() -> None:
    stretch = Stretch()
    looks = [(1.0, False), (2.0, True), (3.0, True), (7.5, True), (8.0, False), (9.0, True), (10.0, True)]
    assert [stretch.seconds(now, so) for now, so in looks] == [0, 0, 1, 5.5, 0, 0, 1]


def test_a_stretch_begins_anew_with_another_mark() -> None:
    stretch = Stretch()
    assert [stretch.seconds(now, so=True, mark=now // 3) for now in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("seen", "stands"),
    [
        ({}, False),
        ({"inbox": {"depth": 1}}, True),
        ({"writer": {"events_in_flight": 1}}, True),
        ({"writer": {"in_sync": False}}, True),
        ({"inbox": {"depth": 1}, "writer": {"connected": False}}, False),
        ({"inbox": {"depth": 1}, "writer": {"waiting_since": 3.0}}, False),
        ({"reader": {"has_events": True}}, True),
        ({"reader": {"has_events": True}, "writer": {"connected": False}}, True),
        ({"reader": {"resyncing": True, "listening": True}}, True),
        ({"reader": {"resyncing": True, "listening": False}}, False),
    ],
)
async def test_events_stand_still_where_somebody_else_than_redis_could_move_them(
    seen: dict[str, dict[str, Any]], stands: bool
) -> None:
    path = Path()
    assert path.stood(1.0, **seen) == 0.0
    assert path.stood(3.5, **seen) == (2.5 if stands else 0.0)
    assert path.stood(4.5, writer={"round_trips": 7}, reader={"progress": 7}) == 0.0


async def test_what_moves_does_not_stand_still_although_there_is_always_more() -> None:
    path = Path()
    for moment in range(10):
        assert path.stood(moment, inbox={"depth": 1}, writer={"round_trips": moment}) == 0.0
        assert path.stood(moment, reader={"has_events": True, "progress": moment}) == 0.0


@pytest.mark.parametrize("what", ["round_trips", "events_processed", "events_failed", "sessions"])
async def test_whatever_the_writer_does_is_a_move(what: str) -> None:
    path = Path()
    assert [path.stood(now, inbox={"depth": 1}, writer={what: now // 3}) for now in range(5)] == [0, 1, 2, 0, 1]


async def test_of_the_time_in_which_nobody_looked_nothing_is_known() -> None:
    path = Path()
    assert [path.stood(now, reader={"has_events": True}) for now in (0.0, 2.0, 14.0, 15.0)] == [0, 2, 0, 1]


async def test_a_loop_that_always_blocks_is_no_excuse() -> None:
    path = Path()
    assert [path.stood(now, reader={"has_events": True}) for now in (0.0, 4.0, 8.0, 12.0)] == [0, 4, 8, 12]


class Path:
    """``EventPath`` over the statistics of a switch that is in sync and idle, but for what a look names."""

    def __init__(self) -> None:
        self._path, self._switch = EventPath(), FakeSwitch()

    def stood(self, now: float, **seen: dict[str, Any]) -> float:
        switch = self._switch
        writer = replace(switch.writer.statistics(), **{"connected": True, "in_sync": True, **seen.get("writer", {})})
        reader = replace(switch.reader.statistics(), **seen.get("reader", {}))
        inbox = replace(switch.inbox.statistics(), **seen.get("inbox", {}))
        found = self._path.stood(now, reader, writer, inbox, synced=True)
        return max(found.stalled, found.unread)


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
