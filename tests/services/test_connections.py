"""Dead, half-open and stuck connections: found in time, given up, rebuilt, and counted once they answer again."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portsyncd.errors import LinkSourceError
from portsyncd.model.connections import Break, Connection, ConnectionWatch, Rebuilt
from portsyncd.testing.fake_redis import NOTIFICATIONS, OOM
from tests.services.reading import Rig, reading
from tests.services.switch import FakeSwitch, running

PORTS = ["Ethernet0", "Ethernet4"]
CHECK_SECONDS, PROBE_SECONDS = 2.0, 1.5
DETECTED_SECONDS = 5.0
# Between attempts to connect.
LONGEST_PAUSE = 5.0
# A session's own deadline: the default, and the longest that can be configured.
TIMEOUTS = [2.0, 60.0]
ALL = ("APPL_DB", "CONFIG_DB", "STATE_DB", NOTIFICATIONS)


class Told(NamedTuple):
    at: float
    verdict: Break | Rebuilt


def known(switch: FakeSwitch) -> Connection:
    writer = switch.writer.statistics()
    return Connection(writer.connected, writer.waiting_since, writer.probed_at, writer.losses, writer.last_loss)


@asynccontextmanager
async def guarded(switch: FakeSwitch, *, offset: float = 0.0) -> AsyncIterator[list[Told]]:
    """The switch runs, and its connections are looked after: first after ``offset`` seconds."""
    told: list[Told] = []
    watch = ConnectionWatch("Redis", PROBE_SECONDS)

    async def guard() -> None:
        await trio.sleep(offset)
        while True:
            verdict = watch.judge(known(switch), trio.current_time())
            if verdict is not None:
                told.append(Told(trio.current_time(), verdict))
            if isinstance(verdict, Break):
                switch.writer.break_off(verdict.why)
            switch.writer.request_probe(PROBE_SECONDS)
            await trio.sleep(CHECK_SECONDS)

    async with running(switch), trio.open_nursery() as nursery:
        nursery.start_soon(guard)
        yield told
        nursery.cancel_scope.cancel()


def loaded(**options: Any) -> FakeSwitch:
    switch = FakeSwitch(**options)
    switch.load_config(PORTS)
    return switch


def healings(told: list[Told]) -> list[str]:
    return [each.verdict.why for each in told if isinstance(each.verdict, Rebuilt)]


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


# ---- Redis


@pytest.mark.parametrize("patience", TIMEOUTS)
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.9, 1.4, 1.9])
@pytest.mark.parametrize("cut", [*((name,) for name in ALL), ALL])
async def test_a_half_open_connection_is_found_and_the_session_rebuilt(
    autojump_clock: MockClock, cut: tuple[str, ...], offset: float, patience: float
) -> None:
    switch = loaded(timeout=patience)
    async with guarded(switch, offset=offset) as told:
        await switch.bring_up(PORTS)
        await trio.sleep(10.05)
        assert known(switch).losses == 0
        switch.redis.cut(*cut)
        switch.kernel.set("Ethernet0", mtu=9000)
        await switch.until(lambda: known(switch).losses == 1, DETECTED_SECONDS)
        # The next session is there at once, and all is written.
        await switch.settle()
        assert switch.writer.statistics().connected
        await switch.until(lambda: switch.states() == switch.expected_states(), 1.0)
        await trio.sleep(2 * CHECK_SECONDS)
        assert len(healings(told)) == 1
        assert switch.writer.statistics().sessions == 2


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("way", ["cut", "broken"])
async def test_a_connection_that_fails_while_config_db_is_waited_for_is_found_too(
    autojump_clock: MockClock, way: str, again: bool
) -> None:
    switch = loaded()
    switch.config_db.set("CONFIG_DB_INITIALIZED", "1" if again else "0")
    async with guarded(switch):
        if again:
            # A session that was flushed waits for it as the first one does.
            await switch.bring_up(PORTS)
            switch.appl_db.flushdb()
            switch.config_db.set("CONFIG_DB_INITIALIZED", "0")
        await trio.sleep(10)
        assert not switch.writer.statistics().connected
        attempts = len(switch.redis.attempts)
        if way == "cut":
            switch.redis.cut(NOTIFICATIONS)
        else:
            (client,) = (each for each in switch.redis._clients if each.name == NOTIFICATIONS)
            client.broken()
        await switch.until(lambda: len(switch.redis.attempts) > attempts, DETECTED_SECONDS)
        await trio.sleep(LONGEST_PAUSE)
        assert not switch.writer.statistics().connected
        switch.config_db.set("CONFIG_DB_INITIALIZED", "1")
        await switch.settle()
        await trio.sleep(1)
        assert switch.writer.statistics().connected


@pytest.mark.parametrize("patience", TIMEOUTS)
async def test_a_redis_that_stops_is_given_up_in_time_and_in_use_again_soon_after_it_goes_on(
    autojump_clock: MockClock, patience: float, log: list[Any]
) -> None:
    switch = loaded(timeout=patience)
    async with guarded(switch) as told:
        await switch.bring_up(PORTS)
        await trio.sleep(10.05)
        attempts = len(switch.redis.attempts)
        switch.redis.pause()
        await switch.until(lambda: known(switch).losses == 1, DETECTED_SECONDS)
        # Also those that are only being opened are given up in time, again and again.
        await trio.sleep(60)
        # ... with a pause in between.
        assert len(switch.redis.attempts) - attempts < 20
        told.clear()
        switch.redis.resume()
        await switch.until(lambda: switch.writer.statistics().connected, LONGEST_PAUSE + 1.0)
        await trio.sleep(2 * CHECK_SECONDS)
        assert len(healings(told)) == len(told) == 1
    assert len([line for line in log if line["event"].startswith("Redis cannot") and line["log_level"] == "error"]) == 1


async def test_a_redis_that_is_too_slow_is_not_asked_all_the_time(autojump_clock: MockClock) -> None:
    switch = loaded(timeout=10.0)
    async with guarded(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(10.05)
        attempts = len(switch.redis.attempts)
        switch.redis.latency = PROBE_SECONDS + 0.1
        switch.kernel.set("Ethernet0", mtu=9000)
        await trio.sleep(600)
        # It is never in use for long, so that the pauses grow.
        assert len(switch.redis.attempts) - attempts < 600 / LONGEST_PAUSE
        switch.redis.latency = 0.0
        await switch.until(lambda: switch.writer.statistics().connected, LONGEST_PAUSE + 3.0)
        await switch.until(lambda: switch.states() == switch.expected_states(), 1.0)


async def test_a_path_that_drops_packets(autojump_clock: MockClock) -> None:
    switch = loaded(timeout=60.0)
    async with guarded(switch) as told:
        await switch.bring_up(PORTS)
        await trio.sleep(10.05)
        switch.redis.unplug()
        await switch.until(lambda: known(switch).losses == 1, DETECTED_SECONDS)
        switch.redis.restart(empty=False)
        await trio.sleep(60)
        assert not switch.writer.statistics().connected
        switch.redis.plug()
        switch.load_config(PORTS)
        await switch.until(lambda: switch.writer.statistics().connected, 1.0)
        await trio.sleep(2 * CHECK_SECONDS)
        assert len(healings(told)) == 1


async def test_a_writer_that_is_busy_is_not_taken_for_stuck(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with guarded(switch) as told:
        await switch.bring_up(PORTS)
        # Whatever is asked takes a second: one look after another.
        switch.redis.latency = 1.0
        for number in range(60):
            switch.kernel.set("Ethernet0", mtu=2000 + number)
            await trio.sleep(1)
        assert told == []
        probed_at = switch.writer.statistics().probed_at
        assert probed_at is not None
        assert trio.current_time() - probed_at < 10


async def test_a_redis_that_is_killed_and_comes_back_is_one_loss_and_one_healing(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with guarded(switch) as told:
        await switch.bring_up(PORTS)
        switch.redis.stop()
        await trio.sleep(30)
        assert (known(switch).losses, healings(told)) == (1, [])
        switch.redis.start()
        await trio.sleep(12)
        (why,) = healings(told)
        assert "unreachable" in why


async def test_a_redis_that_refuses_is_neither_lost_nor_healed(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with guarded(switch) as told:
        await switch.bring_up(PORTS)
        switch.redis.refuses_writes = OOM
        switch.kernel.set("Ethernet0", mtu=9000)
        await trio.sleep(30)
        switch.redis.refuses_writes = ""
        await trio.sleep(12)
        assert switch.states() == switch.expected_states()
        assert (known(switch).losses, told) == (0, [])


async def test_a_redis_that_is_not_there_at_the_start_is_no_loss(autojump_clock: MockClock) -> None:
    switch = loaded()
    switch.redis.stop()
    async with guarded(switch) as told:
        await trio.sleep(30)
        switch.redis.start()
        await trio.sleep(12)
        assert switch.writer.statistics().connected
        assert (known(switch).losses, told) == (0, [])


async def test_a_session_that_is_broken_off_fails_with_why_and_the_next_begins_at_once(
    autojump_clock: MockClock,
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(1.05)
        switch.redis.pause()
        await trio.sleep(1.5)
        assert switch.writer.statistics().waiting_since is not None
        attempts = len(switch.redis.attempts)
        switch.writer.break_off("it is stuck")
        switch.writer.break_off("told twice")
        await switch.settle()
        assert switch.writer.statistics().problem == "it is stuck"
        assert switch.writer.statistics().last_loss == "it is stuck"
        assert len(switch.redis.attempts) == attempts + 1
        # The next one hangs in being opened: that can be broken off as well.
        switch.writer.break_off("it is stuck, too")
        await switch.settle()
        assert switch.writer.statistics().last_loss == "it is stuck, too"
        # From then on with a pause: this one was never in use.
        assert len(switch.redis.attempts) == attempts + 1
        switch.redis.resume()
        await trio.sleep(1)
        assert switch.writer.statistics().connected


async def test_a_probe_has_a_deadline_of_its_own(autojump_clock: MockClock) -> None:
    switch = loaded(timeout=60.0)
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.cut(NOTIFICATIONS)
        await trio.sleep(60)
        switch.writer.request_probe(PROBE_SECONDS)
        await trio.sleep(PROBE_SECONDS - 0.01)
        assert known(switch).losses == 0
        await trio.sleep(0.02)
        assert known(switch).losses == 1
        assert "did not answer a probe within 1.5 s" in known(switch).last_loss
        assert switch.writer.statistics().connected


async def test_a_probe_is_made_as_soon_as_it_is_asked_for(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(10.3)
        switch.writer.request_probe(PROBE_SECONDS)
        await switch.settle()
        assert switch.writer.statistics().probed_at == trio.current_time()


async def test_an_idle_session_can_be_broken_off(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(0.5)
        switch.writer.break_off("it is idle")
        await switch.settle()
        statistics = switch.writer.statistics()
        assert (statistics.sessions, statistics.losses, statistics.last_loss) == (2, 1, "it is idle")
        assert statistics.connected


async def test_where_there_is_no_session_nothing_can_be_broken_off(autojump_clock: MockClock) -> None:
    switch = loaded()
    switch.writer.break_off("nobody is there")
    assert switch.writer.statistics().waiting_since is None
    switch.redis.stop()
    async with running(switch):
        # In the pause before the next try.
        await trio.sleep(1)
        switch.writer.break_off("nobody is there")
        switch.redis.start()
        await trio.sleep(6)
        statistics = switch.writer.statistics()
        assert (statistics.connected, statistics.losses, statistics.last_loss) == (True, 0, "")


async def test_a_probe_that_is_asked_for_without_a_session_is_made_in_the_next(autojump_clock: MockClock) -> None:
    switch = loaded()
    switch.redis.stop()
    switch.writer.request_probe(PROBE_SECONDS)
    async with running(switch):
        assert switch.writer.statistics().probed_at is None
        switch.redis.start()
        await trio.sleep(6)
        probed_at = switch.writer.statistics().probed_at
        assert probed_at is not None
        await trio.sleep(2)
        # Once.
        assert switch.writer.statistics().probed_at == probed_at
        switch.redis.stop()
        await trio.sleep(0.01)
        assert switch.writer.statistics().probed_at is None


# ---- netlink


async def life(rig: Rig, problems: list[str]) -> None:
    try:
        await rig.reader.run()
    except LinkSourceError as problem:
        problems.append(str(problem))


@pytest.mark.parametrize("where", ["readable", "pause", "dump", "ask"])
async def test_listening_can_be_broken_off_wherever_it_waits_and_all_is_read_anew(
    autojump_clock: MockClock, where: str
) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    problems: list[str] = []
    if where == "dump":
        rig.kernel.answers = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life, rig, problems)
        await wait_all_tasks_blocked()
        if where == "pause":
            for mtu in range(1500, 1600):
                rig.kernel.set("Ethernet0", mtu=mtu)
                await rig.settle()
            assert rig.reader._pause
        elif where == "ask":
            rig.kernel.answers = False
            rig.kernel.add_port("Ethernet4")
            rig.reader.request_resync("test", ["Ethernet8"])
            await wait_all_tasks_blocked()
        before = trio.current_time()
        rig.reader.break_off("it is stuck")
        rig.reader.break_off("told twice")
        await wait_all_tasks_blocked()
        assert problems == ["it is stuck"]
        assert trio.current_time() == before
        statistics = rig.reader.statistics()
        assert not statistics.listening
        assert (statistics.losses, statistics.last_loss) == (1, "it is stuck")
        # Nobody listens now.
        rig.reader.break_off("told late")
        rig.kernel.answers = True
        rig.kernel.add_port("Ethernet12")
    async with reading(rig):
        await rig.settle()
        assert rig.state() == rig.truth()
        assert rig.synced
        assert rig.synced[-1].certified


async def test_a_probe_needs_somebody_who_listens(autojump_clock: MockClock) -> None:
    rig = Rig()
    with pytest.raises(LinkSourceError):
        await rig.reader.probe()
    async with reading(rig):
        assert rig.reader.statistics().probed_at is None
        await trio.sleep(1)
        await rig.reader.probe()
        assert rig.reader.statistics().probed_at == trio.current_time()
    assert rig.reader.statistics().probed_at is None
    assert rig.reader.statistics().losses == 0


async def test_an_answer_that_comes_after_the_socket_was_given_up_says_nothing_of_the_next(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        async with reading(rig):
            monkeypatch.setattr(rig.source, "probe", partial(trio.sleep, 1))
            nursery.start_soon(rig.reader.probe)
            await wait_all_tasks_blocked()
        async with reading(rig):
            await trio.sleep(2)
            assert rig.reader.statistics().probed_at is None


@pytest.mark.parametrize("fault", ["membership", "descriptor", "silence"])
async def test_a_probe_finds_what_the_reader_would_wait_through(autojump_clock: MockClock, fault: str) -> None:
    rig = Rig()
    async with reading(rig):
        if fault == "membership":
            rig.kernel.drop_memberships()
        elif fault == "descriptor":
            rig.kernel.close_descriptors()
        else:
            rig.kernel.answers = False
        with pytest.raises(LinkSourceError):
            await rig.reader.probe()
        assert rig.reader.statistics().probed_at is None
        assert rig.reader.statistics().listening


async def test_progress_moves_with_what_is_read_and_stands_still_without(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with reading(rig):
        progress = rig.reader.statistics().progress
        assert progress
        await trio.sleep(100)
        assert rig.reader.statistics().progress == progress
        rig.kernel.add_port("Ethernet0")
        assert rig.reader.statistics().has_events
        await rig.settle()
        statistics = rig.reader.statistics()
        assert statistics.progress > progress
        assert not statistics.has_events
