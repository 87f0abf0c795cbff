"""``python -m tests.e2e.recovery_table FILE...``: what ``--recovery-times`` has kept, as a table in Markdown."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Measured(NamedTuple):
    """One run of one fault; see ``recovery.Measure``. Seconds."""

    fault: str
    detected: float | None
    recovered: float


def to_line(measured: Measured) -> str:
    """As one line of JSON."""
    return json.dumps(measured._asdict())


def from_lines(lines: Iterable[str]) -> list[Measured]:
    """What ``to_line`` made."""
    return [Measured(**json.loads(line)) for line in lines]


def table(runs: Iterable[Measured]) -> str:
    """One row a fault, sorted, each line ended."""
    by_fault: dict[str, list[Measured]] = {}
    for run in runs:
        by_fault.setdefault(run.fault, []).append(run)
    head = ["fault", "runs", "noticed after (median)", "(worst)", "well again after (median)", "(worst)"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for fault, measured in sorted(by_fault.items()):
        noticed = [run.detected for run in measured if run.detected is not None]
        rows.append([fault, str(len(measured)), *_cells(noticed), *_cells([run.recovered for run in measured])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        f"| {row[0]:<{widths[0]}} | "
        + " | ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        + " |\n"
        for row in rows
    )


def _cells(seconds: list[float]) -> tuple[str, str]:
    return (_shown(median(seconds)), _shown(max(seconds))) if seconds else ("", "")


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def main(paths: Iterable[str]) -> None:
    """Print the table of these files."""
    lines = [line for path in paths for line in Path(path).read_text("utf-8").splitlines()]
    sys.stdout.write(table(from_lines(lines)))


if __name__ == "__main__":
    main(sys.argv[1:])
