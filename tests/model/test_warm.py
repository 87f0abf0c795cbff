"""Warm or cold, rule by rule (contract, section 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.warm import Start, WarmState, settle, timer_seconds

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
