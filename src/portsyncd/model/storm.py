"""Event storms, told in one line a second: "2,314 events on 12 ports in 1 s".

Events are counted in windows of one second, the first of which opens with the first event. No timer is needed: a
window is closed by the next batch or by the look that the daemon takes once a second.
"""

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Final

WINDOW_SECONDS: Final = 1.0
# A port that comes up sends a handful of messages, so that a hundred ports coming up at once are worth a line.
DEFAULT_THRESHOLD: Final = 500


@dataclass(frozen=True, slots=True)
class Storm:
    """What one window held: how many events, on how many different ports. ``str()`` is the line for the log."""

    events: int
    ports: int

    def __str__(self) -> str:
        ports = "1 port" if self.ports == 1 else f"{self.ports:,} ports"
        events = "1 event" if self.events == 1 else f"{self.events:,} events"
        return f"{events} on {ports} in {WINDOW_SECONDS:g} s"


class StormMeter:
    """Counts batches and hands out a ``Storm`` for each window that held at least ``threshold`` events."""

    __slots__ = ("_events", "_ports", "_since", "_threshold")

    def __init__(self, threshold: int = DEFAULT_THRESHOLD) -> None:
        self._threshold = threshold
        self._since: float | None = None
        self._events = 0
        self._ports: set[Hashable] = set()

    def feed(self, now: float, events: int, ports: Collection[Hashable]) -> Storm | None:
        """Count a batch that came at ``now`` (seconds of a steady clock): its events, and the ports that they concern.

        Returns the window that this batch closed by being later than it, if that was a storm.
        """
        closed = self.flush(now)
        if self._since is None:
            self._since = now
        self._events += events
        self._ports.update(ports)
        return closed

    @property
    def closes_at(self) -> float:
        """When a window that is a storm already will be over, on the same clock; infinity while there is none."""
        if self._since is None or self._events < self._threshold:
            return math.inf
        return self._since + WINDOW_SECONDS

    def flush(self, now: float) -> Storm | None:
        """Close the window if its second is over at ``now``; returns it if it was a storm."""
        if self._since is None or now < self._since + WINDOW_SECONDS:
            return None
        storm = Storm(self._events, len(self._ports)) if self._events >= self._threshold else None
        self._since = None
        self._events = 0
        self._ports.clear()
        return storm
