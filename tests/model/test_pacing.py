"""How often the reader wakes."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.pacing import Pacer

INTERVAL = 0.008
# Far less than the interval, more than what floating point loses at the times that occur here.
TOLERANCE = 1e-6


def test_after_a_rare_event_nothing_is_waited_for() -> None:
    pacer = Pacer()
    assert [pacer.pause(1000.0 + second) for second in range(100)] == [0.0] * 100


def test_a_burst_is_read_without_a_pause_and_what_follows_at_the_pace() -> None:
    pacer = Pacer(burst=3, interval=INTERVAL)
    assert [pacer.pause(1000.0) for _ in range(3)] == [0.0] * 3
    assert pacer.pause(1000.0) == pytest.approx(INTERVAL)


def test_a_lasting_stream_is_read_once_an_interval() -> None:
    pacer, now, reads = Pacer(burst=3, interval=INTERVAL), 1000.0, []
    for _ in range(50):
        reads.append(now)
        now += pacer.pause(now)
    gaps = [after - before for before, after in pairwise(reads)]
    assert gaps == pytest.approx([0.0] * 3 + [INTERVAL] * 46)


def test_quiet_makes_it_as_quick_as_new_and_no_quicker() -> None:
    pacer = Pacer(burst=3, interval=INTERVAL)
    for _ in range(5):
        pacer.pause(1000.0)
    assert [pacer.pause(2000.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(INTERVAL)]


def test_the_clock_may_begin_at_zero() -> None:
    assert Pacer().pause(0.0) == 0.0


# Seconds from the end of a pause to the next event.
quiet_times = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.02), st.floats(0, 5)), max_size=100)


@given(quiet_times, st.integers(1, 8))
def test_no_window_has_more_reads_than_burst_and_pace_allow(quiet: Sequence[float], burst: int) -> None:
    pacer, now, reads = Pacer(burst=burst, interval=INTERVAL), 1000.0, []
    for time in quiet:
        now += time
        reads.append(now)
        pause = pacer.pause(now)
        # Nobody waits longer than for one token.
        assert 0.0 <= pause <= INTERVAL + TOLERANCE
        now += pause
    for first, start in enumerate(reads):
        for last, end in enumerate(reads[first:], first):
            assert last - first + 1 <= burst + 1 + (end - start) / INTERVAL + TOLERANCE / INTERVAL
