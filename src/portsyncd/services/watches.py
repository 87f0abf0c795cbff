"""What observer and guardian remember from one look to the next: for how long, how many lately, and what time it was."""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from portsyncd.services.inbox import InboxStatistics
from portsyncd.services.reader import ReaderStatistics
from portsyncd.services.writer import WriterStatistics

# Wall clock and monotonic clock drift by some 50 us a second; more than this is a clock that was set.
_STEP_SECONDS = 0.5
# Looks that come once a second, and one that is so much later.
_LATE_SECONDS = 3.0
# Looks may come faster; what is kept does not grow with them. They come once a second, one a little later than the other.
_SAMPLE_SECONDS = 0.9


class Stretch:
    """For how long something has been so."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._mark: object = None

    def seconds(self, now: float, so: bool, mark: object = None) -> float:
        """Seconds from the first look that saw it so, without one in between that did not, or that saw another mark; 0
        while it is not."""
        if not so:
            self._since = None
            return 0.0
        if self._since is None or mark != self._mark:
            self._since, self._mark = now, mark
        return now - self._since


class Standstill:
    """For how long the writer has not moved although Redis answers: one measure for the verdict and for what heals it.

    An unreachable Redis and a port that waits for its APPL_DB entry are no standstill. Nor is a request that Redis has yet to
    answer: the writer has a deadline for it, which may be longer than a standstill may last.
    """

    def __init__(self) -> None:
        self._stretch = Stretch()

    def seconds(
        self, now: float, writer: WriterStatistics, inbox: InboxStatistics, *, synced: bool
    ) -> tuple[int, float]:
        """How many changes wait, and for how many seconds none of them has moved. synced: the first sync has ended."""
        waiting = inbox.depth + writer.events_in_flight or int(synced and not writer.in_sync)
        moved = (writer.round_trips, writer.events_processed, writer.events_failed, writer.sessions)
        its_turn = writer.connected and writer.waiting_since is None
        return waiting, self._stretch.seconds(now, its_turn and waiting > 0, moved)


class Stood(NamedTuple):
    """What waits with the writer, and for how many seconds none of it has moved; for how many nobody has read what there was to
    be read from the kernel."""

    waiting: int
    stalled: float
    unread: float


class EventPath:
    """For how long events have not moved, in the kernel's socket or with the writer: what the verdict of /health and systemd's
    watchdog go by."""

    def __init__(self) -> None:
        self._standstill, self._unread = Standstill(), Stretch()
        self._looked_at = -inf
        self._was_late = False

    def stood(
        self, now: float, reader: ReaderStatistics, writer: WriterStatistics, inbox: InboxStatistics, *, synced: bool
    ) -> Stood:
        """0 seconds while they move, while there are none, and while it is Redis' turn to answer. synced: the first sync has
        ended."""
        late = now - self._looked_at > _LATE_SECONDS
        if late and not self._was_late:
            # The process was stopped, or the loop blocked: nothing is known of the time between. Once; a loop that always
            # blocks is no excuse.
            self._standstill, self._unread = Standstill(), Stretch()
        self._looked_at, self._was_late = now, late
        waiting, stalled = self._standstill.seconds(now, writer, inbox, synced=synced)
        return Stood(waiting, stalled, self._unread.seconds(now, reader.must_move, reader.progress))


class Growth:
    """How much counters have grown lately. They begin at 0, at ``now``; all times are monotonic seconds."""

    def __init__(self, span: float, width: int, now: float) -> None:
        self._span = span
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque([(now, (0,) * width)])

    def within(self, now: float, values: Sequence[int]) -> list[int]:
        """What has been added to each of these within the last ``span`` seconds, give or take a second."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - self._span:
            samples.popleft()
        if now - samples[-1][0] >= _SAMPLE_SECONDS:
            samples.append((now, tuple(values)))
        return [value - base for value, base in zip(values, samples[0][1], strict=True)]


class Calendar:
    """Monotonic moments as Unix time.

    The difference of the clocks is kept, so that a moment has the same time at every look; when the clock on the wall
    is set, all moments follow it at once. clock: monotonic seconds; wall: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._offset = wall() - clock()

    def follow(self) -> float:
        """Look at the clocks again. Returns by how many seconds the clock on the wall was set since, 0 where it was not."""
        offset = self._wall() - self._clock()
        step = offset - self._offset
        if abs(step) <= _STEP_SECONDS:
            return 0.0
        self._offset = offset
        return step

    def unix(self, moment: float) -> float:
        """The Unix time of a monotonic moment."""
        return moment + self._offset
