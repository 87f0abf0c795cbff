from hypothesis import given
from hypothesis import strategies as st

from portsyncd.web.limits import Candidate, Stage, first_to_go, handshake_to_go

CANDIDATES = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), min_size=1, max_size=20).map(
    lambda entries: [(number, Candidate(*entry)) for number, entry in enumerate(entries)]
)


def test_who_has_most_gives_one() -> None:
    greedy = [(number, Candidate("greedy", 100.0 + number)) for number in range(3)]
    assert first_to_go([("only", Candidate("modest", 1.0)), *greedy]) == 0


def test_of_ones_own_the_one_that_was_useless_for_longest_goes() -> None:
    assert (
        first_to_go([("new", Candidate("a", 3.0)), ("old", Candidate("a", 1.0)), ("b", Candidate("b", 0.0))]) == "old"
    )


@given(CANDIDATES)
def test_nobody_has_more_than_who_gives_and_none_of_theirs_is_older(entries: list[tuple[int, Candidate]]) -> None:
    key = first_to_go(entries)
    gone = dict(entries)[key]
    owners = [candidate.owner for _, candidate in entries]
    assert owners.count(gone.owner) == max(map(owners.count, owners))
    assert all(gone.useful_at <= other.useful_at for _, other in entries if other.owner == gone.owner)


def handshakes(*stages: tuple[str, Stage]) -> list[tuple[int, Stage, Candidate]]:
    """In the order in which they came; the number is the key."""
    return [(number, stage, Candidate(owner, number)) for number, (owner, stage) in enumerate(stages)]


def test_a_flood_makes_room_at_the_stage_where_it_stays() -> None:
    good, flood = ("prometheus", Stage.WAITING), [("attacker", Stage.SILENT)] * 3
    assert handshake_to_go(handshakes(good, *flood)) == 1
    assert handshake_to_go(handshakes(("x", Stage.SILENT), ("y", Stage.REFUSED), ("y", Stage.REFUSED))) == 1


def test_at_a_stage_the_oldest_of_who_has_most_goes() -> None:
    a, b = ("a", Stage.WAITING), ("b", Stage.WAITING)
    assert handshake_to_go(handshakes(a, b, b)) == 1
    assert handshake_to_go(handshakes(a, b)) == 0


def test_who_waits_for_us_stays() -> None:
    computing = ("a", Stage.COMPUTING)
    assert handshake_to_go(handshakes(computing, computing, ("b", Stage.SILENT))) == 2
    assert handshake_to_go(handshakes(computing, computing)) is None


def test_who_has_been_refused_goes_before_who_may_be_good() -> None:
    assert handshake_to_go(handshakes(("a", Stage.WAITING), ("b", Stage.WAITING), ("c", Stage.REFUSED))) == 2
    assert handshake_to_go(handshakes(("a", Stage.WAITING), ("b", Stage.SILENT))) == 1
