"""The metric families that the code exports, and their table in docs/metrics.md.

``python -m tests.ops.catalogue`` (in the tree's root) makes the table anew; a test holds the page to it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from portsyncd.metrics import (
    CATALOGUE,
    EVENT_LATENCY_BUCKETS,
    REDIS_LATENCY_BUCKETS,
    SYNC_DURATION_BUCKETS,
    Chronicle,
    Facts,
    Family,
    HealingFacts,
    Histogram,
    Metrics,
    WebFacts,
)

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "metrics.md"

_PART: Final = re.compile(r"(<!-- generated: metrics -->\n).*?(<!-- end -->)", re.DOTALL)


def just_started() -> Facts:
    """A daemon to which nothing has happened: its label values are those that are known beforehand."""
    return Facts(
        uptime=0.0,
        memory_bytes=0,
        health="healthy",
        redis_connected=False,
        netlink_connected=False,
        events_processed=0,
        events_failed=0,
        events_conflated=0,
        ports={},
        port_counters=[],
        queue_depth=0,
        queue_bound=1,
        event_latency=Histogram(EVENT_LATENCY_BUCKETS),
        redis_latency=Histogram(REDIS_LATENCY_BUCKETS),
        sync_duration=Histogram(SYNC_DURATION_BUCKETS),
        overruns=0,
        last_certified_sync=None,
        resyncs={},
        restarts={},
        chronicle=Chronicle(),
        set_aside={},
        storage={"port_state": True, "history": True},
        analysis=None,
        flap_penalties={},
        healing=HealingFacts(),
        web=WebFacts(),
    )


def series() -> set[str]:
    """Every name that a series of a scrape can have, those of the process among them."""
    parts = {"histogram": ("_bucket", "_count", "_sum")}
    own = {family.name + part for family in CATALOGUE for part in parts.get(family.kind, ("",))}
    collected = Metrics(just_started, version="1").registry.collect()
    return own | {
        sample.name for family in collected for sample in family.samples if family.name.startswith("process_")
    }


def table() -> str:
    """One row a family: name, type, labels (with those of their values that are known beforehand), meaning."""
    rows = [("name", "type", "labels", "meaning"), ("---",) * 4]
    rows += [(f"`{family.name}`", family.kind, _labels(family), family.help) for family in CATALOGUE]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def update(text: str) -> str:
    """The document with the table made anew."""
    return _PART.sub(lambda match: f"{match[1]}{table()}\n{match[2]}", text)


def _labels(family: Family) -> str:
    values: list[str] = []
    if family.per_port:
        values = [value for fixed, _ in family.per_port for value in fixed]
    elif family.read is not None and isinstance(read := family.read(just_started()), Mapping):
        values = [str(value) for value in read]
    first, *others = family.labels or ("",)
    return "; ".join([f"{first}: {', '.join(values)}" if values else first, *others])


if __name__ == "__main__":
    DOCUMENT.write_text(update(DOCUMENT.read_text("utf-8")), "utf-8")
