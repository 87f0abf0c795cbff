"""ops/grafana/: the JSON is what its program makes, asks for what exists, and has the form that Grafana wants."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from ops.grafana.__main__ import texts
from portsyncd.metrics import CATALOGUE
from tests.ops import catalogue
from tests.ops.grafana import (
    DASHBOARDS,
    GRAFANA,
    Dashboard,
    Expression,
    expressions,
    groupings,
    interpolated,
    panels,
    selectors,
    variables,
)
from tests.ops.rules import rules

EXPRESSIONS: Final = list(expressions())
README: Final = (GRAFANA / "README.md").read_text("utf-8")
PROVISIONING: Final = GRAFANA / "provisioning"

# What each target has, and what Prometheus adds by itself.
TARGET: Final = {"job", "instance"}
OF_PROMETHEUS: Final[Mapping[str, set[str]]] = {
    "up": set(),
    "scrape_duration_seconds": set(),
    "scrape_samples_scraped": set(),
    "ALERTS": {"alertname", "alertstate", "severity"},
}
TYPES: Final = {"timeseries", "stat", "table", "heatmap", "bargauge", "gauge"}
UNITS: Final = {"short", "s", "bytes", "cps", "percentunit", "dateTimeFromNow"}

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())


def labels() -> Mapping[str, set[str]]:
    """The labels of every series that there is, without those of its target."""
    own = {family.name: set(family.labels) for family in CATALOGUE}
    exported = {name: own.get(name, {"le"} if name.endswith("_bucket") else set[str]()) for name in catalogue.series()}
    recorded = {name: {"port"} if name.startswith("instance_port:") else set[str]() for name in rules("record")}
    return exported | recorded | dict(OF_PROMETHEUS)


def label_values() -> Mapping[tuple[str, str], set[str]]:
    """Those values of labels that are known beforehand, by family and label."""
    facts = catalogue.just_started()
    known = {}
    for family in CATALOGUE:
        if family.per_port and len(family.labels) > 1:
            known[family.name, family.labels[0]] = {fixed[0] for fixed, _ in family.per_port}
        elif len(family.labels) == 1 and family.read and isinstance(values := family.read(facts), Mapping) and values:
            known[family.name, family.labels[0]] = set(map(str, values))
    return known


# ---- made by the program


def test_the_json_is_what_the_program_makes() -> None:
    there = {path.name: path.read_text("utf-8") for path in (GRAFANA / "dashboards").iterdir()}
    assert there == texts(), "run: make dashboards"


# ---- queries


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_series_and_labels_exist(expression: Expression) -> None:
    there = labels()
    for selector in selectors(expression.text):
        assert selector.series in there
        assert selector.matchers.keys() <= there[selector.series] | TARGET
        for label, (operator, quoted) in selector.matchers.items():
            known = label_values().get((selector.series, label))
            assert known is None or operator != "=" or "$" in quoted or quoted.strip('"') in known
    every = set().union(TARGET, *(there[selector.series] for selector in selectors(expression.text)))
    assert groupings(expression.text) <= every


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_a_query_is_about_the_chosen_switches_alone(expression: Expression) -> None:
    """Also where a value is escaped or not: a regular expression where several can be chosen, else a plain value."""
    described = variables(DASHBOARDS[expression.dashboard])
    known_by_then = {"variable job": set(), "variable instance": {"job"}}.get(expression.place, TARGET)
    for selector in selectors(expression.text):
        assert selector.matchers.keys() >= known_by_then
        for label, (operator, quoted) in selector.matchers.items():
            if label in (*TARGET, "port"):
                assert quoted == f'"${label}"', "nobody's switch is written down here"
                assert operator == ("=~" if described[label]["multi"] else "=")


def test_every_metric_is_on_a_dashboard() -> None:
    asked = {selector.series for each in EXPRESSIONS for selector in selectors(each.text)}
    for family in CATALOGUE:
        assert family.name + ("_bucket" if family.kind == "histogram" else "") in asked


def test_every_alert_is_named_by_a_panel_with_its_runbook() -> None:
    said = [panel["description"] for dashboard in DASHBOARDS.values() for panel in panels(dashboard)]
    named = {match for text in said for match in re.findall(r"^Alert (\w+): (\S+)$", text, re.MULTILINE)}
    runbooks = {name: re.search(r'runbook: "(.+)"', entry) for name, entry in rules("alert").items()}
    assert named == {(name, match[1]) for name, match in runbooks.items() if match}


def test_growth_is_not_asked_of_what_has_grown_before_the_first_scrape() -> None:
    """Counters of starts have counted theirs by then: docs/metrics.md."""
    for each in EXPRESSIONS:
        assert not re.search(r"(increase|rate|changes|resets)\(portsyncd_(warm|cold|eoiu)", each.text)


def test_variables_are_put_in_as_grafana_does() -> None:
    """``[::1]`` is a class of two characters where it is not escaped."""
    instance = "[::1]:9090"
    by_place = {str(each): each for each in EXPRESSIONS}
    many = {"job": ["a"], "__rate_interval": "1m"}
    answers = by_place["endpoint: Answers A"]
    assert interpolated(answers, many | {"instance": "$__all"}) == 'up{job=~"a", instance=~".+"}'
    assert interpolated(answers, many | {"instance": [instance]}) == r'up{job=~"a", instance=~"\\[::1\\]:9090"}'
    assert interpolated(answers, many | {"instance": ["b.c", "d"]}) == r'up{job=~"a", instance=~"(b\\.c|d)"}'
    redis = by_place["switch: Redis A"]
    assert interpolated(redis, {"job": "a", "instance": instance}) == (
        f'portsyncd_redis_connected{{job="a", instance="{instance}"}}'
    )


# ---- form


@each_dashboard
def test_a_dashboard_says_what_it_is(dashboard: Dashboard) -> None:
    assert dashboard["schemaVersion"] >= 36
    assert "id" not in dashboard, "numbers are given by each Grafana itself"
    assert dashboard["title"].startswith("portsyncd: ")
    assert dashboard["description"].endswith(".")
    assert dashboard["time"] == {"from": "now-6h", "to": "now"}
    assert dashboard["refresh"] == "30s"
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == (
        "dashboards",
        ["portsyncd"],
        True,
        True,
    )
    assert dashboard["tags"] == ["portsyncd"]


def test_addresses_stay_as_they_are() -> None:
    """They stand in links and bookmarks of other people."""
    assert {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()} == {
        "fleet": "portsyncd-fleet",
        "switch": "portsyncd-switch",
        "restarts": "portsyncd-restarts",
        "endpoint": "portsyncd-endpoint",
    }
    assert set(re.findall(r"/d/([\w-]+)", README + "".join(texts().values()))) <= {
        dashboard["uid"] for dashboard in DASHBOARDS.values()
    }


@each_dashboard
def test_panels_have_a_place_of_their_own(dashboard: Dashboard) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert all(0 <= x < 24 and y >= 0 for x, y in cells)


@each_dashboard
def test_panels_are_of_kinds_that_stay_and_explained(dashboard: Dashboard) -> None:
    assert len(panels(dashboard)) >= 8
    for panel in panels(dashboard):
        assert panel["type"] in TYPES
        assert re.match(r"[^\n]{10,}\.(\n\n|$)", panel["description"]), panel["title"]
        names = [target["refId"] for target in panel["targets"]]
        assert names == list("ABCDEFGHIJ"[: len(names)])
        for target in panel["targets"]:
            assert (target.get("format") == "table") == (panel["type"] == "table")
            assert target["instant"] == (panel["type"] in {"stat", "table", "bargauge", "gauge"})


@each_dashboard
def test_units_and_thresholds(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        config = panel["fieldConfig"]
        overridden = [
            prop["value"] for each in config["overrides"] for prop in each["properties"] if prop["id"] == "unit"
        ]
        assert {config["defaults"]["unit"], *overridden} <= UNITS
        thresholds = [config["defaults"].get("thresholds"), *_values(config["overrides"], "thresholds")]
        for each in filter(None, thresholds):
            first, *rest = (step["value"] for step in each["steps"])
            assert first is None
            assert all(low < high for low, high in pairwise(rest))


@each_dashboard
def test_columns_that_are_dressed_up_exist(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        if panel["type"] == "table":
            (organize,) = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
            columns = {*organize["renameByName"].values(), "instance"}
            assert {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]} <= columns
            shown = len(organize["renameByName"]) + len(organize["excludeByName"]) - 1
            assert shown == len(panel["targets"])


@each_dashboard
def test_the_data_source_is_the_one_that_is_chosen(dashboard: Dashboard) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    described = variables(dashboard)
    assert described["datasource"]["type"] == "datasource"
    assert described["datasource"]["query"] == "prometheus"
    queries = [each for each in described.values() if each["type"] == "query"]
    targets = [target for panel in panels(dashboard) for target in panel["targets"]]
    for each in (*queries, *panels(dashboard), *targets, *dashboard["annotations"]["list"]):
        assert each["datasource"] == chosen
    assert list(described)[:3] == ["datasource", "job", "instance"]


def test_a_row_of_the_fleet_leads_to_its_switch() -> None:
    (table,) = (panel for panel in panels(DASHBOARDS["fleet"]) if panel["type"] == "table")
    ((link,),) = _values(table["fieldConfig"]["overrides"], "links")
    address, _, parameters = link["url"].partition("?")
    assert address == f"/d/{DASHBOARDS['switch']['uid']}"
    given = set(re.findall(r"var-(\w+)=\$\{__data\.fields\.\1:percentencode\}", parameters))
    assert given == {"job", "instance"}
    assert given < variables(DASHBOARDS["switch"]).keys()


def _values(overrides: Any, name: str) -> Iterator[Any]:
    """What overrides say of one property."""
    return (prop["value"] for each in overrides for prop in each["properties"] if prop["id"] == name)


# ---- provisioning and the page


def test_provisioning_names_what_the_page_says() -> None:
    provider = (PROVISIONING / "dashboards" / "portsyncd.yaml").read_text("utf-8")
    path = re.search(r"^ +path: (\S+)$", provider, re.MULTILINE)
    assert path
    assert f"`{path[1]}/`" in README
    for kind in ("dashboards", "datasources"):
        assert f"/etc/grafana/provisioning/{kind}/" in README
        assert (PROVISIONING / kind / "portsyncd.yaml").read_text("utf-8").count("\napiVersion: 1\n") == 1


def test_the_data_source_knows_how_often_is_scraped_and_weakens_nothing() -> None:
    text = (PROVISIONING / "datasources" / "portsyncd.yaml").read_text("utf-8")
    assert re.search(r"^ +timeInterval: 15s$", text, re.MULTILINE)
    assert "tlsSkipVerify" not in text
    assert "http:" not in text
    assert "BEGIN" not in text, "no key stands in a file that is copied about"


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\((?!https:)([^)#]+)(?:#[^)]*)?\)", README)
    assert len(links) >= 7
    for target in links:
        assert (GRAFANA / Path(target)).exists(), target
