"""Every metric of the daemon: name, type, labels, unit and help, in this one file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from portsyncd.analytics.analysis import Analysis, Summary
from portsyncd.metrics.facts import Facts, Histogram
from portsyncd.model import healing, reconcile
from portsyncd.wire.statefile import Flaw

# Label values that are known beforehand: told from the start, so that a rate() sees the first one.
RESYNC_REASONS: Final = ("start", "overrun", "interrupted", "redis_reconnect", "generation", "reconcile", "stall")
HEALTH: Final[Mapping[str, float]] = {"healthy": 1.0, "degraded": 0.5, "unhealthy": 0.0}

# One value, None for none yet; by the value of the one label; by those of three; a histogram.
_Value = float | None | Mapping[str, float] | Mapping[tuple[str, str, str], float] | Histogram


@dataclass(frozen=True)
class Family:
    """One family of metrics. read: its value or values; None for those of ports. per_port: every port has one sample for
    each: the values of the labels before ``port``, and which of ``PortCounters`` it is. by_port: some ports have a value."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[Facts], _Value] | None = None
    labels: tuple[str, ...] = ()
    per_port: tuple[tuple[tuple[str, ...], str], ...] = ()
    by_port: Callable[[Facts], Iterable[tuple[str, float]]] | None = None

    @property
    def of_ports(self) -> bool:
        """Whether it may have a sample for each of thousands of ports."""
        return bool(self.per_port) or self.by_port is not None

    @property
    def unit(self) -> str:
        """The base unit, which its name ends with; "" for a plain number."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in ("seconds", "bytes", "ratio") else ""


def _by(labels: Sequence[str], values: Mapping[str, float]) -> Mapping[str, float]:
    """These labels in this order, 0 where nothing is known of one; then whatever else there is."""
    return dict.fromkeys(labels, 0) | dict(values)


def _analyzed(read: Callable[[Analysis], _Value]) -> Callable[[Facts], _Value]:
    """The same of the facts; None where there is no analysis."""
    return lambda facts: None if facts.analysis is None else read(facts.analysis)


def _figures(summary: Summary | None) -> Mapping[str, float]:
    if summary is None:
        return {}
    return {
        "min": summary.minimum,
        "mean": summary.mean,
        "p50": summary.p50,
        "p95": summary.p95,
        "p99": summary.p99,
        "max": summary.maximum,
    }


def _limits(analysis: Analysis) -> Mapping[str, float]:
    limits = {"restarts": analysis.restart_limit, "events": analysis.event_limit}
    return {name: limit.exceeded for name, limit in limits.items() if limit is not None}


def _slopes(analysis: Analysis) -> Mapping[str, float]:
    trends = {name: each.trend for name, each in analysis.series.items()}
    return {
        name: 0.0 if trend.direction == "steady" else trend.slope for name, trend in trends.items() if trend is not None
    }


def _crossings(facts: Facts) -> Iterable[tuple[str, float]]:
    ports = () if facts.analysis is None else facts.analysis.flapping
    return ((port.name, port.crosses_in) for port in ports if port.crosses_in is not None)


BUILD_INFO: Final = Family(
    "portsyncd_build_info",
    "gauge",
    "Always 1; the labels say which version runs, on which Python, and which TLS profile is in force.",
    labels=("python", "tls_profile", "version"),
)

CATALOGUE: Final[Sequence[Family]] = (
    # ---- events
    Family(
        "portsyncd_events_processed_total",
        "counter",
        "Link events that were carried through to Redis, or rightly ignored because no port's state follows from them. "
        "Stands still on an idle switch; standing still while links change means that the daemon is stuck.",
        lambda facts: facts.events_processed,
    ),
    Family(
        "portsyncd_events_failed_total",
        "counter",
        "Link events that could not be decoded, that a full mailbox refused, or that were being carried out when Redis "
        "failed. Each is made up for by reading all links anew, so a few are harmless; a steady rate is not.",
        lambda facts: facts.events_failed,
    ),
    Family(
        "portsyncd_events_conflated_total",
        "counter",
        "Link events that a newer one of the same port replaced before anything was written. They count as processed, "
        "too: high in a storm and while Redis is away, and no loss.",
        lambda facts: facts.events_conflated,
    ),
    Family(
        "portsyncd_event_latency_seconds",
        "histogram",
        "Time from reading a link event to the acknowledgement of Redis, one observation for each port written, by its "
        "oldest event. Without what came while Redis was away, and what waited for an APPL_DB entry.",
        lambda facts: facts.event_latency,
    ),
    Family(
        "portsyncd_queue_depth",
        "gauge",
        "Ports that changed and that the writer has not taken yet. Near 0 but for moments; it grows while Redis is away.",
        lambda facts: facts.queue_depth,
    ),
    Family(
        "portsyncd_queue_saturation_ratio",
        "gauge",
        "Share of the mailbox that is in use, 0 to 1. At 1 events of further ports are refused, and all links are read "
        "anew.",
        lambda facts: facts.queue_depth / max(facts.queue_bound, 1),
    ),
    # ---- the daemon and its connections
    Family(
        "portsyncd_health_status",
        "gauge",
        "Health in one number: 1 healthy, 0.5 degraded, 0 unhealthy. The /health page gives the reasons.",
        lambda facts: HEALTH[facts.health],
    ),
    Family(
        "portsyncd_health_state",
        "gauge",
        "1 for the present state of health, 0 for the others.",
        lambda facts: {status: float(status == facts.health) for status in HEALTH},
        ("status",),
    ),
    Family(
        "portsyncd_redis_connected",
        "gauge",
        "1 while all databases can be used; 0: port states wait, and are written when Redis is back.",
        lambda facts: facts.redis_connected,
    ),
    Family(
        "portsyncd_netlink_connected",
        "gauge",
        "1 while the kernel's link events are being received; 0 for more than a moment: changes of links go unnoticed.",
        lambda facts: facts.netlink_connected,
    ),
    Family(
        "portsyncd_redis_latency_seconds",
        "histogram",
        "Time of one pipeline round trip to Redis: writes, and the look that is taken once a second.",
        lambda facts: facts.redis_latency,
    ),
    Family("portsyncd_uptime_seconds", "gauge", "Time since the daemon was started.", lambda facts: facts.uptime),
    Family(
        "portsyncd_memory_bytes",
        "gauge",
        "Resident memory of the daemon. Steady after the start; growth over days is worth a report.",
        lambda facts: facts.memory_bytes,
    ),
    Family(
        "portsyncd_service_restarts_total",
        "counter",
        "Parts of the daemon that failed and were started anew by its supervisor. The log says why.",
        lambda facts: facts.restarts,
        ("service",),
    ),
    # ---- full syncs
    Family(
        "portsyncd_netlink_overruns_total",
        "counter",
        "Times that the kernel dropped link events, because they came faster than they were read, or cut one short. "
        "All links are read anew each time. If it happens often: a larger netlink.receive_buffer_bytes.",
        lambda facts: facts.overruns,
    ),
    Family(
        "portsyncd_resyncs_total",
        "counter",
        "Times that all links were read anew, by reason; one may have several. overrun: the kernel dropped events, or one "
        "could not be decoded. reconcile: it was time to compare Redis with them, which is no fault.",
        lambda facts: _by(RESYNC_REASONS, facts.resyncs),
        ("reason",),
    ),
    Family(
        "portsyncd_sync_duration_seconds",
        "histogram",
        "Time of a full sync, from beginning to read all links until all they brought was written.",
        lambda facts: facts.sync_duration,
    ),
    Family(
        "portsyncd_last_certified_sync_timestamp_seconds",
        "gauge",
        "When the databases were last proven equal to the kernel: by a full sync in which nothing was lost. Events keep "
        "them equal from then on; see reconcile_interval_seconds for when the next is due. Absent: not since the start.",
        lambda facts: facts.last_certified_sync,
    ),
    # ---- starts; these counters and times are kept over restarts of the daemon
    Family(
        "portsyncd_warm_restarts_total",
        "counter",
        "Starts of the daemon that were warm (ports and markers in APPL_DB were kept), the present one among them. Kept over "
        "restarts.",
        lambda facts: facts.chronicle.warm_restarts,
    ),
    Family(
        "portsyncd_cold_starts_total",
        "counter",
        "Starts of the daemon that were cold (all ports were announced anew), the present one among them. Kept over "
        "restarts.",
        lambda facts: facts.chronicle.cold_starts,
    ),
    Family(
        "portsyncd_eoiu_detected_total",
        "counter",
        "Starts whose end of initial update was reached: the first full read of the links came in complete. Kept over "
        "restarts.",
        lambda facts: facts.chronicle.eoiu_detected,
    ),
    Family(
        "portsyncd_eoiu_timeouts_total",
        "counter",
        "Warm restarts whose first sync did not end in time and that were completed all the same (see eoiu_timeout_secs). "
        "Kept over restarts.",
        lambda facts: facts.chronicle.eoiu_timeouts,
    ),
    Family(
        "portsyncd_state_recoveries_total",
        "counter",
        "Starts that took the saved state of the ports from a backup, since the newest file could not be used. Kept over "
        "restarts.",
        lambda facts: facts.chronicle.state_recoveries,
    ),
    Family(
        "portsyncd_corruptions_detected_total",
        "counter",
        "Saved files that were found to be damaged: empty, cut short, or not what was written. They were set aside and not "
        "used. Kept over restarts.",
        lambda facts: facts.chronicle.corruptions_detected,
    ),
    Family(
        "portsyncd_backups_created_total",
        "counter",
        "Saved states of the ports that became a backup when a newer one took their place. Kept over restarts.",
        lambda facts: facts.chronicle.backups_created,
    ),
    Family(
        "portsyncd_backups_cleaned_total",
        "counter",
        "Backups that were deleted because there were more than are to be kept. Kept over restarts.",
        lambda facts: facts.chronicle.backups_cleaned,
    ),
    Family(
        "portsyncd_last_warm_restart_timestamp_seconds",
        "gauge",
        "When the daemon was last restarted warm. Kept over restarts.",
        lambda facts: facts.chronicle.last_warm_restart,
    ),
    Family(
        "portsyncd_last_eoiu_timestamp_seconds",
        "gauge",
        "When the end of the initial update was last reached. Kept over restarts.",
        lambda facts: facts.chronicle.last_eoiu,
    ),
    Family(
        "portsyncd_last_state_recovery_timestamp_seconds",
        "gauge",
        "When the saved state of the ports was last taken from a backup. Kept over restarts.",
        lambda facts: facts.chronicle.last_state_recovery,
    ),
    Family(
        "portsyncd_last_corruption_timestamp_seconds",
        "gauge",
        "When a saved file was last found to be damaged. Kept over restarts.",
        lambda facts: facts.chronicle.last_corruption,
    ),
    # ---- what is kept on disk
    Family(
        "portsyncd_saved_files_set_aside_total",
        "counter",
        "Saved files that this process did not trust, by reason. They were renamed and stay for who wants to look; the log "
        "has their names. Too old is normal after a long time switched off, future where the clock was wrong.",
        lambda facts: _by([flaw.value for flaw in Flaw], facts.set_aside),
        ("reason",),
    ),
    Family(
        "portsyncd_storage_writable",
        "gauge",
        "1 while it can be written to disk, 0 while it cannot: port_state is what the next start knows of this one, history is "
        "what analytics are made of. The port sync itself needs neither.",
        lambda facts: facts.storage,
        ("what",),
    ),
    # ---- self-healing
    Family(
        "portsyncd_healings_total",
        "counter",
        "Faults that the daemon found and healed by itself, by kind; /health says what was done. One now and then is what it "
        "is there for, many of one kind have a cause.",
        lambda facts: _by([kind.value for kind in healing.Kind], facts.healing.counts),
        ("kind",),
    ),
    Family(
        "portsyncd_last_healing_timestamp_seconds",
        "gauge",
        "When a fault of this kind was last healed; absent: not since the start.",
        lambda facts: facts.healing.last,
        ("kind",),
    ),
    Family(
        "portsyncd_reconcile_differences_total",
        "counter",
        "Entries in Redis that were found wrong, by kind: missing, stale (not what the kernel says), orphan (of a link that "
        "there is not). The log has each; somebody else writes to Redis, or Redis lost writes.",
        lambda facts: _by([kind.value for kind in reconcile.Kind], facts.healing.differences),
        ("kind",),
    ),
    Family(
        "portsyncd_reconcile_interval_seconds",
        "gauge",
        "How often all links are read anew and Redis is compared with them; absent where that is switched off.",
        lambda facts: facts.healing.reconcile_interval,
    ),
    Family(
        "portsyncd_contested_ports",
        "gauge",
        "Ports whose entries came back wrong again and again, and are left as they are. Somebody else writes them; /health "
        "names them.",
        lambda facts: facts.healing.contested_ports,
    ),
    Family(
        "portsyncd_memory_limit_bytes",
        "gauge",
        "What portsyncd_memory_bytes may be; memory beyond it is given back. Absent where memory is not looked at.",
        lambda facts: facts.healing.memory_limit,
    ),
    Family(
        "portsyncd_clock_steps_total",
        "counter",
        "Times that the clock on the wall was set. Nothing in the daemon depends on it; timestamps of logs and metrics do.",
        lambda facts: facts.healing.clock_steps,
    ),
    Family(
        "portsyncd_loop_blocks_total",
        "counter",
        "Times that the daemon did nothing at all for long, because something kept its event loop busy. The log has the "
        "stack; it is a bug, or a machine that had no CPU time to give.",
        lambda facts: facts.healing.loop_blocks,
    ),
    # ---- analytics of the last 24 hours; absent where no history is kept, and where there is nothing to divide by
    Family(
        "portsyncd_recovery_success_ratio",
        "gauge",
        "Of the starts whose initial sync has ended or never will, the share that reached the end of the initial update. Last "
        "24 hours.",
        _analyzed(lambda analysis: analysis.recovery_success),
    ),
    Family(
        "portsyncd_corruption_recovery_ratio",
        "gauge",
        "Of the starts that found damaged files, the share that restored a saved state all the same. Last 24 hours.",
        _analyzed(lambda analysis: analysis.corruption_recovery),
    ),
    Family(
        "portsyncd_eoiu_timeout_ratio",
        "gauge",
        "Of the starts whose initial sync has ended, the share that was completed by timeout. Last 24 hours.",
        _analyzed(lambda analysis: analysis.eoiu_timeouts),
    ),
    Family(
        "portsyncd_availability_ratio",
        "gauge",
        "Share of the last 24 hours, since the first thing known of them, in which a daemon ran and was not unhealthy, by its "
        "own records. What Prometheus saw is in instance:portsyncd_available:ratio1d.",
        _analyzed(lambda analysis: analysis.availability),
    ),
    Family(
        "portsyncd_events_per_restart",
        "gauge",
        "Link events that a life of the daemon carried through on average, over the lives that have ended. Last 24 hours.",
        _analyzed(lambda analysis: analysis.events_per_restart),
    ),
    Family(
        "portsyncd_last_healthy_restart_timestamp_seconds",
        "gauge",
        "When the newest start was that became healthy. Last 24 hours.",
        _analyzed(lambda analysis: analysis.last_healthy_restart),
    ),
    Family(
        "portsyncd_eoiu_latency_seconds",
        "gauge",
        "Time from the beginning of a start's initial sync to the end of the initial update, over the starts of the last 24 "
        "hours.",
        _analyzed(lambda analysis: _figures(analysis.eoiu_latency)),
        ("stat",),
    ),
    Family(
        "portsyncd_rate_limit_exceeded",
        "gauge",
        "1 while there are more restarts, or link events, than is sound within the time that is looked at; /health and "
        "portsyncd analytics say how many.",
        _analyzed(_limits),
        ("limit",),
    ),
    Family(
        "portsyncd_series_trend_per_hour",
        "gauge",
        "How fast a series rises or falls, in its own unit an hour; 0 where that is not significant. Last 24 hours.",
        _analyzed(_slopes),
        ("series",),
    ),
    Family(
        "portsyncd_series_anomaly_score",
        "gauge",
        "How far the newest value of a series is from the usual ones, in robust standard deviations, signed; beyond 3.5 "
        "either way it does not fit. 0 where that cannot be told.",
        _analyzed(
            lambda analysis: {
                name: each.latest_score for name, each in analysis.series.items() if each.summary is not None
            }
        ),
        ("series",),
    ),
    # ---- this endpoint
    Family(
        "portsyncd_tls_reloads_total",
        "counter",
        "Reloads of certificate, key and CA of this endpoint. Refused: the new files are unusable, the old ones stay in "
        "use until they expire; the log names every problem.",
        lambda facts: _by(("applied", "refused"), facts.web.reloads),
        ("result",),
    ),
    Family(
        "portsyncd_tls_handshake_failures_total",
        "counter",
        "Connections to this endpoint that were turned away, by reason. Expected from scanners; from your own "
        "Prometheus it means a wrong or expired certificate.",
        lambda facts: facts.web.handshake_failures,
        ("reason",),
    ),
    Family(
        "portsyncd_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the endpoint's own certificate (server) and the CA of its clients (ca) expire: the first of the server's "
        "chain, the last of several CAs. Rotate before: nobody can scrape afterwards.",
        lambda facts: facts.web.certificate_expiries,
        ("role",),
    ),
    BUILD_INFO,
    # ---- ports; those with a sample a port come last
    Family(
        "portsyncd_ports",
        "gauge",
        "Ports by state: up, down (oper state of the link); awaited: no link, though CONFIG_DB has had the port since all "
        "were announced; pending: a link, but orchagent has made no APPL_DB entry yet. No VLAN sub-interfaces. Awaited or "
        "pending for minutes after a start: PortInitDone waits.",
        lambda facts: _by(("up", "down", "awaited", "pending"), facts.ports),
        ("state",),
    ),
    Family(
        "portsyncd_port_flaps_total",
        "counter",
        "Carrier losses of a port by the kernel's own counter, also of those too short to be seen. A rate above 0 on a "
        "port in use means a bad cable, transceiver or neighbour.",
        labels=("port",),
        per_port=(((), "flaps"),),
    ),
    Family(
        "portsyncd_port_transitions_total",
        "counter",
        "Changes of a port's oper state, up and down, also those that were folded into one event.",
        labels=("direction", "port"),
        per_port=((("up",), "ups"), (("down",), "downs")),
    ),
    Family(
        "portsyncd_port_sync_success_total",
        "counter",
        "Writes of a port's state that Redis acknowledged.",
        labels=("port",),
        per_port=(((), "written"),),
    ),
    Family(
        "portsyncd_port_sync_failures_total",
        "counter",
        "Writes of a port's state that Redis refused, or whose outcome is unknown because no answer came. They are "
        "repeated; a count that goes on growing means that Redis does not take writes.",
        labels=("port",),
        per_port=(((), "failed"),),
    ),
    Family(
        "portsyncd_port_flap_penalty",
        "gauge",
        "Flap penalty of a port: 1000 a flap, halved every 15 minutes. From 2000 on the port counts as flapping. Absent "
        "below 1.",
        labels=("port",),
        by_port=lambda facts: facts.flap_penalties.items(),
    ),
    Family(
        "portsyncd_port_flap_threshold_seconds",
        "gauge",
        "In how many seconds a port will count as flapping if it goes on as it did; 0: it does now. Absent where it will not.",
        labels=("port",),
        by_port=_crossings,
    ),
)
