"""Values over time: kept to a window, put in order, and thinned to as many points as a computation can afford."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import ceil
from typing import Final

from portsyncd.analytics.stats import mean, usable

Point = tuple[float, float]
"""When (Unix seconds), and the value."""

DAY: Final = 86400.0
# Widths of a bucket in seconds: each divides a day, so that buckets of different days are at the same times of day.
_WIDTHS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)


def kept(points: Iterable[Point], since: float, until: float) -> list[Point]:
    """Those of the window, both ends included, that are numbers; oldest first, whatever order they came in."""
    return sorted(point for point in points if since <= point[0] <= until and usable(point[0]) and usable(point[1]))


def buckets(points: Sequence[Point], most: int) -> list[list[Point]]:
    """These points, which are oldest first, in at most ``most`` (2 or more) groups of neighbours; none is empty.

    Points of the same millisecond are always together. Where that leaves too many groups, points are together that are
    in the same stretch of time. Stretches begin at multiples of their width, not at the first point: a window that
    moves on does not deal its points out anew.
    """
    if len(points) <= most:
        return [list(group) for _, group in groupby(points, key=lambda point: round(point[0], 3))]
    width = _width(points[-1][0] - points[0][0], most)
    return [list(group) for _, group in groupby(points, key=lambda point: point[0] // width)]


def _width(span: float, most: int) -> float:
    """The smallest width whose stretches number at most ``most``, wherever a span of so many seconds begins."""
    for width in _WIDTHS:
        if ceil(span / width) < most:
            return width
    return ceil(span / DAY / (most - 1)) * DAY


def means(groups: Iterable[Sequence[Point]]) -> list[Point]:
    """One point for each group: its mean, at the time of its middle point."""
    return [(group[len(group) // 2][0], mean([value for _, value in group])) for group in groups]


def peaks(groups: Iterable[Sequence[Point]]) -> list[Point]:
    """One point for each group: the one with its highest value."""
    return [max(group, key=lambda point: point[1]) for group in groups]


def dips(groups: Iterable[Sequence[Point]]) -> list[Point]:
    """One point for each group: the one with its lowest value."""
    return [min(group, key=lambda point: point[1]) for group in groups]
