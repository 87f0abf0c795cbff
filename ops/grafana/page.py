"""A dashboard of rows of panels: variables, annotations, links, places on the grid."""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import Dataquery

from ops.grafana.query import DATASOURCE, TARGET, Scope

COLUMNS: Final = 24
TAG: Final = "portsyncd"

Rows = Sequence[tuple[str, Sequence[Panel]]]


def page(
    uid: str, title: str, description: str, scope: Scope, rows: Rows, *, variables: Sequence[QueryVariable] = ()
) -> models.Dashboard:
    """A dashboard. uid: as it stands in links. rows: a heading and its panels. variables: beside those that all have."""
    builder = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .variables(
            [DatasourceVariable("datasource").label("Data source").type("prometheus"), *_targets(scope), *variables]
        )
        .link(
            DashboardLink("portsyncd")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    made = builder.build()
    made.annotations.list_val = [
        Mark("Restarts", f"changes(process_start_time_seconds{{{TARGET}}}[$__rate_interval]) > 0", "blue", "restarted"),
        Mark("Alerts", f'ALERTS{{{TARGET}, alertname=~"Portsyncd.+", alertstate="firing"}}', "red", "{{alertname}}"),
    ]
    made.panels = _placed(rows)
    _aim(made, scope)
    return made


class Mark(AnnotationQuery):
    """An annotation from Prometheus: a mark wherever the query has a value above 0. Says also what the data source's own part
    of Grafana reads, for which the SDK has no place."""

    def __init__(self, name: str, expr: str, colour: str, title: str) -> None:
        super().__init__(name=name, datasource=DATASOURCE, icon_color=colour, expr=expr)
        self._title = title

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"titleFormat": self._title, "textFormat": "{{instance}}", "step": "60s"}


def values(name: str, label: str, query: str) -> QueryVariable:
    """A variable whose values are those of a label; one can be chosen."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def _targets(scope: Scope) -> Sequence[QueryVariable]:
    """The job, and which of its targets. Of targets all may be meant without naming each, of jobs not: every target of this
    Prometheus has an ``up``."""
    job = values("job", "Job", "label_values(portsyncd_build_info{}, job)")
    if scope is Scope.ONE:
        return job, values("instance", "Switch", 'label_values(up{job="$job"}, instance)')
    everything = VariableOption(text="All", value="$__all")
    instance = values("instance", "Switch", 'label_values(up{job=~"$job"}, instance)').all_value(".+")
    return [each.multi(True).include_all(True).current(everything) for each in (job, instance)]


def _placed(rows: Rows) -> list[Panel | RowPanel]:
    """All panels one after the other, each with its number and its place: from left to right while there is room."""
    placed: list[Panel | RowPanel] = []
    y = 0
    for title, panels in rows:
        placed.append(RowPanel(title=title, grid_pos=GridPos(w=COLUMNS, h=1, x=0, y=y)))
        x, y, height = 0, y + 1, 0
        for panel in panels:
            place = panel.grid_pos or GridPos()
            if x + place.w > COLUMNS:
                x, y, height = 0, y + height, 0
            place.x, place.y = x, y
            x, height = x + place.w, max(height, place.h)
            placed.append(panel)
        y += height
    for number, each in enumerate(placed, start=1):
        each.id_val = number
    return placed


def _aim(made: models.Dashboard, scope: Scope) -> None:
    """Write into every query which switches it is about."""
    queries = [
        query
        for panel in made.panels or ()
        if isinstance(panel, Panel)
        for query in panel.targets or ()
        if isinstance(query, Dataquery)
    ]
    for each in (*queries, *(made.annotations.list_val or ())):
        each.expr = (each.expr or "").replace(TARGET, scope)
