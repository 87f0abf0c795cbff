"""What is kept of the ports: its form on disk, and what the next process concludes from it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import DecodeError
from portsyncd.model.commands import Snapshot
from portsyncd.model.port import Flapped
from portsyncd.model.ports import UNKNOWN
from portsyncd.model.saved import Saved, SavedPort, from_content, to_content
from tests.model.talk import DOWN, NO_CARRIER, UP, Talk, changed, ports

PORT = SavedPort(UP, ifindex=1, carrier_losses=3, flaps=5, ups=6, downs=5, penalty=812.5)
KNOWN = Saved(age=60.0, trusted=True, ports={"Ethernet0": PORT})
WARM = Snapshot(
    config_ports=ports("Ethernet0"),
    state={"Ethernet0": UP},
    generation="g1",
    config_done=True,
    init_done=True,
    own_row=True,
    warm_enabled=True,
    restore_count="4",
)
RECONCILED = "STATE_DB WARM_RESTART_TABLE|portsyncd: state=reconciled"
NOTHING_OLD = "remember old links of g1: none"

# ---- its form

counts = st.integers(0, 2**63)
quantities = st.floats(0, 1e300)
names = st.text(st.characters(exclude_categories=()), max_size=15)
saved_ports = st.builds(
    SavedPort, st.tuples(*[st.text(max_size=5)] * 4), *[counts] * 5, quantities, st.sampled_from(["", "set", "replace"])
)


@given(st.dictionaries(names, saved_ports, max_size=5), st.dictionaries(names, quantities, max_size=5))
def test_what_is_saved_is_restored(ports: dict[str, SavedPort], awaited: dict[str, float]) -> None:
    content = json.loads(json.dumps(to_content(ports, awaited)))
    assert from_content(content, age=1.0, trusted=True) == Saved(1.0, True, ports, awaited)


def content(**parts: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(to_content({"Ethernet0": PORT}, {"Ethernet4": 2.0})))
    return made | parts


ROW = content()["ports"]["Ethernet0"]
# 1e999 is JSON, and reads as infinity.
NOT_OF_ITS_KIND: dict[str, tuple[Any, ...]] = {
    "fields": ("text.", [], None, ["ok", "up", "up"], ["ok", "up", "up", 9100]),
    **dict.fromkeys(("ifindex", "carrier_losses", "flaps", "ups", "downs"), ("1", 1.5, True, None, 10**400)),
    "penalty": (1, "1", float("inf")),
    "owed": (None, 0),
}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {key: value for key, value in content().items() if key != "awaited"},
        content(columns=["fields"]),
        content(columns=None),
        content(ports=[]),
        content(ports={"Ethernet0": ROW[:3]}),
        content(ports={"Ethernet0": [*ROW, 1]}),
        content(ports={"Ethernet0": []}),
        content(ports={"Ethernet0": None}),
        content(awaited=None),
        content(awaited=[["Ethernet4", 2.0], ["Ethernet8"]]),
        content(awaited={"Ethernet4": "soon"}),
        content(awaited={"Ethernet4": float("inf")}),
        *(
            content(ports={"Ethernet0": PORT._replace(**{column: value})})
            for column, values in NOT_OF_ITS_KIND.items()
            for value in values
        ),
    ],
)
def test_what_is_not_that_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        from_content(wrong, age=0.0, trusted=True)


def test_a_port_is_saved_with_what_was_counted() -> None:
    talk = restored()
    talk.dumped_with(changed(UP, flaps=4))
    port = talk.sync.ports["Ethernet0"].saved(7.0)
    assert port == SavedPort(UP, 1, carrier_losses=4, flaps=6, ups=7, downs=6, penalty=7.0)


# ---- what follows from it


class Restart(Talk):
    """A process that begins warm with something saved."""

    def dumped_with(self, state: Any, *, lost: bool = False) -> list[str]:
        """The first dump shows Ethernet0 so; None: not at all. What follows but what every warm start does."""
        if state is not None:
            self.sync.take({"Ethernet0": state}, self.now)
        said = self.dumped(*([] if state is None or state.link is None else [state.link.ifindex]), lost=lost)
        return [line for line in said if line not in (NOTHING_OLD, RECONCILED)]


def restored(saved: Saved = KNOWN, snapshot: Snapshot = WARM) -> Restart:
    talk = Restart(appl=["Ethernet0"])
    talk.sync.restore(saved)
    talk.begin(snapshot)
    return talk


def counted(talk: Talk) -> tuple[int, int, int]:
    port = talk.sync.ports["Ethernet0"]
    return (port.flaps, port.ups, port.downs)


def test_what_is_as_it_was_is_not_written() -> None:
    talk = restored()
    assert talk.dumped_with(changed(UP, flaps=3)) == []
    assert counted(talk) == (5, 6, 5)


def test_what_changed_is_written_once() -> None:
    talk = restored()
    assert talk.dumped_with(changed(NO_CARRIER, flaps=4)) == ["set Ethernet0 down/up 9100"]
    assert counted(talk) == (6, 6, 6)
    assert talk.sync.generation.initial.differences == 1


def test_flaps_while_nobody_looked_are_counted_and_may_hide_an_admin_excursion() -> None:
    """The same in the end: intfmgrd may have to re-add addresses that the kernel dropped meanwhile."""
    talk = restored()
    assert talk.dumped_with(changed(UP, flaps=5)) == ["set Ethernet0 up/up 9100"]
    assert counted(talk) == (7, 8, 7)


def test_flaps_of_a_link_that_is_down_in_the_end_hide_nothing() -> None:
    saved = replace(KNOWN, ports={"Ethernet0": PORT._replace(fields=DOWN)})
    talk = restored(saved, replace(WARM, state={"Ethernet0": DOWN}))
    assert talk.dumped_with(changed(DOWN, flaps=5)) == []


def test_an_admin_excursion_that_redis_never_heard_of_is_written() -> None:
    """Saved while Redis was away: the link was set down then, and is up now, as Redis has it."""
    saved = replace(KNOWN, ports={"Ethernet0": PORT._replace(fields=DOWN)})
    talk = restored(saved)
    assert talk.dumped_with(changed(UP, flaps=3)) == ["set Ethernet0 up/up 9100"]


@pytest.mark.parametrize("link", [changed(UP, 2, flaps=0), changed(UP, 1, flaps=2)])
def test_a_link_made_anew_meanwhile_is_written_without_a_removal(link: Any) -> None:
    """Another ifindex, or the same one with fewer carrier losses: another link's."""
    talk = restored()
    assert talk.dumped_with(link) == ["set Ethernet0 up/up 9100"]
    # It went down with the one link and came up with the other.
    assert counted(talk) == (5, 7, 6)


def test_a_removal_that_an_inherited_socket_tells_is_carried_out() -> None:
    talk = restored()
    assert talk.dumped_with(changed(UP, 2, removed=True)) == ["replace Ethernet0 up/up 9100"]


def test_a_link_that_is_gone_is_removed() -> None:
    talk = restored()
    assert talk.sync.unproven() == {"Ethernet0"}
    talk.sync.take({"Ethernet0": changed(None, removed=True)}, talk.now)
    assert talk.dumped_with(None) == ["delete Ethernet0"]


def test_an_untrusted_state_has_its_counts_go_on_and_says_nothing_else() -> None:
    talk = restored(replace(KNOWN, trusted=False))
    assert talk.dumped_with(changed(UP, 9, flaps=30)) == []
    assert counted(talk) == (5, 6, 5)
    talk.take(Ethernet0=changed(NO_CARRIER, 9, flaps=31))
    assert counted(talk) == (6, 6, 6)


def test_a_name_that_is_no_longer_expected_is_a_new_one_when_it_comes_later() -> None:
    talk = restored(snapshot=replace(WARM, config_ports={}))
    talk.dumped_with(None)
    talk.take(Ethernet0=changed(UP, 7, flaps=1))
    assert counted(talk) == (0, 1, 0)


def test_a_port_that_has_no_link_for_a_while_keeps_its_counts_over_any_number_of_restarts() -> None:
    saved, talk = KNOWN, restored()
    for _ in range(3):
        talk = restored(saved, replace(WARM, state={}))
        assert talk.dumped_with(None) == []
        saved = replace(KNOWN, ports=dict(talk.sync.save({"Ethernet0": 7.0})))
        assert saved.ports["Ethernet0"][1:] == (0, 3, 5, 6, 5, 7.0, "")
    talk.take(Ethernet0=changed(UP, 7, flaps=1))
    # Another link: its own losses up to now have come about while nobody looked.
    assert counted(talk) == (5, 7, 5)
    assert talk.sync.take_flaps() == {}


def test_a_port_whose_link_went_is_saved_with_its_counts() -> None:
    talk = restored()
    talk.dumped_with(changed(UP, flaps=3))
    talk.gone("Ethernet0")
    assert dict(talk.sync.save({}))["Ethernet0"] == SavedPort(UNKNOWN, 0, 0, flaps=5, ups=6, downs=6)


@pytest.mark.parametrize(("owed", "written"), [("set", "set"), ("replace", "replace")])
def test_what_was_owed_and_not_acknowledged_is_written_by_the_next_process(owed: str, written: str) -> None:
    talk = restored()
    talk.dumped_with(changed(UP, flaps=3))
    talk.unanswered = written
    talk.take(Ethernet0=changed(UP, flaps=3, dipped=owed == "set", removed=owed == "replace"))
    saved = dict(talk.sync.save({}))
    assert saved["Ethernet0"].owed == owed
    again = restored(replace(KNOWN, ports=saved))
    assert again.dumped_with(changed(UP, flaps=3)) == [f"{written} Ethernet0 up/up 9100"]
    assert dict(again.sync.save({}))["Ethernet0"].owed == ""


def test_what_was_owed_before_a_boot_is_owed_no_longer() -> None:
    talk = restored(replace(KNOWN, trusted=False, ports={"Ethernet0": PORT._replace(owed="replace")}))
    assert talk.dumped_with(changed(UP, flaps=3)) == []


def test_flaps_are_told_once_those_of_the_time_before_among_them() -> None:
    talk = restored()
    talk.dumped_with(changed(UP, flaps=5))
    talk.take(Ethernet0=changed(UP, flaps=6))
    assert talk.sync.take_flaps() == {"Ethernet0": Flapped(3, 8)}
    assert talk.sync.take_flaps() == {}


def test_what_was_awaited_has_been_awaited_since_then() -> None:
    talk = Talk()
    talk.now = 100.0
    talk.sync.restore(Saved(age=60.0, trusted=False, awaited={"Ethernet0": 40.0, "Ethernet8": 1.0}))
    talk.begin(Snapshot(config_ports=ports("Ethernet0", "Ethernet4")))
    assert {port.name: port.since for port in talk.sync.awaited()} == {"Ethernet0": 0.0, "Ethernet4": 100.0}


def test_the_revision_moves_on_with_what_there_is_to_save() -> None:
    talk = restored()
    revisions = [talk.sync.revision]
    talk.dumped_with(changed(UP, flaps=3))
    revisions.append(talk.sync.revision)
    talk.configured()
    revisions.append(talk.sync.revision)
    assert sorted(set(revisions)) == revisions
    talk.take()
    assert talk.sync.revision == revisions[-1]
