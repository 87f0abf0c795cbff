"""A real Prometheus with our configuration and rules scrapes the daemon over mutual TLS, and an alert fires when it should."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from portsyncd.testing.switch import Switch
from tests.e2e.conftest import SwitchMaker
from tests.ops import catalogue
from tests.ops.prometheus import Prometheus

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]
# Absent until it happens, and it does not happen here.
ABSENT = {
    "portsyncd_last_healing_timestamp_seconds",
    "portsyncd_last_warm_restart_timestamp_seconds",
    "portsyncd_last_state_recovery_timestamp_seconds",
    "portsyncd_last_corruption_timestamp_seconds",
    "portsyncd_corruption_recovery_ratio",
    "portsyncd_events_per_restart",
    "portsyncd_port_flap_penalty",
    "portsyncd_port_flap_threshold_seconds",
    "portsyncd_tls_handshake_failures_total",
}


@pytest.fixture
def switch(make_switch: SwitchMaker) -> Switch:
    switch = make_switch(metrics=True)
    # What follows from the history is told with its first sample.
    switch.daemon.configure({"metrics": {"sample_interval_secs": 1}})
    switch.bring_up(PORTS)
    return switch


@pytest.fixture
def prometheus(switch: Switch, tmp_path: Path, require_program: Callable[[str], str]) -> Iterator[Prometheus]:
    program = require_program("prometheus")
    with Prometheus(program, tmp_path / "prometheus", switch.namespace, switch.endpoint.certificates) as prometheus:
        prometheus.wait(lambda: all(each["health"] == "up" for each in prometheus.targets()), "the target is up")
        yield prometheus


@pytest.mark.long
def test_an_alert_fires_when_redis_is_killed_and_ends_when_it_is_back(switch: Switch, prometheus: Prometheus) -> None:
    prometheus.wait(lambda: prometheus.value("portsyncd_redis_connected") == 1, "a scrape has been stored")
    prometheus.wait(lambda: prometheus.value("instance:portsyncd_events_processed:rate1m") is not None, "rules ran")
    assert prometheus.firing() == {}
    switch.redis.save()
    switch.redis.kill()
    prometheus.wait(lambda: "PortsyncdDatabaseDown" in prometheus.firing(), "the alert fires")
    alert = prometheus.firing()["PortsyncdDatabaseDown"]
    assert alert["labels"].items() >= {"severity": "critical", "job": "portsyncd", "instance": "[::1]:9090"}.items()
    assert alert["labels"]["switch"] == "leaf1"
    assert "PortsyncdTargetDown" not in prometheus.firing()
    switch.redis.restart(empty=False)
    prometheus.wait(lambda: "PortsyncdDatabaseDown" not in prometheus.firing(), "it ends")
    switch.daemon.terminate()
    prometheus.wait(lambda: "PortsyncdTargetDown" in prometheus.firing(), "nobody answers any more")


def test_prometheus_understands_everything_that_the_daemon_exports(switch: Switch, prometheus: Prometheus) -> None:
    switch.links.set(PORTS[0], up=True)
    switch.links.carrier(PORTS[0], up=True)
    switch.wait_equal()
    expected = catalogue.series() - ABSENT
    prometheus.wait(lambda: not expected - set(prometheus.ask("label/__name__/values")), "every series is stored")
    ups = 'portsyncd_port_transitions_total{port="Ethernet0", direction="up"}'
    prometheus.wait(lambda: prometheus.value(ups) == 1, "the port came up")
    (target,) = prometheus.targets()
    assert target["lastError"] == ""
    assert "level=warn" not in prometheus.log()
    assert "level=error" not in prometheus.log()


def test_a_live_scrape_is_good_in_both_forms(switch: Switch, require_program: Callable[[str], str]) -> None:
    promtool = require_program("promtool")
    switch.wait(lambda: switch.daemon.events("metrics endpoint is open"), "the endpoint is open")
    subprocess.run([promtool, "check", "metrics"], input=switch.endpoint.scrape(), text=True, check=True)
    with switch.endpoint.client() as client:
        response, body = client.get("/metrics", accept="application/openmetrics-text")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in text_string_to_metric_families(body.decode())}  # type: ignore[no-untyped-call] # it has no types
    assert {"portsyncd_events_processed", "portsyncd_event_latency_seconds", "portsyncd_port_flaps"} <= names
