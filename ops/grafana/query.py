"""A question to Prometheus, and which switches it is about."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import Dataquery, PromQueryFormat

DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

# Stands in every selector of an expression for what narrows it to the chosen switches.
TARGET: Final = "<target>"


class Scope(StrEnum):
    """What ``TARGET`` means on a dashboard. Grafana escapes a value for a regular expression where several may be chosen, and
    does not where only one can be: ``[::1]:9090`` as an instance needs it the first way and breaks the second."""

    MANY = 'job=~"$job", instance=~"$instance"'
    ONE = 'job="$job", instance="$instance"'


def ask(expr: str, legend: str = "") -> prometheus.Dataquery:
    """A query over the time that is shown. legend: may name labels, as ``{{instance}}``."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).range()


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """A query for the newest values alone."""
    return ask(expr, legend).instant()


def cells(expr: str) -> prometheus.Dataquery:
    """A query for a column of a table, a row for each set of labels."""
    return prometheus.Dataquery().expr(expr).instant().format(PromQueryFormat.TABLE)


def buckets(expr: str) -> prometheus.Dataquery:
    """A query for a heatmap: the growth of a histogram's buckets."""
    return ask(expr, "{{le}}").format(PromQueryFormat.HEATMAP)


def quantiles(histogram: str, *percents: int) -> Sequence[prometheus.Dataquery]:
    """Some quantiles of a histogram of seconds."""
    rate = f"rate({histogram}_bucket{{{TARGET}}}[$__rate_interval])"
    return [ask(f"histogram_quantile({percent / 100:g}, {rate})", f"p{percent}") for percent in percents]


def built(queries: Sequence[prometheus.Dataquery]) -> list[Dataquery]:
    """The queries of one panel, named A, B, C and so on."""
    return [query.ref_id(chr(ord("A") + place)).datasource(DATASOURCE).build() for place, query in enumerate(queries)]
