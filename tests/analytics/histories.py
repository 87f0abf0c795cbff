"""Histories for the tests: a sample and a start by what matters of them, and any history at all for properties."""

from typing import Any

from hypothesis import strategies as st

from portsyncd.analytics.history import History, Outcome, PortFlaps, Restored, Sample, Start

NOW = 1_700_000_000.0
HOUR = 3600.0
DAY = 86400.0


def sample(at: float, **what: Any) -> Sample:
    values = {
        "seconds": 10.0,
        "health": 1.0,
        "events": 0,
        "flaps": 0,
        "resyncs": 0,
        "latency_p50": None,
        "latency_p95": None,
        "latency_p99": None,
        "memory_bytes": 40_000_000,
        "queue_depth": 0,
    }
    return Sample(at=at, **(values | what))


def life(at: float, seen: float, outcome: Outcome = Outcome.EOIU, **what: Any) -> Start:
    return Start(at=at, seen=seen, outcome=outcome, **what)


anything = st.floats()
"""NaN, infinities and the largest numbers as well."""
plausible = st.floats(min_value=NOW - 40 * DAY, max_value=NOW + DAY)
moments = plausible | anything
counts = st.integers(min_value=0, max_value=2**63 - 1) | st.integers(min_value=0, max_value=100)
starts = st.builds(
    Start,
    at=moments,
    outcome=st.sampled_from(Outcome),
    restored=st.sampled_from(Restored),
    damaged=counts,
    sync_seconds=st.none() | anything,
    eoiu_seconds=st.none() | anything,
    events=counts,
    seen=moments,
    healthy=st.booleans(),
    stopped=st.booleans(),
)
samples = st.builds(
    Sample,
    at=moments,
    seconds=st.just(10.0) | anything,
    health=st.sampled_from([1.0, 0.5, 0.0]) | anything,
    events=counts,
    flaps=counts,
    resyncs=counts,
    latency_p50=st.none() | anything,
    latency_p95=st.none() | anything,
    latency_p99=st.none() | anything,
    memory_bytes=counts,
    queue_depth=counts,
)
port_flaps = st.builds(
    PortFlaps, at=moments, port=st.sampled_from(["Ethernet0", "Ethernet4"]), flaps=counts, total=counts
)
histories = st.builds(
    History,
    since=st.just(NOW - 30 * DAY) | moments,
    starts=st.lists(starts, max_size=8),
    samples=st.lists(samples, max_size=30),
    flaps=st.lists(port_flaps, max_size=15),
)
