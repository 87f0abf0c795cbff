"""All switches at once: who is well, who is slow, who flaps."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import DashboardLink

from ops.grafana import panels, switch
from ops.grafana.page import page
from ops.grafana.panels import Column
from ops.grafana.query import Scope, ask, now

_RATE: Final = "rate(portsyncd_events_processed_total{<target>}[$__rate_interval])"
_BUCKETS: Final = "rate(portsyncd_event_latency_seconds_bucket{<target>}[$__rate_interval])"


def _each(metric: str, more: str = "") -> str:
    """A gauge with the labels that tell switches apart and no others, so that columns of a table meet."""
    return f"max by (job, instance) ({metric}{{<target>{more}}})"


NOW: Final = [
    panels.number(
        "Healthy",
        "Switches whose portsyncd calls itself healthy, of all that Prometheus knows. Those that are missing are counted to "
        "the right, and named in the table below.",
        now('sum(portsyncd_health_state{<target>, status="healthy"}) or vector(0)', "healthy"),
        now("count(up{<target>})", "of"),
        width=6,
        alerts=["PortsyncdHealthStatusDown"],
    ),
    panels.number(
        "Degraded",
        "It works, and something wants a look. /health of that switch says what.",
        now('sum(portsyncd_health_state{<target>, status="degraded"}) or vector(0)'),
        steps=panels.SOME_IS_FAIR,
        alerts=["PortsyncdHealthStatusDown"],
    ),
    panels.number(
        "Unhealthy",
        "The databases do not follow the kernel's links. Treat it as an outage of that switch's control plane.",
        now('sum(portsyncd_health_state{<target>, status="unhealthy"}) or vector(0)'),
        steps=panels.NONE_IS_GOOD,
        alerts=["PortsyncdUnhealthy"],
    ),
    panels.number(
        "No answer",
        "Targets that could not be scraped. Nothing is known of them; Prometheus' page of targets shows the error.",
        now("count(up{<target>} == 0) or vector(0)"),
        steps=panels.NONE_IS_GOOD,
        alerts=["PortsyncdTargetDown"],
    ),
    panels.number(
        "Alerts",
        "Alerts of portsyncd that fire. Each says what it means and where it stands what to do.",
        now('count(ALERTS{<target>, alertname=~"Portsyncd.+", alertstate="firing"}) or vector(0)'),
        steps=panels.NONE_IS_GOOD,
    ),
    panels.number(
        "Ports awaited",
        "Ports that CONFIG_DB has and that have no link. After a start most of SONiC waits for them.",
        now('sum(portsyncd_ports{<target>, state="awaited"}) or vector(0)'),
        steps=panels.SOME_IS_FAIR,
        alerts=["PortsyncdPortsAwaitedTooLong"],
    ),
    panels.number(
        "Ports up",
        "Ports whose link is up.",
        now('sum(portsyncd_ports{<target>, state="up"}) or vector(0)'),
    ),
]

LOAD: Final = [
    panels.lines(
        "P99 event latency",
        "From the kernel's event to the acknowledgement of Redis: 99 of 100 events took at most so long. Below 10 ms is "
        "usual. Empty while nothing happens. Open the switch that stands out, and compare with its Redis.",
        ask(f"histogram_quantile(0.99, {_BUCKETS})", "{{instance}}"),
        ask(f"histogram_quantile(0.99, sum by (le) ({_BUCKETS}))", "all"),
        unit="s",
        steps=((None, "green"), (0.1, "red")),
        alerts=["PortsyncdHighLatency"],
    ),
    panels.lines(
        "Event rate",
        "Link events a second, and their average over the switches. One far above it has a port that flaps or a script "
        "that changes links.",
        ask(_RATE, "{{instance}}"),
        ask(f"avg({_RATE})", "average"),
        unit="cps",
    ),
    panels.lines(
        "Memory",
        "Resident memory, and its average over the switches. It is steady after the start; one that rises for days is worth "
        "a report.",
        ask("portsyncd_memory_bytes{<target>}", "{{instance}}"),
        ask("avg(portsyncd_memory_bytes{<target>})", "average"),
        unit="bytes",
        alerts=["PortsyncdMemoryBeyondLimit"],
    ),
    panels.bars(
        "Flaps: top 5 of the last hour",
        "Ports that lost their carrier most often, by the kernel's own count: cable, optics, or the other side.",
        now("topk(5, increase(portsyncd_port_flaps_total{<target>}[1h]))", "{{port}} of {{instance}}"),
        decimals=0,
        width=12,
        steps=((None, "green"), (1, "orange"), (30, "red")),
        alerts=["PortsyncdPortFlapping"],
    ),
]

SWITCHES: Final = panels.rows(
    "Switches",
    "A row for each target. Awaited: in CONFIG_DB, without a link. Pending: a link, not yet in APPL_DB. Last certified sync: "
    "when the databases were last proven equal to the kernel. The name leads to the switch's own dashboard.",
    Column("Answers", _each("up"), words=panels.YES_NO),
    Column("Health", _each("portsyncd_health_status"), words=panels.HEALTH),
    Column("Awaited", _each("portsyncd_ports", ', state="awaited"'), steps=panels.SOME_IS_FAIR),
    Column("Pending", _each("portsyncd_ports", ', state="pending"'), steps=panels.SOME_IS_FAIR),
    Column(
        "Last certified sync", f"1000 * {_each('portsyncd_last_certified_sync_timestamp_seconds')}", "dateTimeFromNow"
    ),
    Column("", "max by (job, instance, version) (portsyncd_build_info{<target>})"),
    link=DashboardLink("Switch")
    .url(
        f"/d/{switch.UID}?${{datasource:queryparam}}&var-job=${{__data.fields.job:percentencode}}"
        "&var-instance=${__data.fields.instance:percentencode}&${__url_time_range}"
    )
    .tooltip("This switch alone"),
    alerts=["PortsyncdLastCertifiedSyncTooOld"],
)

PAGE: Final = page(
    "portsyncd-fleet",
    "portsyncd: fleet",
    "All switches at once: who is well, who is slow, who flaps.",
    Scope.MANY,
    [("Now", NOW), ("Latency and load", LOAD), ("One by one", [SWITCHES])],
)
