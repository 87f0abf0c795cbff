"""A real Prometheus answers every question of every dashboard: with what was injected, and of a live daemon at all."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import until
from tests.ops import grafana_expected
from tests.ops.grafana import Expression, expressions, interpolated, selectors
from tests.ops.grafana_expected import ONE, PORT, RANGE_SECONDS, RATE_SECONDS
from tests.ops.grafana_prometheus import Answering
from tests.ops.grafana_world import JOB, STEP, SWITCHES, History
from tests.ops.prometheus import DEADLINE_SECONDS

pytestmark = pytest.mark.root

EXPRESSIONS: Final = list(expressions())
Chosen = Mapping[str, str | Sequence[str]]

# Absent until it happens, and on a daemon that has just started it has not.
ABSENT: Final = {
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


def chosen(dashboard: str, job: str, instances: Sequence[str], one: str, seconds: int) -> Chosen:
    """What is chosen on a dashboard: one switch and port, or several, as all or each by its name. seconds: Grafana's rate
    interval."""
    windows = {"__rate_interval": f"{seconds}s", "__range": f"{RANGE_SECONDS}s"}
    if dashboard == "switch":
        return {"job": job, "instance": one, "port": PORT} | windows
    return {"job": [job], "instance": "$__all" if dashboard == "fleet" else instances} | windows


def answer(
    prometheus: Answering, expression: Expression, query: str, at: int | None = None
) -> Mapping[str, float] | Sequence[str]:
    """Ask as Grafana does, now or at a time. Series that Prometheus itself has recorded are there from its start on."""
    if expression.label:
        return prometheus.choices(expression, query)
    if at is not None and expression.place.startswith("annotation"):
        return prometheus.marks(expression, query, at - RANGE_SECONDS, at, RATE_SECONDS)
    recorded = any(each.series.startswith("instance:") for each in selectors(expression.text))
    return prometheus.values(expression, query, None if recorded else at)


def test_every_query_gives_what_was_injected(tmp_path: Path, require_program: Callable[[str], str]) -> None:
    last = int(datetime.now(UTC).timestamp()) // STEP * STEP
    # Some minutes more than the longest window.
    history = History(last - RANGE_SECONDS - 20 * STEP, last)
    expected = grafana_expected.everything(history)
    assert {(each.dashboard, each.place) for each in EXPRESSIONS} == {
        (dashboard, place) for dashboard, places in expected.items() for place in places
    }
    wrong = []
    with NetworkNamespace() as namespace:
        certificates = Certificates(tmp_path / "certificates")
        prometheus = Answering(require_program("prometheus"), tmp_path / "prometheus", namespace, certificates)
        prometheus.store(require_program("promtool"), history)
        with prometheus:
            prometheus.wait(lambda: prometheus.value("count(instance:portsyncd_available:ratio1d)"), "the rules ran")
            for each in EXPRESSIONS:
                options = chosen(each.dashboard, JOB, list(SWITCHES.values()), ONE, RATE_SECONDS)
                query = interpolated(each, options)
                got = answer(prometheus, each, query, last)
                want = expected[each.dashboard][each.place]
                if got != (pytest.approx(want, rel=1e-6) if isinstance(want, Mapping) else want):
                    wrong.append(f"{each}: {query}\n    gives {got}\n    not   {want}")
    assert not wrong, "\n".join(wrong)


def test_every_query_has_data_of_a_live_daemon(tmp_path: Path, require_program: Callable[[str], str]) -> None:
    """It is scraped each second, so that a rate interval is four. Annotations are of what does not happen here."""
    live = "[::1]:9090"
    missing = {
        each
        for each in EXPRESSIONS
        if not each.place.startswith("annotation") and not any(part.series in ABSENT for part in selectors(each.text))
    }
    with Switch(tmp_path, metrics=True) as switch:
        # What follows from the history is told with its first sample.
        switch.daemon.configure({"metrics": {"sample_interval_secs": 1}})
        switch.bring_up(["Ethernet0", PORT])
        certificates = switch.endpoint.certificates
        program = require_program("prometheus")
        with Answering(program, tmp_path / "prometheus", switch.namespace, certificates) as prometheus:

            def all_have_data() -> bool:
                for each in list(missing):
                    query = interpolated(each, chosen(each.dashboard, "portsyncd", [live], live, 4))
                    if answer(prometheus, each, query):
                        missing.remove(each)
                return not missing

            until(all_have_data, DEADLINE_SECONDS, lambda: f"no data for {sorted(map(str, missing))}")
