"""From samples to what is printed: medians with their range, verdicts, ratios."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.figures import FIGURES, Figure, Target

Samples = Mapping[str, Sequence[float]]

BEGIN: Final = "<!-- figures: made by `make bench`, do not edit by hand -->"
END: Final = "<!-- end of the figures -->"
_HEAD: Final = ("what", "median (range)", "unit", "target", "", "C++", "times better")


def met(target: Target, samples: Sequence[float]) -> bool:
    """Whether the samples keep a target."""
    at_most = target.relation == "at most"
    worst = max if at_most else min
    value = worst(samples) if target.on == "every run" else statistics.median(samples)
    return value <= target.value if at_most else value >= target.value


def ratio(figure: Figure, samples: Sequence[float]) -> str:
    """How many times better than the C++ daemon the median is; below 1 it is worse. A range where that one's varied."""
    median = statistics.median(samples)
    if figure.peer is None or figure.peer.text or median == 0 or math.isinf(median):
        return ""
    times = [
        median / peer if figure.better == "higher" else peer / median for peer in (figure.peer.low, figure.peer.high)
    ]
    low, high = (_number(value) for value in sorted(times))
    return low if low == high else f"{low} - {high}"


def rows(samples: Samples) -> list[tuple[str, ...]]:
    """One row for each figure that has samples, in the order of ``FIGURES``."""
    return [_row(figure, samples[key]) for key, figure in FIGURES.items() if samples.get(key)]


def _row(figure: Figure, values: Sequence[float]) -> tuple[str, ...]:
    target, verdict, peer = "", "", ""
    if figure.target is not None:
        target = f"{figure.target.relation} {_number(figure.target.value)}"
        verdict = "met" if met(figure.target, values) else "MISSED"
    if figure.peer is not None:
        low, high = _number(figure.peer.low), _number(figure.peer.high)
        peer = figure.peer.text or (low if low == high else f"{low} - {high}")
    median = _number(statistics.median(values))
    low, high = _number(min(values)), _number(max(values))
    spread = median if low == high == median else f"{median} ({low} - {high})"
    return (figure.label, spread, figure.unit, target, verdict, peer, ratio(figure, values))


def missed(samples: Samples) -> list[str]:
    """The labels of the figures that miss their target."""
    return [
        figure.label.removeprefix("- ")
        for key, figure in FIGURES.items()
        if figure.target is not None and samples.get(key) and not met(figure.target, samples[key])
    ]


def verdict(samples: Samples) -> str:
    """One sentence on the targets."""
    judged = [key for key, figure in FIGURES.items() if figure.target is not None and samples.get(key)]
    failures = missed(samples)
    if not failures:
        return f"All {len(judged)} targets are met."
    return f"{len(failures)} of {len(judged)} targets are missed: {'; '.join(failures)}."


def plain(samples: Samples) -> str:
    """The table for a terminal."""
    table = [_HEAD, *rows(samples)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, "", verdict(samples)])


def markdown(samples: Samples, machine: Mapping[str, str], runs: int) -> str:
    """The table for documents, with what it was measured on."""
    what = "Figures of one run." if runs == 1 else f"Medians of {runs} runs, range in brackets."
    lines = [BEGIN, "", f"{what} {verdict(samples)}", ""]
    lines += [f"- {key}: {value}" for key, value in machine.items()]
    lines += ["", *(f"| {' | '.join(row)} |" for row in (_HEAD, ("---",) * len(_HEAD), *rows(samples)))]
    return "\n".join([*lines, "", END])


def write_markdown(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the table between its two marks, where the file has them; else the file becomes the table."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    before, mark, rest = old.partition(begin)
    after = rest.partition(end)[2]
    path.write_text(before + text + after if mark else text + "\n", encoding="utf-8")


def write_json(path: Path, samples: Samples, machine: Mapping[str, str], command: Sequence[str]) -> None:
    """All samples, for comparisons by program. A value that was never reached is null."""
    figures = {
        key: {"unit": FIGURES[key].unit, "samples": [None if math.isinf(value) else value for value in values]}
        for key, values in samples.items()
    }
    document = {"machine": dict(machine), "command": list(command), "figures": figures}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _number(value: float) -> str:
    """Three digits that matter; "never" for what did not happen within its deadline."""
    if math.isinf(value):
        return "never"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
