"""What the operator is told of the port sync: how the initial sync ended, what PortInitDone waits for, what differed in Redis.

Each thing once; what lasts, rarer and rarer. ``model.sync`` knows it all, and the writer says when to look.
"""

from math import inf
from typing import Final

from portsyncd.logs import Announcer, get_logger
from portsyncd.model.sync import PortSync
from portsyncd.model.warm import InitialSync, Phase
from portsyncd.model.words import cut

log = get_logger()

# Ports that wait are named after so many seconds, and again after twice as many.
_FIRST_REMINDER_SECONDS: Final = 10.0
_NAMES_IN_A_LINE: Final = 8


class Bulletin:
    """One for the life of the process. All moments are monotonic seconds."""

    def __init__(self, sync: PortSync) -> None:
        self._sync = sync
        self._told = Announcer()
        self._reminded_at = inf
        self._reminder = _FIRST_REMINDER_SECONDS

    def begin_generation(self, now: float) -> None:
        """Ports are awaited anew."""
        self._reminded_at, self._reminder = now, _FIRST_REMINDER_SECONDS
        if self._sync.generation.remark:
            log.warning(self._sync.generation.remark)

    def tell(self, *, first: bool) -> None:
        """What is new since the last time. first: the first sync of the process has just ended."""
        sync, initial = self._sync, self._sync.generation.initial
        if self._told.changed("initial sync", initial.ended) and initial.ended is not None:
            self._tell_end(initial)
        if first:
            log.info("in sync", **sync.counts(), expected=len(sync.expected))
        if sync.in_sync and self._told.changed("initialized", (sync.generation.id, sync.generation.initialized)):
            if sync.generation.initialized:
                log.info("PortInitDone is out", generation=sync.generation.id)
        self._tell_findings()

    def _tell_end(self, initial: InitialSync) -> None:
        (log.info if initial.phase is Phase.COMPLETE else log.warning)(
            f"initial sync {initial.phase}",
            start="warm" if initial.warm else "cold",
            ports=sum(port.link is not None for port in self._sync.ports.values()),
            differences=initial.differences,
            seconds=round((initial.ended or 0.0) - (initial.began or 0.0), 3),
        )

    def _tell_findings(self) -> None:
        """Of a reconciliation that has ended: the first few differences."""
        findings = self._sync.take_findings()
        if findings is None:
            return
        for port, kind, held, wanted, cause, _ in findings.first:
            # Redis may hold anything.
            said = held and tuple(map(cut, held))
            log.warning("Redis differed", port=cut(port), kind=kind.value, held=said, wanted=wanted, cause=cause)
        for contested in findings.contested:
            log.warning(
                "an entry comes back wrong again and again: it is left as it is until the kernel has news of the port, or for "
                "an hour",
                port=cut(contested.port),
                kind=contested.kind.value,
                times=contested.times,
            )
        if findings.calmed:
            log.info("no longer contested", ports=tuple(map(cut, findings.calmed)))
        (log.info if findings.found else log.debug)(
            "Redis compared with the kernel" if findings.complete else "Redis compared in part: the session ended",
            differences=findings.found,
        )

    def remind(self, now: float) -> None:
        """Name the ports that PortInitDone waits for, rarer and rarer."""
        if self._sync.generation.initialized or now - self._reminded_at < self._reminder:
            return
        self._reminded_at, self._reminder = now, 2 * self._reminder
        awaited = self._sync.awaited()
        if awaited:
            named = [f"{port.name} for {now - port.since:.0f} s: {port.reason}" for port in awaited[:_NAMES_IN_A_LINE]]
            log.warning("PortInitDone waits", ports=len(awaited), first=named)
