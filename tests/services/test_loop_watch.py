"""The thread that sees a blocked event loop: what it says, and that it does see a real one."""

import threading
from collections.abc import Iterator
from itertools import pairwise
from time import monotonic, process_time
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd.model.blockage import Blockage, Blocked, Ended
from portsyncd.services import loop_watch
from portsyncd.services.loop_watch import LoopWatch
from tests.services.guarding import GuardedSwitch, guarded


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "loop watch"]


def test_a_blockage_is_counted_once_and_told_with_the_stack(log: list[Any]) -> None:
    watch = LoopWatch(10.0)
    watch.take(None)
    watch.take(Blocked(10.04, first=True))
    watch.take(Blocked(20.0, first=False))
    assert (watch.blocks, watch.longest) == (1, 0.0)
    watch.take(Ended(31.0, said=True))
    watch.take(Ended(12.0, said=True))
    assert (watch.blocks, watch.longest) == (1, 31.0)
    # One of which nothing could be told while it lasted.
    watch.take(Ended(13.0, said=False))
    assert (watch.blocks, watch.longest) == (2, 31.0)
    assert [(line["log_level"], line.get("seconds", line.get("blocked_seconds"))) for line in log] == [
        ("error", 10.0),
        ("error", 20.0),
        ("warning", 31.0),
        ("warning", 12.0),
        ("warning", 13.0),
    ]
    assert "test_a_blockage_is_counted_once_and_told_with_the_stack" in log[0]["traceback"]


def test_a_thread_that_has_ended_has_no_stack(log: list[Any]) -> None:
    watch = LoopWatch(10.0)
    watch._thread = 0
    watch.take(Blocked(10.0, first=True))
    assert log[0]["traceback"] == ""


def blocking_call(until: threading.Event) -> None:
    assert until.wait(60)


def test_a_loop_that_is_really_blocked_is_seen(log: list[Any]) -> None:
    """The one test in real time: a limit of a tenth of a second, looked at every hundredth."""
    seen = threading.Event()

    class Watch(LoopWatch):
        def take(self, found: Blocked | Ended | None) -> None:
            super().take(found)
            if isinstance(found, Blocked):
                seen.set()

    async def main() -> None:
        watch = Watch(0.1, interval=0.01)
        with watch.watching():
            assert watchers()[0].daemon
            blocking_call(seen)
            # It turns again.
            with trio.fail_after(60):
                while not watch.longest:
                    watch.beat()
                    await trio.sleep(0.01)
        assert watch.blocks >= 1
        assert watch.longest >= 0.1

    trio.run(main)
    assert "blocking_call" in log[0]["traceback"]


def test_it_is_told_how_much_the_process_ran_and_begins_with_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, looks = threading.Event(), list[tuple[float, float, float]]()

    class Recorder(Blockage):
        def look(self, turned: float, now: float, cpu: float) -> Blocked | Ended | None:
            looks.append((turned, now, cpu))
            looked.set()
            return None

    monkeypatch.setattr(loop_watch, "Blockage", Recorder)
    before = process_time()
    with LoopWatch(10.0, interval=0.005, clock=lambda: 7.0).watching():
        assert looked.wait(60)
    for thread in watchers():
        thread.join(60)
    turned, now, cpu = looks[0]
    assert (turned, now) == (7.0, 7.0)
    assert before <= cpu <= process_time()


def test_who_is_not_watched_any_more_is_left_alone() -> None:
    watch = LoopWatch(0.01, interval=0.005)
    with watch.watching():
        (thread,) = watchers()
    thread.join(60)
    assert not thread.is_alive()


async def test_the_guardian_beats_and_reports(autojump_clock: MockClock) -> None:
    beats: list[float] = []

    class Watch(LoopWatch):
        def beat(self) -> None:
            beats.append(trio.current_time())
            super().beat()

    switch = GuardedSwitch()
    watch = switch.guardian._loop_watch = Watch(60.0, clock=monotonic)
    async with guarded(switch):
        await trio.sleep(60)
        assert max(later - earlier for earlier, later in pairwise(beats)) == 1.0
        watch.take(Blocked(10.0, first=True))
        watch.take(Ended(11.0, said=True))
        statistics = switch.guardian.statistics()
        assert (statistics.blocks, statistics.longest_block) == (1, 11.0)
    for thread in watchers():
        thread.join(60)
