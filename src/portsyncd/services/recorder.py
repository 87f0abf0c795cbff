"""Writes the history: one sample in each interval, what is known of this start, and now and then what follows from it all.

The monotonic clock paces it and measures intervals; the wall clock only dates them, so that setting it sets nothing off.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import trio

from portsyncd.analytics.analysis import Analysis, analyze
from portsyncd.analytics.history import History, Outcome, PortFlaps, Restored, Sample, Start
from portsyncd.backends.base import HistoryStore
from portsyncd.errors import FileError
from portsyncd.logs import Announcer, get_logger
from portsyncd.metrics import Histogram
from portsyncd.services.flapbook import FlapBook
from portsyncd.services.watches import Calendar

log = get_logger()

# The analysis is of the last 24 hours, and at least so old before it is made anew.
ANALYSIS_WINDOW: Final = 86400.0
ANALYSIS_SECONDS: Final = 300.0
# Samples that wait for a disk that cannot be written; beyond that the oldest are lost.
WAITING_SAMPLES: Final = 60
# The name of the problem that somebody else told of.
_HELD_BACK: Final = "held back"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the daemon. Counts are totals since the process began.

    health: the worst score (1, 0.5 or 0) since the observation before. healthy: it is healthy now. event_latency: a copy.
    The rest as in ``Start``, as far as it is known by now.
    """

    health: float
    healthy: bool
    events: int
    resyncs: int
    event_latency: Histogram
    memory_bytes: int
    queue_depth: int
    warm: bool
    outcome: Outcome
    restored: Restored
    damaged: int
    ports: int
    differences: int
    sync_seconds: float | None
    eoiu_seconds: float | None


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """What the recorder has found and done.

    analysis: of the last 24 hours, None before the first. penalties: of ports that flapped, now. samples: written in this
    life. exported: exports made. problem: why it cannot write, "" while it can.
    """

    analysis: Analysis | None
    penalties: Mapping[str, float]
    samples: int
    exported: int
    problem: str


async def analyze_in_thread(history: History, now: float) -> Analysis:
    """The analysis takes longer than the event loop can spare."""
    return await trio.to_thread.run_sync(analyze, history, now)


class Recorder:
    """One recorder for the life of the process; ``run`` may be called anew after a failure.

    observe: looks at the daemon. export: writes the metrics' files, None where there are none. count_damage: is told
    how many more damaged files of the history were set aside. Intervals in seconds.
    wall: Unix seconds. started_at: when the process began, by Trio's clock. compute: makes the analysis.

    A store that fails is no reason to end: it is tried again with each sample, and what could not be written follows.
    """

    def __init__(
        self,
        store: HistoryStore,
        book: FlapBook,
        observe: Callable[[], Observation],
        *,
        export: Callable[[], Awaitable[None]] | None,
        count_damage: Callable[[int], None],
        sample_interval: float,
        save_interval: float,
        retention_seconds: float,
        wall: Callable[[], float],
        started_at: float,
        compute: Callable[[History, float], Awaitable[Analysis]] = analyze_in_thread,
    ) -> None:
        self._store = store
        self._book = book
        self._observe = observe
        self._export = export
        self._count_damage = count_damage
        self._sample_interval = sample_interval
        self._save_interval = save_interval
        self._retention = retention_seconds
        self._wall = wall
        self._calendar = Calendar(trio.current_time, wall)
        self._started_at = started_at
        self._compute = compute
        # What the next sample is the difference to.
        self._sampled_at = started_at
        self._events = self._resyncs = 0
        self._worst = 1.0
        self._latency: Histogram | None = None
        self._waiting: deque[tuple[Sample, list[PortFlaps]]] = deque(maxlen=WAITING_SAMPLES)
        # What ports had counted when the last process wrote of them, until this one does; None: not read yet.
        self._counted: dict[str, int] | None = None
        self._damaged = 0
        self._was_healthy = self._begun = self._finished = False
        self._saved_at = self._analyzed_at = started_at
        self._analysis: Analysis | None = None
        self._samples = self._exported = 0
        self._problems: dict[str, str] = {}
        self._told = Announcer()
        # One of run and finish at a time.
        self._turn = trio.Lock()
        self._recording: trio.CancelScope | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Record until cancelled, or until ``finish`` is called; it waits for its cancellation then."""
        task_status.started()
        async with self._turn:
            if not self._finished:
                with trio.CancelScope() as self._recording:
                    await self._record()
        await trio.sleep_forever()

    async def finish(self) -> None:
        """The daemon stops: the last sample, and the last export, also where they were held back: it is little, and the last
        that is written. Its time is bounded by the caller."""
        self._finished = True
        self.go_on()
        if self._recording is not None:
            self._recording.cancel()
        async with self._turn:
            await self._write(self._sample(trio.current_time(), stopped=True))
            await self._write_export()
            await self._store.close()

    def hold_back(self, why: str) -> None:
        """Write nothing until ``go_on``, so that something else can be written: samples wait as they do for a disk that
        fails."""
        self._problems[_HELD_BACK] = why

    def go_on(self) -> None:
        """Write again; what waits follows with the next sample."""
        self._problems.pop(_HELD_BACK, None)

    def drop_waiting(self) -> None:
        """Memory is short: samples that wait for the disk are lost."""
        self._waiting.clear()

    def statistics(self) -> RecorderStatistics:
        """A snapshot."""
        return RecorderStatistics(
            analysis=self._analysis,
            penalties=self._book.penalties(trio.current_time()),
            samples=self._samples,
            exported=self._exported,
            problem="; ".join(dict.fromkeys(self._problems.values())),
        )

    async def _record(self) -> None:
        start = self._start(self._look(), stopped=False)
        # Until its first sync has ended every start is degraded; that says nothing.
        self._worst = 1.0 if self._worst else 0.0
        await self._write(start)
        due = trio.current_time() + self._sample_interval
        while True:
            await trio.sleep_until(due)
            now = trio.current_time()
            due += self._sample_interval
            if due <= now:
                # The machine slept, or the disk was slow: one long sample, and none for what was missed.
                due = now + self._sample_interval
            await self._write(self._sample(now, stopped=False))
            # What failed is tried again with the next sample.
            if now - self._saved_at >= self._save_interval or self._problems.keys() & {"trim", "export"}:
                self._saved_at = now
                await self._trim()
                await self._write_export()
            due_again = self._analysis is None or "analysis" in self._problems
            if due_again or now - self._analyzed_at >= ANALYSIS_SECONDS:
                await self._analyze()

    # ---- looking

    def _look(self) -> Observation:
        seen = self._observe()
        self._worst = min(self._worst, seen.health)
        return seen

    def _sample(self, now: float, *, stopped: bool) -> Start:
        """Put what came about since the last sample with what waits to be written. Returns what is known of this life."""
        seen = self._look()
        at = self._wall()
        flaps = [PortFlaps(at, name, new, total) for name, (new, total) in self._book.take(now).items()]
        p50, p95, p99 = latency_quantiles(self._latency, seen.event_latency, (0.5, 0.95, 0.99))
        sample = Sample(
            at=at,
            seconds=now - self._sampled_at,
            health=self._worst,
            events=seen.events - self._events,
            flaps=sum(each.flaps for each in flaps),
            resyncs=seen.resyncs - self._resyncs,
            latency_p50=p50,
            latency_p95=p95,
            latency_p99=p99,
            memory_bytes=seen.memory_bytes,
            queue_depth=seen.queue_depth,
        )
        self._waiting.append((sample, flaps))
        self._sampled_at, self._worst, self._latency = now, 1.0, seen.event_latency
        self._events, self._resyncs = seen.events, seen.resyncs
        return self._start(seen, stopped=stopped)

    def _start(self, seen: Observation, *, stopped: bool) -> Start:
        self._calendar.follow()
        self._was_healthy |= seen.healthy
        return Start(
            at=self._calendar.unix(self._started_at),
            warm=seen.warm,
            outcome=seen.outcome,
            restored=seen.restored,
            damaged=seen.damaged,
            ports=seen.ports,
            differences=seen.differences,
            sync_seconds=seen.sync_seconds,
            eoiu_seconds=seen.eoiu_seconds,
            events=seen.events,
            seen=self._wall(),
            healthy=self._was_healthy,
            stopped=stopped,
        )

    # ---- writing

    async def _write(self, start: Start) -> None:
        """Write what waits, as far as it can be written."""
        if _HELD_BACK in self._problems:
            return
        with self._asking("history"):
            if self._counted is None:
                self._counted = dict(await self._store.counted())
            if self._begun:
                await self._store.update(start)
            else:
                # Should it fail, an update begins.
                self._begun = True
                await self._store.begin(start)
            while self._waiting:
                await self._append(*_without(self._counted, *self._waiting.popleft()))

    async def _append(self, sample: Sample, flaps: list[PortFlaps]) -> None:
        """Where this is cancelled it may be carried out all the same: then it is not tried again."""
        try:
            await self._store.append(sample, flaps)
        except FileError:
            self._waiting.appendleft((sample, flaps))
            raise
        self._samples += 1

    async def _trim(self) -> None:
        if _HELD_BACK in self._problems:
            return  # To delete is to write.
        with self._asking("trim"):
            await self._store.trim(self._wall() - self._retention)

    async def _analyze(self) -> None:
        now, self._analyzed_at = self._wall(), trio.current_time()
        with self._asking("analysis"):
            history = await self._store.read(now - ANALYSIS_WINDOW, now)
            self._analysis = await self._compute(history, now)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """For requests to the store: a failure is told and no more, and damage that they found is counted."""
        with self._telling(what):
            yield
        new = self._store.damaged - self._damaged
        if new:
            self._damaged += new
            self._count_damage(new)

    async def _write_export(self) -> None:
        if self._export is None or _HELD_BACK in self._problems:
            return
        with self._telling("export"):
            await self._export()
            self._exported += 1

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileError as problem:
            self._problems[what] = str(problem)
            if self._told.changed(what, str(problem)):
                log.warning("recording fails, tried again", what=what, error=str(problem))
        else:
            if self._problems.pop(what, None) is not None and self._told.changed(what, None):
                log.info("recording works again", what=what)


def _without(counted: dict[str, int], sample: Sample, flaps: Sequence[PortFlaps]) -> tuple[Sample, list[PortFlaps]]:
    """A sample without the flaps that the last process has written: it ended before it saved that it had counted them.

    counted: by port, as it was last written; a port is taken from it the first time it appears here.
    """
    rest = [each for each in (_rest(counted.pop(each.port, 0), each) for each in flaps) if each.flaps]
    return replace(sample, flaps=sum(each.flaps for each in rest)), rest


def _rest(known: int, flaps: PortFlaps) -> PortFlaps:
    again = known - (flaps.total - flaps.flaps)
    # A total below what is known is that of a port which has been counted from 0 since.
    return flaps._replace(flaps=flaps.flaps - again) if 0 < again <= flaps.flaps else flaps


def latency_quantiles(before: Histogram | None, now: Histogram, shares: Sequence[float]) -> list[float | None]:
    """Quantiles of what was observed between two copies of a histogram, in seconds; None where there was nothing.

    Within a bucket values are taken to be spread evenly, and those above the last bound to be equal to it, as
    Prometheus' histogram_quantile() does.
    """
    counts = now.counts if before is None else [new - old for new, old in zip(now.counts, before.counts, strict=True)]
    total = sum(counts)
    return [_quantile(now.bounds, counts, share * total) if total else None for share in shares]


def _quantile(bounds: Sequence[float], counts: Sequence[int], rank: float) -> float:
    below = 0
    for (low, high), count in zip(pairwise((0.0, *bounds)), counts, strict=False):
        if below + count >= rank and count:
            return low + (high - low) * (rank - below) / count
        below += count
    return bounds[-1]
