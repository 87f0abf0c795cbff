"""What the writer records: how each event ended, how long things took, and when the databases were last proven right."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import compress
from math import inf

from portsyncd.metrics import EVENT_LATENCY_BUCKETS, REDIS_LATENCY_BUCKETS, SYNC_DURATION_BUCKETS, Histogram
from portsyncd.model.commands import PortWrite
from portsyncd.model.mailbox import Synced, Taken


class Tally:
    """One for the life of the process. What its attributes mean stands in ``WriterStatistics``."""

    def __init__(self) -> None:
        self.processed = self.failed = self.in_flight = 0
        self.event_latency = Histogram(EVENT_LATENCY_BUCKETS)
        self.redis_latency = Histogram(REDIS_LATENCY_BUCKETS)
        self.sync_duration = Histogram(SYNC_DURATION_BUCKETS)
        self.certified_sync_at: float | None = None
        # Full reads that came in, while what they brought is being written.
        self._synced: Synced | None = None
        # Names that Redis acknowledged since the last ``done``.
        self._written: set[str] = set()

    def took(self, taken: Taken) -> None:
        """The writer begins to carry this out."""
        self.in_flight += taken.events
        if taken.synced is not None:
            self._synced = taken.synced if self._synced is None else self._synced.then(taken.synced)
        if taken.overflowed and self._synced is not None:
            self._synced = replace(self._synced, certified=False)

    def wrote(self, writes: Sequence[PortWrite], answer: Collection[bool]) -> None:
        """Redis answered; what has no APPL_DB entry was put off."""
        self._written.update([write.name for write in compress(writes, answer)])

    def done(self, taken: Taken, now: float, began: float) -> list[float]:
        """It has been carried out, to the last. began: the session. Returns the latencies, in seconds.

        What needed no write or was put off says nothing about the path, nor does what came before the session, or what
        only a full read told.
        """
        written = self._written
        latencies = [
            now - change.arrived
            for name, change in taken.changes.items()
            if name in written and began <= change.arrived < inf
        ]
        written.clear()
        self.event_latency.observe_all(latencies)
        self.processed += self.in_flight
        self.in_flight = 0
        if self._synced is not None:
            self.sync_duration.observe(now - self._synced.started)
            if self._synced.certified:
                self.certified_sync_at = now
            self._synced = None
        return latencies

    def broke_off(self) -> None:
        """The session ended in the middle of it; what has been done of it is not known."""
        self.failed += self.in_flight
        self.in_flight = 0
        self._written.clear()
