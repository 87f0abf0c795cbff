"""``PortSync``, rule by rule (contract, sections 3 to 5): what it is told, and what follows."""

from dataclasses import replace

import pytest

from portsyncd.model.commands import Op, PortWrite, Snapshot, WritePorts
from portsyncd.model.sync import WRITES_PER_COMMAND, Awaited
from tests.model.talk import DOWN, NO_CARRIER, ROW, UP, Talk, changed, held, key, ports, running

# ---- 3: the start


def test_a_cold_start_from_the_first_dump_to_port_init_done() -> None:
    talk = Talk()
    assert talk.begin(Snapshot(config_ports=ports("Ethernet0", "Ethernet4"))) == [ROW]
    assert talk.dumped() == [
        "remember old links of g1: none",
        key(),
        "stage Ethernet0, Ethernet4, PortConfigDone count=2",
    ]
    assert talk.take(Ethernet0=changed(DOWN, 1)) == [
        "set Ethernet0 down/down 9100: no entry",
        "wait for Ethernet0",
        "set Ethernet0 down/down 9100: no entry",
    ]
    talk.appl = {"Ethernet0", "Ethernet4"}
    assert talk.woken("Ethernet0") == ["set Ethernet0 down/down 9100", "wait for none"]
    assert talk.take(Ethernet0=changed(UP, 1)) == ["set Ethernet0 up/up 9100"]
    assert talk.take(Ethernet4=changed(DOWN, 2)) == ["set Ethernet4 down/down 9100", "stage PortInitDone"]
    assert talk.take(Ethernet4=changed(NO_CARRIER, 2)) == ["set Ethernet4 down/up 9100"]


def test_nothing_but_our_own_row_is_written_before_the_first_dump() -> None:
    talk = Talk(appl=["Ethernet0"])
    assert talk.begin(Snapshot(config_ports=ports("Ethernet0"), state={"Ethernet4": UP})) == [ROW]
    assert talk.take(Ethernet0=changed(UP)) == []
    assert talk.gone("Ethernet4") == []
    assert not talk.sync.in_sync
    assert talk.dumped()[-3:] == ["set Ethernet0 up/up 9100", "delete Ethernet4", "stage PortInitDone"]
    assert talk.sync.in_sync


@pytest.mark.parametrize("complete", [True, False])
def test_only_a_generation_that_is_complete_vouches_for_entries_from_before_a_start(complete: bool) -> None:
    talk = Talk(appl=["Ethernet0"])
    # Without PortInitDone they may be from before the flush that the generation began with.
    left = Snapshot(config_ports=ports("Ethernet0"), state={"Ethernet0": UP}, config_done=True, init_done=complete)
    talk.begin(left)
    talk.take(Ethernet0=changed(UP, 1))
    written = [said for said in talk.dumped() if said.startswith("set ")]
    assert written == ([] if complete else ["set Ethernet0 up/up 9100"])


def test_an_entry_under_another_prefix_is_somebody_elses() -> None:
    talk = Talk()
    talk.begin(Snapshot(state={"eth0": UP}))
    assert talk.sync.unproven() == frozenset()
    assert not talk.sync.ports


def test_links_are_written_in_the_order_in_which_they_changed_many_at_a_time() -> None:
    names = [f"Ethernet{number}" for number in range(WRITES_PER_COMMAND + 1)]
    talk = Talk(appl=names)
    talk.begin()
    talk.dumped()
    talk.sync.take({name: changed(UP, ifindex) for ifindex, name in enumerate(reversed(names), 1)}, 0.0)
    first = talk.sync.next()
    assert isinstance(first, WritePorts)
    assert [write.name for write in first.writes] == names[:0:-1]
    talk.sync.done(first, [True] * WRITES_PER_COMMAND, now=0.0)
    assert talk.sync.next() == WritePorts((PortWrite("Ethernet0", Op.SET, UP),))


def test_a_port_that_waits_for_its_entry_does_not_keep_the_daemon_from_being_in_sync() -> None:
    talk = Talk()
    talk.begin(Snapshot(config_ports=ports("Ethernet0")))
    talk.take(Ethernet0=changed(UP))
    assert talk.dumped()[-1] == "set Ethernet0 up/up 9100: no entry"
    assert talk.sync.in_sync


# ---- 5.1: writes only on change


def test_a_message_that_changes_nothing_is_not_written() -> None:
    talk = running("Ethernet0")
    assert talk.take(Ethernet0=changed(UP)) == []


def test_what_state_db_holds_already_is_not_written() -> None:
    talk = Talk(appl=["Ethernet0", "Ethernet4"])
    talk.begin(replace(held(Ethernet0=UP, Ethernet4=UP), init_done=False))
    talk.take(Ethernet0=changed(UP, 1), Ethernet4=changed(DOWN, 2))
    assert talk.dumped()[-2:] == ["set Ethernet4 down/down 9100", "stage PortInitDone"]


@pytest.mark.parametrize("state", [DOWN, NO_CARRIER, (*UP[:3], "1500")])
def test_each_field_counts(state: tuple[str, str, str, str]) -> None:
    talk = running("Ethernet0", "Ethernet4")
    talk.take(Ethernet0=changed(state))
    port = talk.sync.ports["Ethernet0"]
    assert port.held == state
    assert talk.sync.ports["Ethernet4"].held == UP


def test_a_removed_link_and_a_new_one_are_a_delete_and_a_set() -> None:
    talk = running("Ethernet0")
    assert talk.gone("Ethernet0") == ["delete Ethernet0"]
    assert talk.take(Ethernet0=changed(UP, 2)) == ["set Ethernet0 up/up 9100"]


def test_a_link_made_anew_between_two_takes_is_deleted_before_it_is_set_even_if_it_looks_the_same() -> None:
    talk = running("Ethernet0")
    assert talk.take(Ethernet0=changed(UP, 2, removed=True)) == ["replace Ethernet0 up/up 9100"]
    assert talk.take(Ethernet0=changed(UP, 2)) == []


def test_a_link_made_anew_has_nothing_to_delete_where_state_db_holds_nothing() -> None:
    talk = running("Ethernet0")
    talk.gone("Ethernet0")
    assert talk.take(Ethernet0=changed(UP, 3, removed=True)) == ["set Ethernet0 up/up 9100"]


def test_a_new_ifindex_whose_predecessor_was_not_seen_to_go_is_set_without_a_delete() -> None:
    talk = running("Ethernet0")
    assert talk.take(Ethernet0=changed(UP, 2)) == ["set Ethernet0 up/up 9100"]
    assert talk.take(Ethernet0=changed(UP, 2)) == []


def test_an_admin_excursion_is_written_once_though_it_ends_where_it_began() -> None:
    talk = running("Ethernet0")
    assert talk.take(Ethernet0=changed(UP, dipped=True)) == ["set Ethernet0 up/up 9100"]
    assert talk.take(Ethernet0=changed(UP)) == []


def test_after_a_loss_of_events_only_what_has_a_link_is_written_again() -> None:
    talk = running("Ethernet0", "Ethernet4")
    talk.gone("Ethernet4")
    assert talk.dumped(lost=True) == ["set Ethernet0 up/up 9100"]


def test_an_excursion_of_the_carrier_alone_is_not_written() -> None:
    talk = running("Ethernet0")
    assert talk.take(Ethernet0=changed(UP, flaps=1)) == []


def test_an_excursion_upwards_is_not_written() -> None:
    talk = running("Ethernet0")
    talk.take(Ethernet0=changed(DOWN))
    assert talk.take(Ethernet0=changed(DOWN, dipped=True)) == []


def test_an_admin_excursion_that_a_lost_session_cut_in_two_is_written_once() -> None:
    talk = running("Ethernet0")
    talk.sync.take({"Ethernet0": changed(DOWN)}, 0.0)
    # That session ends before the write, and in the next one the link is up again before there is one.
    talk.sync.begin(held(Ethernet0=UP), fresh_id="g2", remembered=None, now=0.0)
    assert talk.take(Ethernet0=changed(UP)) == ["set Ethernet0 up/up 9100"]


def test_after_an_overrun_every_admin_up_port_is_written_once() -> None:
    talk = running("Ethernet0", "Ethernet4", "Ethernet8")
    talk.take(Ethernet4=changed(DOWN, 2), Ethernet8=changed(NO_CARRIER, 3))
    assert talk.dumped(lost=True) == ["set Ethernet0 up/up 9100", "set Ethernet8 down/up 9100"]
    assert talk.dumped() == []


# ---- 5.2: a link waits for its APPL_DB entry


def test_a_port_without_an_entry_is_written_when_the_entry_appears() -> None:
    talk = running("Ethernet0")
    assert talk.take(PortChannel1=changed(UP, 2)) == [
        "set PortChannel1 up/up 9100: no entry",
        "wait for PortChannel1",
        "set PortChannel1 up/up 9100: no entry",
    ]
    assert talk.woken("PortChannel2") == []
    assert talk.woken("Ethernet0") == []
    talk.appl.add("PortChannel1")
    assert talk.woken("PortChannel1") == ["set PortChannel1 up/up 9100", "wait for none"]


def test_an_entry_that_appears_between_the_write_and_the_subscription_is_not_missed() -> None:
    talk = running("Ethernet0")
    talk.sync.take({"PortChannel1": changed(UP, 2)}, 0.0)
    refused = talk.sync.next()
    assert refused is not None
    talk.sync.done(refused, [False], now=0.0)
    talk.appl.add("PortChannel1")
    assert talk.carry_out() == ["wait for PortChannel1", "set PortChannel1 up/up 9100", "wait for none"]


def test_where_redis_tells_nothing_waiting_ports_are_tried_when_polled() -> None:
    talk = running("Ethernet0")
    talk.take(PortChannel1=changed(UP, 2))
    assert talk.poll() == ["set PortChannel1 up/up 9100: no entry"]
    talk.appl.add("PortChannel1")
    assert talk.poll() == ["set PortChannel1 up/up 9100", "wait for none"]
    assert talk.poll() == []


def test_what_changes_while_a_port_waits_is_written_when_its_entry_appears_and_not_tried_before() -> None:
    talk = running("Ethernet0")
    talk.take(PortChannel1=changed(UP, 2))
    assert talk.take(PortChannel1=changed(DOWN, 2)) == []
    talk.appl.add("PortChannel1")
    assert talk.woken("PortChannel1") == ["set PortChannel1 down/down 9100", "wait for none"]


def test_only_what_is_new_among_the_waiting_is_checked_again() -> None:
    talk = running("Ethernet0")
    talk.take(PortChannel1=changed(UP, 2))
    assert talk.take(PortChannel2=changed(UP, 3)) == [
        "set PortChannel2 up/up 9100: no entry",
        "wait for PortChannel1, PortChannel2",
        "set PortChannel2 up/up 9100: no entry",
    ]


def test_a_link_that_goes_while_it_waits_leaves_nothing_behind() -> None:
    talk = running("Ethernet0")
    talk.take(PortChannel1=changed(UP, 2))
    assert talk.gone("PortChannel1") == ["wait for none"]
    assert talk.sync.ports.keys() == {"Ethernet0"}


def test_the_entry_of_a_link_made_anew_goes_at_once_even_if_the_new_one_must_wait() -> None:
    talk = running("Ethernet0")
    talk.appl.clear()
    assert talk.take(Ethernet0=changed(DOWN))[0] == "set Ethernet0 down/down 9100: no entry"
    assert talk.take(Ethernet0=changed(DOWN, 2, removed=True)) == ["replace Ethernet0 down/down 9100: no entry"]
    talk.appl.add("Ethernet0")
    assert talk.woken("Ethernet0") == ["set Ethernet0 down/down 9100", "wait for none"]


def test_a_waiting_port_that_comes_back_to_what_state_db_holds_waits_no_longer() -> None:
    talk = running("Ethernet0")
    talk.appl.clear()
    talk.take(Ethernet0=changed((*UP[:3], "1500")))
    assert talk.take(Ethernet0=changed(UP)) == ["wait for none"]


# ---- 5.5: removal


def test_the_entry_of_a_link_that_went_while_the_daemon_was_down_goes_once_the_kernel_has_said_so() -> None:
    talk = Talk(appl=["Ethernet0"])
    talk.begin(replace(held(Ethernet0=UP), init_done=False))
    assert talk.sync.unproven() == {"Ethernet0"}
    assert talk.dumped() == ["remember old links of g1: none", key(), "stage Ethernet0, PortConfigDone count=1"]
    assert talk.gone("Ethernet0") == ["delete Ethernet0"]
    assert talk.sync.unproven() == frozenset()


def test_the_entry_of_a_link_that_the_kernel_still_has_stays() -> None:
    talk = Talk(appl=["Ethernet0"])
    talk.begin(held(Ethernet0=UP))
    talk.dumped()
    assert talk.take(Ethernet0=changed(UP)) == ["stage PortInitDone"]
    assert talk.sync.unproven() == frozenset()


def test_an_entry_that_does_not_carry_state_is_left_alone() -> None:
    talk = Talk(appl=["Ethernet0"])
    talk.begin(Snapshot(config_ports=ports("Ethernet0")))  # A snapshot has only entries with ``state``.
    talk.dumped()
    assert talk.sync.unproven() == frozenset()
    assert talk.gone("Ethernet0") == []


def test_a_renamed_link_is_a_removal_and_a_new_link() -> None:
    talk = running("Ethernet0", "Ethernet4")
    assert talk.take(Ethernet0=changed(None, removed=True), Ethernet8=changed(UP, 1)) == [
        "delete Ethernet0",
        "set Ethernet8 up/up 9100: no entry",
        "wait for Ethernet8",
        "set Ethernet8 up/up 9100: no entry",
    ]


def test_a_link_that_came_and_went_unseen_is_nothing() -> None:
    talk = running("Ethernet0")
    assert talk.gone("Ethernet4") == []
    assert talk.sync.ports.keys() == {"Ethernet0"}


# ---- 5.7: sessions


def test_a_further_session_writes_what_differs_and_nothing_else() -> None:
    talk = running("Ethernet0", "Ethernet4", "Ethernet8")
    assert talk.begin(replace(held(Ethernet0=UP, Ethernet4=DOWN), config_ports=ports("Ethernet0", "Ethernet8"))) == [
        "set Ethernet4 up/up 9100",
        "set Ethernet8 up/up 9100",
    ]


def test_a_further_session_after_which_nothing_differs_writes_nothing() -> None:
    talk = running("Ethernet0")
    assert talk.begin(held(Ethernet0=UP)) == []


def test_an_entry_that_old_data_brought_back_goes_once_the_kernel_has_been_asked() -> None:
    talk = running("Ethernet0")
    assert talk.begin(held(Ethernet0=UP, Ethernet4=UP)) == []
    assert talk.sync.unproven() == {"Ethernet4"}
    assert talk.gone("Ethernet4") == ["delete Ethernet4"]


def test_a_removal_that_was_not_written_is_asked_for_again() -> None:
    talk = running("Ethernet0")
    talk.sync.take({"Ethernet0": changed(None, removed=True)}, 0.0)
    assert talk.begin(held(Ethernet0=UP)) == []
    assert talk.sync.unproven() == {"Ethernet0"}
    assert talk.gone("Ethernet0") == ["delete Ethernet0"]


@pytest.mark.parametrize("read_back", [UP, DOWN])
def test_a_write_without_an_answer_is_repeated_whatever_the_snapshot_shows(
    read_back: tuple[str, str, str, str],
) -> None:
    talk = running("Ethernet0", "Ethernet4")
    talk.unanswered = "set Ethernet0"
    assert talk.take(Ethernet0=changed(DOWN)) == ["set Ethernet0 down/down 9100", "no answer"]
    assert not talk.sync.ports["Ethernet0"].published
    assert talk.begin(held(Ethernet0=read_back, Ethernet4=UP)) == ["set Ethernet0 down/down 9100"]
    assert talk.begin(held(Ethernet0=DOWN, Ethernet4=UP)) == []


def test_a_delete_without_an_answer_is_repeated_once_the_kernel_has_been_asked() -> None:
    talk = running("Ethernet0")
    talk.unanswered = "delete"
    assert talk.gone("Ethernet0") == ["delete Ethernet0", "no answer"]
    assert talk.begin(replace(held(), config_ports=ports("Ethernet0"))) == []
    assert talk.sync.unproven() == {"Ethernet0"}
    assert talk.gone("Ethernet0") == ["delete Ethernet0"]


def test_a_replacement_without_an_answer_is_a_replacement_again() -> None:
    talk = running("Ethernet0")
    talk.unanswered = "replace"
    assert talk.take(Ethernet0=changed(UP, 2, removed=True)) == ["replace Ethernet0 up/up 9100", "no answer"]
    assert talk.begin(held(Ethernet0=UP)) == ["replace Ethernet0 up/up 9100"]


def test_waiting_ports_are_tried_again_in_a_further_session() -> None:
    talk = running("Ethernet0")
    talk.take(PortChannel1=changed(UP, 2))
    assert talk.begin(held(Ethernet0=UP)) == [
        "set PortChannel1 up/up 9100: no entry",
        "wait for PortChannel1",
        "set PortChannel1 up/up 9100: no entry",
    ]


# ---- 3 and 5.8: expected ports and PortInitDone


def expecting(*names: str) -> Talk:
    """A cold start that has staged its ports, all of which have entries; no link yet."""
    talk = Talk(appl=names)
    talk.begin(Snapshot(config_ports=ports(*names)))
    talk.dumped()
    return talk


def test_without_ports_port_init_done_follows_the_first_dump_at_once() -> None:
    talk = Talk()
    talk.begin()
    assert talk.dumped() == [
        "remember old links of g1: none",
        key(),
        "stage PortConfigDone count=0",
        "stage PortInitDone",
    ]


def test_port_init_done_waits_for_the_acknowledgement_of_the_last_port() -> None:
    talk = expecting("Ethernet0", "Ethernet4")
    assert talk.take(Ethernet4=changed(UP, 1)) == ["set Ethernet4 up/up 9100"]
    talk.unanswered = "set Ethernet0"
    assert talk.take(Ethernet0=changed(UP, 2)) == ["set Ethernet0 up/up 9100", "no answer"]
    snapshot = replace(held(Ethernet0=UP, Ethernet4=UP), init_done=False)
    assert talk.begin(snapshot) == ["set Ethernet0 up/up 9100", "stage PortInitDone"]


def test_a_name_that_cannot_be_a_link_is_never_waited_for() -> None:
    names = ("Ethernet0", "foo", "PortChannel1", "Ethernet-of-sixteen", "Ether net")
    talk = Talk(appl=names)
    talk.begin(Snapshot(config_ports=ports(*names)))
    assert talk.dumped()[-1].startswith("stage Ethernet0, foo, PortChannel1, ")
    assert talk.sync.expected == {"Ethernet0"}
    assert talk.take(Ethernet0=changed(UP)) == ["set Ethernet0 up/up 9100", "stage PortInitDone"]


def test_a_port_whose_entry_is_missing_is_waited_for_though_state_db_has_an_old_one() -> None:
    talk = Talk()
    talk.begin(Snapshot(config_ports=ports("Ethernet0"), state={"Ethernet0": DOWN}))
    talk.dumped()
    assert "stage PortInitDone" not in talk.take(Ethernet0=changed(UP))
    talk.appl.add("Ethernet0")
    assert talk.woken("Ethernet0") == ["set Ethernet0 up/up 9100", "stage PortInitDone", "wait for none"]


def test_a_port_deleted_from_config_db_is_waited_for_no_longer() -> None:
    talk = expecting("Ethernet0", "Ethernet4")
    talk.take(Ethernet0=changed(UP))
    assert talk.configured("Ethernet0", "Ethernet8") == ["stage PortInitDone"]
    assert talk.sync.expected == {"Ethernet0"}


def test_a_port_added_at_run_time_is_not_waited_for() -> None:
    talk = expecting("Ethernet0")
    assert talk.configured("Ethernet0", "Ethernet4") == []
    talk.begin(replace(held(), config_ports=ports("Ethernet0", "Ethernet4"), init_done=False))
    assert talk.take(Ethernet0=changed(UP)) == ["set Ethernet0 up/up 9100", "stage PortInitDone"]


def test_a_port_deleted_between_two_sessions_is_waited_for_no_longer() -> None:
    talk = expecting("Ethernet0", "Ethernet4")
    talk.take(Ethernet0=changed(UP))
    assert talk.begin(replace(held(Ethernet0=UP), init_done=False)) == ["stage PortInitDone"]


def test_the_operator_releases_the_wait() -> None:
    talk = expecting("Ethernet0", "Ethernet4")
    talk.take(Ethernet0=changed(UP))
    assert talk.sync.release() == [Awaited("Ethernet4", 0.0, "no link of this name")]
    assert talk.carry_out() == ["stage PortInitDone"]
    assert talk.take(Ethernet4=changed(UP, 2)) == ["set Ethernet4 up/up 9100"]


def test_a_release_is_for_one_generation() -> None:
    talk = expecting("Ethernet0")
    talk.released()
    assert (
        talk.begin(Snapshot(config_ports=ports("Ethernet0")), fresh_id="g2")[-1]
        == "stage Ethernet0, PortConfigDone count=1"
    )


def test_a_link_that_goes_again_before_port_init_done_is_waited_for_again() -> None:
    talk = expecting("Ethernet0", "Ethernet4")
    talk.take(Ethernet0=changed(UP))
    talk.gone("Ethernet0")
    assert talk.take(Ethernet4=changed(UP, 2)) == ["set Ethernet4 up/up 9100"]
    assert talk.take(Ethernet0=changed(UP, 3)) == ["set Ethernet0 up/up 9100", "stage PortInitDone"]


def test_what_is_awaited_and_why() -> None:
    names = ("Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12")
    talk = Talk(appl=["Ethernet0"])
    talk.begin(Snapshot(config_ports=ports(*names)))
    talk.take(Ethernet0=changed(UP, 1), Ethernet4=changed(UP, 2))
    talk.now = 1.0
    talk.dumped(1, 2)
    talk.now = 2.0
    talk.take(Ethernet8=changed(UP, 3))
    talk.now = 3.0
    talk.take(Ethernet4=changed(UP, 4))
    assert talk.sync.awaited() == [
        Awaited("Ethernet0", 1.0, "its link is from before this start and has not been made anew"),
        Awaited("Ethernet4", 3.0, "orchagent has not taken it: no APPL_DB entry"),
        Awaited("Ethernet8", 2.0, "orchagent has not taken it: no APPL_DB entry"),
        Awaited("Ethernet12", 0.0, "no link of this name"),
    ]
    talk.now = 4.0
    talk.sync.take({"Ethernet0": changed(UP, 5)}, talk.now)
    assert talk.sync.awaited()[0] == Awaited("Ethernet0", 4.0, "its first write is under way")
    talk.carry_out()
    talk.now = 5.0
    talk.gone("Ethernet0")
    assert talk.sync.awaited()[0] == Awaited("Ethernet0", 5.0, "no link of this name")


def test_equal_rows_that_redis_told_are_kept_once() -> None:
    mtu = 9100
    one, other = (("ok", "up", "up", str(mtu)) for _ in range(2))
    assert one is not other
    talk = Talk()
    talk.begin(replace(held(Ethernet0=one, Ethernet4=other), init_done=True))
    assert talk.sync.ports["Ethernet0"].held == one
    assert talk.sync.ports["Ethernet4"].held is talk.sync.ports["Ethernet0"].held


# ---- what others see


def test_ports_are_counted_by_state() -> None:
    talk = running("Ethernet0", "Ethernet4", "Ethernet8")
    talk.take(Ethernet4=changed(NO_CARRIER, 2), PortChannel1=changed(UP, 4))
    talk.gone("Ethernet8")
    assert talk.sync.counts() == {"up": 2, "down": 1, "awaited": 1, "pending": 1}


def test_a_vlan_sub_interface_is_written_like_a_port_and_counted_as_none() -> None:
    talk = running("Ethernet0")
    before = talk.sync.counts()
    talk.take(**{"Ethernet0.10": changed(UP, 5), "PortChannel1.10": changed(NO_CARRIER, 6)})
    # Redis was asked, and has no such ports.
    assert talk.sync.pending.keys() == {"Ethernet0.10", "PortChannel1.10"}
    assert talk.sync.pending_ports() == []
    assert talk.sync.counts() == before
    talk.take(Ethernet4=changed(UP, 7))
    assert [name for name, _ in talk.sync.pending_ports()] == ["Ethernet4"]
    assert talk.sync.counts() == {**before, "up": before["up"] + 1, "pending": 1}


def test_flaps_are_what_the_kernel_counted_since_the_daemon_knows_the_port() -> None:
    talk = running("Ethernet0")
    port = talk.sync.ports["Ethernet0"]
    talk.take(Ethernet0=changed(UP, flaps=5))
    talk.take(Ethernet0=changed(UP, flaps=7))
    assert port.flaps == 7
    talk.take(Ethernet0=changed(UP, 2, flaps=1, removed=True))
    assert port.flaps == 7
    talk.take(Ethernet0=changed(UP, 2, flaps=3))
    assert port.flaps == 9


def test_times_of_the_last_change_and_of_the_links_appearance() -> None:
    talk = running("Ethernet0")
    port = talk.sync.ports["Ethernet0"]
    talk.now = 1.0
    talk.take(Ethernet0=changed(UP))
    assert (port.since, port.changed) == (0.0, 0.0)
    talk.take(Ethernet0=changed(DOWN))
    assert (port.since, port.changed) == (0.0, 1.0)
    talk.now = 2.0
    talk.gone("Ethernet0")
    assert (port.since, port.changed) == (2.0, 2.0)


def test_an_answer_of_the_wrong_length_is_refused() -> None:
    talk = running("Ethernet0")
    talk.sync.take({"Ethernet0": changed(DOWN)}, 0.0)
    command = talk.sync.next()
    assert command is not None
    with pytest.raises(ValueError, match="shorter"):
        talk.sync.done(command, [], now=0.0)
