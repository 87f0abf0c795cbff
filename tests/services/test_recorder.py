"""What the recorder writes of a daemon that is made up, by a clock that waits for nobody, into a history in memory."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from portsyncd.analytics.analysis import Analysis
from portsyncd.analytics.flaps import HALF_LIFE
from portsyncd.analytics.history import History, Outcome, PortFlaps, Restored, Sample, Start
from portsyncd.errors import FileError
from portsyncd.metrics import EVENT_LATENCY_BUCKETS, Histogram
from portsyncd.model.port import Flapped
from portsyncd.services.flapbook import FlapBook
from portsyncd.services.recorder import (
    ANALYSIS_SECONDS,
    ANALYSIS_WINDOW,
    WAITING_SAMPLES,
    Observation,
    Recorder,
    analyze_in_thread,
    latency_quantiles,
)
from portsyncd.testing.fake_history import FakeHistory

BORN = 1_763_000_000.0
# Seconds after each of which there is a sample, and an export.
SAMPLE, SAVE = 10.0, 300.0
RETENTION = 3600.0


@dataclass
class Daemon:
    """What the recorder looks at. flaps: what ports have counted. taken: and what of it is no news. stepped: by how much the
    wall clock has been set. damaged: what it counted."""

    health: float = 1.0
    healthy: bool = True
    events: int = 0
    resyncs: int = 0
    latency: Histogram = field(default_factory=lambda: Histogram(EVENT_LATENCY_BUCKETS))
    flaps: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    outcome: Outcome = Outcome.OPEN
    stepped: float = 0.0
    damaged: list[int] = field(default_factory=list)

    def observe(self) -> Observation:
        return Observation(
            health=self.health,
            healthy=self.healthy,
            events=self.events,
            resyncs=self.resyncs,
            event_latency=self.latency.copy(),
            memory_bytes=50_000_000,
            queue_depth=3,
            warm=True,
            outcome=self.outcome,
            restored=Restored.FILE,
            damaged=1,
            ports=512,
            differences=7,
            sync_seconds=0.5,
            eoiu_seconds=0.25,
        )

    def take(self) -> Mapping[str, Flapped]:
        flapped = {
            name: Flapped(count - self.taken.get(name, 0), count)
            for name, count in self.flaps.items()
            if count > self.taken.get(name, 0)
        }
        self.taken = dict(self.flaps)
        return flapped

    def wall(self) -> float:
        return BORN + trio.current_time() + self.stepped


class Exports:
    """count: exports made; broken: they fail."""

    def __init__(self) -> None:
        self.count = 0
        self.broken = False

    async def __call__(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise FileError("could not write portsyncd.prom: no space left")
        self.count += 1


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def store() -> FakeHistory:
    return FakeHistory()


@pytest.fixture
def exports() -> Exports:
    return Exports()


async def compute(history: History, now: float) -> Analysis:
    await trio.lowlevel.checkpoint()
    return Analysis(at=now, since=history.since, starts=len(history.starts))


def make(daemon: Daemon, store: FakeHistory, exports: Exports | None) -> Recorder:
    return Recorder(
        store,
        FlapBook(daemon.take),
        daemon.observe,
        export=exports,
        count_damage=daemon.damaged.append,
        sample_interval=SAMPLE,
        save_interval=SAVE,
        retention_seconds=RETENTION,
        wall=daemon.wall,
        started_at=trio.current_time(),
        compute=compute,
    )


@pytest.fixture
async def recorder(autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, exports: Exports) -> Recorder:
    return make(daemon, store, exports)


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[None]:
    """It runs, and has been just so far ahead that what is due at a full second has happened by then."""
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        await trio.sleep(0.5)
        yield
        nursery.cancel_scope.cancel()


# ---- samples


async def test_each_interval_is_one_sample(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder
) -> None:
    daemon.events, daemon.resyncs, daemon.flaps = 5, 1, {"Ethernet0": 2, "Ethernet4": 0}
    async with running(recorder):
        assert store.samples == []
        await trio.sleep(SAMPLE)
        daemon.events, daemon.resyncs, daemon.flaps = 12, 1, {"Ethernet0": 2, "Ethernet4": 1}
        daemon.latency.observe_all([0.0002] * 10)
        await trio.sleep(SAMPLE)
    first, second = store.samples
    assert first == Sample(BORN + 10, 10.0, 1.0, 5, 2, 1, None, None, None, 50_000_000, 3)
    assert replace(second, latency_p50=None, latency_p95=None, latency_p99=None) == replace(
        first, at=BORN + 20, events=7, flaps=1, resyncs=0
    )
    # Of values between two bounds only that is known.
    assert second.latency_p50 == pytest.approx(0.000175)
    assert second.latency_p99 == pytest.approx(0.0002485)
    assert store.flaps == [PortFlaps(BORN + 10, "Ethernet0", 2, 2), PortFlaps(BORN + 20, "Ethernet4", 1, 1)]
    assert recorder.statistics().samples == 2


async def test_the_health_of_a_sample_is_the_worst_in_it(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder
) -> None:
    daemon.health = 0.0
    async with running(recorder):
        # Seen at the start, and over when the first sample is due.
        daemon.health = 1.0
        await trio.sleep(SAMPLE)
        daemon.health = 0.5
        await trio.sleep(SAMPLE)
        daemon.health = 1.0
        await trio.sleep(SAMPLE)
    assert [sample.health for sample in store.samples] == [0.0, 0.5, 1.0]


async def test_that_a_start_is_degraded_before_its_first_sync_says_nothing(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder
) -> None:
    daemon.health = 0.5
    async with running(recorder):
        daemon.health = 1.0
        await trio.sleep(SAMPLE)
    assert [sample.health for sample in store.samples] == [1.0]


async def test_a_clock_that_is_set_dates_the_samples_and_nothing_else(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder, exports: Exports
) -> None:
    async with running(recorder):
        await trio.sleep(SAMPLE)
        for step in (-1e9, 1e9, 86400.0):
            daemon.stepped = step
            await trio.sleep(SAMPLE)
        daemon.stepped = 1e9
        await trio.sleep(SAMPLE)
    assert [sample.seconds for sample in store.samples] == [10.0] * 5
    assert [sample.at - BORN for sample in store.samples] == [10.0, 20.0 - 1e9, 30.0 + 1e9, 40.0 + 86400.0, 50.0 + 1e9]
    # It began when it began, by whatever the clock says today.
    (start,) = store.starts
    assert (start.at, start.seen) == (BORN + 1e9, BORN + 50.0 + 1e9)
    assert exports.count == 0


async def test_a_store_that_was_slow_leaves_one_long_sample(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = store.update

    async def slow(start: Start) -> None:
        await trio.sleep(35.0)
        await update(start)

    async with running(recorder):
        await trio.sleep(SAMPLE)
        monkeypatch.setattr(store, "update", slow)
        await trio.sleep(SAMPLE)
        monkeypatch.setattr(store, "update", update)
        await trio.sleep(60.0)
    assert [sample.seconds for sample in store.samples] == [10.0, 10.0, 35.0, 10.0, 10.0]


# ---- this life


async def test_a_life_is_recorded_from_its_beginning(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder
) -> None:
    daemon.healthy = False
    expected = Start(
        BORN,
        warm=True,
        outcome=Outcome.OPEN,
        restored=Restored.FILE,
        damaged=1,
        ports=512,
        differences=7,
        sync_seconds=0.5,
        eoiu_seconds=0.25,
        events=0,
        seen=BORN,
    )
    async with running(recorder):
        assert store.starts == [expected]
        daemon.healthy, daemon.outcome, daemon.events = True, Outcome.EOIU, 9
        await trio.sleep(SAMPLE)
        expected = replace(expected, outcome=Outcome.EOIU, events=9, seen=BORN + 10, healthy=True)
        assert store.starts == [expected]
        daemon.healthy = False
        await trio.sleep(SAMPLE)
    await recorder.finish()
    assert store.starts == [replace(expected, seen=BORN + 20.5, stopped=True)]
    assert store.closed


async def test_the_end_is_a_sample_too(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder, exports: Exports
) -> None:
    async with running(recorder):
        await trio.sleep(SAMPLE)
        daemon.events = 4
        await trio.sleep(3.0)
    await recorder.finish()
    assert [(sample.seconds, sample.events) for sample in store.samples] == [(10.0, 0), (3.5, 4)]
    assert exports.count == 1
    assert recorder.statistics().exported == 1


async def test_the_end_may_come_while_it_runs(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of writing: nothing is written twice, and nothing after the end."""
    append = store.append

    async def slow(sample: Sample, flaps: list[PortFlaps]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2.0)
            await append(sample, flaps)

    monkeypatch.setattr(store, "append", slow)
    async with running(recorder):
        await trio.sleep(SAMPLE)
        await recorder.finish()
        assert [sample.at - BORN for sample in store.samples] == [10.0, 12.0]
        assert store.starts[-1].stopped
        await trio.sleep(10 * SAMPLE)
        assert len(store.samples) == 2
        assert store.starts[-1].stopped
        assert store.closed


async def test_the_end_may_come_before_it_ran(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder
) -> None:
    await trio.sleep(3.0)
    await recorder.finish()
    assert [start.stopped for start in store.starts] == [True]
    assert [sample.seconds for sample in store.samples] == [3.0]


async def test_what_waits_for_the_end_records_nothing_after_it(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor starts it anew at the moment at which the daemon stops."""
    close = store.close

    async def slow() -> None:
        await trio.sleep(2.0)
        await close()

    monkeypatch.setattr(store, "close", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.finish)
        await trio.sleep(1.0)
        nursery.start_soon(recorder.run)
        await trio.sleep(5 * SAMPLE)
        nursery.cancel_scope.cancel()
    assert store.closed
    assert [start.stopped for start in store.starts] == [True]
    assert len(store.samples) == 1


async def test_a_request_that_the_end_leaves_is_not_made_again(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled request may be carried out all the same, as it is by a file's thread."""

    def left(carry_out: Any) -> Any:
        async def request(*args: Any) -> None:
            await carry_out(*args)
            await trio.sleep_forever()

        return request

    with monkeypatch.context() as patched:
        patched.setattr(store, "begin", left(store.begin))
        async with running(recorder):
            pass
        patched.setattr(store, "append", left(store.append))
        async with running(recorder):
            await trio.sleep(SAMPLE)
    await recorder.finish()
    assert [start.stopped for start in store.starts] == [True]
    assert [sample.at - BORN for sample in store.samples] == [10.5, 11.0]


async def test_a_recorder_that_is_run_again_goes_on(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder
) -> None:
    async with running(recorder):
        await trio.sleep(SAMPLE)
    async with running(recorder):
        await trio.sleep(SAMPLE)
    assert len(store.starts) == 1
    assert [sample.seconds for sample in store.samples] == [10.0, 10.5]


async def test_the_daemon_waits_for_no_disk(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "counted", trio.sleep_forever)
    async with running(recorder):
        assert recorder.statistics().problem == ""


# ---- trouble


async def test_what_cannot_be_written_follows_later(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder, log: list[Any]
) -> None:
    async with running(recorder):
        await trio.sleep(SAMPLE)
        store.broken = True
        for number in range(1, 4):
            daemon.events, daemon.flaps = number, {"Ethernet0": number}
            await trio.sleep(SAMPLE)
        assert recorder.statistics().problem == "could not use the history: no space left on the fake device"
        assert len(store.samples) == 1
        store.broken = False
        await trio.sleep(SAMPLE)
        assert recorder.statistics().problem == ""
    assert [sample.at - BORN for sample in store.samples] == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert [sample.events for sample in store.samples] == [0, 1, 1, 1, 0]
    assert [flaps.at - BORN for flaps in store.flaps] == [20.0, 30.0, 40.0]
    assert [line["event"] for line in log] == ["recording fails, tried again", "recording works again"]
    assert log[0]["error"] == "could not use the history: no space left on the fake device"


async def test_whatever_failed_is_tried_again_with_the_next_sample(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder
) -> None:
    # At a moment at which trimming and the analysis are due, too.
    async with running(recorder):
        while not (store.broken and {"trim", "analysis"} <= recorder._problems.keys()):
            store.broken = True
            await trio.sleep(SAMPLE)
        store.broken = False
        await trio.sleep(2 * SAMPLE)
        assert recorder.statistics().problem == ""


async def test_a_store_that_cannot_be_opened_is_opened_later(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, daemon: Daemon
) -> None:
    store.broken = True
    async with running(recorder):
        await trio.sleep(SAMPLE)
        assert store.starts == []
        store.broken = False
        await trio.sleep(SAMPLE)
        assert len(store.starts) == 1
        assert len(store.samples) == 2


async def test_damage_is_counted_whenever_it_is_found(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, daemon: Daemon
) -> None:
    store.damaged = 1
    async with running(recorder):
        assert daemon.damaged == [1]
        await trio.sleep(2 * SAMPLE)
        assert daemon.damaged == [1]
        # The request that finds it fails.
        store.damaged, store.broken = 3, True
        await trio.sleep(SAMPLE)
        assert daemon.damaged == [1, 2]
        store.broken = False
        await trio.sleep(SAMPLE)
    assert daemon.damaged == [1, 2]


async def test_who_is_held_back_writes_nothing_and_catches_up(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder, exports: Exports
) -> None:
    async with running(recorder):
        await trio.sleep(SAMPLE)
        recorder.hold_back("the disk is nearly full")
        old = Sample(1.0, 1, 1, 0, 0, 0, None, None, None, 0, 0)
        store.samples.insert(0, old)
        written = (list(store.samples), list(store.starts))
        await trio.sleep(SAVE)
        # Nothing is deleted either.
        assert (store.samples, store.starts) == written
        assert exports.count == 0
        assert recorder.statistics().problem == "the disk is nearly full"
        recorder.go_on()
        assert recorder.statistics().problem == ""
        await trio.sleep(SAMPLE)
        assert [sample.at - BORN for sample in store.samples[1:]] == [10.0 * number for number in range(1, 33)]
        await trio.sleep(SAVE)
        assert exports.count == 1
        assert old not in store.samples


async def test_who_is_held_back_writes_at_the_end_all_the_same(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder, exports: Exports
) -> None:
    async with running(recorder):
        await trio.sleep(SAMPLE)
        recorder.hold_back("the disk is nearly full")
        await trio.sleep(3 * SAMPLE)
        await recorder.finish()
    assert [start.stopped for start in store.starts] == [True]
    assert len(store.samples) == 5
    assert exports.count == 1


async def test_what_waits_can_be_dropped(
    autojump_clock: MockClock, daemon: Daemon, store: FakeHistory, recorder: Recorder
) -> None:
    async with running(recorder):
        await trio.sleep(SAMPLE)
        recorder.hold_back("the disk is nearly full")
        await trio.sleep(10 * SAMPLE)
        recorder.drop_waiting()
        recorder.go_on()
        await trio.sleep(SAMPLE)
        assert len(store.samples) == 2


async def test_what_waits_is_bounded(autojump_clock: MockClock, store: FakeHistory, recorder: Recorder) -> None:
    store.broken = True
    async with running(recorder):
        await trio.sleep((WAITING_SAMPLES + 5) * SAMPLE)
        store.broken = False
        await trio.sleep(SAMPLE)
    assert len(store.samples) == WAITING_SAMPLES
    assert store.samples[-1].at == BORN + (WAITING_SAMPLES + 6) * SAMPLE


async def test_a_store_that_breaks_in_the_middle_writes_nothing_twice(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = store.append

    async def once(sample: Sample, flaps: list[PortFlaps]) -> None:
        await append(sample, flaps)
        store.broken = True

    async with running(recorder):
        store.broken = True
        await trio.sleep(3 * SAMPLE)
        store.broken = False
        monkeypatch.setattr(store, "append", once)
        await trio.sleep(SAMPLE)
        assert len(store.samples) == 1
        store.broken = False
        monkeypatch.setattr(store, "append", append)
        await trio.sleep(SAMPLE)
    assert [sample.at - BORN for sample in store.samples] == [10.0, 20.0, 30.0, 40.0, 50.0]


@pytest.mark.parametrize("request_", ["trim", "read"])
async def test_a_request_that_fails_while_samples_are_written_is_told_once_and_until_it_works(
    autojump_clock: MockClock, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, log: list[Any], request_: str
) -> None:
    async def fail(*_: object) -> History:
        await trio.lowlevel.checkpoint()
        raise FileError("it is damaged")

    async with running(recorder):
        with monkeypatch.context() as patched:
            patched.setattr(FakeHistory, request_, fail)
            for _ in range(3):
                await trio.sleep(SAVE)
                assert recorder.statistics().problem == "it is damaged"
        await trio.sleep(SAVE + SAMPLE)
        assert recorder.statistics().problem == ""
        assert recorder.statistics().analysis is not None
    assert [(line["event"], line["what"]) for line in log] == [
        ("recording fails, tried again", {"trim": "trim", "read": "analysis"}[request_]),
        ("recording works again", {"trim": "trim", "read": "analysis"}[request_]),
    ]


async def test_what_fails_in_each_way_for_one_reason_is_told_once(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder
) -> None:
    async with running(recorder):
        store.broken = True
        await trio.sleep(SAVE)
        assert recorder.statistics().problem == "could not use the history: no space left on the fake device"


async def test_an_export_that_fails_stops_nothing(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, exports: Exports, log: list[Any]
) -> None:
    exports.broken = True
    async with running(recorder):
        await trio.sleep(2 * SAVE)
        assert recorder.statistics().problem == "could not write portsyncd.prom: no space left"
        assert recorder.statistics().exported == 0
        store.broken = True
        await trio.sleep(SAMPLE)
        assert recorder.statistics().problem == (
            "could not write portsyncd.prom: no space left; could not use the history: no space left on the fake device"
        )
        store.broken = exports.broken = False
        await trio.sleep(SAVE)
        assert recorder.statistics().problem == ""
        assert recorder.statistics().exported == 1
    assert len(store.samples) == 91
    assert [(line["event"], line["what"]) for line in log] == [
        ("recording fails, tried again", "export"),
        ("recording fails, tried again", "history"),
        ("recording fails, tried again", "trim"),
        ("recording fails, tried again", "analysis"),
        ("recording works again", "history"),
        ("recording works again", "trim"),
        ("recording works again", "export"),
        ("recording works again", "analysis"),
    ]


# ---- flaps that the last process has written


@pytest.mark.parametrize(
    ("saved", "by_now", "new"),
    [
        # As everything was written: the state of the ports after the history.
        (12, 12, None),
        (12, 14, 2),
        # The history is ahead: of what the next process sees to be lost since it was saved, 2 are there already.
        (10, 12, None),
        (10, 13, 1),
        (0, 15, 3),
        # The port counts from 0 since its state is lost.
        (0, 4, 4),
        (0, 11, 11),
    ],
)
async def test_what_a_process_wrote_before_it_crashed_is_not_written_again(
    autojump_clock: MockClock, store: FakeHistory, saved: int, by_now: int, new: int | None
) -> None:
    first = Daemon(flaps={"Ethernet0": 12, "Ethernet4": 5})
    async with running(make(first, store, None)):
        await trio.sleep(SAMPLE)
    written = list(store.flaps)
    assert [flaps[1:] for flaps in written] == [("Ethernet0", 12, 12), ("Ethernet4", 5, 5)]
    second = Daemon(flaps={"Ethernet0": saved, "Ethernet4": 5}, taken={"Ethernet0": saved, "Ethernet4": 5})
    async with running(make(second, store, None)):
        second.flaps = {"Ethernet0": by_now, "Ethernet4": 6, "Ethernet8": 3}
        await trio.sleep(SAMPLE)
        # From then on it is this process that has written.
        second.flaps = {"Ethernet0": by_now + 1, "Ethernet4": 6, "Ethernet8": 3}
        await trio.sleep(SAMPLE)
    expected = [] if new is None else [("Ethernet0", new, by_now)]
    expected += [("Ethernet4", 1, 6), ("Ethernet8", 3, 3), ("Ethernet0", 1, by_now + 1)]
    assert [flaps[1:] for flaps in store.flaps[2:]] == expected
    assert [sample.flaps for sample in store.samples] == [17, (new or 0) + 4, 1]


async def test_what_was_written_is_known_also_where_the_file_can_be_read_later_only(
    autojump_clock: MockClock, store: FakeHistory
) -> None:
    store.flaps = [PortFlaps(BORN, "Ethernet0", 12, 12)]
    store.broken = True
    daemon = Daemon(flaps={"Ethernet0": 13}, taken={"Ethernet0": 10})
    async with running(make(daemon, store, None)):
        await trio.sleep(SAMPLE)
        daemon.flaps = {"Ethernet0": 14}
        await trio.sleep(SAMPLE)
        store.broken = False
        await trio.sleep(SAMPLE)
    assert [flaps[2:] for flaps in store.flaps] == [(12, 12), (1, 13), (1, 14)]
    assert [sample.flaps for sample in store.samples] == [1, 1, 0]


# ---- now and then


async def test_what_is_too_old_is_deleted_at_each_saving(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder, exports: Exports
) -> None:
    old = Sample(1.0, 1, 1, 0, 0, 0, None, None, None, 0, 0)
    store.starts, store.samples = [Start(1.0)], [old]
    async with running(recorder):
        await trio.sleep(SAVE - SAMPLE)
        assert len(store.starts) == 2
        assert len(store.samples) == SAVE / SAMPLE
        assert exports.count == 0
        await trio.sleep(SAMPLE)
        assert len(store.starts) == 1
        assert len(store.samples) == SAVE / SAMPLE
        assert exports.count == 1
        await trio.sleep(RETENTION)
        assert store.samples[0].at == BORN + SAVE
        assert exports.count == 13


async def test_without_an_export_there_is_none(autojump_clock: MockClock, daemon: Daemon, store: FakeHistory) -> None:
    recorder = make(daemon, store, None)
    async with running(recorder):
        await trio.sleep(SAVE)
    await recorder.finish()
    assert recorder.statistics().exported == 0


async def test_the_last_day_is_analyzed_now_and_then(
    autojump_clock: MockClock, store: FakeHistory, recorder: Recorder
) -> None:
    store.starts = [Start(BORN - 2 * ANALYSIS_WINDOW), Start(BORN - 1000.0)]
    async with running(recorder):
        assert recorder.statistics().analysis is None
        # With the first sample of this life.
        await trio.sleep(SAMPLE)
        first = Analysis(BORN + SAMPLE, BORN + SAMPLE - ANALYSIS_WINDOW, starts=2)
        assert recorder.statistics().analysis == first
        await trio.sleep(ANALYSIS_SECONDS - SAMPLE)
        assert recorder.statistics().analysis == first
        await trio.sleep(SAMPLE)
        at = BORN + SAMPLE + ANALYSIS_SECONDS
        assert recorder.statistics().analysis == Analysis(at, at - ANALYSIS_WINDOW, starts=2)


async def test_penalties_are_those_of_now(autojump_clock: MockClock, daemon: Daemon, recorder: Recorder) -> None:
    daemon.flaps = {"Ethernet0": 2, "Ethernet4": 0}
    async with running(recorder):
        await trio.sleep(SAMPLE)
        assert recorder.statistics().penalties == {"Ethernet0": pytest.approx(2000.0, rel=1e-3)}
        await trio.sleep(HALF_LIFE)
        assert recorder.statistics().penalties == {"Ethernet0": pytest.approx(1000.0, rel=1e-3)}


# ---- quantiles

SHARES = (0.5, 0.95, 0.99)


def histogram(values: list[float]) -> Histogram:
    made = Histogram((1.0, 2.0, 4.0))
    made.observe_all(values)
    return made


@pytest.mark.parametrize(
    ("before", "values", "expected"),
    [
        ([], [], [None, None, None]),
        ([0.5, 3.0], [], [None, None, None]),
        ([], [1.5], [1.5, 1.95, 1.99]),
        ([3.0] * 100, [1.5], [1.5, 1.95, 1.99]),
        ([], [0.5] * 50 + [3.0] * 50, [1.0, 3.8, 3.96]),
        ([], [9.0], [4.0, 4.0, 4.0]),
        ([], [0.5] * 98 + [9.0] * 2, [pytest.approx(50 / 98), pytest.approx(95 / 98), 4.0]),
    ],
)
def test_quantiles_of_what_came_since(before: list[float], values: list[float], expected: list[float | None]) -> None:
    assert latency_quantiles(histogram(before), histogram(before + values), SHARES) == expected


def test_at_first_everything_is_new() -> None:
    assert latency_quantiles(None, histogram([1.5]), (0.5,)) == [1.5]


@given(before=st.lists(st.floats(0, 5)), values=st.lists(st.floats(0, 5), min_size=1), share=st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(before: list[float], values: list[float], share: float) -> None:
    (got,) = latency_quantiles(histogram(before), histogram(before + values), (share,))
    rank = share * len(values)
    true = next(value for number, value in enumerate(sorted(values), 1) if number >= rank - 1e-9)
    assert got is not None
    low = max((bound for bound in (0.0, 1.0, 2.0, 4.0) if bound < true), default=0.0)
    high = min((bound for bound in (1.0, 2.0, 4.0) if bound >= true), default=4.0)
    assert low <= got <= high


async def test_the_analysis_runs_in_a_thread() -> None:
    """By the real clock: the other must not jump while a thread works."""
    with trio.testing.assert_checkpoints():
        assert (await analyze_in_thread(History(0.0), 5.0)).at == 5.0
