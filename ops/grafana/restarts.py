"""Warm restarts and recovery: how starts ended, what was saved and restored, how available it all was."""

from typing import Final, Unpack

from grafana_foundation_sdk.models.dashboard import Panel

from ops.grafana import panels
from ops.grafana.page import page
from ops.grafana.panels import Column, Look
from ops.grafana.query import Scope, ask, buckets, now


def _total(title: str, meaning: str, metric: str, **look: Unpack[Look]) -> Panel:
    description = f"{meaning} Over all switches, and kept over restarts."
    return panels.number(title, description, now(f"sum(portsyncd_{metric}_total{{<target>}})"), **look)


IN_ALL: Final = [
    _total("Warm starts", "Starts that kept ports and markers in APPL_DB.", "warm_restarts"),
    _total("Cold starts", "Starts that announced all ports anew.", "cold_starts"),
    _total("EOIU reached", "Starts whose first full read of the links came in complete.", "eoiu_detected"),
    _total(
        "EOIU timeouts",
        "Warm starts that were completed although their first sync had not ended in time: see what took long then, and "
        "warm_restart.eoiu_timeout_secs.",
        "eoiu_timeouts",
        steps=panels.SOME_IS_FAIR,
        alerts=["PortsyncdRecoverySuccessLow"],
    ),
    _total(
        "State recoveries",
        "Starts that took the saved state from a backup, since the newest file could not be used.",
        "state_recoveries",
        steps=panels.SOME_IS_FAIR,
    ),
    _total(
        "Damaged files",
        "Saved files that were empty, cut short, or not what was written. A disk may be failing.",
        "corruptions_detected",
        steps=panels.SOME_IS_FAIR,
        alerts=["PortsyncdSavedFilesDamaged"],
    ),
    _total("Backups made", "Saved states that became a backup when a newer one took their place.", "backups_created"),
    _total("Backups deleted", "Backups beyond those that are kept (warm_restart.max_backups).", "backups_cleaned"),
]


def _count(name: str, metric: str) -> Column:
    return Column(name, f"max by (job, instance) (portsyncd_{metric}_total{{<target>}})")


def _moment(name: str, metric: str) -> Column:
    """Grafana counts time in milliseconds."""
    return Column(
        name,
        f"1000 * max by (job, instance) (portsyncd_last_{metric}_timestamp_seconds{{<target>}})",
        "dateTimeFromNow",
    )


ONE_BY_ONE: Final = [
    panels.rows(
        "Starts and files of each switch",
        "The figures above, switch by switch. Compare: many cold starts on one switch alone are worth a look at its log.",
        _count("Warm starts", "warm_restarts"),
        _count("Cold starts", "cold_starts"),
        _count("EOIU reached", "eoiu_detected"),
        _count("EOIU timeouts", "eoiu_timeouts"),
        _count("State recoveries", "state_recoveries"),
        _count("Damaged files", "corruptions_detected"),
        _count("Backups made", "backups_created"),
        _count("Backups deleted", "backups_cleaned"),
    ),
    panels.rows(
        "When it last happened",
        "Empty where it has not happened yet. A healthy restart is looked for in the last 24 hours alone.",
        _moment("Warm start", "warm_restart"),
        _moment("EOIU reached", "eoiu"),
        _moment("State recovery", "state_recovery"),
        _moment("Damaged file", "corruption"),
        _moment("Healthy restart", "healthy_restart"),
    ),
]

STARTS: Final = [
    panels.lines(
        "Time since the start",
        "Falls to 0 at each start.",
        ask("portsyncd_uptime_seconds{<target>}", "{{instance}}"),
        unit="s",
        alerts=["PortsyncdRestartsTooOften"],
    ),
    panels.bars(
        "Restarts in a day",
        "As Prometheus saw them, in 24 hours. Of several within minutes look for the exit codes in the log of systemd or "
        "supervisord.",
        now("changes(process_start_time_seconds{<target>}[1d])", "{{instance}}"),
        steps=((None, "green"), (3, "orange"), (6, "red")),
        alerts=["PortsyncdProcessRestartLoop"],
    ),
    panels.bars(
        "Limits exceeded",
        "1 while a switch has had more restarts, or link events, than is sound, by its own records.",
        now("portsyncd_rate_limit_exceeded{<target>}", "{{limit}} of {{instance}}"),
        maximum=1,
        steps=panels.NONE_IS_GOOD,
        alerts=["PortsyncdRestartsTooOften"],
    ),
    panels.bars(
        "Initial sync",
        "From its beginning to the end of the initial update, over the starts of the last 24 hours: the usual one, and the "
        "slowest.",
        now('portsyncd_eoiu_latency_seconds{<target>, stat=~"p50|max"}', "{{stat}} of {{instance}}"),
        unit="s",
        width=12,
    ),
    panels.heat(
        "Full syncs",
        "How many full reads of all links took how long, the first after a start among them.",
        buckets("sum by (le) (increase(portsyncd_sync_duration_seconds_bucket{<target>}[$__rate_interval]))"),
    ),
    panels.bars(
        "Mean full sync",
        "Over the time that is shown. It grows with the number of ports, and with a slow Redis.",
        now(
            "rate(portsyncd_sync_duration_seconds_sum{<target>}[$__range])"
            " / rate(portsyncd_sync_duration_seconds_count{<target>}[$__range])",
            "{{instance}}",
        ),
        unit="s",
    ),
    panels.bars(
        "Starts that got to the end",
        "Share of the starts of the last 24 hours that reached the end of the initial update.",
        now("portsyncd_recovery_success_ratio{<target>}", "{{instance}}"),
        unit="percentunit",
        maximum=1,
        steps=((None, "red"), (0.9, "green")),
        alerts=["PortsyncdRecoverySuccessLow"],
    ),
    panels.bars(
        "Starts ended by timeout",
        "Share of the starts of the last 24 hours whose initial sync has ended.",
        now("portsyncd_eoiu_timeout_ratio{<target>}", "{{instance}}"),
        unit="percentunit",
        maximum=1,
        steps=((None, "green"), (0.1, "red")),
        alerts=["PortsyncdRecoverySuccessLow"],
    ),
    panels.bars(
        "Damage that was made good",
        "Of the starts of the last 24 hours that found damaged files, the share that restored a saved state all the same.",
        now("portsyncd_corruption_recovery_ratio{<target>}", "{{instance}}"),
        unit="percentunit",
        maximum=1,
        steps=((None, "red"), (0.9, "green")),
        alerts=["PortsyncdSavedFilesDamaged"],
    ),
    panels.bars(
        "Events in a life",
        "Link events that a life of the daemon carried through on average, over the lives of the last 24 hours that have "
        "ended.",
        now("portsyncd_events_per_restart{<target>}", "{{instance}}"),
        decimals=0,
    ),
]


def _available(title: str, meaning: str, metric: str, *alerts: str) -> Panel:
    return panels.dial(
        title,
        meaning,
        now(f"{metric}{{<target>}}", "{{instance}}"),
        unit="percentunit",
        decimals=3,
        minimum=0.99,
        maximum=1,
        steps=((None, "red"), (0.999, "orange"), (0.9999, "green")),
        alerts=alerts,
    )


AVAILABILITY: Final = [
    _available(
        "Available in the last hour",
        "Share of the time in which it answered a scrape and was not unhealthy.",
        "instance:portsyncd_available:ratio1h",
        "PortsyncdAvailabilityBurn999Fast",
        "PortsyncdAvailabilityBurn9999Fast",
    ),
    _available(
        "Available in the last day",
        "Share of the time in which it answered a scrape and was not unhealthy.",
        "instance:portsyncd_available:ratio1d",
        "PortsyncdAvailabilityBurn999Slow",
        "PortsyncdAvailabilityBurn9999Slow",
    ),
    _available(
        "By its own records",
        "Share of the last 24 hours in which a daemon ran and was not unhealthy. Higher than what Prometheus saw: the way "
        "between the two fails.",
        "portsyncd_availability_ratio",
    ),
    panels.lines(
        "Spending of the 99.9 % budget",
        "1 spends the budget of 30 days in exactly 30 days; from 14.4 on somebody is called.",
        ask("instance:portsyncd_unavailable:ratio1h{<target>} / (1 - 0.999)", "{{instance}}"),
        width=6,
        height=7,
        steps=((None, "green"), (1, "orange"), (14.4, "red")),
        alerts=["PortsyncdAvailabilityBurn999Fast"],
    ),
]

FILES: Final = [
    panels.bars(
        "Files that were not trusted",
        "Saved files that the present process set aside, by reason; the log has their names. too-old is normal after a long "
        "time switched off, future where the clock was wrong; empty, truncated and corrupt are damage.",
        now("sum by (reason) (portsyncd_saved_files_set_aside_total{<target>})", "{{reason}}"),
        width=12,
        steps=panels.SOME_IS_FAIR,
        alerts=["PortsyncdSavedFilesDamaged"],
    ),
    panels.lines(
        "What cannot be written",
        "Switches that cannot save their ports' state or their history: the disk is full or read-only, or a permission is "
        "missing. The port sync needs neither; the next start will know less.",
        ask(
            "count by (what) (portsyncd_storage_writable{<target>}) - sum by (what) (portsyncd_storage_writable{<target>})",
            "{{what}}",
        ),
        alerts=["PortsyncdStorageNotWritable"],
    ),
]

PAGE: Final = page(
    "portsyncd-restarts",
    "portsyncd: restarts and recovery",
    "How starts ended, what was saved and restored, how available it all was.",
    Scope.MANY,
    [
        ("In all", IN_ALL),
        ("One by one", ONE_BY_ONE),
        ("Starts", STARTS),
        ("Availability", AVAILABILITY),
        ("Saved files", FILES),
    ],
)
