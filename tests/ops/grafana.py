"""ops/grafana/ as the tests read it: dashboards, every expression on them, and what Grafana makes of it before it asks."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.ops.rules import ROOT

GRAFANA: Final = ROOT / "ops" / "grafana"
Dashboard = Mapping[str, Any]
DASHBOARDS: Final[Mapping[str, Dashboard]] = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}

_LABEL_VALUES: Final = re.compile(r"label_values\((.+), (\w+)\)")
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LEGEND: Final = re.compile(r"\{\{(\w+)\}\}")
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) \(([^)]*)\)")
_STRING: Final = r"\"(?:[^\"\\]|\\.)*\""
_SELECTOR: Final = re.compile(rf"([a-zA-Z_:][\w:]*)\{{((?:[^}}\"]|{_STRING})*)\}}(?:\[[^\]]+\])?")
_MATCHER: Final = re.compile(rf"(\w+)(=~|!~|!=|=)({_STRING})")
_FUNCTION: Final = re.compile(r"\w+ *(?=\()")
_OPERATOR: Final = re.compile(r"\b(?:and|or|unless|bool)\b")


@dataclass(frozen=True)
class Expression:
    """One query of a dashboard. place: panel and query, variable, or annotation. legend: None for a table's column, which
    shows its labels. label: what a variable's query wants of its series."""

    dashboard: str
    place: str
    text: str
    legend: str | None = None
    label: str | None = None

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.place}"

    def named(self, labels: Mapping[str, str]) -> str:
        """What a series is called on its panel. Fails where the legend names a label that it has not."""
        if self.legend is None:
            return " ".join(value for name, value in sorted(labels.items()) if name not in ("__name__", "job"))
        return _LEGEND.sub(lambda match: labels[match[1]], self.legend)


def panels(dashboard: Dashboard) -> Sequence[Mapping[str, Any]]:
    """Those that are no rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard: Dashboard) -> Mapping[str, Mapping[str, Any]]:
    """Variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def expressions() -> Iterator[Expression]:
    """Every query of every dashboard."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                legend = target["legendFormat"] if target.get("format") != "table" else None
                yield Expression(name, f"{panel['title']} {target['refId']}", target["expr"], legend)
        for variable in variables(dashboard).values():
            if variable["type"] == "query":
                match = _LABEL_VALUES.fullmatch(variable["query"])
                assert match, variable["query"]
                yield Expression(name, f"variable {variable['name']}", match[1], label=match[2])
        for annotation in dashboard["annotations"]["list"]:
            legend = f"{annotation['titleFormat']} {annotation['textFormat']}"
            yield Expression(name, f"annotation {annotation['name']}", annotation["expr"], legend)


def interpolated(expression: Expression, chosen: Mapping[str, str | Sequence[str]]) -> str:
    """The expression as Grafana sends it. chosen: values of variables; several where several are chosen.

    As ``interpolateQueryExpr`` of its Prometheus data source does it: a value is escaped for a regular expression where
    several can be chosen, and as part of a string where only one can be; "all" with a value of its own is that, unescaped.
    """
    described = variables(DASHBOARDS[expression.dashboard])

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        found = chosen[name]
        if name.startswith("__"):
            assert isinstance(found, str)
            return found
        variable = described[name]
        if not variable["multi"]:
            assert isinstance(found, str), f"one value of {name} can be chosen"
            return found.replace("\\", "\\\\")
        if found == "$__all":
            return str(variable["allValue"])
        escaped = [re.sub(r"[$^*{}\[\]+?.()|]", r"\\\\\g<0>", each.replace("\\", r"\\\\")) for each in found]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

    return _VARIABLE.sub(value, expression.text)


@dataclass(frozen=True)
class Selector:
    """What an expression takes from the store: the name of a series, and by label the operator and the quoted value."""

    series: str
    matchers: Mapping[str, tuple[str, str]]


def selectors(text: str) -> Sequence[Selector]:
    """Those of an expression; a name without braces is none, and fails."""
    plain = _GROUPING.sub("", text)
    rest = _OPERATOR.sub("", _FUNCTION.sub("", _SELECTOR.sub("", plain)))
    assert not re.search(r"[a-zA-Z_]", rest), f"{text}: what is {rest.strip()}?"
    return [
        Selector(series, {label: (operator, quoted) for label, operator, quoted in _MATCHER.findall(inside)})
        for series, inside in _SELECTOR.findall(plain)
    ]


def groupings(text: str) -> set[str]:
    """The labels by which an expression groups or joins."""
    return {label for labels in _GROUPING.findall(text) for label in re.findall(r"\w+", labels)}
