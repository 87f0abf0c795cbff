"""Whether the event path keeps what the configuration demands of it."""

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


def shortfalls(demands: Demands, latencies: Sequence[float], outcomes: Sequence[bool]) -> list[str]:
    """What recent events and writes did not meet, in words. outcomes: per write, whether it was acknowledged."""
    said = []
    if quantile(latencies, 0.99) > demands.max_latency:
        said.append(f"one event of a hundred takes longer than {1e6 * demands.max_latency:,.0f} us to Redis")
    if 100.0 * sum(outcomes) < demands.min_success_rate * len(outcomes):
        said.append(f"less than {demands.min_success_rate:g} % of the port writes are acknowledged")
    return said
