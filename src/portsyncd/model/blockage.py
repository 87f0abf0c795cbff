"""Whether the event loop turns: what follows from when it last did."""

from typing import NamedTuple


class Blocked(NamedTuple):
    """It has not turned for so many seconds. first: this has not been said of it yet."""

    seconds: float
    first: bool


class Ended(NamedTuple):
    """It turns again, after so many seconds. said: it was said of it that it did not."""

    seconds: float
    said: bool


class Blockage:
    """Judges one loop. limit: seconds from which on it is blocked; said again after twice as many, four times as many...

    interval: seconds between two looks. If the looks themselves were far apart, and the process used no CPU meanwhile, nobody
    ran: the machine slept, or the process was stopped. That time is not the loop's. Where it did use CPU, something kept
    the interpreter to itself: that blocked the loop as well as who looks.
    """

    def __init__(self, limit: float, interval: float) -> None:
        self._limit = limit
        self._interval = interval
        # When it looked last, how many CPU seconds had been used by then, and when the loop had turned last.
        self._looked: tuple[float, float, float] | None = None
        # Seconds in which nobody ran, since the last turn.
        self._paused = 0.0
        # Said of the present blockage so far: 0 where there is none.
        self._said = 0

    def look(self, turned: float, now: float, cpu: float) -> Blocked | Ended | None:
        """turned: when the loop last did; now: both monotonic seconds. cpu: CPU seconds that the process has used."""
        looked, used, before = self._looked or (now, cpu, turned)
        self._looked = now, cpu, turned
        said, paused = self._said, _pause(now - looked - self._interval, cpu - used, self._interval)
        if before != turned:
            # Whether it was before the turn or after it is not known.
            silence = turned - before - self._paused - min(paused, max(0.0, turned - looked))
            self._paused, self._said = min(paused, now - turned), 0
            if said or silence >= self._limit:
                return Ended(silence, said > 0)
        else:
            self._paused += paused
        seconds = now - turned - self._paused
        if seconds < self._limit * 2.0**self._said:
            return None
        self._said += 1
        return Blocked(seconds, self._said == 1)


def _pause(gap: float, used: float, interval: float) -> float:
    """For how long nobody ran. gap: seconds that a look came late; used: CPU seconds."""
    return max(0.0, gap - used) if gap > interval else 0.0
