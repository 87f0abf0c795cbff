"""Rules and alerts for Prometheus: promtool tests them; here is checked that nothing is left out."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ops import catalogue
from tests.ops.rules import PROMETHEUS, RULES, UNIT_TESTS, groups, promtool, rules, series

ALERTS = rules("alert")
RECORDED = rules("record")
OPTIONS = dict[str, str]


@pytest.fixture
def tool(require_program: Callable[[str], str]) -> str:
    return require_program("promtool")


def test_promtool_likes_the_rules(tool: str) -> None:
    said = promtool(tool, "check", "rules", RULES)
    assert f"SUCCESS: {len(ALERTS) + len(RECORDED)} rules found" in said


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_unit_tests_of_the_rules(tool: str, tmp_path: Path, path: Path) -> None:
    """Where a file is about one group alone it gets that one: days are evaluated minute by minute there."""
    text = path.read_text("utf-8")
    only = {"availability": "groups:\n" + groups()["portsyncd-availability"]}.get(path.stem, RULES.read_text("utf-8"))
    (tmp_path / "rules.yml").write_text(only)
    (tmp_path / "tests").mkdir()
    test = tmp_path / "tests" / path.name
    test.write_text(text)
    assert "  SUCCESS" in promtool(tool, "test", "rules", test)


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in UNIT_TESTS)
    checks = re.findall(r"- alertname: (\w+)\n +eval_time: \S+\n +exp_alerts:( \[\])?\n", tests)
    assert {name for name, nothing in checks if nothing} == ALERTS.keys()
    assert {name for name, nothing in checks if not nothing} == ALERTS.keys()


def test_every_recorded_series_is_looked_at_by_a_unit_test() -> None:
    asked = [line for path in UNIT_TESTS for line in path.read_text("utf-8").splitlines() if " - expr: " in line]
    assert series("\n".join(asked)) == RECORDED.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    entry = ALERTS[name]
    assert re.search(r"^ +severity: (critical|warning)$", entry, re.MULTILINE)
    for annotation in ("summary", "description"):
        assert re.search(rf"^ +{annotation}: ", entry, re.MULTILINE)
    assert "{{ $labels.instance }}" in entry
    # That the page has this section is for test_runbook.py.
    assert f'runbook: "docs/operations.md#{name.lower()}"' in entry


def test_series_in_the_rules_exist() -> None:
    text = RULES.read_text("utf-8") + (PROMETHEUS / "prometheus.yml").read_text("utf-8")
    assert series(text) - catalogue.series() - RECORDED.keys() == set()


def test_alerts_need_only_what_the_daemon_exports() -> None:
    for entry in ALERTS.values():
        assert series(entry) <= catalogue.series() | RECORDED.keys()


def test_names_of_earlier_dashboards_stand_alone() -> None:
    """The group can be left out."""
    earlier = set(re.findall(r"- record: (\S+)", groups()["portsyncd-earlier-names"]))
    rest = "".join(text for name, text in groups().items() if name != "portsyncd-earlier-names")
    assert series(rest) & earlier == set()
    assert {"portsyncd_warm_restarts", "portsyncd_event_processing_latency_seconds_bucket"} <= earlier


def test_other_names_say_their_level_and_operation() -> None:
    own = {
        name
        for group, text in groups().items()
        if "earlier" not in group
        for name in re.findall(r"- record: (\S+)", text)
    }
    assert all(re.fullmatch(r"instance(_port)?:portsyncd_\w+:\w+", name) for name in own)
