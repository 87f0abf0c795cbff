"""The writer and a Redis that fails: it never ends, never spins, never loses the final state, and says each thing once."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd.testing.fake_redis import NOAUTH, OOM, READONLY
from tests.services.switch import LOGGER, FakeSwitch, running

PORTS = ["Ethernet0", "Ethernet4"]
TROUBLE = "Redis cannot be used"


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def said(log: list[Any], text: str) -> list[Any]:
    """The lines of the log, debug aside, whose event begins so."""
    return [line for line in log if line["event"].startswith(text) and line["log_level"] != "debug"]


def loaded() -> FakeSwitch:
    switch = FakeSwitch()
    switch.load_config(PORTS)
    return switch


def change(switch: FakeSwitch) -> None:
    """Something happens to both ports."""
    for name in PORTS:
        switch.kernel.set(name, mtu=switch.kernel.link(name).mtu + 1)


async def come_to_rest(switch: FakeSwitch) -> None:
    """Time for the longest backoff and a time-out; then Redis must say what the kernel says."""
    await trio.sleep(12)
    assert switch.states() == switch.expected_states() != {}
    assert switch.writer.statistics().connected
    assert switch.writer.statistics().problem == ""


# ---- unreachable


async def test_a_redis_that_is_not_there_yet_is_waited_for_and_told_once(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = loaded()
    switch.redis.stop()
    async with running(switch):
        await trio.sleep(60)
        statistics = switch.writer.statistics()
        assert not statistics.connected
        assert "unreachable" in statistics.problem
        switch.redis.start()
        await trio.sleep(6)
        assert switch.produced() == [*PORTS, "PortConfigDone"]
    assert len(said(log, TROUBLE)) == 1
    assert len(said(log, "connected to Redis")) == 1


async def test_the_first_retry_comes_at_once_and_the_others_ever_later(autojump_clock: MockClock) -> None:
    switch = loaded()
    switch.redis.stop()
    ever_later = pytest.approx([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])

    def waits() -> list[float]:
        return [after - before for before, after in pairwise(switch.redis.attempts)]

    async with running(switch):
        await trio.sleep(30)
        assert waits()[:10] == ever_later
        # A session that was good begins them anew.
        switch.redis.start()
        await trio.sleep(30)
        switch.redis.attempts[:] = [trio.current_time()]
        switch.redis.stop()
        await trio.sleep(30)
        assert waits()[:10] == ever_later


async def test_what_happens_while_redis_is_away_is_one_write_a_port(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.stop()
        for _ in range(1000):
            change(switch)
            await trio.sleep(0.01)
        switch.redis.start()
        await come_to_rest(switch)
        assert [switch.written(name) for name in PORTS] == [["hset"], ["hset"]]
        assert switch.resyncs == [("redis_reconnect", frozenset())]
        assert switch.writer.statistics().sessions == 2
        assert switch.produced() == []
    assert len(said(log, TROUBLE)) == 1
    assert len(said(log, "connected to Redis")) == 2


async def test_each_trouble_is_told_when_it_changes_and_its_end(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.stop()
        await trio.sleep(20)
        switch.redis.loading = True
        switch.redis.start()
        await trio.sleep(20)
        switch.redis.loading = False
        switch.redis.refuses_all = NOAUTH
        await trio.sleep(20)
        switch.redis.refuses_all = ""
        await come_to_rest(switch)
    assert [
        ("unreachable" in p, "loading" in p, "NOAUTH" in p) for p in (line["problem"] for line in said(log, TROUBLE))
    ] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert len(said(log, "connected to Redis")) == 2


async def test_a_session_that_ends_between_events_is_noticed_by_watching(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(0.5)
        attempts = len(switch.redis.attempts)
        switch.redis.stop()
        await switch.settle()
        # Before any event, and before the next look.
        assert len(switch.redis.attempts) > attempts


# ---- no answer


async def test_a_redis_that_stops_answering_for_ten_seconds(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.pause()
        change(switch)
        await trio.sleep(10)
        assert not switch.writer.statistics().connected
        assert switch.writer.statistics().lost_writes == 2
        change(switch)
        switch.redis.resume()
        await come_to_rest(switch)
        # One request at a time is given up after the time-out; nobody spins.
        assert len(switch.redis.attempts) < 10
    assert len(said(log, TROUBLE)) == 1


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_port_whose_write_had_no_answer_is_written_again(autojump_clock: MockClock, carried_out: bool) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.lose_reply(carried_out=carried_out)
        change(switch)
        await come_to_rest(switch)
        # Also where Redis holds it already: nobody can know what else was on its way.
        assert [switch.written(name) for name in PORTS] == [["hset"] * (1 + carried_out)] * 2
        assert switch.writer.statistics().lost_writes == 2


# The warm-restart row, the generation, ports and PortConfigDone, two states, PortInitDone.
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("carried_out", [True, False])
async def test_whichever_answer_of_a_start_is_lost_the_outcome_is_the_same(
    autojump_clock: MockClock, carried_out: bool, after: int
) -> None:
    switch = loaded()
    switch.redis.lose_reply(carried_out=carried_out, after=after)
    async with running(switch):
        await trio.sleep(5)
        assert [pop.key for pop in switch.redis.pop()] == [*PORTS, "PortConfigDone"]
        switch.add_ports(PORTS)
        await trio.sleep(5)
        assert [pop.key for pop in switch.redis.pop()] == ["PortInitDone"]
        assert switch.writer.statistics().sessions == 2
        assert switch.states() == switch.expected_states() != {}
        assert switch.appl_db.hgetall("PORTSYNCD_GENERATION_TABLE:localhost") == {"id": "generation 1"}
        # What arrived is not sent again, or orchagent would hear it twice.
        assert [switch.produced().count(marker) for marker in ("PortConfigDone", "PortInitDone")] == [1, 1]


async def test_cancelled_in_the_middle_of_a_write_it_writes_again_in_its_next_life(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.reader.run)
        async with trio.open_nursery() as life:
            await life.start(switch.writer.run)
            await switch.bring_up(PORTS)
            switch.redis.latency = 1.0
            change(switch)
            await trio.sleep(0.5)
            assert switch.written("Ethernet0") == ["hset"]
            life.cancel_scope.cancel()
        assert switch.writer.statistics().lost_writes == 2
        switch.redis.latency = 0.0
        await nursery.start(switch.writer.run)
        await come_to_rest(switch)
        # Redis says what it ought to; the writer cannot know that nothing older will still arrive.
        assert [switch.written(name) for name in PORTS] == [["hset", "hset"]] * 2
        nursery.cancel_scope.cancel()


# ---- refusals


@pytest.mark.parametrize("error", [READONLY, OOM])
async def test_a_redis_that_refuses_to_write_is_not_called_usable_nor_asked_often(
    autojump_clock: MockClock, log: list[Any], error: str
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.refuses_writes = error
        attempts = len(switch.redis.attempts)
        for _ in range(100):
            change(switch)
            await trio.sleep(0.6)
            assert not switch.writer.statistics().connected
        assert error in switch.writer.statistics().problem
        assert len(switch.redis.attempts) - attempts < 20
        switch.redis.refuses_writes = ""
        await come_to_rest(switch)
        assert switch.redis.connections == 4
    assert len(said(log, TROUBLE)) == 1
    assert len(said(log, "connected to Redis")) == 2


async def test_a_redis_that_refuses_from_the_beginning(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = loaded()
    switch.redis.refuses_all = NOAUTH
    async with running(switch):
        await trio.sleep(60)
        assert switch.redis.attempts[1] - switch.redis.attempts[0] == pytest.approx(0.5)
        assert len(switch.redis.attempts) < 20
        switch.redis.refuses_all = ""
        await switch.until(switch.produced, 6)
    assert len(said(log, TROUBLE)) == 1
    assert "NOAUTH" in said(log, TROUBLE)[0]["problem"]


# ---- back with other contents


async def test_back_with_old_data_what_differs_is_written(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.save()
        switch.kernel.set("Ethernet0", mtu=9000)
        switch.kernel.delete("Ethernet4")
        await switch.settle()
        switch.redis.writes.clear()
        switch.redis.restart(empty=False)
        await come_to_rest(switch)
        assert [switch.written(name) for name in PORTS] == [["hset"], ["del"]]
        assert switch.produced() == []


async def test_an_entry_that_only_redis_knows_is_asked_for_and_removed(autojump_clock: MockClock) -> None:
    switch = loaded()
    switch.appl_db.hset("PORT_TABLE:Ethernet8", {"lanes": "8"})
    switch.state_db.hset("PORT_TABLE|Ethernet8", {"state": "ok", "mtu": "9100"})
    switch.state_db.hset("PORT_TABLE|Ethernet12", {"speed": "100000"})
    async with running(switch):
        await trio.sleep(2)
        assert ("start", frozenset({"Ethernet8"})) in switch.resyncs
        assert switch.written("Ethernet8") == ["del"]
        assert switch.state_db.hgetall("PORT_TABLE|Ethernet12") == {"speed": "100000"}


async def test_back_empty_it_waits_for_config_db_and_begins_a_generation(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.restart(empty=True)
        await trio.sleep(30)
        assert switch.produced() == []
        assert switch.redis.writes == []
        assert not switch.writer.statistics().connected
        assert "CONFIG_DB is not loaded yet" in switch.writer.statistics().problem
        switch.load_config(PORTS)
        await trio.sleep(2)
        assert switch.produced() == [*PORTS, "PortConfigDone"]
        switch.redis.pop()
        await come_to_rest(switch)
    assert len(said(log, "waiting for CONFIG_DB")) == 1


@pytest.mark.parametrize(
    "loading",
    [False, True],
    ids=["unreachable", "loading"],
)
async def test_a_redis_that_had_to_be_waited_for_must_say_that_config_db_is_loaded(
    autojump_clock: MockClock, loading: bool
) -> None:
    switch = FakeSwitch()
    switch.redis.loading = loading
    if not loading:
        switch.redis.stop()
    async with running(switch):
        await trio.sleep(1)
        switch.redis.loading = False
        switch.redis.start()
        await trio.sleep(30)
        # Absent is not enough here: it may be empty because nobody has loaded it yet.
        assert switch.produced() == []
        assert not switch.config_db.exists(LOGGER)
        switch.load_config(PORTS)
        await trio.sleep(2)
        assert switch.produced() == [*PORTS, "PortConfigDone"]


async def test_one_that_loaded_its_data_must_say_so_too_and_one_that_was_only_away_need_not(
    autojump_clock: MockClock,
) -> None:
    switch = loaded()
    switch.config_db.delete("CONFIG_DB_INITIALIZED")
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.stop()
        await trio.sleep(5)
        switch.redis.start()
        await come_to_rest(switch)
        switch.redis.stop()
        switch.redis.loading = True
        switch.redis.start()
        await trio.sleep(5)
        switch.redis.loading = False
        await trio.sleep(30)
        assert not switch.writer.statistics().connected
        switch.config_db.set("CONFIG_DB_INITIALIZED", "1")
        await come_to_rest(switch)
        # That counted for this once.
        switch.config_db.delete("CONFIG_DB_INITIALIZED")
        switch.redis.stop()
        switch.redis.start()
        await come_to_rest(switch)
