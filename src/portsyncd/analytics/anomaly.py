"""Values that do not fit the others: the modified z-score, which the outliers themselves hardly move.

The score is 0.6745 times the distance from the median in units of the MAD; where that is 0, since more than half of the
values are equal, the distance in units of 1.2533 times the mean distance. Both make it comparable with a z-score for values
that are normally distributed. Above 3.5 it is an anomaly (B. Iglewicz and D. C. Hoaglin, How to Detect and Handle
Outliers, 1993).

A value is compared with those of earlier days at the same hour (UTC) as soon as there are ``DAYS`` of them: what happens
every night is not odd. Before that, with all the others.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from portsyncd.analytics.series import DAY, Point, kept
from portsyncd.analytics.stats import LARGEST, deviation, median

THRESHOLD: Final = 3.5
# Fewer values have no usual one that another could be told from.
FEWEST: Final = 8
# A week has each weekday once, and three odd days among seven leave the median where it is.
DAYS: Final = 7
# Beyond it a score says no more; it keeps a division by next to nothing finite.
HIGHEST: Final = 1000.0
_HOUR: Final = 3600.0
# The quartile of the standard normal distribution, and the ratio of its standard deviation to its mean distance.
_MAD_FACTOR: Final = 0.6745
_MEAN_FACTOR: Final = 1.253314
# Closer to the median than that it differs in nothing but the rounding of the last digits.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A value that does not fit the others. at: Unix seconds; score: robust z-score, signed; seasonal: it was compared
    with the same time of earlier days."""

    at: float
    value: float
    score: float
    seasonal: bool = False


def scored(points: Iterable[Point]) -> list[Anomaly]:
    """Every point with its score, oldest first, anomaly or not; none where there are fewer than ``FEWEST``."""
    ordered = kept(points, -LARGEST, LARGEST)
    if len(ordered) < FEWEST:
        return []
    everything = _Usual([value for _, value in ordered])
    by_hour: dict[float, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for at, value in ordered:
        by_hour[at % DAY // _HOUR][at // DAY].append(value)
    result = []
    for at, value in ordered:
        earlier = [values for day, values in by_hour[at % DAY // _HOUR].items() if day < at // DAY]
        seasonal = len(earlier) >= DAYS
        # The value itself takes part, so that one is told also from others that are all equal.
        usual = _Usual([value, *(each for values in earlier for each in values)]) if seasonal else everything
        result.append(Anomaly(at, value, usual.score(value), seasonal))
    return result


def strongest(points: Iterable[Anomaly], most: int) -> list[Anomaly]:
    """Those of the scored points that are anomalies, oldest first; the ``most`` strongest of them."""
    odd = sorted((point for point in points if abs(point.score) > THRESHOLD), key=lambda point: -abs(point.score))
    return sorted(odd[:most], key=lambda point: point.at)


class _Usual:
    """What values (at least one) are usual, by these."""

    def __init__(self, values: Sequence[float]) -> None:
        self._middle = median(values)
        mad, mean_distance = deviation(values, self._middle)
        self._unit = mad / _MAD_FACTOR or mean_distance * _MEAN_FACTOR

    def score(self, value: float) -> float:
        distance = value - self._middle
        if abs(distance) <= _ROUNDING * abs(self._middle) or self._unit == 0:
            return 0.0
        return max(-HIGHEST, min(distance / self._unit, HIGHEST))
