"""Whether the event loop turns, by the looks of a thread that counts nobody's sleep but the loop's."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.blockage import Blockage, Blocked, Ended

LIMIT, INTERVAL = 10.0, 1.0


def looks(
    blockage: Blockage, moments: Iterable[tuple[float, float]], *, busy: bool = False
) -> list[tuple[float, Blocked | Ended]]:
    """When which look, each being (turned, now), found something. busy: the process has used all of that time."""
    found = [(now, blockage.look(turned, now, now if busy else 0.0)) for turned, now in moments]
    return [(now, each) for now, each in found if each is not None]


def test_a_loop_that_turns_is_never_blocked() -> None:
    assert looks(Blockage(LIMIT, INTERVAL), ((100.0 + n - 0.9, 100.0 + n) for n in range(1000))) == []


def test_a_loop_that_stands_is_told_rarer_and_rarer_and_its_end_is_told() -> None:
    moments = [(100.0, 100.0 + n) for n in range(1, 51)] + [(150.5, 151.0), (151.5, 152.0)]
    assert looks(Blockage(LIMIT, INTERVAL), moments) == [
        (110.0, Blocked(10.0, first=True)),
        (120.0, Blocked(20.0, first=False)),
        (140.0, Blocked(40.0, first=False)),
        (151.0, Ended(50.5, said=True)),
    ]


def test_each_blockage_is_a_new_one() -> None:
    blockage = Blockage(LIMIT, INTERVAL)
    for begin in (100.0, 200.0):
        moments = [(begin, begin + n) for n in range(1, 12)] + [(begin + 11.5, begin + 12.0)]
        found = [each for _, each in looks(blockage, moments + [(begin + n, begin + n) for n in range(13, 100)])]
        assert found == [Blocked(10.0, first=True), Ended(11.5, said=True)]


def test_a_process_that_was_stopped_did_not_block_its_loop() -> None:
    blockage = Blockage(LIMIT, INTERVAL)
    assert looks(blockage, [(100.0, 100.5), (101.0, 101.5)]) == []
    # Nobody ran for an hour; the thread looks before the loop turns, twice.
    assert looks(blockage, [(101.0, 3701.5), (101.0, 3702.5), (3703.0, 3703.5)]) == []
    # Stopped again, just after a turn that no look has seen.
    assert looks(blockage, [(3704.0, 7304.0), (7304.5, 7305.0)]) == []
    # What blocks it after that is told as ever.
    moments = [(7305.0, 7305.0 + n) for n in range(1, 12)]
    assert looks(blockage, moments) == [(7315.0, Blocked(10.0, first=True))]


def test_a_stop_just_before_a_turn_hides_no_blockage_after_it() -> None:
    blockage = Blockage(LIMIT, INTERVAL)
    # It turned as soon as it went on, before the thread looked.
    assert looks(blockage, [(100.0, 100.5), (3700.0, 3700.5)]) == []
    moments = [(3700.0, 3700.5 + n) for n in range(1, 12)]
    assert looks(blockage, moments) == [(3710.5, Blocked(10.0, first=True))]


def test_a_blockage_that_was_told_has_an_end_although_it_turned_while_that_was_told() -> None:
    moments = [(100.0, 109.0), (100.0, 110.0), (109.5, 111.0)]
    assert looks(Blockage(LIMIT, INTERVAL), moments) == [
        (110.0, Blocked(10.0, first=True)),
        (111.0, Ended(9.5, said=True)),
    ]


def test_a_stop_within_a_blockage_is_no_part_of_it() -> None:
    moments = [(100.0, 101.0), (100.0, 102.0), (100.0, 3602.0), *((100.0, 3602.0 + n) for n in range(1, 10))]
    moments.append((3612.0, 3612.5))
    found = looks(Blockage(LIMIT, INTERVAL), moments)
    # Up to 102 and from 3602 on, with the second that was due between them.
    assert found == [(3609.0, Blocked(10.0, first=True)), (3612.5, Ended(13.0, said=True))]


def test_a_call_that_keeps_the_interpreter_to_itself_is_told_when_it_is_over() -> None:
    # Who looks had to wait for it, too; the loop came first, or did not.
    for turned in (106.0, 100.0):
        blockage = Blockage(5.0, INTERVAL)
        found = looks(blockage, [(100.0, 100.5), (turned, 106.5), (107.0, 107.5)], busy=True)
        assert found == (
            [(106.5, Ended(6.0, said=False))]
            if turned > 100.0
            else [(106.5, Blocked(6.5, first=True)), (107.5, Ended(7.0, said=True))]
        )


def test_a_machine_that_gives_little_time_has_not_all_of_it_on_its_head() -> None:
    blockage = Blockage(5.0, INTERVAL)
    assert blockage.look(100.0, 100.5, 3.0) is None
    # Of nine seconds that it did not look, it had four.
    assert blockage.look(100.0, 110.5, 7.0) == Blocked(5.5, first=True)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=50))
def test_an_end_follows_a_beginning_and_nothing_is_told_below_the_limit(steps: list[tuple[float, float]]) -> None:
    blockage, turned, now, open_ = Blockage(LIMIT, INTERVAL), 0.0, 0.0, False
    for silence, pause in steps:
        looked, now = now, now + pause
        if now - silence > looked:
            turned = now - silence
        match blockage.look(turned, now, 0.0):
            case Blocked(seconds, first):
                assert first is not open_
                assert LIMIT <= seconds <= now - turned
                open_ = True
            case Ended(seconds, said):
                assert open_ is said
                assert seconds >= LIMIT
                open_ = False
