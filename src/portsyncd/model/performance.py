"""What the configuration demands of the event path, and how a sample of it is summed up."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demands:
    """max_latency: seconds from reading an event to Redis' acknowledgement, for 99 of 100 events. min_success_rate:
    percent of port writes that Redis acknowledged."""

    max_latency: float = 0.010
    min_success_rate: float = 99.0


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which about ``share`` (0 to 1) of these lie; 0 for none."""
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0
