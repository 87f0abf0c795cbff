"""The keeper: when it saves, what a restart finds, what is counted over all lives, and that no disk stops anything."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pytest
import structlog.testing
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from portsyncd.analytics.history import Restored
from portsyncd.errors import DecodeError
from portsyncd.metrics import Chronicle
from tests.services.keeping import NEW_YEAR, PORTS, KeepingSwitch, kept_running


def ports(switch: KeepingSwitch) -> Mapping[str, Any]:
    """The ports that are kept, as rows."""
    kept: Mapping[str, Any] = switch.state.content["ports"]
    return kept


def flaps(switch: KeepingSwitch, name: str = PORTS[0]) -> int:
    return dict(switch.writer.sync.port_counters())[name].flaps


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


# ---- when


async def test_nothing_is_saved_before_the_first_sync(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    switch.redis.stop()
    async with kept_running(switch):
        await trio.sleep(100)
        assert (switch.state.saves, switch.counters.saves) == (0, 0)
        await switch.keeper.finish()
        assert switch.state.saves == 0


async def test_the_state_is_saved_at_once_after_the_first_sync(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        assert (switch.state.saves, ports(switch)) == (1, {})
        assert list(switch.state.content["awaited"]) == PORTS


async def test_what_changed_is_saved_within_the_interval_and_nothing_else_is(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(31)
        assert sorted(ports(switch)) == PORTS
        saves = switch.state.saves
        await trio.sleep(300)
        assert switch.state.saves == saves
        switch.kernel.set("Ethernet0", mtu=1400)
        await trio.sleep(31)
        assert switch.state.saves == saves + 1
        assert ports(switch)["Ethernet0"][0] == ["ok", "up", "up", "1400"]


async def test_a_full_sync_is_saved_soon_but_a_storm_of_them_not_each_time(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(100)
        saves = switch.state.saves
        for mtu in range(1400, 1420):
            switch.kernel.set("Ethernet0", mtu=mtu)
            switch.reader.request_resync("operator")
            await trio.sleep(0.5)
        assert 2 <= switch.state.saves - saves <= 3
        await trio.sleep(5)
        assert ports(switch)["Ethernet0"][0][3] == "1419"


async def test_a_stop_saves_what_there_is(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        switch.kernel.set("Ethernet0", mtu=1400)
        await switch.settle()
        await switch.keeper.finish()
        assert ports(switch)["Ethernet0"][0][3] == "1400"


async def test_a_stop_saves_also_what_has_not_changed(autojump_clock: MockClock) -> None:
    """Else a switch on which nothing happens would find its state too old one day."""
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(3000)
        await switch.keeper.finish()
    await trio.sleep(3000)
    switch.begin_process()
    async with kept_running(switch):
        assert switch.keeper.statistics().restored is Restored.FILE


@pytest.mark.unmeasured
async def test_what_does_not_change_is_saved_before_it_is_too_old(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        # Three times as long as a state is trusted.
        await trio.sleep(3 * 3600)
    switch.begin_process()
    async with kept_running(switch):
        assert switch.keeper.statistics().restored is Restored.FILE


async def test_a_clock_that_is_set_dates_the_state_anew(autojump_clock: MockClock) -> None:
    """As NTP does on a switch without a clock of its own, minutes after the boot."""
    switch = KeepingSwitch()
    switch.stepped = -1e9
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(100)
        switch.stepped = 0.0
        await trio.sleep(40)
    switch.begin_process()
    async with kept_running(switch):
        assert switch.keeper.statistics().restored is Restored.FILE
        assert switch.keeper.statistics().chronicle.cold_starts == 2


async def test_counters_are_saved_at_once(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        assert switch.counters.content["cold_starts"] == 1
        assert switch.counters.content["last_eoiu"] == NEW_YEAR + trio.current_time()
        await switch.bring_up(PORTS)
        await trio.sleep(100)
        # After the state, whose backups they count.
        assert switch.counters.content["backups_created"] == len(switch.state.backups) > 0
        saves = switch.counters.saves
        await trio.sleep(700)
        assert switch.counters.saves == saves


async def test_damage_that_others_find_is_counted_within_the_interval(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        switch.keeper.count_damage(2)
        await trio.sleep(301)
        assert switch.counters.content["corruptions_detected"] == 2
        assert switch.keeper.statistics().set_aside == {"corrupt": 2}
        # Of the state of the ports nothing was.
        assert switch.keeper.statistics().damaged == 0


# ---- what a restart finds


async def test_a_restart_goes_on_counting_and_counts_what_it_missed(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        for up in (False, True):
            switch.kernel.carrier("Ethernet0", up=up)
            await switch.settle()
        await switch.keeper.finish()
        assert flaps(switch) == 1
    for up in (False, True, False, True):
        switch.kernel.carrier("Ethernet0", up=up)
    switch.begin_process()
    async with kept_running(switch):
        assert flaps(switch) == 3
        assert flaps(switch, "Ethernet4") == 0
        assert switch.keeper.statistics().restored is Restored.FILE


async def test_an_unchanged_port_costs_no_event_over_a_restart(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    switch.enable_warm_restart()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await switch.keeper.finish()
    switch.kernel.set("Ethernet4", mtu=1400)
    switch.begin_process()
    async with kept_running(switch):
        assert switch.written("Ethernet0") == []
        assert switch.written("Ethernet4") == ["hset"]


async def test_what_is_awaited_has_been_awaited_since_before_the_restart(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await trio.sleep(100)
        switch.writer.sync.revision += 1
        await switch.keeper.finish()
    await trio.sleep(20)
    switch.begin_process()
    async with kept_running(switch):
        awaited = switch.writer.sync.awaited()
        assert {port.name: trio.current_time() - port.since for port in awaited} == dict.fromkeys(PORTS, 120.0)


async def test_damage_is_counted_and_recovered_from(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(31)
        switch.kernel.set("Ethernet0", mtu=1400)
        await switch.settle()
        await switch.keeper.finish()
    assert switch.state.current is not None
    switch.state.current = switch.state.current[:-7]
    switch.begin_process()
    began = trio.current_time()
    async with kept_running(switch):
        statistics = switch.keeper.statistics()
        assert statistics.restored is Restored.BACKUP
        assert (statistics.damaged, statistics.set_aside) == (1, {"truncated": 1})
        assert (statistics.chronicle.corruptions_detected, statistics.chronicle.state_recoveries) == (1, 1)
        assert statistics.chronicle.last_corruption == statistics.chronicle.last_state_recovery == NEW_YEAR + began
        assert switch.counters.content["corruptions_detected"] == 1
    switch.begin_process()
    async with kept_running(switch):
        statistics = switch.keeper.statistics()
        assert (statistics.chronicle.corruptions_detected, statistics.damaged, statistics.chronicle.cold_starts) == (
            1,
            0,
            3,
        )


async def test_a_state_that_is_too_old_is_no_damage(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await switch.keeper.finish()
    switch.state.backups.clear()
    await trio.sleep(3601)
    switch.begin_process()
    async with kept_running(switch):
        statistics = switch.keeper.statistics()
        assert statistics.restored is Restored.NONE
        assert (statistics.chronicle.corruptions_detected, statistics.set_aside) == (0, {"too-old": 1})


async def test_contents_that_mean_nothing_are_as_good_as_none(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = KeepingSwitch()
    switch.state.keep({"ports": 1})
    switch.counters.keep({"cold_starts": "many"})
    async with kept_running(switch):
        assert switch.keeper.statistics().restored is Restored.NONE
        assert switch.keeper.statistics().chronicle.cold_starts == 1
    assert len([line for line in log if "mean" in line["event"]]) == 2


async def test_a_state_of_another_boot_has_its_counts_go_on_and_no_more(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        switch.kernel.carrier("Ethernet0", up=False)
        await switch.settle()
        await switch.keeper.finish()
    for up in (True, False):
        switch.kernel.carrier("Ethernet0", up=up)
    switch.state.boot_id = "the next boot"
    switch.begin_process()
    async with kept_running(switch):
        assert flaps(switch) == 1


# ---- what stops nothing


async def test_a_full_disk_is_said_once_and_tried_again(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = KeepingSwitch()
    switch.state.broken = True
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(60)
        assert "No space" in switch.keeper.statistics().problem
        assert switch.states().keys() == set(PORTS)
        assert len([line for line in log if line["event"].startswith("cannot be saved")]) == 1
        switch.state.broken = False
        await trio.sleep(11)
        assert switch.keeper.statistics().problem == ""
        assert sorted(ports(switch)) == PORTS
    assert len([line for line in log if line["event"] == "can be saved again"]) == 1


async def test_a_disk_that_hangs_does_not_keep_the_daemon_from_starting(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = KeepingSwitch()
    monkeypatch.setattr(switch.state, "load", trio.sleep_forever)
    async with kept_running(switch):
        assert trio.current_time() == 5.0
        assert switch.writer.first_sync.is_set()


async def test_a_disk_that_hangs_is_given_up_and_said_so(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = KeepingSwitch()

    async def hang(_content: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(switch.state, "save", hang)
    async with kept_running(switch):
        await trio.sleep(30)
        assert switch.keeper.statistics().problem == "the disk does not answer"
        assert switch.counters.content["cold_starts"] == 1


async def test_counters_that_could_not_be_read_are_not_saved_as_if_they_were_none(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = KeepingSwitch()
    switch.counters.keep({"cold_starts": 7})
    monkeypatch.setattr(switch.counters, "load", trio.sleep_forever)
    async with kept_running(switch):
        await switch.keeper.finish()
        assert switch.counters.content == {"cold_starts": 7}
        assert switch.keeper.statistics().problem == "the disk does not answer"


async def test_penalties_are_saved_with_the_flaps_that_made_them(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        for up in (False, True):
            switch.kernel.carrier("Ethernet0", up=up)
            await switch.settle()
        await trio.sleep(31)
        assert ports(switch)["Ethernet0"][6] == pytest.approx(1000.0, rel=0.05)
        assert ports(switch)["Ethernet4"][6] == 0.0
    await trio.sleep(900)
    switch.begin_process()
    async with kept_running(switch):
        penalties = switch.keeper._book.penalties(trio.current_time())
        assert penalties == {"Ethernet0": pytest.approx(490.0, rel=0.05)}


async def test_where_nothing_is_kept_nothing_is_saved(autojump_clock: MockClock) -> None:
    switch = KeepingSwitch()
    switch.state = switch.counters = None  # type: ignore[assignment] # what an empty path comes to
    switch.begin_process()
    async with kept_running(switch):
        await trio.sleep(1000)
        assert switch.keeper.statistics().problem == ""
        assert switch.keeper.statistics().chronicle.cold_starts == 1


# ---- the chronicle

moments = st.none() | st.floats(0, 1e12)
chronicles = st.builds(Chronicle, *[st.integers(0, 2**53)] * 8, *[moments] * 4)


@given(chronicles)
def test_a_chronicle_is_what_was_saved_of_it(chronicle: Chronicle) -> None:
    assert Chronicle.of(asdict(chronicle)) == chronicle
    assert Chronicle.of({**asdict(chronicle), "of a later version": {}}) == chronicle


@given(chronicles, chronicles)
def test_two_chronicles_add_up_and_the_later_moment_counts(first: Chronicle, second: Chronicle) -> None:
    both = first.then(second)
    assert both.cold_starts == first.cold_starts + second.cold_starts
    assert both.last_eoiu == (first.last_eoiu if second.last_eoiu is None else second.last_eoiu)
    assert first.then(Chronicle()) == Chronicle().then(first) == first


@pytest.mark.parametrize(
    "wrong", [{"cold_starts": -1}, {"cold_starts": 1.5}, {"last_eoiu": "now"}, {"last_eoiu": True}]
)
def test_what_is_no_chronicle_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        Chronicle.of(wrong)
