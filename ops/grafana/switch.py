"""One switch: what it does now, how fast, what went wrong and was healed; and one of its ports."""

from typing import Final

from ops.grafana import panels
from ops.grafana.page import page, values
from ops.grafana.query import Scope, ask, buckets, now, quantiles

UID: Final = "portsyncd-switch"

NOW: Final = [
    panels.number(
        "Health",
        "Unhealthy: the databases do not follow the kernel. Degraded: it works, and something wants a look. /health says what.",
        now("portsyncd_health_status{<target>}"),
        words=panels.HEALTH,
        alerts=["PortsyncdHealthStatusDown"],
    ),
    panels.number(
        "Redis",
        "Whether all databases can be used. While they cannot, changes wait and nothing is lost.",
        now("portsyncd_redis_connected{<target>}"),
        words=panels.YES_NO,
        alerts=["PortsyncdDatabaseDown"],
    ),
    panels.number(
        "Kernel",
        "Whether the kernel's link events are heard.",
        now("portsyncd_netlink_connected{<target>}"),
        words=panels.YES_NO,
        alerts=["PortsyncdNetlinkDown"],
    ),
    panels.number(
        "Up for",
        "Time since the daemon was started.",
        now("portsyncd_uptime_seconds{<target>}"),
        unit="s",
        alerts=["PortsyncdProcessRestartLoop"],
    ),
    panels.number(
        "Ports awaited",
        "Ports that CONFIG_DB has and that have no link. /health names them; SIGUSR1 stops waiting for them.",
        now('portsyncd_ports{<target>, state="awaited"}'),
        steps=panels.SOME_IS_FAIR,
        alerts=["PortsyncdPortsAwaitedTooLong"],
    ),
    panels.number(
        "Ports contested",
        "Ports whose entries in Redis somebody else writes, so that they are left alone. /health names them.",
        now("portsyncd_contested_ports{<target>}"),
        steps=panels.SOME_IS_FAIR,
        alerts=["PortsyncdPortsContested"],
    ),
    panels.number(
        "Alerts",
        "Alerts of this switch that fire.",
        now('count(ALERTS{<target>, alertname=~"Portsyncd.+", alertstate="firing"}) or vector(0)'),
        steps=panels.NONE_IS_GOOD,
    ),
    panels.number("Version", "Of portsyncd.", now("portsyncd_build_info{<target>}", "{{version}}"), named=True),
]

PORTS: Final = [
    panels.lines(
        "Ports by state",
        "Up, down: the link's oper state. Awaited: in CONFIG_DB, no link. Pending: a link that orchagent has not put into "
        "APPL_DB yet. Awaited or pending for minutes after a start: PortInitDone waits, and most of SONiC with it.",
        ask("portsyncd_ports{<target>}", "{{state}}"),
        stacked=True,
        alerts=["PortsyncdPortsAwaitedTooLong"],
    ),
    panels.bars(
        "Flaps: top 10 of the last hour",
        "Ports that lost their carrier most often, by the kernel's own count: cable, optics, or the other side.",
        now("topk(10, increase(portsyncd_port_flaps_total{<target>}[1h]))", "{{port}}"),
        decimals=0,
        steps=((None, "green"), (1, "orange"), (30, "red")),
        alerts=["PortsyncdPortFlapping"],
    ),
    panels.bars(
        "Flap penalties: top 10",
        "1000 a flap, halved every 15 minutes. From 2000 on a port counts as flapping. Ports below 1 are not shown.",
        now("topk(10, portsyncd_port_flap_penalty{<target>})", "{{port}}"),
        decimals=0,
        steps=((None, "green"), (1000, "orange"), (2000, "red")),
    ),
]

LATENCY: Final = [
    panels.heat(
        "Event latency",
        "How many events took how long from the kernel to the acknowledgement of Redis. Of a second band far above the first "
        "ask what happens then: Redis, to the right, and the events below.",
        buckets("sum by (le) (increase(portsyncd_event_latency_seconds_bucket{<target>}[$__rate_interval]))"),
    ),
    panels.lines(
        "Event latency: quantiles",
        "p99: 99 of 100 events took at most so long. Below 10 ms is usual. Empty while nothing happens. If Redis, to the "
        "right, is slow too, begin there.",
        *quantiles("portsyncd_event_latency_seconds", 50, 95, 99),
        unit="s",
        width=6,
        steps=((None, "green"), (0.1, "red")),
        alerts=["PortsyncdHighLatency"],
    ),
    panels.lines(
        "Redis latency: quantiles",
        "One round trip of a pipeline: writes, and the look that is taken once a second. Slow: redis-cli slowlog get.",
        *quantiles("portsyncd_redis_latency_seconds", 50, 95, 99),
        unit="s",
        width=6,
    ),
]

LOAD: Final = [
    panels.lines(
        "Events",
        "Link events a second. Folded ones were replaced by a newer one of the same port before anything was written: many "
        "in a storm, and no loss. Failed ones are made up for by reading all links anew; a steady rate of them is a fault.",
        ask("rate(portsyncd_events_processed_total{<target>}[$__rate_interval])", "processed"),
        ask("rate(portsyncd_events_conflated_total{<target>}[$__rate_interval])", "folded"),
        ask("rate(portsyncd_events_failed_total{<target>}[$__rate_interval])", "failed"),
        unit="cps",
        alerts=["PortsyncdHighFailureRate"],
    ),
    panels.lines(
        "Queue depth",
        "Ports whose change has not been written yet. Near 0 but for moments; it grows while Redis is away. If it stands above "
        "0 with Redis connected, the daemon is stuck.",
        ask("portsyncd_queue_depth{<target>}", "ports"),
        width=6,
        alerts=["PortsyncdSyncStalled"],
    ),
    panels.lines(
        "Queue saturation",
        "Share of the queue that is in use. At 100 % events of further ports are refused and all links are read anew: "
        "performance.max_event_queue is smaller than the number of ports.",
        ask("portsyncd_queue_saturation_ratio{<target>}", "in use"),
        unit="percentunit",
        width=6,
        maximum=1,
        steps=((None, "green"), (0.8, "orange"), (1, "red")),
    ),
    panels.lines(
        "Memory",
        "Resident memory, and what it may be (self_healing.memory_limit_mb; no line where it is not looked at). Beyond the "
        "limit the daemon gives back what it can, or ends in good order where it may.",
        ask("portsyncd_memory_bytes{<target>}", "resident"),
        ask("portsyncd_memory_limit_bytes{<target>}", "limit"),
        unit="bytes",
        alerts=["PortsyncdMemoryBeyondLimit"],
    ),
    panels.lines(
        "CPU",
        "Share of one core. Near 100 %: more events than the daemon can carry. Find the port that flaps.",
        ask("rate(process_cpu_seconds_total{<target>}[$__rate_interval])", "of one core"),
        unit="percentunit",
    ),
]

HEALING: Final = [
    panels.lines(
        "Resyncs by reason",
        "Times that all links were read anew. start and reconcile are no faults. overrun: the kernel dropped events. "
        "interrupted: links changed while they were read.",
        ask("increase(portsyncd_resyncs_total{<target>}[$__rate_interval])", "{{reason}}"),
        bars=True,
        width=8,
    ),
    panels.lines(
        "Events that the kernel dropped",
        "Times that events came faster than they were read. Nothing is wrong now, since all links were read anew; if it "
        "repeats: netlink.receive_buffer_bytes.",
        ask("increase(portsyncd_netlink_overruns_total{<target>}[$__rate_interval])", "overruns"),
        bars=True,
        width=8,
        alerts=["PortsyncdNetlinkOverruns"],
    ),
    panels.lines(
        "Age of the last certified sync",
        "Seconds since the databases were last proven equal to the kernel, and how often that is done by itself (no line "
        "where it is not). Older than three intervals: /health says why no sync ends without a loss.",
        ask("time() - portsyncd_last_certified_sync_timestamp_seconds{<target>}", "age"),
        ask("portsyncd_reconcile_interval_seconds{<target>}", "interval"),
        unit="s",
        width=8,
        alerts=["PortsyncdLastCertifiedSyncTooOld"],
    ),
    panels.lines(
        "Healings by kind",
        "Faults that the daemon found and healed by itself. One now and then is what it is there for; many of one kind have "
        "a cause.",
        ask("increase(portsyncd_healings_total{<target>}[$__rate_interval])", "{{kind}}"),
        bars=True,
        width=8,
        alerts=["PortsyncdHealingTooOften"],
    ),
    panels.lines(
        "Differences found by reconciliation",
        "Entries in Redis that were wrong: missing, stale, or an orphan of a link that there is not. Somebody else writes "
        "to Redis, or Redis lost writes. The log has each.",
        ask("increase(portsyncd_reconcile_differences_total{<target>}[$__rate_interval])", "{{kind}}"),
        bars=True,
        width=8,
        alerts=["PortsyncdPortsContested"],
    ),
    panels.lines(
        "Restarts of services",
        "Parts of the daemon that failed and were started anew by its supervisor. The log says why.",
        ask("increase(portsyncd_service_restarts_total{<target>}[$__rate_interval])", "{{service}}"),
        bars=True,
        width=8,
        alerts=["PortsyncdServiceRestartLoop"],
    ),
    panels.bars(
        "Time since the last healing",
        "By kind; kinds that were never needed since the start are not shown.",
        now("time() - portsyncd_last_healing_timestamp_seconds{<target>}", "{{kind}}"),
        unit="s",
        width=8,
    ),
    panels.lines(
        "Standstills and set clocks",
        "Standstills: the daemon did nothing at all for long; the log has the stack. Clock: times that the clock on the wall "
        "was set, which only timestamps depend on.",
        ask("increase(portsyncd_loop_blocks_total{<target>}[$__rate_interval])", "standstills"),
        ask("increase(portsyncd_clock_steps_total{<target>}[$__rate_interval])", "clock set"),
        bars=True,
        width=8,
        alerts=["PortsyncdLoopBlocked"],
    ),
    panels.lines(
        "What does not fit",
        "How far the newest value of a series is from its usual ones, in robust standard deviations. Beyond 3.5 either way it "
        "does not fit; docs/analytics.md has the series.",
        ask("abs(portsyncd_series_anomaly_score{<target>})", "{{series}}"),
        width=8,
        steps=((None, "green"), (3.5, "orange")),
    ),
    panels.bars(
        "Trends",
        "How fast a series rises or falls, in its own unit an hour; 0 where that is not significant. memory_bytes that rises "
        "for days is a leak.",
        now("portsyncd_series_trend_per_hour{<target>}", "{{series}}"),
        width=8,
        minimum=None,
    ),
]

PORT: Final = [
    panels.lines(
        "Flaps of $port",
        "Carrier losses by the kernel's own counter, also of those too short to be seen: cable, optics, or the other side.",
        ask('increase(portsyncd_port_flaps_total{<target>, port="$port"}[$__rate_interval])', "flaps"),
        bars=True,
        width=6,
        alerts=["PortsyncdPortFlapping"],
    ),
    panels.lines(
        "Transitions of $port",
        "Changes of the oper state. Down without a flap: somebody shut it, or the trouble is above the cable.",
        ask('increase(portsyncd_port_transitions_total{<target>, port="$port"}[$__rate_interval])', "{{direction}}"),
        bars=True,
        width=6,
    ),
    panels.lines(
        "Writes of $port",
        "Writes of the port's state that Redis acknowledged, and those that it refused or did not answer. The latter are "
        "repeated; if they go on, Redis does not take writes: the log has the error.",
        ask('increase(portsyncd_port_sync_success_total{<target>, port="$port"}[$__rate_interval])', "acknowledged"),
        ask('increase(portsyncd_port_sync_failures_total{<target>, port="$port"}[$__rate_interval])', "failed"),
        bars=True,
        width=6,
        alerts=["PortsyncdHighFailureRate"],
    ),
    panels.number(
        "Flap penalty of $port",
        "1000 a flap, halved every 15 minutes. From 2000 on the port counts as flapping. Empty below 1.",
        now('portsyncd_port_flap_penalty{<target>, port="$port"}'),
        decimals=0,
        height=9,
        steps=((None, "green"), (1000, "orange"), (2000, "red")),
    ),
    panels.number(
        "Flapping in",
        "When $port will count as flapping if it goes on as it did; 0: it does now. Empty where it will not.",
        now('portsyncd_port_flap_threshold_seconds{<target>, port="$port"}'),
        unit="s",
        height=9,
    ),
]

PAGE: Final = page(
    UID,
    "portsyncd: one switch",
    "What one switch does now, how fast, what went wrong and was healed; and one of its ports.",
    Scope.ONE,
    [
        ("Now", NOW),
        ("Ports", PORTS),
        ("Latency", LATENCY),
        ("Load", LOAD),
        ("What went wrong, and was healed", HEALING),
        ("Port $port", PORT),
    ],
    variables=[
        values("port", "Port", f"label_values(portsyncd_port_flaps_total{{{Scope.ONE}}}, port)"),
    ],
)
