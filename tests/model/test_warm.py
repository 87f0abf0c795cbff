"""Warm or cold, rule by rule (contract, section 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.warm import InitialSync, Phase, Start, Step, WarmState, settle, timer_seconds

COLD = Start(warm=False, fields={"restore_count": "0"})


@pytest.mark.parametrize("restore_count", [None, "0", "7", "x"])
def test_not_enabled_is_cold_and_the_count_is_zero(restore_count: str | None) -> None:
    assert settle(enabled=False, restore_count=restore_count) == COLD


def test_enabled_with_a_count_is_warm_and_counts_one_more() -> None:
    assert settle(enabled=True, restore_count="3") == Start(
        warm=True, fields={"restore_count": "4", "state": "initialized"}
    )
    assert settle(enabled=True, restore_count="0").fields["restore_count"] == "1"


@pytest.mark.parametrize("restore_count", [None, "", "-1", "1.5", "x", "²", "٣", " 1", "0x1", "9" * 5000])
def test_enabled_without_a_usable_count_is_cold_and_says_so(restore_count: str | None) -> None:
    start = settle(enabled=True, restore_count=restore_count)
    assert (start.warm, start.fields) == (COLD.warm, COLD.fields)
    assert "WARM_RESTART_TABLE|portsyncd has no restore_count" in start.remark


def test_what_the_configuration_forbids_is_cold_and_says_so() -> None:
    start = settle(enabled=True, restore_count="3", allowed=False)
    assert (start.warm, start.fields) == (COLD.warm, COLD.fields)
    assert "not in the configuration" in start.remark


def test_what_is_neither_enabled_nor_allowed_needs_no_remark() -> None:
    assert settle(enabled=False, restore_count="3", allowed=False) == COLD


def test_the_states_of_a_warm_start_in_their_order() -> None:
    assert [str(state) for state in WarmState] == ["initialized", "restored", "reconciled"]


@given(st.booleans(), st.one_of(st.none(), st.text(), st.integers(0, 2**32 - 1).map(str)), st.booleans())
def test_whatever_stands_there_a_start_is_one_or_the_other(
    enabled: bool, restore_count: str | None, allowed: bool
) -> None:
    start = settle(enabled=enabled, restore_count=restore_count, allowed=allowed)
    assert start.warm is ("state" in start.fields)
    assert not start.warm or (enabled and allowed and restore_count is not None)
    assert int(start.fields["restore_count"]) >= (1 if start.warm else 0)


@pytest.mark.parametrize(("configured", "seconds"), [("1", 1.0), ("10", 10.0), ("9999", 9999.0), ("0042", 42.0)])
def test_the_configured_timer(configured: str, seconds: float) -> None:
    assert timer_seconds(configured, 5.0) == seconds


@pytest.mark.parametrize("configured", [None, "", "0", "10000", "-1", "1.5", "ten", "²", "9" * 5000])
def test_any_other_timer_is_the_default(configured: str | None) -> None:
    assert timer_seconds(configured, 5.0) == 5.0


# ---- the initial sync

IN_PROGRESS = (Phase.COLD_SYNC, Phase.WARM_SYNC, Phase.UPDATED)


def at(phase: Phase) -> InitialSync:
    """An initial sync in this phase; settled at 1.0, with 10 seconds to go."""
    initial = InitialSync()
    if phase is not Phase.SETTLING:
        initial.settle(warm=phase is not Phase.COLD_SYNC, now=1.0, seconds=10.0)
    if phase in (Phase.UPDATED, Phase.COMPLETE):
        initial.received(2.0)
    if phase is Phase.COMPLETE:
        assert initial.written(3.0)
    if phase is Phase.TIMED_OUT:
        assert initial.out_of_time(11.0)
    if phase is Phase.FAILED:
        initial.flushed(3.0)
    assert initial.phase is phase
    return initial


@pytest.mark.parametrize(
    ("warm", "phases"),
    [
        (True, [Phase.WARM_SYNC, Phase.UPDATED, Phase.COMPLETE]),
        (False, [Phase.COLD_SYNC, Phase.UPDATED, Phase.COMPLETE]),
    ],
)
def test_it_ends_when_the_end_of_the_initial_update_is_written(warm: bool, phases: list[Phase]) -> None:
    initial = InitialSync()
    assert (initial.phase, initial.running) == (Phase.SETTLING, False)
    initial.settle(warm=warm, now=1.0, seconds=10.0)
    said = [initial.phase]
    initial.wrote(2)
    assert not initial.written(1.5)
    initial.received(2.0)
    said.append(initial.phase)
    initial.wrote(3)
    assert initial.written(4.0)
    said.append(initial.phase)
    assert said == phases
    assert (initial.began, initial.updated, initial.ended, initial.differences) == (1.0, 2.0, 4.0, 5)


@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_what_takes_too_long_counts_as_complete(phase: Phase) -> None:
    initial = at(phase)
    assert not initial.out_of_time(10.9)
    assert initial.out_of_time(11.0)
    assert (initial.phase, initial.ended) == (Phase.TIMED_OUT, 11.0)
    assert not initial.out_of_time(12.0)


def test_the_end_of_the_initial_update_is_noted_also_when_it_comes_late() -> None:
    initial = at(Phase.TIMED_OUT)
    initial.received(20.0)
    initial.received(30.0)
    assert (initial.phase, initial.updated, initial.ended) == (Phase.TIMED_OUT, 20.0, 11.0)


@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_a_flush_ends_it(phase: Phase) -> None:
    initial = at(phase)
    initial.flushed(5.0)
    assert (initial.phase, initial.ended, initial.running) == (Phase.FAILED, 5.0, False)


@pytest.mark.parametrize("phase", [Phase.SETTLING, Phase.COMPLETE, Phase.TIMED_OUT, Phase.FAILED])
def test_what_does_not_run_is_not_ended(phase: Phase) -> None:
    initial = at(phase)
    ended = initial.ended
    initial.flushed(50.0)
    initial.wrote(1)
    assert not initial.out_of_time(1e9)
    assert not initial.written(50.0)
    assert (initial.phase, initial.ended, initial.differences) == (phase, ended, 0)


@given(st.sampled_from(Phase), st.sampled_from(Step))
def test_an_illegal_step_raises_and_changes_nothing(phase: Phase, step: Step) -> None:
    initial = at(phase)
    try:
        initial.step(step)
    except ValueError as problem:
        assert initial.phase is phase
        assert step.name in str(problem)
        assert phase.name in str(problem)
    else:
        assert initial.phase is not phase
        # What has ended stays ended.
        assert phase not in (Phase.COMPLETE, Phase.TIMED_OUT, Phase.FAILED)
