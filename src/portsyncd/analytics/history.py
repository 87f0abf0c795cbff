"""What is kept of the past: starts of the daemon, samples of what it did, which ports flapped. Plain values.

All moments are Unix seconds, all durations seconds. The wall clock may have been set in between: whoever computes with
moments puts up with an order that is not theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

# The last second of the year 9999, where the calendar ends.
LATEST: Final = 253_402_300_799.0


def utc(moment: float) -> datetime:
    """A moment in UTC; one that the calendar does not have is taken to be at its nearer end, 1970 or 9999."""
    return datetime.fromtimestamp(min(max(0.0, moment), LATEST), UTC)


class Outcome(StrEnum):
    """How the initial sync of a start ended."""

    # No end of it is known: it goes on, or the process ended before.
    OPEN = "open"
    EOIU = "eoiu"
    TIMEOUT = "timeout"
    FAILED = "failed"


class Restored(StrEnum):
    """Where the saved state of a start came from."""

    NONE = "none"
    FILE = "file"
    BACKUP = "backup"


@dataclass(frozen=True, slots=True)
class Start:
    """One life of the daemon.

    at: when the process began. warm: SONiC's warm start. outcome: of the initial sync. restored: where its saved state
    came from. damaged: how many saved files were found to be damaged at this start (set aside). ports: how many links
    it found; differences: port writes that the initial sync took. sync_seconds: from the beginning of the initial sync
    to its end; eoiu_seconds: to the end of the initial update; None where it did not come about. events: link events
    carried through in this life. seen: when it was last known to be running. healthy: it was healthy at some time.
    stopped: it ended because it was told to.
    """

    at: float
    warm: bool = False
    outcome: Outcome = Outcome.OPEN
    restored: Restored = Restored.NONE
    damaged: int = 0
    ports: int = 0
    differences: int = 0
    sync_seconds: float | None = None
    eoiu_seconds: float | None = None
    events: int = 0
    seen: float = 0.0
    healthy: bool = False
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened in one interval.

    at: its end; seconds: its length. health: the worst score in it, 1, 0.5 or 0. events, flaps, resyncs: how many came
    about in it. latency_p50, latency_p95, latency_p99: of the link events written in it, None where there was none.
    memory_bytes, queue_depth: at its end.
    """

    at: float
    seconds: float
    health: float
    events: int
    flaps: int
    resyncs: int
    latency_p50: float | None
    latency_p95: float | None
    latency_p99: float | None
    memory_bytes: int
    queue_depth: int


class PortFlaps(NamedTuple):
    """Carrier losses of one port in the interval that ended at ``at``. total: what the port had counted by then."""

    at: float
    port: str
    flaps: int
    total: int


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the time from ``since`` on, each list oldest first."""

    since: float
    starts: Sequence[Start] = ()
    samples: Sequence[Sample] = ()
    flaps: Sequence[PortFlaps] = ()
