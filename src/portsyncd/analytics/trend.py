"""Whether a series rises or falls, and how fast. Outliers and the shape of the distribution do not matter to either answer.

Whether: the Mann-Kendall test, which counts how many pairs of values rise with time and how many fall, with the correction
for ties and the one for continuity (R. O. Gilbert, Statistical Methods for Environmental Pollution Monitoring, 1987,
chapter 16). How fast: the Theil-Sen slope, the median of the slopes of all pairs.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, erfc, sqrt
from typing import Final

from portsyncd.analytics.series import Point, buckets, kept, means
from portsyncd.analytics.stats import LARGEST, percentile

# With fewer values the normal approximation does not hold (Gilbert has tables for fewer than 10), and they say little.
FEWEST: Final = 8
# The test looks at every pair. Means of longer stretches also depend less on each other than neighbouring values do,
# which the test takes for independent.
MOST: Final = 200
# Stricter than the usual 0.05: what dependence is left makes p too small, and several series are tested at a time.
SIGNIFICANT: Final = 0.01
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Trend:
    """direction: "rising", "falling" or "steady" (not significant). slope: per hour, in the series' unit (Theil-Sen).
    p_value: of the Mann-Kendall test, two-sided; 1.0 where there are too few values."""

    direction: str
    slope: float
    p_value: float


def trend(points: Sequence[Point]) -> Trend | None:
    """The trend of these points, in whatever order; None where there is none. Above ``MOST`` they are thinned to means."""
    thinned = means(buckets(kept(points, -LARGEST, LARGEST), MOST))
    if not thinned:
        return None
    if len(thinned) < FEWEST:
        return Trend("steady", 0.0, 1.0)
    # Times differ, so that a slope's sign is that of the pair's difference.
    slopes = sorted(
        (value - before) / (at - then) for n, (at, value) in enumerate(thinned) for then, before in thinned[:n]
    )
    p_value = _p_value(len(slopes) - bisect_right(slopes, 0.0) - bisect_left(slopes, 0.0), thinned)
    slope = percentile(slopes, 0.5) * _HOUR
    if p_value >= SIGNIFICANT or slope == 0:
        return Trend("steady", slope, p_value)
    return Trend("rising" if slope > 0 else "falling", slope, p_value)


def _p_value(excess: int, points: Sequence[Point]) -> float:
    """How likely so large an excess of rising pairs over falling ones (or the other way round) is without a trend."""
    ties = Counter(value for _, value in points).values()
    variance = (_spread(len(points)) - sum(map(_spread, ties))) / 18
    if excess == 0:  # so it is where all are tied, and the variance 0
        return 1.0
    # Continuity: the excess is a whole number, and moves by two.
    return erfc(abs(excess - copysign(1, excess)) / sqrt(2 * variance))


def _spread(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)
