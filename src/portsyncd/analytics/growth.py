"""How fast something grows that goes on growing, like memory that leaks."""

from collections import deque
from typing import Final

from portsyncd.analytics.series import Point
from portsyncd.analytics.stats import median
from portsyncd.analytics.trend import trend

SAMPLE_SECONDS: Final = 30.0
WINDOW_SECONDS: Final = 3600.0
# With less than that behind it, what a start takes would count as growth.
LEAST_SECONDS: Final = 1800.0


class Growth:
    """A window of ``WINDOW_SECONDS`` over a value, one sample in ``SAMPLE_SECONDS``. All moments are seconds of one clock."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque()
        self.per_hour: float | None = None
        """The smaller of the slopes of both halves (Theil-Sen): what only once took a step, however high, or has stopped
        growing, does not grow. None while samples span less than ``LEAST_SECONDS``."""
        self.base = 0.0
        """The level at the window's begin: the median of its first tenth."""

    def add(self, now: float, value: float) -> None:
        """Take a sample, where one is due."""
        points = self._points
        if points and now - points[-1][0] < SAMPLE_SECONDS:
            return
        points.append((now, value))
        while now - points[0][0] > WINDOW_SECONDS:
            points.popleft()
        if now - points[0][0] < LEAST_SECONDS:
            self.per_hour, self.base = None, 0.0
            return
        ordered = list(points)
        half = len(ordered) // 2
        slopes = [found.slope for part in (ordered[:half], ordered[half:]) if (found := trend(part)) is not None]
        self.per_hour = min(slopes, default=None)
        self.base = median(value for _, value in ordered[: 1 + len(ordered) // 10])
