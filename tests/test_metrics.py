"""The catalogue and its two renderings: the daemon's own text, and what prometheus-client makes of the same registry."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge, Metric, generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from portsyncd.analytics.analysis import Analysis, FlappingPort, Limit, SeriesAnalysis, Summary, Trend
from portsyncd.metrics import (
    CATALOGUE,
    CONTENT_TYPE_OPENMETRICS,
    CONTENT_TYPE_TEXT,
    EVENT_LATENCY_BUCKETS,
    REDIS_LATENCY_BUCKETS,
    SYNC_DURATION_BUCKETS,
    Chronicle,
    Facts,
    HealingFacts,
    Histogram,
    Metrics,
    PortCounters,
    WebFacts,
)
from portsyncd.wire.statefile import Flaw

SCRAPES: Final = Path(__file__).parent / "data" / "scrapes"
ODD_NAME: Final = 'Ethernet"4\\ \n'


def histogram(bounds: Sequence[float], *values: float) -> Histogram:
    made = Histogram(bounds)
    made.observe_all(values)
    return made


ANALYSIS: Final = Analysis(
    at=1_763_000_000.0,
    since=1_762_913_600.0,
    starts=4,
    restarts=3,
    recovery_success=0.75,
    corruption_recovery=1.0,
    eoiu_timeouts=0.25,
    events_per_restart=1234.5,
    availability=0.9999,
    last_healthy_restart=1_762_999_002.0,
    eoiu_latency=Summary(4, 0.1, 0.9, 0.3, 0.2, 0.8, 0.85),
    restart_limit=Limit(6, 5, 3600.0, exceeded=True),
    event_limit=Limit(10, 1000, 60.0, exceeded=False),
    series={
        "flaps": SeriesAnalysis(
            Summary(9, 0.0, 9.0, 1.0, 0.0, 5.0, 9.0), Trend("rising", 2.5, 0.01), latest_score=-4.5
        ),
        "memory_bytes": SeriesAnalysis(Summary(2, 1.0, 2.0, 1.5, 1.5, 2.0, 2.0), Trend("steady", 100.0, 1.0)),
        "latency_p99": SeriesAnalysis(None, None),
    },
    flapping=[
        FlappingPort("Ethernet0", 3, 2600.5, suppressed=True, crosses_in=0.0),
        FlappingPort(ODD_NAME, 1, 800.0, suppressed=False, crosses_in=300.5),
        FlappingPort("Ethernet8", 1, 400.0, suppressed=False, crosses_in=None),
    ],
)
FACTS: Final = Facts(
    uptime=3600.25,
    memory_bytes=55_000_000,
    health="degraded",
    redis_connected=True,
    netlink_connected=False,
    events_processed=1_234_567,
    events_failed=3,
    events_conflated=1_000_000,
    ports={"up": 2, "down": 1, "awaited": 4, "pending": 5},
    port_counters=[
        ("Ethernet0", PortCounters(flaps=7, ups=8, downs=9, written=10, failed=11)),
        (ODD_NAME, PortCounters(0, 0, 0, 0, 0)),
        ("Port\udcffü", PortCounters(999_999, 1_000_000, 20_000_001, 0, 0)),
    ],
    queue_depth=25,
    queue_bound=100,
    event_latency=histogram(EVENT_LATENCY_BUCKETS, 0.00025, 0.0003, 0.0003, 0.7, 3.0),
    redis_latency=histogram(REDIS_LATENCY_BUCKETS, 0.00009, 0.2),
    sync_duration=histogram(SYNC_DURATION_BUCKETS),
    overruns=2,
    last_certified_sync=1_763_000_000.5,
    resyncs={"start": 1, "overrun": 2, "operator": 1},
    restarts={"reader": 1, "writer": 0},
    chronicle=Chronicle(
        warm_restarts=1,
        cold_starts=2,
        eoiu_detected=3,
        eoiu_timeouts=4,
        state_recoveries=5,
        corruptions_detected=6,
        backups_created=7,
        backups_cleaned=8,
        last_warm_restart=1_762_999_000.0,
        last_eoiu=1_762_999_001.0,
        last_state_recovery=1_762_998_999.0,
        last_corruption=1_762_998_998.0,
    ),
    set_aside={"corrupt": 2},
    storage={"port_state": True, "history": False},
    analysis=ANALYSIS,
    flap_penalties={"Ethernet0": 2600.5, ODD_NAME: 800.0},
    healing=HealingFacts(
        counts={"redis": 2, "reconcile": 1},
        last={"redis": 1_762_999_500.25, "reconcile": 1_762_999_800.0},
        differences={"stale": 3, "orphan": 1},
        contested_ports=1,
        clock_steps=4,
        loop_blocks=5,
        memory_limit=512 << 20,
        reconcile_interval=300.0,
    ),
    web=WebFacts(
        handshake_failures={"no_certificate": 2, "expired": 0},
        reloads={"applied": 1},
        certificate_expiries={"server": 1_800_000_000.0, "ca": 1_900_000_000.0},
        tls_profile="CNSA 1.0",
    ),
)
NOT_YET: Final = replace(
    FACTS,
    port_counters=[],
    last_certified_sync=None,
    chronicle=Chronicle(),
    set_aside={},
    storage={"port_state": True},
    analysis=None,
    flap_penalties={},
    healing=HealingFacts(),
    resyncs={},
    web=WebFacts(),
)


def metrics(facts: Facts = FACTS, *, process: bool = False) -> Metrics:
    return Metrics(lambda: facts, version="1.2.3", process=process)


def text(made: Metrics, *, openmetrics: bool = False) -> str:
    return "".join(made.render(openmetrics=openmetrics))


def families(made: Metrics) -> dict[str, Metric]:
    """As the library's own parser understands the text."""
    return {family.name: family for family in parse_text(text(made))}


def openmetrics_families(exposed: str) -> Iterator[Metric]:
    yield from parse_openmetrics(exposed)  # type: ignore[no-untyped-call] # the library's parser has no types


def value(made: Metrics, name: str, **labels: str) -> float | None:
    return made.registry.get_sample_value(name, labels)


# ---- what is recorded into


def test_a_value_that_equals_a_bound_belongs_below_it() -> None:
    made = Histogram((1.0, 2.0))
    for number in (0.5, 1.0, 1.5, 2.0, 2.5):
        made.observe(number)
    assert made.counts == [2, 2, 1]
    assert made.total == 7.5


def test_a_batch_is_the_same_as_one_by_one_and_a_copy_stands_still() -> None:
    made = histogram((1.0, 2.0), 0.5, 1.0, 1.5, 2.0, 2.5)
    kept = made.copy()
    made.observe(9.0)
    assert (kept.bounds, kept.counts, kept.total) == ((1.0, 2.0), [2, 2, 1], 7.5)
    assert made.counts == [2, 2, 2]


# ---- the catalogue


def test_every_family_says_what_it_means_and_has_nothing_to_escape() -> None:
    for family in CATALOGUE:
        assert re.fullmatch(r"portsyncd_[a-z_]+", family.name)
        assert family.name.endswith("_total") is (family.kind == "counter")
        assert len(family.help) > 30
        assert family.help.endswith(".")
        assert not set(family.help) & set('\\"\n')
        # prometheus-client puts them in this order.
        assert list(family.labels) == sorted(family.labels)


def test_the_families_are_those_of_the_golden_scrape() -> None:
    golden = (SCRAPES / "full.prom").read_text(encoding="utf-8")
    assert text(metrics()).replace(python(), "PYTHON") == golden


def test_the_same_in_openmetrics() -> None:
    golden = (SCRAPES / "full.openmetrics").read_text(encoding="utf-8")
    assert text(metrics(), openmetrics=True).replace(python(), "PYTHON") == golden


ANALYZED: Final = {
    "portsyncd_recovery_success_ratio",
    "portsyncd_corruption_recovery_ratio",
    "portsyncd_eoiu_timeout_ratio",
    "portsyncd_availability_ratio",
    "portsyncd_events_per_restart",
    "portsyncd_last_healthy_restart_timestamp_seconds",
    "portsyncd_eoiu_latency_seconds",
    "portsyncd_rate_limit_exceeded",
    "portsyncd_series_trend_per_hour",
    "portsyncd_series_anomaly_score",
    "portsyncd_port_flap_threshold_seconds",
}


def python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def test_what_has_not_happened_is_absent() -> None:
    absent = families(metrics()).keys() - families(metrics(NOT_YET)).keys()
    assert absent == {
        "portsyncd_last_certified_sync_timestamp_seconds",
        "portsyncd_last_warm_restart_timestamp_seconds",
        "portsyncd_last_eoiu_timestamp_seconds",
        "portsyncd_last_state_recovery_timestamp_seconds",
        "portsyncd_last_corruption_timestamp_seconds",
        *ANALYZED,
        "portsyncd_last_healing_timestamp_seconds",
        "portsyncd_reconcile_interval_seconds",
        "portsyncd_memory_limit_bytes",
        "portsyncd_port_flap_penalty",
        "portsyncd_port_flaps",
        "portsyncd_port_transitions",
        "portsyncd_port_sync_success",
        "portsyncd_port_sync_failures",
        "portsyncd_tls_handshake_failures",
        "portsyncd_tls_certificate_expiry_timestamp_seconds",
    }


def test_what_can_happen_is_there_before_it_does() -> None:
    made = metrics(NOT_YET)
    for reason in ("start", "overrun", "interrupted", "redis_reconnect", "generation", "reconcile", "stall"):
        assert value(made, "portsyncd_resyncs_total", reason=reason) == 0
    for result in ("applied", "refused"):
        assert value(made, "portsyncd_tls_reloads_total", result=result) == 0
    for flaw in Flaw:
        assert value(made, "portsyncd_saved_files_set_aside_total", reason=flaw.value) == 0
    for healed in ("redis", "netlink", "reconcile", "memory", "stall", "disk", "certificates"):
        assert value(made, "portsyncd_healings_total", kind=healed) == 0
    for difference in ("missing", "stale", "orphan"):
        assert value(made, "portsyncd_reconcile_differences_total", kind=difference) == 0
    for name in ("portsyncd_contested_ports", "portsyncd_clock_steps_total", "portsyncd_loop_blocks_total"):
        assert value(made, name) == 0


@pytest.mark.parametrize(("health", "status"), [("healthy", 1.0), ("degraded", 0.5), ("unhealthy", 0.0)])
def test_health_as_a_number_and_as_a_state(health: str, status: float) -> None:
    made = metrics(replace(FACTS, health=health))
    assert value(made, "portsyncd_health_status") == status
    states = {
        state: value(made, "portsyncd_health_state", status=state) for state in ("healthy", "degraded", "unhealthy")
    }
    assert states == {state: float(state == health) for state in states}


def test_saturation_is_a_share_of_the_bound() -> None:
    assert value(metrics(), "portsyncd_queue_saturation_ratio") == 0.25
    assert value(metrics(replace(FACTS, queue_depth=0, queue_bound=0)), "portsyncd_queue_saturation_ratio") == 0


def test_what_can_be_written_is_told_where_it_is_kept() -> None:
    assert value(metrics(), "portsyncd_storage_writable", what="port_state") == 1
    assert value(metrics(), "portsyncd_storage_writable", what="history") == 0
    assert value(metrics(NOT_YET), "portsyncd_storage_writable", what="history") is None


def test_what_was_healed_is_told_by_kind() -> None:
    made = metrics()
    assert value(made, "portsyncd_healings_total", kind="redis") == 2
    assert value(made, "portsyncd_healings_total", kind="stall") == 0
    assert value(made, "portsyncd_last_healing_timestamp_seconds", kind="redis") == 1_762_999_500.25
    assert value(made, "portsyncd_last_healing_timestamp_seconds", kind="stall") is None
    assert value(made, "portsyncd_reconcile_differences_total", kind="stale") == 3


def test_an_analysis_of_nothing_tells_nothing() -> None:
    nothing = families(metrics(replace(FACTS, analysis=Analysis(at=1.0, since=0.0))))
    assert families(metrics()).keys() - nothing.keys() == ANALYZED


def test_only_what_is_significant_is_a_trend_and_what_has_no_values_has_no_score() -> None:
    made = metrics()
    assert value(made, "portsyncd_series_trend_per_hour", series="flaps") == 2.5
    assert value(made, "portsyncd_series_trend_per_hour", series="memory_bytes") == 0
    assert value(made, "portsyncd_series_trend_per_hour", series="latency_p99") is None
    assert value(made, "portsyncd_series_anomaly_score", series="flaps") == -4.5
    assert value(made, "portsyncd_series_anomaly_score", series="latency_p99") is None


def test_a_port_that_will_not_cross_the_threshold_has_no_time_for_it() -> None:
    made = metrics()
    assert value(made, "portsyncd_port_flap_threshold_seconds", port="Ethernet0") == 0
    assert value(made, "portsyncd_port_flap_threshold_seconds", port=ODD_NAME) == 300.5
    assert value(made, "portsyncd_port_flap_threshold_seconds", port="Ethernet8") is None


def test_the_registry_is_its_own_and_has_the_ports_too() -> None:
    made = metrics()
    assert value(made, "portsyncd_port_transitions_total", port="Ethernet0", direction="down") == 9
    assert value(made, "portsyncd_event_latency_seconds_bucket", le="0.00025") == 1
    assert value(made, "portsyncd_event_latency_seconds_bucket", le="+Inf") == 5
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Gauge("portsyncd_ports", "Somebody else's.", registry=made.registry)


def test_the_process_families_are_the_libraries() -> None:
    made = metrics(process=True)
    assert value(made, "process_open_fds") is not None
    assert families(made).keys() - families(metrics()).keys() == {
        "process_cpu_seconds",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
    }
    assert text(made, openmetrics=True).count("# EOF") == 1


def test_one_look_is_taken_for_a_scrape() -> None:
    looks: list[Facts] = []

    def read() -> Facts:
        looks.append(FACTS)
        return FACTS

    made = Metrics(read, version="1.2.3")
    # Nor is one taken when the registry is made.
    assert looks == []
    text(made)
    assert len(looks) == 1


def test_many_ports_come_in_many_slices_and_none_is_empty() -> None:
    many = [(f"Ethernet{number}", PortCounters(1, 2, 3, 4, 5)) for number in range(2000)]
    penalties = {name: 1000.0 for name, _ in many}
    facts = replace(FACTS, port_counters=many, flap_penalties=penalties)
    slices = list(metrics(facts, process=True).render(openmetrics=True))
    assert all(slices)
    assert max(part.count("\n") for part in slices) < 300
    assert len(slices) > 2000 * 6 / 300
    assert "".join(slices).count("portsyncd_port_flap_penalty{") == 2000


# ---- the text and the library


@pytest.mark.parametrize("facts", [FACTS, NOT_YET])
def test_the_library_renders_the_same_text(facts: Facts) -> None:
    made = metrics(facts)
    assert text(made).encode() == generate_latest(made.registry)
    assert text(made, openmetrics=True).encode() == exposition.generate_latest(made.registry)  # type: ignore[no-untyped-call]


def test_the_samples_are_those_of_the_registry() -> None:
    many = [(f"Ethernet{number}", PortCounters(1, 2, 3, 4, 5)) for number in range(600)]
    made = metrics(replace(FACTS, port_counters=many))
    slices = list(made.samples())
    collected = [sample for family in made.registry.collect() for sample in family.samples]
    assert [(name, dict(labels), value) for part in slices for name, labels, value in part] == [
        (sample.name, sample.labels, sample.value) for sample in collected
    ]
    assert max(map(len, slices)) < 300


counts = st.integers(0, 1 << 40)
names = st.one_of(
    st.text(max_size=8), st.text('"\\\nn{},=# \r\x85é', max_size=6), st.from_regex(r"\AEthernet[0-9]{1,3}\Z")
)


@given(st.dictionaries(names, st.builds(PortCounters, counts, counts, counts, counts, counts), max_size=5))
def test_it_does_for_ports_of_any_name(ports: Mapping[str, PortCounters]) -> None:
    made = metrics(replace(FACTS, port_counters=list(ports.items())))
    assert text(made).encode() == generate_latest(made.registry)
    assert text(made, openmetrics=True).encode() == exposition.generate_latest(made.registry)  # type: ignore[no-untyped-call]


@given(st.floats() | st.integers(-(1 << 60), 1 << 60))
def test_it_does_for_any_number(number: float) -> None:
    made = metrics(replace(FACTS, flap_penalties={"Ethernet0": number}))
    assert text(made).encode() == generate_latest(made.registry)


@given(st.dictionaries(names.filter(lambda name: "\r" not in name), counts, max_size=4))
def test_names_come_back_as_they_were(ports: Mapping[str, int]) -> None:
    made = metrics(replace(FACTS, port_counters=[(name, PortCounters(n, 0, 0, 0, 0)) for name, n in ports.items()]))
    for parse, openmetrics in ((parse_text, False), (openmetrics_families, True)):
        parsed: dict[str, Any] = {family.name: family for family in parse(text(made, openmetrics=openmetrics))}
        flaps = parsed["portsyncd_port_flaps"].samples if ports else []
        assert {sample.labels["port"]: sample.value for sample in flaps} == ports


def test_bytes_that_are_no_utf_8_are_written_as_escapes() -> None:
    assert value(metrics(), "portsyncd_port_flaps_total", port="Port\\udcffü") == 999_999
    assert 'portsyncd_port_flaps_total{port="Port\\\\udcffü"} 999999.0' in text(metrics())


def test_both_parsers_understand_it() -> None:
    made = metrics(process=True)
    kinds = {family.name.removesuffix("_total"): family.kind for family in CATALOGUE}
    for parsed in (parse_text(text(made)), openmetrics_families(text(made, openmetrics=True))):
        found = {family.name: family.type for family in parsed}
        assert {name: kind for name, kind in found.items() if name in kinds} == kinds


def test_units_are_told_in_openmetrics() -> None:
    units = {
        family.name: family.unit for family in openmetrics_families(text(metrics(), openmetrics=True)) if family.unit
    }
    assert units["portsyncd_event_latency_seconds"] == "seconds"
    assert units["portsyncd_memory_bytes"] == "bytes"
    assert units["portsyncd_queue_saturation_ratio"] == "ratio"
    assert "portsyncd_ports" not in units


def test_promtool_finds_nothing_to_say(require_program: Callable[[str], str]) -> None:
    run = subprocess.run(
        [require_program("promtool"), "check", "metrics"],
        input=text(metrics(process=True)).encode(),
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_the_content_types_are_those_of_the_library() -> None:
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    assert CONTENT_TYPE_TEXT == CONTENT_TYPE_PLAIN_0_0_4
    assert CONTENT_TYPE_OPENMETRICS == exposition.CONTENT_TYPE_LATEST


def test_who_makes_no_metrics_does_not_pay_for_the_library() -> None:
    code = "import sys, portsyncd.metrics; sys.exit('prometheus_client' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1] / "src").returncode == 0
    )
