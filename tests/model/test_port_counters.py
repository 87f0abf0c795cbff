"""What ``PortSync`` counts of each port: carrier losses, oper transitions, writes that came through and that did not."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.commands import Snapshot
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.port import PortCounters
from portsyncd.model.sync import PortSync
from tests.model.talk import DOWN, NO_CARRIER, UP, Talk, changed, held, ports, running

ALIKE = (*UP[:3], "1500")


def counters(sync: PortSync, name: str = "Ethernet0") -> PortCounters:
    """A sample of them."""
    counted = dict(sync.port_counters())[name]
    return PortCounters(counted.flaps, counted.ups, counted.downs, counted.written, counted.failed)


def transitions(talk: Talk) -> tuple[int, int]:
    sampled = counters(talk.sync)
    return sampled.ups, sampled.downs


# ---- transitions and flaps


def test_a_port_that_comes_up_has_come_up_once() -> None:
    assert transitions(running("Ethernet0")) == (1, 0)


def test_what_the_first_full_read_finds_is_no_transition() -> None:
    talk = Talk(appl=["Ethernet0"])
    talk.begin(held(Ethernet0=UP))
    talk.take(Ethernet0=changed(UP, flaps=70))
    talk.dumped()
    assert counters(talk.sync) == (0, 0, 0, 0, 0)
    talk.take(Ethernet0=changed(NO_CARRIER, flaps=71))
    assert counters(talk.sync) == (1, 0, 1, 1, 0)


def test_one_down_and_one_up_are_one_each() -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(NO_CARRIER, flaps=1))
    assert transitions(talk) == (1, 1)
    talk.take(Ethernet0=changed(UP, flaps=1))
    assert transitions(talk) == (2, 1)
    assert counters(talk.sync).flaps == 1


def test_excursions_that_were_folded_into_one_event_are_all_counted() -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(UP, flaps=3))
    assert counters(talk.sync)[:3] == (3, 4, 3)
    talk.take(Ethernet0=changed(NO_CARRIER, flaps=5))
    assert counters(talk.sync)[:3] == (5, 5, 5)
    talk.take(Ethernet0=changed(NO_CARRIER, flaps=6))
    assert counters(talk.sync)[:3] == (6, 6, 6)
    talk.take(Ethernet0=changed(UP, flaps=8))
    assert counters(talk.sync)[:3] == (8, 9, 8)


def test_a_port_that_goes_down_without_a_carrier_loss_goes_down_all_the_same() -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(DOWN))
    assert counters(talk.sync)[:3] == (0, 1, 1)


def test_a_change_of_something_else_is_no_transition() -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(ALIKE))
    assert counters(talk.sync)[:3] == (0, 1, 0)


def test_a_kernel_counter_that_begins_again_takes_nothing_away() -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(UP, flaps=5))
    talk.take(Ethernet0=changed(UP, flaps=1))
    assert counters(talk.sync)[:3] == (5, 6, 5)


def test_a_link_made_anew_went_down_and_its_own_counter_begins_with_it() -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(UP, 2, removed=True, flaps=9))
    assert counters(talk.sync)[:3] == (0, 2, 1)
    talk.take(Ethernet0=changed(DOWN, 3, removed=True, flaps=9))
    assert counters(talk.sync)[:3] == (0, 2, 2)


def test_a_link_that_goes_away_goes_down() -> None:
    talk = running("Ethernet0")
    talk.gone("Ethernet0")
    assert transitions(talk) == (1, 1)
    talk.take(Ethernet0=changed(NO_CARRIER, 2))
    assert transitions(talk) == (1, 1)
    talk.gone("Ethernet0")
    assert transitions(talk) == (1, 1)


def test_a_link_that_turns_out_to_be_an_old_one_goes_down() -> None:
    talk = Talk(Policy(existing_links=ExistingLinks.RESET))
    talk.begin(Snapshot(config_ports=ports("Ethernet0")))
    talk.take(Ethernet0=changed(NO_CARRIER))
    talk.take(Ethernet0=changed(UP))
    assert transitions(talk) == (1, 0)
    talk.dumped(1)
    assert transitions(talk) == (1, 1)


def test_a_port_that_is_forgotten_takes_its_counts_along() -> None:
    talk = running("Ethernet0")
    talk.appl.add("PortChannel1")
    talk.take(PortChannel1=changed(UP, 2))
    assert counters(talk.sync, "PortChannel1") == (0, 1, 0, 1, 0)
    talk.gone("PortChannel1")
    assert "PortChannel1" not in dict(talk.sync.port_counters())
    talk.take(PortChannel1=changed(UP, 3))
    assert counters(talk.sync, "PortChannel1") == (0, 1, 0, 1, 0)


@given(st.booleans(), st.lists(st.integers(0, 5), max_size=12))
def test_transitions_are_exact_however_many_were_folded_into_one_event(up: bool, folded: Sequence[int]) -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(UP if up else NO_CARRIER))
    ups, downs = transitions(talk)
    losses = 0
    for toggles in folded:
        for _ in range(toggles):
            up = not up
            ups, downs, losses = (ups + 1, downs, losses) if up else (ups, downs + 1, losses + 1)
        talk.take(Ethernet0=changed(UP if up else NO_CARRIER, flaps=losses))
        assert counters(talk.sync)[:3] == (losses, ups, downs)


states = st.sampled_from([None, UP, NO_CARRIER, DOWN, ALIKE])


@given(st.lists(st.tuples(states, st.integers(1, 2), st.integers(0, 3), st.booleans()), max_size=12))
def test_whatever_comes_they_never_fall_and_differ_by_the_present_state(
    steps: Sequence[tuple[tuple[str, str, str, str] | None, int, int, bool]],
) -> None:
    talk = running("Ethernet0", "Ethernet4")
    before = counters(talk.sync)
    for state, ifindex, flaps, removed in steps:
        talk.take(Ethernet0=changed(state, ifindex, flaps=flaps, removed=removed or state is None))
        now = counters(talk.sync)
        assert all(later >= earlier for later, earlier in zip(now, before, strict=True))
        assert now.ups - now.downs == (state in (UP, ALIKE))
        before = now


# ---- writes


def test_writes_count_when_redis_acknowledged_them() -> None:
    talk = running("Ethernet0")
    assert counters(talk.sync)[3:] == (1, 0)
    talk.take(Ethernet0=changed(DOWN))
    talk.take(Ethernet0=changed(DOWN))
    assert counters(talk.sync)[3:] == (2, 0)
    talk.gone("Ethernet0")
    assert counters(talk.sync)[3:] == (3, 0)


def test_a_write_without_an_answer_has_failed_and_its_repetition_has_not() -> None:
    talk = running("Ethernet0")
    talk.unanswered = "set Ethernet0"
    talk.take(Ethernet0=changed(DOWN))
    assert counters(talk.sync)[3:] == (1, 1)
    assert talk.begin(held(Ethernet0=DOWN)) == ["set Ethernet0 down/down 9100"]
    assert counters(talk.sync)[3:] == (2, 1)


def test_a_port_that_waits_for_orchagent_has_failed_at_nothing() -> None:
    talk = running("Ethernet0")
    talk.take(PortChannel1=changed(UP, 2))
    talk.poll()
    assert counters(talk.sync, "PortChannel1")[3:] == (0, 0)
