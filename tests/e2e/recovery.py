"""A pytest plugin: how long it took until a fault was noticed, and until all was well after it, as one table at the end.

``--recovery-times FILE`` keeps the figures, ``--repeat N`` has each of these tests run N times; ``recovery_table`` makes
a table of such files.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.recovery_table import Measured, from_lines, table, to_line

_PROPERTY = "recovery"


class Measure(Protocol):
    """Notes the figures of one fault, all in seconds.

    detected: from the fault to the daemon's noticing it; None where that is not what it is about. recovered: from the end
    of the fault until STATE_DB equalled the kernel, changes during the fault included, if not said otherwise in
    ``fault``.
    """

    def __call__(self, fault: str, *, recovered: float, detected: float | None = None) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    parser.addoption("--recovery-times", metavar="FILE", help="append what faults took to FILE, as JSON lines")
    parser.addoption("--repeat", type=int, default=1, help="run each test of faults so often")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat what measures."""
    runs = metafunc.config.getoption("--repeat")
    if runs > 1 and "measure" in metafunc.fixturenames:
        metafunc.fixturenames.append("run_number")
        metafunc.parametrize("run_number", range(runs))


@pytest.fixture
def measure(record_property: Callable[[str, object], None]) -> Measure:
    """What a test notes its figures with; they count if it passes."""

    def note(fault: str, *, recovered: float, detected: float | None = None) -> None:
        record_property(_PROPERTY, to_line(Measured(fault, detected, recovered)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, and keep the figures where that is wanted."""
    lines = list(_lines(terminalreporter))
    # A worker's reporter is silent, and its figures are the controller's too.
    if not lines or hasattr(config, "workerinput"):
        return
    terminalreporter.section("recovery times")
    terminalreporter.write(table(from_lines(lines)))
    kept = config.getoption("--recovery-times")
    if kept:
        with Path(kept).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def _lines(reporter: pytest.TerminalReporter) -> Iterator[str]:
    """Those of the tests that passed, wherever they ran."""
    for report in reporter.stats.get("passed", ()):
        yield from (str(value) for name, value in report.user_properties if name == _PROPERTY)
