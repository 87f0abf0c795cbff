"""How often the reader wakes: at once for a rare event, at a steady pace for a stream of them.

Every wake-up costs a pass through the event loop, two thread changes and a Redis round trip, whatever it carries. A
token bucket lets isolated events through without delay; a lasting stream is read at its refill rate, a batch at a time.
"""


class Pacer:
    """A token bucket. burst: reads without a pause; interval: seconds between the reads of a lasting stream."""

    def __init__(self, *, burst: int = 32, interval: float = 0.015) -> None:
        self._burst = float(burst)
        self._interval = interval
        self._tokens = float(burst)
        self._at = 0.0

    def pause(self, now: float) -> float:
        """Seconds to wait after a read at ``now`` (monotonic, never going back) before the next."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval)
        self._at = now
        self._tokens -= 1.0
        # In debt, the read has taken a token of the future: wait until it is there.
        return max(0.0, -self._tokens * self._interval)
