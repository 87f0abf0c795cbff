"""Flap penalties, after route flap damping (RFC 2439): each flap adds to a port's penalty, which halves with time.

Nothing is damped by it: what a port's state means is for others to decide. It tells the operator which ports flap, and how
soon one will be as bad as a router would suppress.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp2, fsum, log, log1p
from typing import Final

from portsyncd.analytics.history import PortFlaps

# The figures that routers have for it: 1000 per flap, suppressed from 2000 on, halved every 15 minutes, and usable again
# below 1000 (here: one flap that is fresh).
PENALTY: Final = 1000.0
SUPPRESS: Final = 2000.0
REUSE: Final = 1000.0
HALF_LIFE: Final = 900.0
# Less than that is nothing, as after ten half-lives of a single flap.
LEAST: Final = 1.0
_DECAY: Final = log(2) / HALF_LIFE


@dataclass(frozen=True, slots=True)
class FlappingPort:
    """A port that flapped lately. flaps: in the window. penalty: now. suppressed: the penalty is above the threshold.
    crosses_in: seconds until it is above, at its present rate; 0 where it is, None where it will not be."""

    name: str
    flaps: int
    penalty: float
    suppressed: bool
    crosses_in: float | None


def decayed(penalty: float, seconds: float) -> float:
    """What is left of a penalty after so many seconds; all of it where the clock was set back."""
    return penalty * exp2(-max(0.0, seconds) / HALF_LIFE)


def penalty(flaps: Iterable[tuple[float, int]], now: float) -> float:
    """The penalty at ``now`` of flaps: when, and how many at that time."""
    return fsum(decayed(PENALTY * count, now - at) for at, count in flaps)


def crosses_in(penalty: float, rate: float) -> float | None:
    """Seconds until a penalty reaches ``SUPPRESS`` if the port goes on with ``rate`` flaps per second.

    0 where it has, None where it never will: at a steady rate flaps add as much as decays once the penalty is
    PENALTY * rate * HALF_LIFE / ln 2, and rises no further (4.6 flaps an hour end just below 2000).
    """
    if penalty >= SUPPRESS:
        return 0.0
    steady = PENALTY * rate / _DECAY
    if not steady > SUPPRESS:
        return None
    # Solved for its time: SUPPRESS = steady + (penalty - steady) * exp(-_DECAY * time)
    return log1p((SUPPRESS - penalty) / (steady - SUPPRESS)) / _DECAY


def flapping(flaps: Iterable[PortFlaps], since: float, now: float) -> list[FlappingPort]:
    """The ports that flapped since then; those with the highest penalty first, then those with the most flaps.

    A port's present rate is that of the last half-life.
    """
    by_port: dict[str, list[PortFlaps]] = defaultdict(list)
    for each in flaps:
        if since <= each.at:
            by_port[each.port].append(each)
    ports = [_flapping(name, events, now) for name, events in by_port.items()]
    return sorted(ports, key=lambda port: (-port.penalty, -port.flaps, port.name))


def _flapping(name: str, events: Sequence[PortFlaps], now: float) -> FlappingPort:
    current = penalty(((each.at, each.flaps) for each in events), now)
    current = current if current >= LEAST else 0.0
    rate = sum(each.flaps for each in events if now - each.at <= HALF_LIFE) / HALF_LIFE
    total = sum(each.flaps for each in events)
    return FlappingPort(name, total, current, current >= SUPPRESS, crosses_in(current, rate))
