"""The writer while Redis is well: what a start writes, in what order, and what it waits for. Faults: ``test_writer_faults``."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd.errors import NoPermissionError
from portsyncd.model.commands import OldLinks
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.testing.monitor import Write
from tests.services.switch import LOGGER, FakeSwitch, running

PORTS = ["Ethernet0", "Ethernet4"]


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def said(log: list[Any], text: str) -> list[Any]:
    """The lines of the log whose event begins so."""
    return [line for line in log if line["event"].startswith(text)]


def cold(switch: FakeSwitch) -> None:
    """CONFIG_DB with two ports."""
    switch.load_config(PORTS)


# ---- a start


async def test_a_cold_start_writes_row_generation_ports_and_marker_in_this_order(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    cold(switch)
    async with running(switch):
        row = {"alias": "Ethernet0", "mtu": "9100"}
        assert switch.redis.writes == [
            Write("STATE_DB", "hset", "WARM_RESTART_TABLE|portsyncd", {"restore_count": "0"}),
            Write("APPL_DB", "hset", "PORTSYNCD_GENERATION_TABLE:localhost", {"id": "generation 1"}),
            Write("APPL_DB", "producer_set", "Ethernet0", row),
            Write("APPL_DB", "producer_set", "Ethernet4", row | {"alias": "Ethernet4"}),
            Write("APPL_DB", "producer_set", "PortConfigDone", {"count": "2"}),
        ]


async def test_nothing_is_announced_before_the_links_have_been_read(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    cold(switch)
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.writer.run)
        await trio.sleep(30)
        assert switch.produced() == []
        await nursery.start(switch.reader.run)
        await switch.settle()
        assert switch.produced() == [*PORTS, "PortConfigDone"]
        nursery.cancel_scope.cancel()


async def test_a_port_is_written_when_orchagent_took_it_and_its_link_is_there(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    cold(switch)
    async with running(switch):
        switch.add_ports(["Ethernet0"])
        await switch.settle()
        assert switch.states() == {}
        switch.redis.pop()
        await switch.settle()
        assert switch.states() == switch.expected_states() != {}
        assert not switch.has_marker("PortInitDone")
        switch.add_ports(["Ethernet4"])
        await switch.settle()
        assert switch.produced()[-1] == "PortInitDone"
        assert switch.states() == switch.expected_states()


async def test_each_change_is_one_write_and_what_is_no_change_none(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    cold(switch)
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.kernel.carrier("Ethernet0", up=False)
        await switch.settle()
        assert switch.written("Ethernet0") == ["hset"]
        switch.kernel.multicast(switch.kernel.link("Ethernet0").message())
        switch.kernel.set("Ethernet0", mtu=9000)
        switch.kernel.set("Ethernet0", mtu=1500)
        await switch.settle()
        assert switch.written("Ethernet0") == ["hset"]
        switch.kernel.delete("Ethernet4")
        await switch.settle()
        assert switch.written("Ethernet4") == ["del"]
        assert switch.states() == switch.expected_states()


async def test_where_no_port_is_configured_both_markers_go_out(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.load_config([])
    async with running(switch):
        assert switch.produced() == ["PortConfigDone", "PortInitDone"]


async def test_many_ports_take_few_requests(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    names = [f"Ethernet{number}" for number in range(500)]
    switch.load_config(names)
    async with running(switch):
        await switch.bring_up(names)
        before = switch.redis.pipelines
        for name in names:
            switch.kernel.set(name, mtu=9000)
        await switch.settle()
        assert switch.states() == switch.expected_states()
        assert len(switch.states()) == 500
        assert switch.redis.pipelines - before <= 3


async def test_links_from_before_a_cold_start_are_set_down_and_remembered(autojump_clock: MockClock) -> None:
    switch = FakeSwitch(policy=Policy(existing_links=ExistingLinks.RESET))
    cold(switch)
    switch.add_ports(["Ethernet0"])
    ifindex = switch.kernel.index("Ethernet0")
    async with running(switch):
        assert switch.old_links.kept == OldLinks("generation 1", frozenset({ifindex}))
        assert not switch.kernel.link("Ethernet0").up
        switch.redis.pop()
        await switch.settle()
        assert switch.states() == {}
        assert "made anew" in switch.writer.sync.awaited()[0].reason
        switch.kernel.delete("Ethernet0")
        switch.add_ports(PORTS)
        await switch.settle()
        assert switch.states() == switch.expected_states() != {}
        assert switch.old_links.kept == OldLinks("generation 1", frozenset())
        assert switch.has_marker("PortInitDone")


async def test_without_permission_to_set_links_down_the_error_goes_up(autojump_clock: MockClock) -> None:
    switch = FakeSwitch(policy=Policy(existing_links=ExistingLinks.RESET))
    cold(switch)
    switch.add_ports(["Ethernet0"])
    switch.kernel.permits = False
    with pytest.RaisesGroup(pytest.RaisesExc(NoPermissionError), flatten_subgroups=True):
        async with running(switch):
            await trio.sleep(10)
    assert switch.produced() == []


async def test_links_that_the_kernel_leaves_up_are_named_and_hold_nothing_up(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = FakeSwitch(policy=Policy(existing_links=ExistingLinks.RESET))
    cold(switch)
    switch.add_ports(PORTS)
    switch.kernel.link("Ethernet0").stubborn = True
    async with running(switch):
        assert switch.produced() == [*PORTS, "PortConfigDone"]
    assert [switch.kernel.link(name).up for name in PORTS] == [True, False]
    (line,) = said(log, "the kernel did not set links down")
    assert line["ifindexes"] == [switch.kernel.index("Ethernet0")]


async def test_old_links_that_cannot_be_kept_are_no_reason_to_stop(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = FakeSwitch(policy=Policy(existing_links=ExistingLinks.RESET))
    cold(switch)
    switch.add_ports(["Ethernet0"])
    switch.old_links.broken = True
    async with running(switch):
        assert switch.produced() == [*PORTS, "PortConfigDone"]
        switch.kernel.delete("Ethernet0")
        await switch.settle()
    assert len(said(log, "a restart before PortInitDone")) == 1


# ---- CONFIG_DB


@pytest.mark.parametrize(("value", "goes_on"), [(None, True), ("1", True), ("0", False), ("", False)])
async def test_a_config_db_that_says_it_is_not_loaded_is_waited_for(
    autojump_clock: MockClock, value: str | None, goes_on: bool, log: list[Any]
) -> None:
    switch = FakeSwitch()
    cold(switch)
    switch.config_db.delete("CONFIG_DB_INITIALIZED")
    if value is not None:
        switch.config_db.set("CONFIG_DB_INITIALIZED", value)
    async with running(switch):
        await trio.sleep(60)
        assert bool(switch.produced()) is goes_on
        assert switch.writer.statistics().connected is goes_on
        assert len(said(log, "waiting for CONFIG_DB")) == (not goes_on)
        switch.config_db.set("CONFIG_DB_INITIALIZED", "1")
        await trio.sleep(1)
        assert switch.produced()[-1] == "PortConfigDone"


async def test_a_port_that_leaves_config_db_is_awaited_no_longer(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    cold(switch)
    async with running(switch):
        switch.redis.pop()
        switch.add_ports(["Ethernet0"])
        await switch.settle()
        assert [port.name for port in switch.writer.sync.awaited()] == ["Ethernet4"]
        switch.config_db.delete("PORT|Ethernet4")
        await switch.settle()
        assert switch.has_marker("PortInitDone")


async def test_a_port_that_leaves_kernel_and_config_db_is_forgotten(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    cold(switch)
    async with running(switch):
        switch.redis.pop()
        switch.add_ports(["Ethernet0", "Ethernet4"])
        await switch.settle()
        switch.kernel.delete("Ethernet0")
        switch.kernel.delete("Ethernet4")
        await switch.settle()
        assert dict(switch.writer.sync.port_counters()).keys() == {"Ethernet0", "Ethernet4"}
        switch.config_db.delete("PORT|Ethernet4")
        await switch.settle()
        assert dict(switch.writer.sync.port_counters()).keys() == {"Ethernet0"}


@pytest.mark.parametrize("flushed", [True, False])
async def test_a_port_that_left_config_db_while_redis_was_away_is_forgotten_too(
    autojump_clock: MockClock, flushed: bool
) -> None:
    switch = FakeSwitch()
    cold(switch)
    async with running(switch):
        switch.redis.pop()
        switch.add_ports(["Ethernet0", "Ethernet4"])
        await switch.settle()
        switch.kernel.delete("Ethernet4")
        await switch.settle()
        assert dict(switch.writer.sync.port_counters()).keys() == {"Ethernet0", "Ethernet4"}
        switch.redis.stop()
        switch.config_db.delete("PORT|Ethernet4")
        if flushed:
            switch.appl_db.flushdb()
            switch.state_db.flushdb()
        switch.redis.start()
        await trio.sleep(5)
        assert dict(switch.writer.sync.port_counters()).keys() == {"Ethernet0"}


@pytest.mark.parametrize("notify", [True, False])
async def test_a_config_db_that_is_loaded_anew_has_not_lost_its_ports(autojump_clock: MockClock, notify: bool) -> None:
    switch = FakeSwitch(notify=notify)
    cold(switch)
    async with running(switch):
        switch.redis.pop()
        switch.add_ports(["Ethernet0"])
        # As `config reload` does.
        switch.config_db.set("CONFIG_DB_INITIALIZED", "0")
        switch.config_db.delete("PORT|Ethernet4")
        await trio.sleep(3)
        assert [port.name for port in switch.writer.sync.awaited()] == ["Ethernet4"]
        assert not switch.has_marker("PortInitDone")


# ---- LOGGER


async def test_the_logger_row_is_written_where_it_is_absent(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    switch.config_db.set("CONFIG_DB_INITIALIZED", "1")
    async with running(switch):
        assert switch.config_db.hgetall(LOGGER) == {"LOGLEVEL": "NOTICE", "LOGOUTPUT": "SYSLOG"}
    assert switch.levels == []


async def test_a_user_who_may_not_write_that_row_is_told_once_and_all_goes_on(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = FakeSwitch()
    switch.load_config([])
    switch.config_db.delete(LOGGER)
    switch.redis.forbidden = frozenset({LOGGER})
    async with running(switch):
        assert switch.has_marker("PortInitDone")
        switch.redis.stop()
        switch.redis.start()
        await trio.sleep(5)
        assert switch.writer.statistics().connected
    assert len(said(log, "the LOGGER row cannot be written")) == 1


@pytest.mark.parametrize(("level", "heeded"), [("DEBUG", ["DEBUG"]), ("NOTICE", [])])
async def test_a_level_that_somebody_set_is_heeded_and_the_default_is_nobodys_wish(
    autojump_clock: MockClock, level: str, heeded: list[str]
) -> None:
    switch = FakeSwitch()
    cold(switch)
    switch.config_db.hset(LOGGER, {"LOGLEVEL": level})
    async with running(switch):
        await trio.sleep(5)
    assert switch.levels == heeded


@pytest.mark.parametrize("notify", [True, False])
async def test_a_change_of_level_is_heeded_at_run_time(autojump_clock: MockClock, notify: bool) -> None:
    switch = FakeSwitch(notify=notify)
    cold(switch)
    async with running(switch):
        for level in ("DEBUG", "DEBUG", "NOTICE", "ERROR"):
            switch.config_db.hset(LOGGER, {"LOGLEVEL": level})
            await trio.sleep(1.5)
        switch.config_db.delete(LOGGER)
        await trio.sleep(1.5)
    assert switch.levels == ["DEBUG", "NOTICE", "ERROR"]


# ---- warm


async def warm(switch: FakeSwitch) -> None:
    """A switch that ran, and whose next start is a warm one; its links are kept."""
    cold(switch)
    async with running(switch):
        await switch.bring_up(PORTS)
    switch.state_db.hset("WARM_RESTART_ENABLE_TABLE|swss", {"enable": "true"})
    switch.redis.writes.clear()
    switch.begin_process()


async def test_a_warm_start_writes_neither_ports_nor_markers_and_tells_its_states(autojump_clock: MockClock) -> None:
    switch = FakeSwitch()
    await warm(switch)
    switch.kernel.set("Ethernet0", mtu=9000)
    switch.kernel.delete("Ethernet4")
    async with running(switch):
        await trio.sleep(3)
        statistics = switch.writer.statistics()
    rows = [write.fields for write in switch.redis.writes if write.key == "WARM_RESTART_TABLE|portsyncd"]
    assert rows == [{"restore_count": "1", "state": "initialized"}, {"state": "restored"}, {"state": "reconciled"}]
    assert switch.produced() == []
    assert switch.states() == switch.expected_states()
    assert (statistics.warm, statistics.initialized) == (True, True)


async def test_warm_without_a_count_is_a_cold_start_and_said(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = FakeSwitch()
    cold(switch)
    switch.state_db.hset("WARM_RESTART_ENABLE_TABLE|system", {"enable": "true"})
    async with running(switch):
        assert switch.produced() == [*PORTS, "PortConfigDone"]
        assert switch.state_db.hgetall("WARM_RESTART_TABLE|portsyncd") == {"restore_count": "0"}
    assert len(said(log, "warm restart is enabled, but")) == 1


async def test_a_warm_start_whose_first_sync_does_not_end_is_completed_in_time(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = FakeSwitch()
    await warm(switch)
    switch.config_db.hset("WARM_RESTART|swss", {"portsyncd_timer": "5"})
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.writer.run)
        row = "WARM_RESTART_TABLE|portsyncd"
        assert await switch.until(lambda: switch.state_db.hgetall(row).get("state") == "reconciled", 30) >= 5
        nursery.cancel_scope.cancel()
    (line,) = said(log, "initial sync complete by timeout")
    assert (line["start"], line["differences"], line["seconds"]) == ("warm", 0, 5.0)
