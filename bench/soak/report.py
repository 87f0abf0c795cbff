"""What a soak is told as: the table for a terminal and for documents, the verdict, the JSON file."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.soak.run import Outcome
from bench.soak.samples import MB, Row, Rule, verdict

BEGIN: Final = "<!-- soak: made by `make soak`, do not edit by hand -->"
END: Final = "<!-- end of the soak -->"
HEAD: Final = (
    *("until", "made/s", "handled/s", "p50 µs", "p99 µs", "CPU %", "MB", "fds", "threads"),
    *("overruns", "resyncs", "healed", "checks", "wrong", "recovery s"),
)
_WIDTHS: Final = tuple(max(len(name), 6) for name in HEAD)


def head() -> str:
    """The line above the rows, for a terminal."""
    return line(HEAD) + "  faults"


def line(cells: Sequence[str]) -> str:
    """One line of the table, for a terminal."""
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of ``HEAD``."""
    return (
        f"{int(row.end // 60)}:{int(row.end % 60):02}",
        f"{row.made:,.0f}",
        f"{row.handled:,.0f}",
        _microseconds(row.p50),
        _microseconds(row.p99),
        f"{row.cpu:.0f}",
        f"{row.resident / MB:.1f}",
        str(row.descriptors),
        str(row.threads),
        str(row.overruns),
        str(row.resyncs),
        "-" if row.healed is None else str(row.healed),
        str(row.checks),
        str(row.wrong),
        "-" if row.recovery is None else _seconds(row.recovery),
    )


def shown(row: Row) -> str:
    """A row for a terminal."""
    return f"{line(cells(row))}  {', '.join(row.faults)}"


def judge(outcome: Outcome) -> list[Rule]:
    """The verdict's rules; a soak that something broke off is one that is violated."""
    plan = outcome.plan
    rules = verdict(outcome.samples, outcome.checks, warm_up=plan.warm_up, max_growth=plan.max_growth)
    if outcome.broken:
        rules.insert(
            0, Rule("the daemon did its part until the end", outcome.stopped.partition("\n")[0], "yes", kept=False)
        )
    return [*rules, *_told(outcome)]


def _told(outcome: Outcome) -> Iterator[Rule]:
    """What is no goal."""
    if not outcome.samples:
        return
    last = outcome.samples[-1]
    if loaded := last.at - last.paused:
        text = f"{last.steady / loaded:,.0f} per s of {outcome.plan.rate:,.0f} asked for"
        yield Rule("steady link changes, while not paused for a check", text, None, kept=True)
    yield Rule("link changes in all, bursts among them", f"{last.made:,}", None, kept=True)
    yield Rule("scrapes without an answer (while the daemon is stopped)", str(outcome.failed_scrapes), None, kept=True)


def kept(outcome: Outcome) -> bool:
    """Whether no goal was violated."""
    return all(rule.kept for rule in judge(outcome))


def sentence(rule: Rule) -> str:
    """A rule of the verdict for a terminal."""
    limit = f" (goal: {rule.limit}: {'kept' if rule.kept else 'VIOLATED'})" if rule.limit else ""
    return f"{rule.what}: {rule.value}{limit}"


def recoveries(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    """For each fault how often it was brought about, and the median and the worst recovery in seconds."""
    found: dict[str, list[float]] = defaultdict(list)
    for check in outcome.checks:
        found[check.after].append(check.recovery)
    return [
        (name, str(len(times)), _seconds(statistics.median(times)), _seconds(max(times)))
        for name, times in sorted(found.items())
    ]


def plain(outcome: Outcome) -> str:
    """What is said at the end: recoveries, verdict."""
    lines = ["", "recovery from (times): median, worst, in s"]
    lines += [f"  {name} ({times}): {median}, {worst}" for name, times, median, worst in recoveries(outcome)]
    lines += ["", *(sentence(rule) for rule in judge(outcome))]
    if outcome.stopped:
        lines += ["", f"ended early, at {outcome.ended:.0f} s: {outcome.stopped}"]
    return "\n".join(lines)


def markdown(outcome: Outcome, picture: str | None) -> str:
    """The part of a document between its marks. picture: its file's name, None for no picture."""
    plan = outcome.plan
    parts = [
        BEGIN,
        "",
        f"{outcome.ended / 60:.0f} minutes, {plan.ports} ports, {plan.rate:,.0f} link changes per second asked for, seed "
        f"{plan.seed}." + (f" Ended early: {outcome.stopped.partition(chr(10))[0]}." if outcome.stopped else ""),
        "",
        *(f"- {key}: {value}" for key, value in outcome.machine.items()),
        "",
        *_table(
            ("what", "result", "goal", ""),
            [
                (rule.what, rule.value, rule.limit or "", ("kept" if rule.kept else "VIOLATED") if rule.limit else "")
                for rule in judge(outcome)
            ],
        ),
        "",
    ]
    if picture:
        parts += [f"![memory, descriptors, latency, rates and wrong ports over time]({picture})", ""]
    parts += _table(("after", "times", "median recovery s", "worst s"), recoveries(outcome))
    parts += ["", *_table((*HEAD, "faults"), [(*cells(row), ", ".join(row.faults)) for row in outcome.rows]), "", END]
    return "\n".join(parts)


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *body)]


def write_json(path: Path, outcome: Outcome) -> None:
    """All samples, checks and rows. What never came is null."""
    document = asdict(outcome) | {"verdict": [asdict(rule) for rule in judge(outcome)]}
    path.write_text(json.dumps(_finite(document)) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float() if math.isinf(value):
            return None
        case _:
            return value


def _microseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:,.0f}"


def _seconds(seconds: float) -> str:
    return "never" if math.isinf(seconds) else f"{seconds:.2f}"
