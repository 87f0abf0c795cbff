"""How long to wait before connecting to Redis again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling delays with jitter, in seconds.

    first: the second retry's. cap: the longest for a Redis that cannot be reached; low for one on this machine, which
    costs nothing to ask. refused_first, refused_cap: for a Redis that answers with an error; it is likely to do so
    again, and every try reads all tables.
    """

    first: float = 0.05
    cap: float = 5.0
    refused_first: float = 0.5
    refused_cap: float = 5.0

    def delay(self, failures: int, jitter: float, *, refused: bool) -> float:
        """Seconds before the next try. failures: in a row, 1 or more; jitter: a random number from 0 to 1."""
        if refused:
            longest = min(self.refused_cap, self.refused_first * 2.0 ** min(failures - 1, 30))
        elif failures == 1:
            return 0.0
        else:
            longest = min(self.cap, self.first * 2.0 ** min(failures - 2, 30))
        # Half of it is not left to chance: nearly nothing twice in a row would be a spin.
        return longest * (0.5 + jitter / 2)
