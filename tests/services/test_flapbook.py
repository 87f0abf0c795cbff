"""Penalties that follow the flaps of ports, and who flapped since somebody asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.flaps import HALF_LIFE, LEAST, PENALTY
from portsyncd.model.port import Flapped
from portsyncd.services.flapbook import FlapBook


class Ports:
    """Of which some flap. total: what each has counted."""

    def __init__(self) -> None:
        self.total: dict[str, int] = {}
        self._new: dict[str, Flapped] = {}

    def flap(self, name: str, times: int = 1) -> None:
        self.total[name] = self.total.get(name, 0) + times
        new = times + (self._new[name].new if name in self._new else 0)
        self._new[name] = Flapped(new, self.total[name])

    def take(self) -> dict[str, Flapped]:
        taken, self._new = self._new, {}
        return taken


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def book(ports: Ports) -> FlapBook:
    return FlapBook(ports.take)


def test_flaps_are_told_once_however_often_penalties_are_asked_for(ports: Ports, book: FlapBook) -> None:
    ports.flap("Ethernet0", 2)
    assert book.penalties(1.0) == {"Ethernet0": 2 * PENALTY}
    ports.flap("Ethernet0")
    ports.flap("Ethernet4")
    book.penalties(2.0)
    assert book.take(3.0) == {"Ethernet0": Flapped(3, 3), "Ethernet4": Flapped(1, 1)}
    assert book.take(4.0) == {}


def test_a_penalty_halves_and_grows_again(ports: Ports, book: FlapBook) -> None:
    ports.flap("Ethernet0")
    book.take(0.0)
    assert book.penalties(HALF_LIFE)["Ethernet0"] == pytest.approx(PENALTY / 2)
    ports.flap("Ethernet0")
    assert book.penalties(HALF_LIFE)["Ethernet0"] == pytest.approx(1.5 * PENALTY)


def test_what_is_next_to_nothing_is_forgotten(ports: Ports, book: FlapBook) -> None:
    ports.flap("Ethernet0")
    book.take(0.0)
    assert book.penalties(9.9 * HALF_LIFE)["Ethernet0"] >= LEAST
    assert book.penalties(10 * HALF_LIFE) == {}


def test_restored_penalties_have_grown_old_meanwhile(ports: Ports, book: FlapBook) -> None:
    book.restore({"Ethernet0": 4000.0, "Ethernet4": 1.5}, age=2 * HALF_LIFE, now=100.0)
    assert book.penalties(100.0)["Ethernet0"] == pytest.approx(1000.0)
    assert "Ethernet4" not in book.penalties(100.0)
    ports.flap("Ethernet0")
    assert book.penalties(100.0)["Ethernet0"] == pytest.approx(1000.0 + PENALTY)


def test_the_revision_moves_on_with_flaps_alone(ports: Ports, book: FlapBook) -> None:
    revisions = [book.revision]
    ports.flap("Ethernet0")
    book.penalties(1.0)
    revisions.append(book.revision)
    assert revisions[0] != revisions[1]
    book.penalties(1000.0)
    book.take(2000.0)
    assert book.revision == revisions[1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans())))
def test_nothing_is_lost_and_nothing_told_twice(script: list[tuple[str, int, bool]]) -> None:
    ports = Ports()
    book = FlapBook(ports.take)
    told: dict[str, int] = {}
    for now, (name, times, take) in enumerate([*script, ("a", 1, True)]):
        ports.flap(name, times)
        for port, flapped in (book.take(float(now)) if take else {}).items():
            told[port] = told.get(port, 0) + flapped.new
            assert flapped.total == ports.total[port]
    assert told == ports.total
