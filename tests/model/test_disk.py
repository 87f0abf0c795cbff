"""When the history stands back so that the state of the ports can still be saved."""

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.disk import FLOOR_BYTES, FLOOR_SHARE, HISTORY, Space, hold_back

LARGE = 1 << 40
_sizes = st.integers(0, LARGE)


def of_history(free: int, size: int = LARGE) -> dict[str, Space]:
    return {HISTORY: Space(free, size), "port_state": Space(0, 1)}


def test_it_stands_back_below_the_floor_and_goes_on_from_twice_the_floor() -> None:
    assert hold_back(of_history(FLOOR_BYTES), "") == ""
    why = hold_back(of_history(FLOOR_BYTES - 1), "")
    assert why == "the history is held back: its disk has 32.0 MB left, it goes on from 64.0 MB"
    assert hold_back(of_history(2 * FLOOR_BYTES - 1), why) == why
    assert hold_back(of_history(2 * FLOOR_BYTES), why) == ""


def test_a_small_disk_has_a_small_floor() -> None:
    assert hold_back(of_history(1 << 20, 2 << 20), "") == ""
    assert "0.1 MB left, it goes on from 0.2 MB" in hold_back(of_history(100_000, 2 << 20), "")


def test_a_disk_that_says_nothing_changes_nothing() -> None:
    assert hold_back({}, "") == ""
    assert hold_back({"port_state": Space(0, LARGE)}, "low") == "low"


@given(_sizes, _sizes, st.sampled_from(["", "low"]))
def test_it_never_comes_and_goes_at_one_level(free: int, size: int, held: str) -> None:
    after = hold_back(of_history(free, size), held)
    assert hold_back(of_history(free, size), after) == after
    floor = min(FLOOR_BYTES, FLOOR_SHARE * size)
    if free < floor:
        assert after
    if free >= 2 * floor:
        assert not after
