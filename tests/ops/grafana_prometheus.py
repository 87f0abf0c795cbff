"""A real Prometheus for the dashboards' questions: rules are evaluated each second, and it may know an hour already."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.netns import NetworkNamespace
from tests.ops.grafana import Expression
from tests.ops.grafana_world import History
from tests.ops.prometheus import Prometheus
from tests.ops.rules import promtool

_ALERT: Final = re.compile(r"^ +- alert: .*\n(?!  - name: )(?:(?! +- (?:alert|record|name): ).*\n)*", re.MULTILINE)


class Answering(Prometheus):
    """As ``Prometheus``. What is recorded each minute, of a look each 15 s, is recorded each second here."""

    def __init__(self, program: str, folder: Path, namespace: NetworkNamespace, certificates: Certificates) -> None:
        super().__init__(program, folder, namespace, certificates)
        self.folder = folder
        self.rules = folder / "rules.yml"
        rules = self.rules.read_text("utf-8").replace("interval: 1m", "interval: 1s").replace(":15s]", ":1s]")
        self.rules.write_text(rules)

    def store(self, tool: str, history: History) -> None:
        """Have it know these scrapes when it starts; they must be over by then. tool: promtool. Alerts are among them, so that
        it makes none itself."""
        self.rules.write_text(_ALERT.sub("", self.rules.read_text("utf-8")))
        scrapes = self.folder / "scrapes.txt"
        with scrapes.open("w", encoding="utf-8") as file:
            file.writelines(history.text())
        # In one block, however the time is divided: of two, the older could be beyond the retention.
        how = ("tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=8760h")
        promtool(tool, *how, scrapes, self.folder / "data")

    def values(self, expression: Expression, query: str, at: float | None = None) -> Mapping[str, float]:
        """The values of a panel's query by what they are called there, now or at a time. Two series of one name fail."""
        when = {} if at is None else {"time": str(at)}
        found = self.ask("query", query=query, **when)["result"]
        named = {expression.named(each["metric"]): float(each["value"][1]) for each in found}
        assert len(named) == len(found), f"{expression}: {found}"
        return named

    def marks(self, expression: Expression, query: str, first: float, last: float, step: float) -> Mapping[str, float]:
        """When an annotation's first mark is, by its text, where it is looked for from ``first`` to ``last``."""
        found = self.ask("query_range", query=query, start=str(first), end=str(last), step=str(step))["result"]
        return {expression.named(each["metric"]): float(each["values"][0][0]) for each in found}

    def choices(self, expression: Expression, query: str) -> Sequence[str]:
        """What a variable can be."""
        found: list[str] = self.ask(f"label/{expression.label}/values", **{"match[]": query})
        return found
