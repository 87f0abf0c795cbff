"""Every metric of the daemon.

Services record into ``Histogram`` and plain integers; ``Facts`` is one consistent look at all of it. So recording costs an
addition. ``CATALOGUE`` has each family's name, type, labels, unit, buckets and help, and knows no service; ``Metrics``
renders it.
"""

from portsyncd.metrics.catalogue import CATALOGUE, HEALTH, Family
from portsyncd.metrics.exposition import CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, Metrics
from portsyncd.metrics.facts import (
    EVENT_LATENCY_BUCKETS,
    REDIS_LATENCY_BUCKETS,
    SYNC_DURATION_BUCKETS,
    Chronicle,
    Facts,
    HealingFacts,
    Histogram,
    WebFacts,
)
from portsyncd.model.port import PortCounters

__all__ = [
    "CATALOGUE",
    "CONTENT_TYPE_OPENMETRICS",
    "CONTENT_TYPE_TEXT",
    "EVENT_LATENCY_BUCKETS",
    "HEALTH",
    "REDIS_LATENCY_BUCKETS",
    "SYNC_DURATION_BUCKETS",
    "Chronicle",
    "Facts",
    "Family",
    "HealingFacts",
    "Histogram",
    "Metrics",
    "PortCounters",
    "WebFacts",
]
