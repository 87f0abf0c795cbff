"""Memory: when it is too much, and what is done about it, step by step.

It is too much when resident memory is above the limit, or when it grows faster than it may and has come well above the level
where that growth began. Once it was too much it still is until it is clearly less: below ``CALM`` of what it broke.

=======  ==========================================  =======  ===========================================
level    while it is too much                        then     what is done
=======  ==========================================  =======  ===========================================
FINE     at once                                     TRIMMED  memory is given back
TRIMMED  for ``GRACE_SECONDS``                       HIGH     degraded health
HIGH     ``TRIM_SECONDS`` since it was last tried    HIGH     memory is given back
HIGH     for ``LEAVE_SECONDS``, and above the limit  LEAVE    the process ends, where it may
LEAVE    always                                      LEAVE    nothing: it is ending
=======  ==========================================  =======  ===========================================

From every level but LEAVE it is FINE again once it is not too much. Memory is never given back twice within ``TRIM_SECONDS``:
where it comes back sooner, the level says so and nothing else is done. Where nothing may be given back (switched off), FINE is
followed by HIGH, and nothing by LEAVE.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Final

GRACE_SECONDS: Final = 60.0
TRIM_SECONDS: Final = 300.0
LEAVE_SECONDS: Final = 300.0
CALM: Final = 0.9
# Resident memory goes up and down by less than that on its own.
NOISE_BYTES: Final = 4 << 20
_MEGABYTE: Final = 1 << 20


class Level(StrEnum):
    """FINE; TRIMMED: it was too much, memory was given back, and what came of that is awaited; HIGH: it still is too much
    (degraded); LEAVE: it is beyond the limit, nothing helped, and the process shall end so that its manager starts it
    anew."""

    FINE = "fine"
    TRIMMED = "trimmed"
    HIGH = "high"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    """resident: bytes. growth: bytes per hour, robust, over the window; None while there are too few samples. limit,
    growth_limit: what is allowed. reason: what is wrong, "" while nothing is."""

    level: Level = Level.FINE
    resident: int = 0
    growth: float | None = None
    limit: int = 0
    growth_limit: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """resident: bytes. growth: bytes per hour."""

    resident: int
    growth: float


@dataclass(frozen=True, slots=True)
class Reading:
    """resident: bytes, now. growth: bytes per hour, None where it is not known yet. base: bytes, where that growth began."""

    resident: int
    growth: float | None = None
    base: float = 0.0


@dataclass(frozen=True, slots=True)
class Ladder:
    """Where it stands. since: of this level. trimmed_at: when memory was last given back. over_since: since when it has been
    above the limit, infinity while it is not. reason: what is too much, "" while nothing is. All moments are monotonic
    seconds."""

    level: Level = Level.FINE
    since: float = -inf
    trimmed_at: float = -inf
    over_since: float = inf
    reason: str = ""


def step(
    ladder: Ladder, reading: Reading, limits: Limits, now: float, *, may_trim: bool, may_leave: bool
) -> tuple[Ladder, bool]:
    """The next state, and whether memory has to be given back now; ``Level.LEAVE`` where the process shall end."""
    if ladder.level is Level.LEAVE:
        return ladder, False
    calm = 1.0 if ladder.level is Level.FINE else CALM
    over = reading.resident > limits.resident * calm
    ladder = replace(
        ladder,
        over_since=min(ladder.over_since, now) if reading.resident > limits.resident else inf,
        reason=_over(reading, limits) if over else _growing(reading, limits, calm),
    )
    if not ladder.reason:
        return ladder if ladder.level is Level.FINE else replace(ladder, level=Level.FINE, since=now), False
    if not may_trim:
        return ladder if ladder.level is Level.HIGH else replace(ladder, level=Level.HIGH, since=now), False
    if ladder.level is Level.FINE:
        ladder = replace(ladder, level=Level.TRIMMED, since=now)
    elif ladder.level is Level.TRIMMED:
        if now - ladder.since >= GRACE_SECONDS:
            ladder = replace(ladder, level=Level.HIGH, since=now)
    elif may_leave and now - max(ladder.since, ladder.over_since) >= LEAVE_SECONDS:
        return replace(ladder, level=Level.LEAVE, since=now), False
    trims = now - ladder.trimmed_at >= TRIM_SECONDS
    return replace(ladder, trimmed_at=now) if trims else ladder, trims


def _over(reading: Reading, limits: Limits) -> str:
    return f"{megabytes(reading.resident)} are resident, self_healing.memory_limit_mb is {limits.resident // _MEGABYTE}"


def _growing(reading: Reading, limits: Limits, calm: float) -> str:
    if reading.growth is None or reading.growth <= limits.growth * calm:
        return ""
    if reading.resident <= reading.base + NOISE_BYTES * calm:
        return ""
    return (
        f"{megabytes(reading.resident)} are resident, {megabytes(reading.growth)} more every hour, "
        f"self_healing.memory_growth_mb_per_hour is {limits.growth / _MEGABYTE:g}"
    )


def megabytes(count: float) -> str:
    """For the operator."""
    return f"{count / _MEGABYTE:.1f} MB"
