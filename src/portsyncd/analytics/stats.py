"""A sample of numbers in figures. What is no number takes no part, so that no figure is ever NaN or infinite."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, fsum
from typing import Final

# Nothing that is measured here comes near it, and squares and sums of what is below stay finite.
LARGEST: Final = 1e100


@dataclass(frozen=True, slots=True)
class Summary:
    """A sample in figures; all in the sample's own unit. count: values that are numbers (NaN and infinities are left out)."""

    count: int
    minimum: float
    maximum: float
    mean: float
    p50: float
    p95: float
    p99: float


def usable(value: float) -> bool:
    """It is a number that can be computed with: neither NaN nor infinite, and below ``LARGEST`` in size."""
    return -LARGEST < value < LARGEST


def summarize(values: Iterable[float]) -> Summary | None:
    """The figures of those values that are usable; None where none is."""
    ordered = sorted(filter(usable, values))
    if not ordered:
        return None
    p50, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
    return Summary(len(ordered), ordered[0], ordered[-1], mean(ordered), p50, p95, p99)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of these lie, which are sorted and at least one.

    Linear between the two closest ranks (Hyndman and Fan's type 7, the default of numpy and R).
    """
    rank = share * (len(ordered) - 1)
    low = floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def mean(values: Sequence[float]) -> float:
    """Of at least one usable value. Never outside of what they span, as rounding would have it for equal values."""
    return min(max(fsum(values) / len(values), min(values)), max(values))


def median(values: Iterable[float]) -> float:
    """Of at least one usable value."""
    return percentile(sorted(values), 0.5)


def deviation(values: Sequence[float], middle: float) -> tuple[float, float]:
    """How far these (at least one) lie from ``middle``: the median of the distances (MAD), and their mean."""
    distances = [abs(value - middle) for value in values]
    return median(distances), mean(distances)


def ratio(part: float, whole: float) -> float | None:
    """The share of ``part`` in ``whole``; None where there is nothing to divide by."""
    return part / whole if whole > 0 else None
