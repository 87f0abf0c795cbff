"""The reader's pace: at once for a rare event, a batch at a time for a stream of them, one line a second for a storm."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from tests.services.reading import Rig, reading


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def storms(log: list[Any]) -> list[str]:
    return [line["event"] for line in log if " events on " in line["event"]]


async def test_an_isolated_event_is_read_at_once(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        for number in range(100):
            await trio.sleep(0.1)
            rig.kernel.set("Ethernet0", mtu=1400 + number)
            before = trio.current_time()
            await rig.settle()
            assert trio.current_time() == before
            assert rig.state() == rig.truth()


async def test_a_lasting_stream_is_read_a_batch_at_a_time(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    seconds, a_second = 3, 1000
    async with reading(rig):
        start = len(rig.source.log)
        oldest = 0.0
        for number in range(seconds * a_second):
            rig.kernel.set("Ethernet0", mtu=1400 + number % 2)
            await trio.sleep(1 / a_second)
            for change in rig.inbox.take().changes.values():
                oldest = max(oldest, change.arrived)
                assert trio.current_time() - change.arrived < 0.05
        reads = rig.source.log[start:].count("receive")
        await trio.sleep(1)
        rig.take()
    # A burst is read as it comes, then at most some hundred and twenty times a second.
    assert reads < 60 + 125 * seconds
    assert rig.reader.statistics().events == seconds * a_second
    assert rig.kernel.dumps == 1


async def test_while_nothing_happens_nothing_is_done(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        before = list(rig.source.log)
        await trio.sleep(10_000)
        assert rig.source.log == before


async def test_a_storm_is_one_line_a_second_and_calm_is_none(autojump_clock: MockClock, log: list[Any]) -> None:
    rig = Rig()
    names = [f"Ethernet{number}" for number in range(4)]
    for name in names:
        rig.kernel.add_port(name)
    async with reading(rig):
        for number in range(100):
            rig.kernel.set(names[number % 4], mtu=1400 + number)
            await trio.sleep(0.1)
        await trio.sleep(2)
        assert storms(log) == []
        # Nearly three seconds of a thousand events each, and not an event after them.
        for number in range(2800):
            rig.kernel.set(names[number % 4], mtu=2000 + number)
            await trio.sleep(0.001)
        await trio.sleep(2)
    assert len(storms(log)) == 3
    assert all(line.endswith(" events on 4 ports in 1 s") for line in storms(log))
    assert sum(int(line.split()[0].replace(",", "")) for line in storms(log)) > 2700
    assert [line for line in log if line["log_level"] != "info"] == []
