"""The book of healings."""

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.healing import Healed, Healings, Kind


@given(st.lists(st.tuples(st.sampled_from(Kind), st.floats(0, 1e9), st.text(max_size=5))))
def test_each_kind_has_its_count_and_its_last(entries: list[tuple[Kind, float, str]]) -> None:
    book = Healings()
    for kind, at, what in entries:
        book = book.with_one(kind, at, what)
    for kind in Kind:
        mine = [(at, what) for each, at, what in entries if each is kind]
        assert book.by_kind[kind] == (Healed(len(mine), *mine[-1]) if mine else Healed())


def test_a_book_that_was_given_away_does_not_change() -> None:
    before = Healings()
    before.with_one(Kind.REDIS, 1.0, "connected anew")
    assert before == Healings()
