"""How often is too often: restarts and link events against what a switch has in its worst hour and minute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from portsyncd.analytics.history import Sample, Start

# Upgrades and configuration reloads restart it once or twice; five times within an hour are no longer planned.
RESTARTS: Final = 5
RESTART_SECONDS: Final = 3600.0
# 512 ports with three events a second each do not come to that.
EVENTS: Final = 100_000
EVENT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate and its limit. count: of the window of ``seconds``; exceeded: count is above limit."""

    count: int
    limit: int
    seconds: float
    exceeded: bool


def restart_limit(starts: Sequence[Start], now: float) -> Limit:
    """Restarts (starts with one before them) of the last ``RESTART_SECONDS``."""
    return _limit(sum(now - RESTART_SECONDS < start.at <= now for start in starts[1:]), RESTARTS, RESTART_SECONDS)


def event_limit(samples: Sequence[Sample], now: float) -> Limit:
    """Link events of the newest ``EVENT_SECONDS`` that samples tell of.

    That stretch ends with the newest sample. One so old that another should have followed says nothing of now. A sample
    that begins before the stretch counts by the share that is in it.
    """
    newest = max(samples, key=lambda sample: sample.at, default=None)
    if newest is None or now - newest.at > max(EVENT_SECONDS, newest.seconds):
        return _limit(0, EVENTS, EVENT_SECONDS)
    begin = newest.at - EVENT_SECONDS
    count = sum(sample.events * _share(sample, begin) for sample in samples if sample.at > begin)
    return _limit(round(count), EVENTS, EVENT_SECONDS)


def _share(sample: Sample, begin: float) -> float:
    """How much of a sample's interval is after ``begin``, which is before its end."""
    return min(1.0, (sample.at - begin) / sample.seconds) if sample.seconds > 0 else 1.0


def _limit(count: int, limit: int, seconds: float) -> Limit:
    return Limit(count, limit, seconds, exceeded=count > limit)
