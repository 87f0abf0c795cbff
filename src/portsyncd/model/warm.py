"""Warm or cold: what STATE_DB and the configuration say about this start, what is written about it, how it ends.

The rules of ``settle`` are swss-common's (``warm_restart.cpp``, ``WarmStart::checkWarmStart``): enabled for the system or
for swss; enabled without a restore count is a cold start, since nothing can have been saved.

``InitialSync`` is what follows, warm or cold, once a process::

    SETTLING   Redis has not been asked yet; COLD and WARM settle what this start is
    COLD_SYNC  ports are announced, all links are read
    WARM_SYNC  all links are read; what Redis holds of them already is not written
    UPDATED    EOIU (end of initial update): NLMSG_DONE of the first certified dump has come; differences are written
    COMPLETE   WRITTEN: Redis acknowledged the last of them
    TIMED_OUT  TIMEOUT: it took too long and counts as complete. Nothing is removed for that; the dump goes on
    FAILED     FLUSHED: what it began with is gone; another generation begins, which is no start of the process

Nothing but NLMSG_DONE tells the end of the initial update: ``ifi_change`` is 0 in every link of a dump.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from portsyncd.wire import schema


class WarmState(StrEnum):
    """``WARM_RESTART_TABLE|portsyncd`` field ``state``, in the order in which a warm start goes through them."""

    INITIALIZED = "initialized"
    RESTORED = "restored"
    RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True)
class Start:
    """How this start goes. fields: what to write to the warm-restart row. remark: what the operator should know."""

    warm: bool
    fields: dict[str, str]
    remark: str = ""


def settle(*, enabled: bool, restore_count: str | None, allowed: bool = True) -> Start:
    """Decide from WARM_RESTART_ENABLE_TABLE, from the row's restore_count, and from our own configuration."""
    if not enabled or not allowed:
        remark = "warm restart is enabled in STATE_DB but not in the configuration" if enabled else ""
        return Start(warm=False, fields={"restore_count": "0"}, remark=remark)
    count = _number(restore_count)
    if count is None:
        return Start(
            warm=False,
            fields={"restore_count": "0"},
            remark=f"warm restart is enabled, but {schema.WARM_KEY} has no restore_count: cold start",
        )
    return Start(warm=True, fields={"restore_count": str(count + 1), "state": WarmState.INITIALIZED})


def timer_seconds(configured: str | None, default: float) -> float:
    """CONFIG_DB ``WARM_RESTART|swss`` portsyncd_timer, 1 to 9999 seconds; anything else gives the default."""
    seconds = _number(configured)
    return default if seconds is None or not 1 <= seconds <= 9999 else float(seconds)


class Phase(StrEnum):
    """How far the initial sync has come; see the module's docstring. The values are for the log."""

    SETTLING = "settling"
    COLD_SYNC = "cold start, initial sync in progress"
    WARM_SYNC = "warm start, initial sync in progress"
    UPDATED = "initial update received"
    COMPLETE = "complete by EOIU"
    TIMED_OUT = "complete by timeout"
    FAILED = "failed"


class Step(Enum):
    """What moves it on."""

    COLD = "settled as a cold start"
    WARM = "settled as a warm start"
    EOIU = "end of initial update"
    WRITTEN = "everything is written"
    TIMEOUT = "out of time"
    FLUSHED = "the databases were flushed or replaced"


_TABLE: Final = {
    (Phase.SETTLING, Step.COLD): Phase.COLD_SYNC,
    (Phase.SETTLING, Step.WARM): Phase.WARM_SYNC,
    (Phase.COLD_SYNC, Step.EOIU): Phase.UPDATED,
    (Phase.COLD_SYNC, Step.TIMEOUT): Phase.TIMED_OUT,
    (Phase.COLD_SYNC, Step.FLUSHED): Phase.FAILED,
    (Phase.WARM_SYNC, Step.EOIU): Phase.UPDATED,
    (Phase.WARM_SYNC, Step.TIMEOUT): Phase.TIMED_OUT,
    (Phase.WARM_SYNC, Step.FLUSHED): Phase.FAILED,
    (Phase.UPDATED, Step.WRITTEN): Phase.COMPLETE,
    (Phase.UPDATED, Step.TIMEOUT): Phase.TIMED_OUT,
    (Phase.UPDATED, Step.FLUSHED): Phase.FAILED,
}


class InitialSync:
    """The initial sync of this process.

    phase: where it is. warm: what it was settled as. began, updated, ended: when it was settled, when its initial update
    had come, also where that came late, and when it ended (monotonic seconds; None before). differences: port writes
    that it took.
    """

    def __init__(self) -> None:
        self.phase = Phase.SETTLING
        self.warm = False
        self.began: float | None = None
        self.updated: float | None = None
        self.ended: float | None = None
        self.differences = 0
        self._deadline = 0.0

    @property
    def running(self) -> bool:
        """It has been settled and has not ended."""
        return self.phase in (Phase.COLD_SYNC, Phase.WARM_SYNC, Phase.UPDATED)

    def step(self, step: Step) -> None:
        """Move on. Raises ``ValueError``, and changes nothing, where the table has no such step."""
        after = _TABLE.get((self.phase, step))
        if after is None:
            raise ValueError(f"initial sync: no {step.name} when {self.phase.name}")
        self.phase = after

    def settle(self, *, warm: bool, now: float, seconds: float) -> None:
        """It begins, and counts as complete after so many seconds at the latest."""
        self.step(Step.WARM if warm else Step.COLD)
        self.warm, self.began, self._deadline = warm, now, now + seconds

    def received(self, now: float) -> None:
        """A certified dump came; the first one that does ends the initial update."""
        if self.updated is None:
            self.updated = now
            if self.running:
                self.step(Step.EOIU)

    def wrote(self, ports: int) -> None:
        """Redis acknowledged writes."""
        if self.running:
            self.differences += ports

    def written(self, now: float) -> bool:
        """Nothing is left to be written. True: that ended it."""
        return self.phase is Phase.UPDATED and self._end(Step.WRITTEN, now)

    def out_of_time(self, now: float) -> bool:
        """Whether it just ran out of time; it has ended then."""
        return self.running and now >= self._deadline and self._end(Step.TIMEOUT, now)

    def flushed(self, now: float) -> None:
        """What it began with is gone."""
        if self.running:
            self._end(Step.FLUSHED, now)

    def _end(self, step: Step, now: float) -> bool:
        self.step(step)
        self.ended = now
        return True


def _number(text: str | None) -> int | None:
    """A decimal number as swss-common writes it (``uint32_t``); None for anything else."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 10 else None
