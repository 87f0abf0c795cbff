"""The writer between start and end: the look once a second, polling, drains, releases, reminders, and its statistics."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from tests.services.switch import FakeSwitch, running

PORTS = ["Ethernet0", "Ethernet4"]


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def said(log: list[Any], text: str) -> list[Any]:
    """The lines of the log whose event begins so."""
    return [line for line in log if line["event"].startswith(text)]


# ---- the look


async def test_a_flush_of_appl_db_begins_a_generation_within_a_second_and_keeps_the_links(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(10)
        switch.appl_db.flushdb()
        assert await switch.until(switch.produced, 5) <= 1.1
        await switch.settle()
        assert switch.produced()[:3] == [*PORTS, "PortConfigDone"]
        assert switch.appl_db.hgetall("PORTSYNCD_GENERATION_TABLE:localhost")["id"] != "generation 1"
        assert [reason for reason, _ in switch.resyncs] == ["generation"]
        assert all(switch.kernel.link(name).up for name in PORTS)
        # Orchagent takes them again; the links are there already.
        switch.redis.pop()
        await trio.sleep(1)
        assert switch.has_marker("PortInitDone")
        assert switch.states() == switch.expected_states() != {}
    assert len(said(log, "the databases were flushed")) == 1


async def test_a_flush_of_everything_waits_until_config_db_is_loaded_again(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        for number in (0, 4, 6):
            switch.redis.flush(number)
        await trio.sleep(30)
        # An unloaded CONFIG_DB is not "zero ports".
        assert switch.produced() == []
        assert not switch.writer.statistics().connected
        switch.load_config(PORTS)
        await trio.sleep(2)
        assert switch.produced() == [*PORTS, "PortConfigDone"]
        switch.redis.pop()
        await trio.sleep(2)
        assert switch.states() == switch.expected_states() != {}


async def test_a_state_db_that_was_flushed_is_written_again(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.state_db.flushdb()
        await trio.sleep(2)
        assert switch.states() == switch.expected_states() != {}
        assert switch.state_db.hgetall("WARM_RESTART_TABLE|portsyncd") == {"restore_count": "0"}
        assert switch.produced() == []


async def test_while_nothing_happens_only_the_look_is_taken(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        before = switch.redis.pipelines
        await trio.sleep(1000)
        # APPL_DB and STATE_DB are asked one question each.
        assert switch.redis.pipelines - before <= 2 * 1001
    assert switch.redis.writes == []


# ---- notifications, and polling without them


async def test_with_notifications_a_port_is_written_as_soon_as_orchagent_took_it(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        switch.add_ports(PORTS)
        await trio.sleep(10.5)
        switch.redis.pop()
        now = trio.current_time()
        await switch.settle()
        assert trio.current_time() == now
        assert switch.states() == switch.expected_states() != {}


async def test_a_notification_that_never_came_is_made_good_in_half_a_minute(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        switch.add_ports(PORTS)
        await trio.sleep(5)
        switch.redis.notify = False
        switch.redis.pop()
        switch.redis.notify = True
        assert await switch.until(lambda: len(switch.states()) == 2, 60) <= 31


async def test_without_notifications_it_is_written_within_a_second(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = FakeSwitch(notify=False)
    switch.load_config(PORTS)
    async with running(switch):
        switch.add_ports(PORTS)
        await trio.sleep(10.5)
        switch.redis.pop()
        assert await switch.until(lambda: len(switch.states()) == 2, 5) <= 1.1
        switch.add_ports(["Ethernet8"])
        switch.config_db.delete("PORT|Ethernet8")
        await trio.sleep(2)
        assert switch.writer.statistics().counts["pending"] == 1
        assert switch.states() == switch.expected_states()
    assert "polling" in said(log, "connected to Redis")[0]["notifications"]
    assert len(said(log, "Redis sends no keyspace notifications")) == 1


async def test_a_waiting_port_that_nobody_takes_costs_a_try_each_half_minute(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.add_ports(["PortChannel1"])
        await trio.sleep(1)
        rounds = switch.writer.statistics().round_trips
        await trio.sleep(1000)
        assert switch.writer.statistics().round_trips - rounds <= 1000 / 30 + 1
        assert switch.writer.statistics().counts["pending"] == 1


# ---- what others ask


async def test_drained_returns_when_redis_has_everything(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        with trio.fail_after(1):
            await switch.writer.drained()
        switch.redis.latency = 0.2
        for mtu in (9000, 9001):
            switch.kernel.set("Ethernet0", mtu=mtu)
            await switch.settle()
        assert switch.states() != switch.expected_states() or len(switch.inbox)
        await switch.writer.drained()
        assert switch.states() == switch.expected_states()
        assert len(switch.inbox) == 0


async def test_two_may_wait_for_the_drain(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.latency = 0.2
        switch.kernel.set("Ethernet0", mtu=9000)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(switch.writer.drained)
                nursery.start_soon(switch.writer.drained)


async def test_a_release_lets_port_init_done_out(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    async with running(switch):
        switch.redis.pop()
        switch.add_ports(["Ethernet0"])
        await switch.settle()
        assert not switch.has_marker("PortInitDone")
        switch.writer.release()
        await switch.settle()
        assert switch.has_marker("PortInitDone")
    assert said(log, "PortInitDone is released")[0]["ports"] == ["Ethernet4"]


async def test_what_port_init_done_waits_for_is_named_ever_more_rarely(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = FakeSwitch()
    switch.load_config([f"Ethernet{number}" for number in range(20)])
    start = trio.current_time()
    told: list[float] = []
    async with running(switch):
        for _ in range(700):
            before = len(said(log, "PortInitDone waits"))
            await trio.sleep(1)
            if len(said(log, "PortInitDone waits")) > before:
                told.append(trio.current_time() - start)
    assert 5 < told[0] < 60
    waits = [later - earlier for earlier, later in pairwise(told)]
    assert len(waits) >= 3
    assert waits[1:] == pytest.approx([2 * wait for wait in waits[:-1]], abs=2)
    line = said(log, "PortInitDone waits")[0]
    assert line["ports"] == 20
    assert len(line["first"]) < 20
    assert "no link of this name" in line["first"][0]


async def test_its_statistics(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    assert switch.writer.statistics().problem == "not connected yet"
    switch.load_config(PORTS)
    async with running(switch):
        before = switch.writer.statistics()
        assert (before.connected, before.problem, before.sessions) == (True, "", 1)
        assert (before.in_sync, before.initialized, before.generation) == (True, False, "generation 1")
        assert before.counts == {"up": 0, "down": 0, "awaited": 2, "pending": 0}
        assert not before.warm
        await switch.bring_up(PORTS)
        assert switch.writer.first_sync.is_set()
        switch.redis.latency = 0.25
        before = switch.writer.statistics()
        switch.kernel.carrier("Ethernet0", up=False)
        await trio.sleep(0.5)
        after = switch.writer.statistics()
        assert (after.writes - before.writes, after.round_trips - before.round_trips) == (1, 1)
        assert after.latencies[-1] == pytest.approx(0.25)
        assert after.counts == {"up": 1, "down": 1, "awaited": 0, "pending": 0}
        assert (after.initialized, after.lost_writes) == (True, 0)


# ---- the mailbox's bound


async def test_names_that_the_mailbox_refused_are_read_again_and_their_removals_too(
    autojump_clock: MockClock,
) -> None:
    switch = FakeSwitch(bound=2)
    switch.load_config(PORTS)
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.stop()
        await trio.sleep(1)
        for number in range(8, 20):
            switch.kernel.add_port(f"Ethernet{number}")
            switch.kernel.delete(f"Ethernet{number}")
        await switch.settle()
        switch.kernel.delete("Ethernet0")
        switch.kernel.set("Ethernet4", mtu=9000)
        await switch.settle()
        switch.redis.start()
        await trio.sleep(10)
        assert switch.states() == switch.expected_states()
        assert switch.states().keys() == {"Ethernet4"}
    assert "overrun" in [reason for reason, _ in switch.resyncs]


async def test_more_ports_than_the_mailbox_holds_come_to_rest(autojump_clock: MockClock) -> None:
    switch = FakeSwitch(bound=2)
    names = [f"Ethernet{number}" for number in range(50)]
    switch.load_config(names)
    async with running(switch):
        await switch.bring_up(names)
        assert switch.states() == switch.expected_states()
        assert len(switch.states()) == 50
        dumps = switch.kernel.dumps
        await trio.sleep(100)
        assert switch.kernel.dumps == dumps < 10
