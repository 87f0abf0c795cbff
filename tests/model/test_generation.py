"""Generations, their markers, old links and warm starts, rule by rule (contract, sections 3, 5.3 and 5.4)."""

from dataclasses import replace
from typing import Any
from weakref import ref

import pytest

from portsyncd.model import generation
from portsyncd.model.commands import Command, OldLinks, Produce, SetHash, Snapshot
from portsyncd.model.generation import ExistingLinks, Generation, Policy
from portsyncd.model.warm import Phase
from portsyncd.wire.producer import Row
from tests.model.talk import BEGIN_ANEW, DOWN, ROW, UP, Talk, changed, held, key, ports, running

NOTHING_OLD = "remember old links of g1: none"
ANNOUNCED = "stage Ethernet0, PortConfigDone count=1"
INIT_DONE = "stage PortInitDone"
COLD = Snapshot(config_ports=ports("Ethernet0"))
UNDER_WAY = replace(COLD, generation="g1", config_done=True, own_row=True)
COMPLETE = replace(UNDER_WAY, init_done=True)


# ---- the announcement


def test_config_db_is_copied_verbatim_a_field_name_is_cut_at_the_at_sign_and_an_empty_hash_is_null() -> None:
    fields = {"lanes": "1,2", "alias": "etp1", "adv_speeds@": "all"}
    served = Generation(Policy())
    served.begin(Snapshot(config_ports={"Ethernet0": fields, "foo": {}}), fresh_id="g1", remembered=None, now=0.0)
    assert announce(served)[-1] == Produce(
        (
            Row("Ethernet0", (("lanes", "1,2"), ("alias", "etp1"), ("adv_speeds", "all"))),
            Row("foo", (("NULL", "NULL"),)),
            Row("PortConfigDone", (("count", "2"),)),
        )
    )


@pytest.mark.parametrize("same", [False, True])
def test_what_config_db_says_of_ports_is_not_kept_once_they_are_announced(same: bool) -> None:
    served = Generation(Policy())
    if same:
        served.begin(COLD, fresh_id="g1", remembered=None, now=0.0)
        announce(served)
    # With very many ports, most of the process' memory.
    config, state = Kept({"Ethernet0": {}}), Kept({"Ethernet0": UP})
    snapshot = Snapshot(config_ports=config, state=state, generation="g1", config_done=same, own_row=True)
    served.begin(snapshot, fresh_id="g1", remembered=None, now=0.0)
    announce(served)
    left = ref(config), ref(state)
    del config, state, snapshot
    assert [each() for each in left] == [None, None]


class Kept(dict[str, Any]):
    """A dict of which one can tell whether it is still there."""


def announce(served: Generation) -> list[Command]:
    """Carry out all that it asks for at the start of a session."""
    commands = []
    while (command := served.preparation() or served.announcement()) is not None:
        served.done(command)
        commands.append(command)
    return commands


def test_many_ports_are_staged_in_parts_and_port_config_done_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "ROWS_PER_COMMAND", 2)
    talk = Talk()
    talk.begin(Snapshot(config_ports=ports("Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12")))
    assert talk.dumped() == [
        NOTHING_OLD,
        key(),
        "stage Ethernet0, Ethernet4",
        "stage Ethernet8, Ethernet12",
        "stage PortConfigDone count=4",
    ]


def test_an_announcement_that_was_cut_short_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "ROWS_PER_COMMAND", 1)
    talk = Talk()
    talk.begin(COLD)
    talk.unanswered = "stage Ethernet0"
    talk.dumped()
    assert talk.begin(replace(COLD, generation="g1")) == [ROW, key(), "stage Ethernet0", "stage PortConfigDone count=1"]


@pytest.mark.parametrize("found", [UNDER_WAY, COMPLETE])
def test_every_process_that_does_not_start_warm_announces_again(found: Snapshot) -> None:
    talk = Talk(appl=["Ethernet0"])
    assert talk.begin(found, fresh_id="g2") == [ROW]
    assert talk.dumped(1) == [NOTHING_OLD, key(), ANNOUNCED]
    assert talk.take(Ethernet0=changed(UP)) == ["set Ethernet0 up/up 9100", INIT_DONE]


def test_a_crash_between_the_markers_is_such_a_start() -> None:
    first = Talk()
    first.begin(COLD)
    assert first.dumped() == [NOTHING_OLD, key(), ANNOUNCED]
    second = Talk(appl=["Ethernet0"])
    second.begin(UNDER_WAY, remembered=OldLinks("g1", frozenset()), fresh_id="g2")
    second.take(Ethernet0=changed(UP))
    assert second.dumped(1) == [NOTHING_OLD, key(), ANNOUNCED, "set Ethernet0 up/up 9100", INIT_DONE]


def test_a_running_daemon_announces_once_per_generation() -> None:
    talk = running("Ethernet0")
    assert talk.look() == []
    assert talk.begin(held(Ethernet0=UP)) == []
    assert talk.look() == []


# ---- lost answers


@pytest.mark.parametrize(("arrived", "follows"), [(True, []), (False, [ANNOUNCED])])
def test_port_config_done_without_an_answer_is_repeated_if_it_did_not_arrive(arrived: bool, follows: list[str]) -> None:
    talk = Talk()
    talk.begin(COLD)
    talk.unanswered = "stage"
    assert talk.dumped() == [NOTHING_OLD, key(), ANNOUNCED, "no answer"]
    assert talk.begin(replace(UNDER_WAY, config_done=arrived)) == ([key(), *follows] if follows else [])


@pytest.mark.parametrize(("arrived", "follows"), [(True, []), (False, [INIT_DONE])])
def test_port_init_done_without_an_answer_is_repeated_if_it_did_not_arrive(arrived: bool, follows: list[str]) -> None:
    talk = Talk(appl=["Ethernet0"])
    talk.begin(COLD)
    talk.dumped()
    talk.unanswered = INIT_DONE
    assert talk.take(Ethernet0=changed(UP)) == ["set Ethernet0 up/up 9100", INIT_DONE, "no answer"]
    assert talk.begin(replace(held(Ethernet0=UP), init_done=arrived)) == follows
    assert talk.begin(held(Ethernet0=UP)) == []


@pytest.mark.parametrize("marker", ["stage Ethernet0, PortConfigDone", INIT_DONE])
def test_a_marker_that_was_there_before_does_not_stand_for_the_answer(marker: str) -> None:
    talk = Talk(appl=["Ethernet0"])
    talk.begin(replace(COMPLETE, state={"Ethernet0": UP}))
    talk.take(Ethernet0=changed(UP))
    talk.unanswered = marker
    assert talk.dumped(1)[-1] == "no answer"
    again = talk.begin(replace(COMPLETE, state={"Ethernet0": UP}))
    assert [words for words in again if words.startswith(marker)]


def test_a_key_or_row_without_an_answer_is_written_again() -> None:
    talk = Talk()
    talk.unanswered = ROW
    assert talk.begin(COLD) == [ROW, "no answer"]
    assert talk.begin(COLD, fresh_id="g2") == [ROW]
    talk.unanswered = key()
    assert talk.dumped() == [NOTHING_OLD, key(), "no answer"]
    assert talk.begin(COLD, fresh_id="g3") == [ROW, key(), ANNOUNCED]


# ---- flushed, replaced


def test_a_flush_is_a_new_generation_that_keeps_the_links() -> None:
    talk = running("Ethernet0")
    assert talk.look("", config_done=False, init_done=False) == [BEGIN_ANEW]
    # What STATE_DB still holds is of the generation before: every port is written, and PortInitDone waits for that.
    assert talk.begin(replace(COLD, state={"Ethernet0": UP}, own_row=True), fresh_id="g2") == [
        ROW,
        "remember old links of g2: none",
        key("g2"),
        ANNOUNCED,
        "set Ethernet0 up/up 9100",
        INIT_DONE,
    ]
    assert talk.look("g2") == []


def test_a_redis_that_comes_back_empty_is_a_new_generation() -> None:
    talk = running("Ethernet0")
    talk.appl.clear()
    assert talk.begin(COLD, fresh_id="g2") == [
        ROW,
        "remember old links of g2: none",
        key("g2"),
        ANNOUNCED,
        "set Ethernet0 up/up 9100: no entry",
        "wait for Ethernet0",
        "set Ethernet0 up/up 9100: no entry",
    ]


def test_another_generations_id_is_a_new_generation_under_that_id() -> None:
    talk = running("Ethernet0")
    assert talk.look("g0") == [BEGIN_ANEW]
    assert talk.begin(replace(held(Ethernet0=UP), generation="g0"), fresh_id="g2") == [
        ROW,
        "remember old links of g0: none",
        key("g0"),
        ANNOUNCED,
        INIT_DONE,
    ]


def test_where_state_db_alone_was_emptied_everything_is_compared() -> None:
    talk = running("Ethernet0")
    assert talk.look(own_row=False) == [BEGIN_ANEW]
    assert talk.begin(COMPLETE) == ["set Ethernet0 up/up 9100"]
    assert talk.begin(replace(held(Ethernet0=UP), own_row=False)) == [ROW]


def test_the_key_alone_is_replaced_when_it_is_lost() -> None:
    talk = running("Ethernet0")
    assert talk.look() == []
    assert talk.look("") == [key()]
    assert talk.begin(replace(held(Ethernet0=UP), generation="")) == [key()]


def test_a_key_that_was_never_seen_again_went_with_a_part_of_the_announcement() -> None:
    talk = running("Ethernet0")
    assert talk.look("") == [BEGIN_ANEW]
    again = talk.begin(replace(held(Ethernet0=UP), generation=""), fresh_id="g2")
    assert again == [ROW, "remember old links of g2: none", key("g2"), ANNOUNCED, INIT_DONE]


def test_the_same_goes_for_an_announcement_without_an_answer() -> None:
    talk = Talk()
    talk.begin(COLD)
    talk.unanswered = "stage"
    talk.dumped()
    again = talk.begin(replace(UNDER_WAY, generation=""), fresh_id="g2")
    assert again == [ROW, "remember old links of g2: none", key("g2"), ANNOUNCED]


def test_lost_markers_are_announced_again() -> None:
    talk = running("Ethernet0")
    assert talk.look(config_done=False, init_done=False) == [BEGIN_ANEW]
    lost = replace(held(Ethernet0=UP), config_done=False, init_done=False)
    assert talk.begin(lost) == [key(), ANNOUNCED, INIT_DONE]


def test_port_init_done_alone_does_not_stand_for_a_generation() -> None:
    talk = running("Ethernet0")
    talk.look()
    assert talk.look("", config_done=False) == [BEGIN_ANEW]
    again = talk.begin(replace(held(Ethernet0=UP), generation="", config_done=False), fresh_id="g2")
    assert again == [ROW, "remember old links of g2: none", key("g2"), ANNOUNCED, INIT_DONE]


def test_a_lost_port_init_done_is_staged_again_in_the_next_session() -> None:
    talk = running("Ethernet0")
    assert talk.begin(replace(held(Ethernet0=UP), init_done=False)) == [INIT_DONE]


def test_before_a_generation_is_established_a_look_finds_nothing() -> None:
    talk = Talk()
    talk.begin(COLD)
    assert talk.look("", config_done=False, init_done=False, own_row=False) == []


# ---- 5.3: old links


def start(found: Snapshot = COLD, mode: ExistingLinks = ExistingLinks.AUTO, kept: OldLinks | None = None) -> Talk:
    """A process starts, and finds links 1 (Ethernet0) and 2 (PortChannel1)."""
    talk = Talk(Policy(existing_links=mode), appl=["Ethernet0"])
    talk.begin(found, remembered=kept)
    talk.take(Ethernet0=changed(UP, 1), PortChannel1=changed(UP, 2))
    return talk


def test_a_cold_start_sets_old_ports_down_and_waits_for_new_links() -> None:
    talk = start(replace(COLD, state={"Ethernet0": UP}))
    assert talk.dumped(1, 2)[:5] == [
        "remember old links of g1: 1",
        "set down links 1",
        key(),
        ANNOUNCED,
        "delete Ethernet0",
    ]
    assert talk.take(Ethernet0=changed(DOWN, 1)) == []
    assert talk.gone("Ethernet0", 1) == ["remember old links of g1: none"]
    assert talk.take(Ethernet0=changed(DOWN, 3)) == ["set Ethernet0 down/down 9100", INIT_DONE]


def test_the_entry_of_an_old_link_goes() -> None:
    talk = start(replace(COLD, state={"Ethernet0": UP}))
    assert "delete Ethernet0" in talk.dumped(1, 2)


def test_an_ifindex_is_forgotten_when_its_link_is_deleted() -> None:
    talk = start()
    talk.dumped(1)
    talk.gone("Ethernet0", 1)
    assert talk.take(Ethernet0=changed(UP, 1)) == ["set Ethernet0 up/up 9100", INIT_DONE]


def test_other_links_may_go_without_consequence() -> None:
    talk = start()
    talk.dumped(1, 2)
    assert talk.gone("PortChannel1", 2) == ["wait for none"]
    assert talk.sync.generation.old == {1}


def test_a_link_made_anew_under_its_old_name_within_one_take_is_a_new_one() -> None:
    talk = start()
    talk.dumped(1)
    new = replace(changed(UP, 3, removed=True), deleted=(1,))
    assert talk.take(Ethernet0=new) == [NOTHING_OLD, "set Ethernet0 up/up 9100", INIT_DONE]


def test_a_link_created_after_the_dump_is_never_old() -> None:
    talk = Talk(appl=["Ethernet0"])
    talk.begin(COLD)
    talk.take(Ethernet0=changed(UP, 1))
    assert talk.dumped() == [NOTHING_OLD, key(), ANNOUNCED, "set Ethernet0 up/up 9100", INIT_DONE]


def test_an_old_link_stays_old_under_another_name() -> None:
    talk = start()
    talk.dumped(1)
    renamed = talk.take(Ethernet0=changed(None, removed=True), Ethernet4=changed(UP, 1))
    assert renamed == []
    assert talk.sync.ports["Ethernet4"].old


@pytest.mark.parametrize(
    "found",
    [
        replace(COLD, switch_type="dpu"),
        UNDER_WAY,
        replace(COLD, init_done=True),
        replace(COLD, warm_enabled=True, restore_count="0"),
    ],
    ids=["dpu", "a generation under way", "only PortInitDone", "warm"],
)
def test_auto_adopts(found: Snapshot) -> None:
    said = start(found).dumped(1, 2)
    assert "set Ethernet0 up/up 9100" in said
    assert NOTHING_OLD in said
    assert not any(words.startswith("set down") for words in said)


def test_adopt_adopts_and_decides_nothing() -> None:
    said = start(COLD, ExistingLinks.ADOPT).dumped(1)
    assert said[:3] == [key(), ANNOUNCED, "set Ethernet0 up/up 9100"]


def test_reset_takes_links_for_old_on_a_dpu_too() -> None:
    said = start(replace(COLD, switch_type="dpu"), ExistingLinks.RESET).dumped(1)
    assert said[:2] == ["remember old links of g1: 1", "set down links 1"]


def test_reset_sets_no_link_down_while_a_generation_is_under_way() -> None:
    said = start(UNDER_WAY, ExistingLinks.RESET).dumped(1)
    assert said[:3] == ["remember old links of g1: 1", key(), ANNOUNCED]


def test_reset_is_for_cold_starts() -> None:
    found = replace(COLD, warm_enabled=True, restore_count="0", config_done=True)
    assert "set Ethernet0 up/up 9100" in start(found, ExistingLinks.RESET).dumped(1)


@pytest.mark.parametrize("found", [UNDER_WAY, COMPLETE])
def test_what_was_decided_is_kept_within_the_generation(found: Snapshot) -> None:
    talk = Talk(appl=["Ethernet0", "Ethernet4"])
    talk.begin(
        replace(found, config_ports=ports("Ethernet0", "Ethernet4")), remembered=OldLinks("g1", frozenset({1, 9}))
    )
    talk.take(Ethernet0=changed(UP, 1), Ethernet4=changed(UP, 2))
    assert talk.dumped(1, 2) == [
        "remember old links of g1: 1",
        key(),
        "stage Ethernet0, Ethernet4, PortConfigDone count=2",
        "set Ethernet4 up/up 9100",
    ]


def test_a_crash_before_port_config_done_sets_the_same_links_down_again() -> None:
    found = replace(COLD, generation="g1")
    said = start(found, kept=OldLinks("g1", frozenset({1}))).dumped(1, 2)
    assert said[:4] == ["remember old links of g1: 1", "set down links 1", key(), ANNOUNCED]


@pytest.mark.parametrize("generation_found", ["", "g7"])
def test_what_another_generation_decided_counts_for_nothing(generation_found: str) -> None:
    kept = OldLinks("g0" if generation_found else "", frozenset({1}))
    said = start(replace(UNDER_WAY, generation=generation_found), kept=kept).dumped(1, 2)
    assert said[0].endswith(": none")


def test_set_down_without_an_answer_is_repeated_and_decided_no_further_time() -> None:
    talk = start()
    talk.unanswered = "set down"
    assert talk.dumped(1) == ["remember old links of g1: 1", "set down links 1", "no answer"]
    assert talk.begin(COLD, fresh_id="g2")[:3] == [ROW, "set down links 1", key()]
    assert talk.dumped(1) == []


def test_a_new_generation_adopts_what_the_last_one_had_set_aside() -> None:
    talk = start()
    talk.dumped(1)
    talk.begin(replace(COLD, state={"Ethernet0": UP}), fresh_id="g2")
    assert talk.sync.unproven() == {"Ethernet0"}
    assert talk.take(Ethernet0=changed(DOWN, 1)) == ["set Ethernet0 down/down 9100", INIT_DONE]


def test_a_removal_that_was_due_under_the_last_generation_is_not_carried_out_under_the_next() -> None:
    talk = start(replace(COLD, state={"Ethernet0": UP}))
    talk.unanswered = "stage"
    talk.dumped(1)
    assert talk.begin(replace(COLD, state={"Ethernet0": UP}), fresh_id="g2")[:1] == [ROW]
    assert talk.sync.unproven() == {"Ethernet0"}
    assert talk.take(Ethernet0=changed(UP, 1)) == ["set Ethernet0 up/up 9100", INIT_DONE]


# ---- warm starts

WARM = replace(COMPLETE, warm_enabled=True, restore_count="4", state={"Ethernet0": UP})
WARM_ROW = "STATE_DB WARM_RESTART_TABLE|portsyncd: "


def warm_start(found: Snapshot = WARM, policy: Policy | None = None) -> Talk:
    talk = Talk(policy, appl=["Ethernet0"])
    talk.sync.begin(found, fresh_id="g2", remembered=None, now=0.0)
    return talk


def test_a_warm_start_says_how_far_it_has_come_and_stages_neither_ports_nor_port_config_done() -> None:
    talk = warm_start()
    assert talk.carry_out() == [WARM_ROW + "restore_count=5 state=initialized", WARM_ROW + "state=restored", key()]
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped(1) == [NOTHING_OLD, WARM_ROW + "state=reconciled"]
    assert talk.sync.generation.warm


def test_a_warm_start_stages_port_init_done_where_appl_db_lacks_it() -> None:
    talk = warm_start(replace(WARM, init_done=False))
    talk.take(Ethernet0=changed(DOWN))
    assert talk.dumped(1) == [NOTHING_OLD, "set Ethernet0 down/down 9100", INIT_DONE, WARM_ROW + "state=reconciled"]


def test_a_warm_start_without_a_key_makes_one() -> None:
    assert warm_start(replace(WARM, generation="")).carry_out()[-1] == key("g2")


def test_a_warm_start_adopts_the_entries_and_removes_that_of_a_link_that_went_meanwhile() -> None:
    talk = warm_start(replace(WARM, state={"Ethernet0": UP, "Ethernet4": UP}))
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped(1)[1:] == []
    # Only then is the first full sync written.
    assert talk.gone("Ethernet4") == ["delete Ethernet4", WARM_ROW + "state=reconciled"]


def test_after_a_warm_reboot_every_port_is_published_anew() -> None:
    talk = warm_start(replace(WARM, state={}))
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped(1) == [NOTHING_OLD, "set Ethernet0 up/up 9100", WARM_ROW + "state=reconciled"]


def test_reconciled_waits_for_the_first_full_sync_to_be_written() -> None:
    talk = warm_start(replace(WARM, state={}))
    talk.take(Ethernet0=changed(UP))
    talk.unanswered = "set Ethernet0"
    assert talk.dumped(1)[-1] == "no answer"
    assert talk.begin(replace(WARM, state={})) == ["set Ethernet0 up/up 9100", WARM_ROW + "state=reconciled"]


def test_reconciled_without_an_answer_is_written_again() -> None:
    talk = warm_start()
    talk.take(Ethernet0=changed(UP))
    talk.unanswered = WARM_ROW + "state=reconciled"
    assert talk.dumped(1)[-1] == "no answer"
    assert talk.begin(WARM) == [WARM_ROW + "state=reconciled"]
    assert talk.begin(WARM) == []


@pytest.mark.parametrize(("timer", "seconds"), [(None, 10.0), ("30", 30.0), ("0", 10.0), ("10000", 10.0)])
def test_a_sync_that_takes_too_long_is_completed_by_time(timer: str | None, seconds: float) -> None:
    talk = warm_start(replace(WARM, warm_timer=timer))
    talk.carry_out()
    assert not talk.sync.generation.out_of_time(seconds - 0.1)
    assert talk.sync.generation.out_of_time(seconds)
    assert talk.carry_out() == [WARM_ROW + "state=reconciled"]
    assert not talk.sync.generation.out_of_time(seconds + 1)
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped(1) == [NOTHING_OLD]


def test_completed_by_time_is_said_again_where_no_answer_came_also_before_the_dump() -> None:
    talk = warm_start()
    talk.unanswered = WARM_ROW + "state=reconciled"
    assert talk.sync.generation.out_of_time(10.0)
    assert talk.carry_out()[-1] == "no answer"
    assert talk.begin(WARM) == [WARM_ROW + "state=reconciled"]


def test_what_was_completed_by_time_is_not_completed_again() -> None:
    talk = warm_start(replace(WARM, state={}))
    assert talk.sync.generation.out_of_time(10.0)
    talk.carry_out()
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped(1) == [NOTHING_OLD, "set Ethernet0 up/up 9100"]
    assert talk.sync.generation.initial.phase is Phase.TIMED_OUT
    # The end of the initial update is told, late as it is.
    assert talk.sync.generation.initial.updated == 0.0


def test_a_cold_start_has_such_a_time_too_and_writes_nothing_about_it() -> None:
    talk = Talk()
    talk.begin(COLD)
    assert not talk.sync.generation.out_of_time(9.9)
    assert talk.sync.generation.out_of_time(10.0)
    assert talk.carry_out() == []
    assert talk.sync.generation.remark == ""


def test_a_read_that_proves_nothing_does_not_end_the_initial_update() -> None:
    talk = warm_start()
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped(1, certified=False) == [NOTHING_OLD]
    phases = [talk.sync.generation.initial.phase]
    assert talk.dumped() == [WARM_ROW + "state=reconciled"]
    phases.append(talk.sync.generation.initial.phase)
    assert phases == [Phase.WARM_SYNC, Phase.COMPLETE]


def test_a_flush_before_the_end_has_the_initial_sync_fail() -> None:
    talk = warm_start()
    talk.take(Ethernet0=changed(UP))
    talk.begin(Snapshot(config_ports=ports("Ethernet0")), fresh_id="g2")
    assert talk.sync.generation.initial.phase is Phase.FAILED
    assert talk.dumped(1)[0] == "remember old links of g2: none"
    assert not talk.sync.generation.out_of_time(1e9)


def test_enabled_without_a_restore_count_is_a_cold_start_and_says_so() -> None:
    talk = warm_start(replace(WARM, restore_count=None))
    assert talk.carry_out() == [ROW]
    assert "no restore_count" in talk.sync.generation.remark


def test_warm_restart_can_be_switched_off_in_our_own_configuration() -> None:
    talk = warm_start(policy=Policy(warm_allowed=False))
    assert talk.carry_out() == [ROW]
    assert "not in the configuration" in talk.sync.generation.remark


def test_how_a_start_is_made_is_settled_once() -> None:
    talk = warm_start()
    talk.unanswered = WARM_ROW + "state=restored"
    talk.carry_out()
    # By now the row says 5: that is this start's own.
    again = talk.begin(replace(WARM, restore_count="5"))
    assert again == [WARM_ROW + "restore_count=5 state=initialized", WARM_ROW + "state=restored", key()]


def settled_warm() -> Talk:
    talk = warm_start()
    talk.take(Ethernet0=changed(UP))
    talk.dumped(1)
    return talk


def test_under_a_warm_start_nothing_is_announced_again() -> None:
    talk = settled_warm()
    assert talk.look() == []
    assert talk.look("") == [key()]
    assert talk.begin(WARM) == []


@pytest.mark.parametrize("left", ["", "g1"], ids=["flushed", "wiped by orchagent"])
def test_when_what_it_relied_on_is_gone_a_warm_start_is_over(left: str) -> None:
    talk = settled_warm()
    assert talk.look(left, config_done=False, init_done=False) == [BEGIN_ANEW]
    found = replace(WARM, generation=left, config_done=False, init_done=False)
    again = left or "g3"
    assert talk.begin(found, fresh_id="g3") == [
        ROW,
        f"remember old links of {again}: none",
        key(again),
        ANNOUNCED,
        "set Ethernet0 up/up 9100",
        INIT_DONE,
    ]
    assert not talk.sync.generation.warm


def test_the_same_before_its_first_rows_were_answered() -> None:
    talk = warm_start()
    talk.unanswered = WARM_ROW
    talk.carry_out()
    talk.begin(replace(COLD, state={"Ethernet0": UP}), fresh_id="g3")
    assert not talk.sync.generation.warm
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped(1) == [
        "remember old links of g3: none",
        key("g3"),
        ANNOUNCED,
        "set Ethernet0 up/up 9100",
        INIT_DONE,
    ]


def test_a_warm_start_that_never_saw_port_config_done_does_not_miss_it() -> None:
    talk = warm_start(replace(WARM, config_done=False, init_done=False))
    talk.take(Ethernet0=changed(UP))
    talk.dumped(1)
    assert talk.look(config_done=False) == []
    assert talk.look("", config_done=False) == [BEGIN_ANEW]


# ---- commands


def test_a_command_of_somebody_else_changes_nothing() -> None:
    served = Generation(Policy())
    served.done(SetHash("STATE_DB", "x", {"a": "b"}))
    served.lost(SetHash("STATE_DB", "x", {"a": "b"}))
    assert served.preparation() is None


@pytest.mark.parametrize("marker", ["config_done", "init_done"])
def test_either_marker_says_that_a_generation_is_under_way(marker: str) -> None:
    assert replace(Snapshot(), **{marker: True}).marked  # type: ignore[arg-type]
    assert not Snapshot().marked
