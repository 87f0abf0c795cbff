"""The guardian on a fake switch: what it finds, what it does about it, and what it leaves alone."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NoReturn

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd.errors import LinkSourceError, StoreChangedError
from portsyncd.model.commands import PortWrite
from portsyncd.model.healing import Kind
from portsyncd.model.reconcile import NAMED
from portsyncd.services.guardian import Settings
from portsyncd.services.reader import STALL
from portsyncd.testing.fake_redis import NOTIFICATIONS
from portsyncd.testing.fake_store import FakeStore
from portsyncd.wire import schema
from tests.services.guarding import GuardedSwitch, guarded, only
from tests.services.watching import PORTS

# A probe every 2 s, which has 1.5 s to be answered.
DETECTION_SECONDS = 4.0


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def warnings(log: list[Any]) -> list[Any]:
    return [line for line in log if line["log_level"] in ("warning", "error")]


# ---- at rest


async def test_at_rest_it_looks_and_does_nothing(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch(Settings(reconcile_interval=1e9))
    async with guarded(switch):
        writes, log[:] = len(switch.redis.writes), []
        await trio.sleep(1800)
        statistics = switch.guardian.statistics()
        assert statistics.checks == pytest.approx(900, abs=5)
        assert statistics.free_bytes == {"history": 1 << 34, "port_state": 1 << 34}
        assert (switch.counts(), switch.restarts(), switch.cancelled) == ({}, {}, [])
        assert (switch.writer.statistics().sessions, switch.reader.statistics().losses) == (1, 0)
        assert len(switch.redis.writes) == writes
    assert log == []


# ---- Redis


@pytest.mark.parametrize("connection", [schema.STATE_DB, schema.APPL_DB, schema.CONFIG_DB, NOTIFICATIONS])
async def test_a_half_open_connection_to_redis_is_found_and_made_anew(
    autojump_clock: MockClock, connection: str
) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        for count in range(1, 4):
            switch.redis.cut(connection)
            switch.change()
            await switch.until(lambda: switch.writer.statistics().sessions > count, DETECTION_SECONDS)  # noqa: B023
            await switch.until(lambda: switch.healed(Kind.REDIS).count == count, 2.5)  # noqa: B023
            assert switch.is_true()
            await trio.sleep(7.7)
        assert switch.counts() == {Kind.REDIS: 3}
        assert switch.healed(Kind.REDIS).what.startswith("connected to Redis anew, which answers; ")
        assert trio.current_time() - 20 < (switch.healed(Kind.REDIS).at or 0.0) < trio.current_time() - 7


async def test_a_redis_that_stops_answering_is_left_again_and_again_and_healed_once(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        switch.redis.pause()
        await trio.sleep(600)
        assert switch.counts() == {}
        switch.change()
        await trio.sleep(3)
        switch.redis.resume()
        await switch.until(lambda: switch.healed(Kind.REDIS).count, 10)
        await trio.sleep(60)
        assert switch.counts() == {Kind.REDIS: 1}
        assert switch.is_true()


async def test_a_session_that_ended_by_itself_counts_when_the_next_one_answers(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        switch.redis.stop()
        await trio.sleep(100)
        assert switch.counts() == {}
        switch.redis.start()
        await switch.until(lambda: switch.healed(Kind.REDIS).count, 10)
        assert switch.counts() == {Kind.REDIS: 1}


async def test_a_redis_that_comes_after_the_daemon_heals_nothing(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch()
    switch.redis.stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(switch.supervisor.run)
        await trio.sleep(100)
        switch.redis.start()
        await trio.sleep(100)
        assert switch.writer.statistics().connected
        assert switch.counts() == {}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("stopped", [0.6, 1.6, 2.5, 3.0, 3.5, 3.9])
async def test_a_process_that_was_stopped_gives_up_no_session_that_is_well(
    autojump_clock: MockClock, stopped: float
) -> None:
    switch = GuardedSwitch(only(Kind.REDIS))
    async with guarded(switch):
        switch.redis.latency = 0.02
        for offset in range(20):
            # In each phase between two checks, with a request under way.
            await trio.sleep(5 + 0.1 * offset)
            switch.change()
            await switch.until(lambda: switch.writer.statistics().waiting_since, 1)
            await switch.settle()
            autojump_clock.jump(stopped)
        await trio.sleep(10)
        assert switch.is_true()
        statistics = switch.writer.statistics()
        assert (statistics.sessions, statistics.losses, switch.counts()) == (1, 0, {})


async def test_databases_that_change_while_they_are_written_are_no_lost_connection(autojump_clock: MockClock) -> None:
    class Changing(FakeStore):
        async def write_ports(self, writes: Sequence[PortWrite]) -> list[bool]:
            if changes:
                raise StoreChangedError(changes.pop())
            return await super().write_ports(writes)

    switch = GuardedSwitch()
    changes = ["APPL_DB changed"]
    async with guarded(switch):
        switch.writer._make_store = lambda: Changing(switch.redis)
        switch.writer.break_off("to have a session with it")
        await trio.sleep(5)
        sessions, changes = switch.writer.statistics().sessions, ["APPL_DB changed"]
        switch.change()
        await trio.sleep(10)
        statistics = switch.writer.statistics()
        assert (changes, statistics.sessions, statistics.losses) == ([], sessions + 1, 1)
        assert switch.is_true()
        assert switch.counts() == {Kind.REDIS: 1}


# ---- netlink


def _lose_membership(switch: GuardedSwitch) -> None:
    switch.kernel.drop_memberships()


def _close(switch: GuardedSwitch) -> None:
    switch.kernel.close_descriptors()


@pytest.mark.parametrize("fault", [_lose_membership, _close])
async def test_a_netlink_socket_that_hears_nothing_is_found_and_made_anew(
    autojump_clock: MockClock, fault: Callable[[GuardedSwitch], None]
) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        fault(switch)
        switch.change()
        # Found, the reader rebuilt, and all links read anew.
        await switch.until(switch.is_true, DETECTION_SECONDS)
        await switch.until(lambda: switch.healed(Kind.NETLINK).count, 2.5)
        await trio.sleep(60)
        assert switch.counts() == {Kind.NETLINK: 1}
        assert switch.restarts() == {"reader": 1}


async def test_a_kernel_that_does_not_answer_is_tried_again_in_good_time_and_healed_once(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        switch.kernel.answers = False
        await trio.sleep(120)
        assert switch.counts() == {}
        # As often as the supervisor begins a reader that fails again and again.
        assert 5 < switch.restarts()["reader"] < 50
        switch.kernel.answers = True
        await switch.until(lambda: switch.healed(Kind.NETLINK).count, 10)
        switch.change()
        await trio.sleep(60)
        assert switch.counts() == {Kind.NETLINK: 1}
        assert switch.is_true()


async def test_a_probe_that_waits_delays_no_other_check(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(only(Kind.NETLINK))
    switch.reader.probe = trio.sleep_forever  # type: ignore[method-assign]
    async with guarded(switch):
        checks = switch.guardian.statistics().checks
        await trio.sleep(60)
        assert switch.guardian.statistics().checks == pytest.approx(checks + 30, abs=1)
        assert switch.reader.statistics().losses > 10


async def test_a_probe_whose_deadline_passed_while_nobody_ran_says_nothing_against_the_kernel(
    autojump_clock: MockClock,
) -> None:
    switch = GuardedSwitch(only(Kind.NETLINK))
    async with guarded(switch):
        for seconds, losses in ((60.0, 0), (0.0, 1)):
            switch.kernel.answers = False
            await trio.sleep(2.1)
            autojump_clock.jump(seconds)
            await switch.settle()
            if not seconds:
                await trio.sleep(1.5)
            switch.kernel.answers = True
            await switch.settle()
            assert switch.reader.statistics().losses == losses


# ---- reconciliation


async def test_what_somebody_else_broke_is_put_right_at_the_interval(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(Settings(reconcile_interval=300))
    async with guarded(switch):
        await trio.sleep(100)
        assert switch.writer.reconciliation.runs == 0
        switch.state_db.hset("PORT_TABLE|Ethernet0", {"netdev_oper_status": "down"})
        switch.state_db.delete("PORT_TABLE|Ethernet4")
        await trio.sleep(190)
        assert not switch.is_true()
        await switch.until(switch.is_true, 15)
        await trio.sleep(3)
        assert switch.writer.reconciliation.runs == 1
        assert switch.counts() == {Kind.RECONCILE: 1}
        assert switch.healed(Kind.RECONCILE).what.startswith("entries in Redis put right: 1 missing, 1 stale: Ethernet")
        # Nothing to be put right is no healing.
        await trio.sleep(900)
        assert switch.writer.reconciliation.runs == 4
        assert switch.counts() == {Kind.RECONCILE: 1}
        # What was told is not told again.
        switch.state_db.delete("PORT_TABLE|Ethernet4")
        await trio.sleep(310)
        assert switch.healed(Kind.RECONCILE).what == "entries in Redis put right: 1 missing: Ethernet4"


@pytest.mark.parametrize("settings", [Settings(), only(), Settings(enabled=False)])
async def test_on_demand_it_is_compared_and_put_right_whatever_is_switched_off(
    autojump_clock: MockClock, settings: Settings
) -> None:
    switch = GuardedSwitch(settings)
    async with guarded(switch):
        switch.state_db.delete("PORT_TABLE|Ethernet4")
        switch.guardian.request_reconcile()
        await switch.settle()
        assert switch.is_true()
        await trio.sleep(3)
        assert switch.healed(Kind.RECONCILE).what == "entries in Redis put right: 1 missing: Ethernet4"
        # Also where it was not possible when it was asked for.
        switch.redis.stop()
        await trio.sleep(2)
        switch.guardian.request_reconcile()
        switch.redis.start()
        await trio.sleep(20)
        assert switch.writer.reconciliation.runs == 2


async def test_many_are_counted_and_a_few_named(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        for number in range(40):
            switch.state_db.hset(f"PORT_TABLE|Ethernet{400 + number}", {"state": "ok"})
        switch.guardian.request_reconcile()
        await trio.sleep(5)
        what = switch.healed(Kind.RECONCILE).what
        assert what.startswith("entries in Redis put right: 40 orphan: Ethernet4")
        assert what.count("Ethernet") == 8
        assert what.endswith(", ...")


async def test_what_is_put_right_counts_beside_many_that_are_contested(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(Settings(reconcile_interval=1e9))
    async with guarded(switch):
        contested = [f"PORT_TABLE|Ethernet{400 + number}" for number in range(NAMED + 4)]
        for _ in range(2):
            for key in contested:
                switch.state_db.hset(key, {"state": "ok"})
            switch.guardian.request_reconcile()
            await trio.sleep(70)
        for key in contested:
            switch.state_db.hset(key, {"state": "ok"})
        # Found first, so that they are not among the last that are kept.
        switch.state_db.delete(f"PORT_TABLE|{PORTS[1]}")
        switch.guardian.request_reconcile()
        await trio.sleep(70)
        assert len(switch.writer.reconciliation.contested) == len(contested)
        assert switch.healed(Kind.RECONCILE).count == 3
        assert switch.healed(Kind.RECONCILE).what == "entries in Redis put right: 1 missing"


async def test_port_init_done_that_has_to_wait_for_a_port_is_not_put_right(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(Settings(reconcile_interval=1e9))
    async with guarded(switch):
        switch.kernel.delete(PORTS[0])
        switch.appl_db.delete("PORT_TABLE:PortInitDone")
        switch.state_db.delete(f"PORT_TABLE|{PORTS[1]}")
        switch.guardian.request_reconcile()
        await trio.sleep(5)
        assert not switch.has_marker("PortInitDone")
        assert switch.healed(Kind.RECONCILE).what == f"entries in Redis put right: 1 missing: {PORTS[1]}"
        switch.add_ports([PORTS[0]])
        await switch.settle()
        assert switch.has_marker("PortInitDone")


async def test_an_entry_that_comes_back_wrong_is_not_healed_for_ever(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(Settings(reconcile_interval=10))
    async with guarded(switch):
        for _ in range(60):
            switch.state_db.hset("PORT_TABLE|Ethernet0", {"mtu": "1"})
            if switch.healed(Kind.RECONCILE).count == 2:
                # Beside the one that will be left as it is.
                switch.state_db.delete("PORT_TABLE|Ethernet4")
            await trio.sleep(10)
            if switch.healed(Kind.RECONCILE).count == 3:
                break
        assert [each.port for each in switch.writer.reconciliation.contested] == ["Ethernet0"]
        assert switch.healed(Kind.RECONCILE).what == "entries in Redis put right: 1 missing: Ethernet4"
        for _ in range(60):
            switch.state_db.hset("PORT_TABLE|Ethernet0", {"mtu": "1"})
            await trio.sleep(10)
        assert switch.counts() == {Kind.RECONCILE: 3}


# ---- stall


async def test_a_writer_that_does_not_move_is_begun_anew(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        switch.hung = True
        switch.change()
        await trio.sleep(9.5)
        assert switch.cancelled == []
        switch.hung = False
        await switch.until(lambda: switch.cancelled, 3)
        await switch.until(switch.is_true, 1)
        await switch.until(lambda: switch.healed(Kind.STALL).count, 2.5)
        await trio.sleep(60)
        assert switch.counts() == {Kind.STALL: 1}
        assert switch.restarts() == {"writer": 1}
        assert switch.reader.statistics().resyncs[STALL] == 1
        assert switch.healed(Kind.STALL).what.startswith(
            "the writer was begun anew, and moves: 2 changes wait, and none"
        )


async def test_a_writer_that_was_ended_has_no_session_until_it_is_begun_anew(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        switch.hung = True
        switch.change()
        await switch.until(lambda: switch.cancelled, 14)
        await switch.settle()
        statistics = switch.writer.statistics()
        assert (statistics.sessions, statistics.connected) == (1, False)
        assert statistics.problem == "the session with Redis was ended, and begins anew"
        # Nothing is known against Redis, so that a further standstill is seen.
        await switch.until(lambda: switch.writer.statistics().sessions == 2, 5)
        await switch.settle()
        assert switch.writer.statistics().connected
        assert not switch.writer.statistics().problem


async def test_a_reader_that_does_not_read_is_begun_anew(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(only(Kind.STALL))
    async with guarded(switch):
        switch.deaf = True
        switch.reader.request_resync("test")
        await trio.sleep(1)
        switch.change()
        await trio.sleep(9)
        assert switch.cancelled == []
        switch.deaf = False
        await switch.until(lambda: switch.cancelled, 4)
        await switch.until(switch.is_true, 1)
        await switch.until(lambda: switch.healed(Kind.STALL).count, 2.5)
        await trio.sleep(60)
        assert switch.counts() == {Kind.STALL: 1}
        assert switch.restarts() == {"reader": 1}
        assert "the kernel has events, and none has been read for 10 s" in switch.healed(Kind.STALL).what


async def test_a_full_read_that_does_not_go_on_is_begun_anew(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(only(Kind.STALL))
    async with guarded(switch):
        switch.kernel.set(PORTS[0], mtu=1400)
        switch.deaf = True
        switch.reader.request_resync("test")
        await trio.sleep(1)
        # All events have been read before; only this one read would tell.
        assert not switch.reader.statistics().has_events
        await trio.sleep(8)
        assert switch.cancelled == []
        switch.deaf = False
        await switch.until(lambda: switch.cancelled, 4)
        await switch.until(lambda: switch.healed(Kind.STALL).count, 2.5)
        assert switch.restarts() == {"reader": 1}
        assert not switch.reader.statistics().resyncing
        assert "the links are not read on for 10 s" in switch.healed(Kind.STALL).what


async def test_a_reader_that_cannot_be_begun_stands_not_still(autojump_clock: MockClock) -> None:
    def fail() -> NoReturn:
        raise LinkSourceError("no descriptor is left")

    switch = GuardedSwitch(only(Kind.STALL))
    async with guarded(switch):
        switch.deaf = True
        switch.reader.request_resync("test")
        await trio.sleep(1)
        make = switch.reader._make_source
        switch.reader._make_source = fail
        switch.supervisor.cancel_child("reader", "test")
        switch.deaf = False
        await trio.sleep(120)
        assert switch.reader.statistics().resyncing
        switch.reader._make_source = make
        await trio.sleep(10)
        assert switch.cancelled == []
        assert switch.counts() == {}


async def test_a_stall_that_stays_is_no_loop_of_healings_and_is_told_once(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = GuardedSwitch(only(Kind.STALL))
    async with guarded(switch):
        switch.hung, log[:] = True, []
        for _ in range(500):
            switch.change()
            await trio.sleep(2)
        pauses = [later - earlier for (earlier, _), (later, _) in pairwise(switch.cancelled)]
        assert pauses[0] >= 10
        assert pauses[-1] >= 160
        assert len(pauses) < 12
        assert switch.counts() == {}
        assert [line["service"] for line in log if line["event"].startswith("a service stands still")].count(
            "writer"
        ) >= 1
        told = [line for line in warnings(log) if line["event"].startswith("a service stands still")]
        assert len(told) == 1
        switch.hung = False
        await switch.until(lambda: switch.healed(Kind.STALL).count, 200)
        assert switch.is_true()
        assert switch.counts() == {Kind.STALL: 1}


async def test_a_writer_that_waits_for_the_first_read_of_the_links_is_no_stall(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(only(Kind.STALL))
    switch.deaf = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(switch.supervisor.run)
        await trio.sleep(100)
        assert switch.writer.statistics().connected
        # It is the reader that does not move.
        assert {name for _, name in switch.cancelled} == {"reader"}
        nursery.cancel_scope.cancel()


async def test_an_unreachable_redis_and_a_port_that_waits_are_no_stall(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(only(Kind.STALL))
    async with guarded(switch):
        switch.add_ports(["Ethernet8"])
        await trio.sleep(300)
        switch.redis.stop()
        switch.change()
        await trio.sleep(300)
        switch.redis.start()
        switch.redis.refuses_writes = "READONLY"
        await trio.sleep(300)
        assert switch.cancelled == []


async def test_a_request_that_redis_has_yet_to_answer_is_no_stall(autojump_clock: MockClock) -> None:
    # With a deadline of 2 s, longer than a standstill may last.
    switch = GuardedSwitch(Settings(check_interval=0.1, max_stall=1.0, kinds=frozenset({Kind.STALL})))
    async with guarded(switch):
        for offset in range(10):
            await trio.sleep(5 + 0.1 * offset)
            switch.redis.pause()
            switch.change()
            await trio.sleep(1.6)
            switch.redis.resume()
        await trio.sleep(5)
        assert switch.is_true()
        assert switch.cancelled == []
        assert switch.writer.statistics().sessions == 1


# ---- what it must not do


async def test_what_is_switched_off_does_nothing(autojump_clock: MockClock) -> None:
    for settings in (Settings(enabled=False), only()):
        switch = GuardedSwitch(settings)
        async with guarded(switch):
            switch.resident, switch.free = 1 << 40, 0
            switch.expiries["server"] = 0.0
            switch.redis.cut(NOTIFICATIONS)
            switch.kernel.drop_memberships()
            await trio.sleep(30)
            switch.hung = True
            switch.reader.request_resync("test")
            await trio.sleep(600)
            statistics = switch.guardian.statistics()
            # It looks and reports.
            assert statistics.memory.level == "high"
            assert statistics.free_bytes["history"] == 0
            assert (statistics.low_disk, switch.counts()) == ("", {})
            assert (switch.trims, switch.left, switch.held, switch.reloads) == ([], [], [], [])
            assert (switch.cancelled, switch.restarts(), switch.writer.statistics().sessions) == ([], {}, 1)
            assert switch.writer.reconciliation.runs == 0


async def test_steps_of_the_clock_on_the_wall_trigger_nothing(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch(Settings(reconcile_interval=1e9))
    steps = [3600.0, -7200.0, 86400.0 * 30, -86400.0 * 365, 0.6, -0.6]
    async with guarded(switch):
        log[:] = []
        for step in steps:
            switch.wall.offset += step
            await trio.sleep(100)
        switch.wall.offset += 0.4
        await trio.sleep(100)
        statistics = switch.guardian.statistics()
        assert statistics.clock_steps == len(steps)
        assert statistics.last_clock_step == pytest.approx(-0.6)
        assert (switch.counts(), switch.cancelled, switch.trims, switch.reloads) == ({}, [], [], [])
        assert switch.writer.statistics().sessions == 1
    assert [line["seconds"] for line in log] == steps
    assert {line["event"] for line in log} == {"the clock on the wall was set"}


async def test_a_guardian_that_is_begun_anew_keeps_its_book(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        switch.redis.cut(NOTIFICATIONS)
        await switch.until(lambda: switch.healed(Kind.REDIS).count, 10)
        switch.redis.cut(NOTIFICATIONS)
        switch.supervisor.cancel_child("guardian", "test")
        await switch.until(lambda: switch.healed(Kind.REDIS).count == 2, 10)
        assert switch.restarts() == {"guardian": 1}


async def test_after_a_time_in_which_nobody_ran_it_waits_for_the_others(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(only(Kind.STALL))
    async with guarded(switch):
        checks = switch.guardian.statistics().checks
        await switch.until(lambda: switch.guardian.statistics().checks > checks, 3)
        checks = switch.guardian.statistics().checks
        autojump_clock.jump(61)
        await switch.settle()
        assert switch.guardian.statistics().checks == checks
        await trio.sleep(1.9)
        # They have all of an interval.
        assert switch.guardian.statistics().checks == checks
        await trio.sleep(0.2)
        assert switch.guardian.statistics().checks == checks + 1


@pytest.mark.parametrize(("late", "left_out"), [(0.4, False), (0.6, True), (1.9, True)])
async def test_a_round_that_is_much_too_late_is_left_out(
    autojump_clock: MockClock, late: float, left_out: bool
) -> None:
    switch = GuardedSwitch(only(Kind.REDIS))
    async with guarded(switch):
        checks = switch.guardian.statistics().checks
        await switch.until(lambda: switch.guardian.statistics().checks > checks, 3)
        autojump_clock.jump(2.0 + late)
        await switch.settle()
        assert switch.guardian.statistics().checks == checks + (1 if left_out else 2)


async def test_a_loop_that_always_blocks_is_looked_after_all_the_same(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(Settings(reconcile_interval=60.0))
    async with guarded(switch):
        checks = switch.guardian.statistics().checks
        switch.state_db.delete(f"PORT_TABLE|{PORTS[0]}")
        for _ in range(50):
            await trio.sleep(0.1)
            autojump_clock.jump(5.0)
        assert switch.guardian.statistics().checks >= checks + 10
        assert switch.is_true()
        assert switch.counts() == {Kind.RECONCILE: 1}


async def test_a_check_that_fails_is_told_once_and_delays_no_other(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        log[:] = []
        del switch.resident  # As a process without descriptors cannot read its own statistics.
        switch.free = None
        await trio.sleep(600)
        failed = [line["check"] for line in warnings(log)]
        assert sorted(failed) == ["DiskKeeper", "MemoryKeeper"]
        switch.redis.cut(schema.APPL_DB)
        await switch.until(lambda: switch.writer.statistics().sessions > 1, DETECTION_SECONDS)
        assert switch.restarts() == {}
        # It is told again where it fails again.
        switch.free = 1 << 34
        await trio.sleep(60)
        switch.free = None
        await trio.sleep(60)
        assert [line.get("check") for line in warnings(log)].count("DiskKeeper") == 2


async def test_whatever_fails_while_it_looks_does_not_end_it(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        right = switch.inbox.statistics
        switch.inbox.statistics = None  # type: ignore[assignment, method-assign]
        await trio.sleep(60)
        checks = switch.guardian.statistics().checks
        switch.inbox.statistics = right  # type: ignore[method-assign]
        await trio.sleep(60)
        assert switch.guardian.statistics().checks == checks + 30
        assert switch.restarts() == {}
    assert [line["check"] for line in warnings(log)] == ["looking"]
