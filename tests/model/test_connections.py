"""Connections: what waits too long is given up, and what was lost counts as healed once, after a round trip."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.connections import Break, Connection, ConnectionWatch, Rebuilt

TIMEOUT = 1.5
IDLE = Connection(connected=True, probed_at=90.0)


@pytest.fixture
def watch() -> ConnectionWatch:
    return ConnectionWatch("Redis", TIMEOUT)


def test_one_that_has_nothing_to_say_is_left_alone(watch: ConnectionWatch) -> None:
    assert watch.judge(IDLE, 1e9) is None
    assert watch.judge(Connection(connected=False), 1e9) is None


@pytest.mark.parametrize("connected", [True, False])
def test_a_request_that_waits_too_long_breaks_it_off_whether_it_is_open_or_being_opened(
    watch: ConnectionWatch, connected: bool
) -> None:
    waiting = Connection(connected, waiting_since=100.0)
    assert watch.judge(waiting, 101.25) is None
    assert watch.judge(waiting, 101.5) == Break("Redis has not answered for 1.5 s")
    # Where it is still so, it is told again.
    assert watch.judge(waiting, 104.0) == Break("Redis has not answered for 4.0 s")


def test_a_loss_is_healed_once_when_the_next_one_has_answered(watch: ConnectionWatch) -> None:
    lost = Connection(connected=False, losses=1, last_loss="it was silent")
    assert watch.judge(lost, 100.0) is None
    again = replace(lost, connected=True)
    assert watch.judge(again, 101.0) is None
    assert watch.judge(replace(again, probed_at=102.0), 102.0) == Rebuilt("it was silent")
    assert watch.judge(replace(again, probed_at=104.0), 104.0) is None


def test_an_answer_without_a_usable_session_heals_nothing(watch: ConnectionWatch) -> None:
    assert watch.judge(Connection(connected=False, probed_at=1.0, losses=1, last_loss="it was silent"), 1.0) is None


def test_of_several_losses_in_a_row_one_is_healed_and_the_last_is_named(watch: ConnectionWatch) -> None:
    assert watch.judge(Connection(connected=False, losses=1, last_loss="it was silent"), 100.0) is None
    seen = Connection(connected=True, probed_at=102.0, losses=3, last_loss="it hung up")
    assert watch.judge(seen, 102.0) == Rebuilt("it hung up")
    assert watch.judge(seen, 104.0) is None


def test_a_loss_and_its_end_between_two_looks_are_seen(watch: ConnectionWatch) -> None:
    assert watch.judge(IDLE, 100.0) is None
    assert watch.judge(replace(IDLE, losses=1, last_loss="it hung up"), 102.0) == Rebuilt("it hung up")


def test_a_successor_that_is_stuck_is_broken_off_before_anything_is_called_healed(watch: ConnectionWatch) -> None:
    seen = Connection(connected=True, waiting_since=100.0, probed_at=99.0, losses=1, last_loss="it was silent")
    assert watch.judge(seen, 102.0) == Break("Redis has not answered for 2.0 s")
    assert watch.judge(replace(seen, waiting_since=None), 104.0) == Rebuilt("it was silent")


MOMENTS = st.none() | st.floats(0.0, 100.0)


@given(
    st.lists(
        st.tuples(st.booleans(), MOMENTS, MOMENTS, st.integers(0, 2), st.floats(0.0, 3.0)),
        max_size=50,
    )
)
def test_whatever_happens_no_more_is_healed_than_was_lost_and_only_what_waits_is_broken_off(
    steps: list[tuple[bool, float | None, float | None, int, float]],
) -> None:
    watch = ConnectionWatch("Redis", TIMEOUT)
    now, losses, healed, unhealed = 100.0, 0, 0, False
    for connected, waiting_since, probed_at, more, passed in steps:
        now += passed
        losses += more
        unhealed = unhealed or more > 0
        verdict = watch.judge(Connection(connected, waiting_since, probed_at, losses, f"loss {losses}"), now)
        stuck = waiting_since is not None and now - waiting_since >= TIMEOUT
        assert isinstance(verdict, Break) == stuck
        assert isinstance(verdict, Rebuilt) == (not stuck and unhealed and connected and probed_at is not None)
        if isinstance(verdict, Rebuilt):
            assert verdict.why == f"loss {losses}"
            healed, unhealed = healed + 1, False
    assert healed <= losses
