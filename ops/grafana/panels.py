"""The kinds of panels, with what all of a kind have in common."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypedDict, Unpack

from grafana_foundation_sdk.builders import bargauge, common, gauge, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    HeatmapCellLayout,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardFieldConfigSourceOverrides,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    FieldConfigSource,
    GridPos,
    MatcherConfig,
    Panel,
    Threshold,
    ThresholdsConfig,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from ops.grafana.query import DATASOURCE, built, cells

RULES: Final = Path(__file__).parents[1] / "prometheus" / "rules.yml"

Query = prometheus.Dataquery
# From which value on which colour; the first has no value.
Steps = Sequence[tuple[float | None, str]]
# What is said instead of a value, and its colour.
Words = Mapping[float, tuple[str, str]]

PLAIN: Final[Steps] = ((None, "blue"),)
NONE_IS_GOOD: Final[Steps] = ((None, "green"), (1, "red"))
SOME_IS_FAIR: Final[Steps] = ((None, "green"), (1, "orange"))
HEALTH: Final[Words] = {1: ("healthy", "green"), 0.5: ("degraded", "orange"), 0: ("unhealthy", "red")}
YES_NO: Final[Words] = {1: ("yes", "green"), 0: ("no", "red")}


class Look(TypedDict, total=False):
    """What every panel may say. unit: one of Grafana's; a plain number without. width, height: in cells of a grid that is 24
    wide. alerts: of rules.yml that ask the same; the description names them, and where it stands what to do."""

    unit: str
    decimals: int
    minimum: float | None
    maximum: float
    steps: Steps
    words: Words
    width: int
    height: int
    alerts: Sequence[str]


def lines(
    title: str, description: str, *queries: Query, stacked: bool = False, bars: bool = False, **look: Unpack[Look]
) -> Panel:
    """Series over time. stacked: on each other, since their sum means something. bars: for counts of what is rare. Steps are
    drawn as dashed lines."""
    builder = (
        timeseries.Panel()
        .draw_style(GraphDrawStyle.BARS if bars else GraphDrawStyle.LINE)
        .fill_opacity(60 if bars else 20 if stacked else 0)
        .show_points(VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked or bars else StackingMode.NONE))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "mean", "max"])
        )
    )
    if "steps" in look:
        builder.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    palette = FieldColor(mode=FieldColorModeId.PALETTE_CLASSIC_BY_NAME)
    look = Look(width=12, height=9, minimum=0) | look
    return _panel(builder.build(), title, description, queries, look, color=palette)


def number(title: str, description: str, *queries: Query, named: bool = False, **look: Unpack[Look]) -> Panel:
    """The newest values, large. named: what is shown is the legend, or with several queries the legend too."""
    mode = BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else BigValueTextMode.VALUE
    builder = (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.NAME if named else mode)
    )
    return _panel(builder.build(), title, description, queries, Look(width=3, height=4, steps=PLAIN) | look)


def bars(title: str, description: str, *queries: Query, **look: Unpack[Look]) -> Panel:
    """The newest values, each with a bar."""
    builder = (
        bargauge.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
    )
    return _panel(builder.build(), title, description, queries, Look(width=6, height=9, minimum=0, steps=PLAIN) | look)


def dial(title: str, description: str, *queries: Query, **look: Unpack[Look]) -> Panel:
    """The newest values, each as a part of a whole."""
    builder = gauge.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _panel(builder.build(), title, description, queries, Look(width=6, height=7) | look)


def heat(title: str, description: str, query: Query, **look: Unpack[Look]) -> Panel:
    """How often which seconds were measured, over time. The query is one of ``buckets``."""
    builder = (
        heatmap.Panel()
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Spectral").steps(64).reverse(False))
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.AUTO))
        .show_y_histogram()
    )
    return _panel(builder.build(), title, description, [query], Look(width=12, height=9) | look)


@dataclass(frozen=True)
class Column:
    """A column of a table. name: above it; "" for a query that is asked for its labels alone. expr: has a value a row. unit,
    words, steps: as in ``Look``."""

    name: str
    expr: str
    unit: str = ""
    words: Words | None = None
    steps: Steps | None = None

    def properties(self) -> Mapping[str, object]:
        """How it differs from the other columns."""
        found = {
            "unit": self.unit or None,
            "mappings": [_mapping(self.words)] if self.words else None,
            "thresholds": _thresholds(self.steps) if self.steps else None,
            "custom.cellOptions": {"type": "color-text"} if self.words or self.steps else None,
        }
        return {name: value for name, value in found.items() if value is not None}


def rows(
    title: str, description: str, *columns: Column, link: DashboardLink | None = None, **look: Unpack[Look]
) -> Panel:
    """A table with a row for each set of labels. link: of the column ``instance``, to what is known of that switch."""
    # Grafana's names of a table's values, which the transformation "merge" puts side by side.
    values = [f"Value #{chr(ord('A') + place)}" for place in range(len(columns))] if len(columns) > 1 else ["Value"]
    shown = {value: each.name for value, each in zip(values, columns, strict=True) if each.name}
    hidden = dict.fromkeys(["Time", *(value for value in values if value not in shown)], True)
    builder = table.Panel().show_header(True).filterable(True)
    builder.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    builder.with_transformation(
        DataTransformerConfig(id_val="organize", options={"excludeByName": hidden, "renameByName": shown})
    )
    overrides = [
        _override(each.name, properties) for each in columns if each.name and (properties := each.properties())
    ]
    if link is not None:
        overrides.append(_override("instance", {"links": [link.build()]}))
    return _panel(
        builder.build(),
        title,
        description,
        [cells(each.expr) for each in columns],
        Look(width=24, height=10, steps=PLAIN) | look,
        overrides=overrides,
    )


def _override(name: str, properties: Mapping[str, object]) -> DashboardFieldConfigSourceOverrides:
    return DashboardFieldConfigSourceOverrides(
        matcher=MatcherConfig(id_val="byName", options=name),
        properties=[DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()],
    )


def _panel(
    panel: Panel,
    title: str,
    description: str,
    queries: Sequence[Query],
    look: Look,
    *,
    color: FieldColor | None = None,
    overrides: Sequence[DashboardFieldConfigSourceOverrides] = (),
) -> Panel:
    """A panel that its own builder has made, with what all panels have."""
    panel.title = title
    panel.description = _with_alerts(description, look.get("alerts", ()))
    panel.datasource = DATASOURCE
    panel.targets = [*built(queries)]
    panel.grid_pos = GridPos(w=look["width"], h=look["height"])
    panel.field_config = panel.field_config or FieldConfigSource()
    panel.field_config.overrides = [*overrides]
    defaults = panel.field_config.defaults
    defaults.unit = look.get("unit", "short")
    defaults.decimals = look.get("decimals")
    defaults.min_val = look.get("minimum")
    defaults.max_val = look.get("maximum")
    defaults.thresholds = _thresholds(look["steps"]) if "steps" in look else None
    defaults.mappings = [_mapping(look["words"])] if "words" in look else None
    defaults.color = color or FieldColor(mode=FieldColorModeId.THRESHOLDS)
    return panel


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return ThresholdsConfig(
        mode=ThresholdsMode.ABSOLUTE, steps=[Threshold(value=value, color=color) for value, color in steps]
    )


def _mapping(words: Words) -> ValueMap:
    return ValueMap(
        options={f"{value:g}": ValueMappingResult(text=text, color=color) for value, (text, color) in words.items()}
    )


def _with_alerts(description: str, alerts: Sequence[str]) -> str:
    where = "".join(f"\n\nAlert {name}: {runbooks()[name]}" for name in alerts)
    return description + where


@cache
def runbooks() -> Mapping[str, str]:
    """Where it stands what to do, by the alert's name."""
    return dict(re.findall(r'- alert: (\w+)\n(?:(?! +- alert).*\n)*? +runbook: "(.+)"', RULES.read_text("utf-8")))
