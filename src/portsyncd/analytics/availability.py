"""For which share of the time a daemon ran and was not unhealthy."""

from collections.abc import Iterable, Sequence
from typing import Final

from portsyncd.analytics.history import Sample, Start
from portsyncd.analytics.stats import ratio

# The newest life is taken to go on if it was seen so recently: three times as often it says that it runs, by default.
RECENT: Final = 900.0

_Interval = tuple[float, float]


def known_since(starts: Iterable[Start], samples: Iterable[Sample], since: float) -> float | None:
    """The first moment of the window of which something is known; None where nothing is."""
    moments = [start.at for start in starts]
    moments += [_interval(sample)[0] for sample in samples]
    return max(since, min(moments)) if moments else None


def running(starts: Sequence[Start], now: float) -> bool:
    """The newest life may well go on: it was seen lately, and nobody stopped it."""
    return bool(starts) and not starts[-1].stopped and now - starts[-1].seen <= RECENT


def availability(starts: Sequence[Start], samples: Sequence[Sample], since: float, now: float) -> float | None:
    """That share of the time from ``known_since`` to ``now``; None where that is no time.

    A life lasts from its start to when it was last seen, the newest one up to ``now`` if it is ``running``. A sample
    with health 0 takes away the whole of its interval. Intervals that overlap count once, and those that a clock put
    outside of the window, or ends before they begin, not at all.
    """
    first = known_since(starts, samples, since)
    if first is None or first >= now:
        return None
    lives = [(start.at, start.seen) for start in starts]
    if running(starts, now):
        lives[-1] = (starts[-1].at, now)
    ill = [_interval(sample) for sample in samples if sample.health <= 0]
    # What was up and not ill, since the union of both has the ill time in it once.
    good = _covered([*lives, *ill], first, now) - _covered(ill, first, now)
    return ratio(max(0.0, min(good, now - first)), now - first)


def _interval(sample: Sample) -> _Interval:
    return sample.at - max(0.0, sample.seconds), sample.at


def _covered(intervals: Iterable[_Interval], first: float, last: float) -> float:
    """How much of the time from ``first`` to ``last`` lies in one of these at least."""
    covered, until = 0.0, first
    for begin, end in sorted(intervals):
        fresh, stop = max(begin, until), min(end, last)
        if stop > fresh:
            covered += stop - fresh
            until = stop
    return covered
