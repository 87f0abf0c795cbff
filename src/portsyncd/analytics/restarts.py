"""What the daemon's starts say: how often its state was recovered, and how long that took."""

from collections.abc import Sequence
from dataclasses import dataclass

from portsyncd.analytics.history import Outcome, Restored, Start
from portsyncd.analytics.stats import Summary, mean, ratio, summarize


@dataclass(frozen=True, slots=True)
class Restarts:
    """Starts in figures; see ``analysis.Analysis``, whose fields of the same names these become."""

    starts: int
    restarts: int
    recovery_success: float | None
    corruption_recovery: float | None
    eoiu_timeouts: float | None
    events_per_restart: float | None
    last_healthy_restart: float | None
    eoiu_latency: Summary | None
    sync_duration: Summary | None


def restarts(starts: Sequence[Start], since: float) -> Restarts:
    """The figures of the lives that were running at ``since`` or later. Their order is that of the list, whatever their
    times say.

    A life has ended when another one has begun, or when it was stopped. One that ended before its initial sync did has
    recovered nothing; one that may still be at it does not count yet.
    """
    lives = [start for start in starts if max(start.at, start.seen) >= since]
    ended = [start for start in lives if start.stopped or start is not starts[-1]]
    synced = [start for start in lives if start.outcome is not Outcome.OPEN]
    lost = sum(start.outcome is Outcome.OPEN for start in ended)
    damaged = [start for start in lives if start.damaged]
    return Restarts(
        starts=len(lives),
        restarts=sum(start.at >= since for start in starts[1:]),
        recovery_success=ratio(_count(synced, Outcome.EOIU), len(synced) + lost),
        corruption_recovery=ratio(sum(start.restored is not Restored.NONE for start in damaged), len(damaged)),
        eoiu_timeouts=ratio(_count(synced, Outcome.TIMEOUT), len(synced)),
        events_per_restart=mean([float(start.events) for start in ended]) if ended else None,
        last_healthy_restart=next((start.at for start in reversed(lives) if start.healthy), None),
        eoiu_latency=summarize(start.eoiu_seconds for start in lives if start.eoiu_seconds is not None),
        sync_duration=summarize(start.sync_seconds for start in lives if start.sync_seconds is not None),
    )


def _count(starts: Sequence[Start], outcome: Outcome) -> int:
    return sum(start.outcome is outcome for start in starts)
