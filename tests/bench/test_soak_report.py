"""What a soak is told as: table, verdict, document, JSON, picture."""

import json
import math
from pathlib import Path

from bench.report import write_markdown
from bench.soak import plot, report
from bench.soak.samples import Check, rows
from tests.bench.soaking import PLAN, outcome


def test_a_row_has_a_cell_for_each_column() -> None:
    soaked = outcome()
    first, *_ = rows(soaked.samples, soaked.checks, 20.0, 100.0)
    assert len(report.cells(first)) == len(report.HEAD)
    assert report.cells(first)[:3] == ("0:20", "1,000", "0")
    assert len(report.head().removesuffix("  faults")) == len(report.line(report.cells(first)))


def test_a_good_soak() -> None:
    soaked = outcome()
    assert report.kept(soaked)
    said = report.plain(soaked)
    assert "SIGHUP (2): 0.20, 0.30" in said
    assert "steady link changes, while not paused for a check: 800 per s of 1,000 asked for" in said
    assert "VIOLATED" not in said


def test_one_wrong_port_violates() -> None:
    soaked = outcome(checks=[Check(30.0, "overrun", 0.1, 1)])
    assert not report.kept(soaked)
    assert "wrong ports, over all checks: 1 in 1 checks (goal: 0: VIOLATED)" in report.plain(soaked)


def test_a_daemon_that_ended_violates() -> None:
    soaked = outcome()
    soaked.stopped, soaked.broken = "the daemon ended with -9:\nits log", True
    assert not report.kept(soaked)
    assert "the daemon ended with -9" in report.plain(soaked)


def test_an_interrupt_alone_does_not() -> None:
    soaked = outcome()
    soaked.stopped = "interrupted"
    assert report.kept(soaked)
    assert "ended early, at 100 s: interrupted" in report.plain(soaked)


def test_nothing_measured_is_told_too(tmp_path: Path) -> None:
    soaked = outcome(samples=[], checks=[])
    assert not report.kept(soaked)
    report.write_json(tmp_path / "soak.json", soaked)
    plot.draw(tmp_path / "soak.png", soaked)


def test_the_document_keeps_what_is_around_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "soak.md"
    path.write_text(f"# Soak\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    soaked = outcome()
    soaked.rows = rows(soaked.samples, soaked.checks, PLAN.row, soaked.ended)
    for _ in range(2):
        write_markdown(path, report.markdown(soaked, "soak.png"), report.BEGIN, report.END)
    text = path.read_text()
    assert text.startswith("# Soak\n\n<!-- soak")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert "](soak.png)" in text
    tables = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert tables.count(len(report.HEAD) + 2) == len(soaked.rows) + 2


def test_json_has_all_and_no_infinity(tmp_path: Path) -> None:
    path = tmp_path / "soak.json"
    report.write_json(path, outcome(checks=[Check(1.0, "SIGHUP", math.inf, 2)]))
    document = json.loads(path.read_text(), parse_constant=lambda _: 1 / 0)
    assert len(document["samples"]) == 100
    assert document["checks"] == [{"at": 1.0, "after": "SIGHUP", "recovery": None, "wrong": 2}]
    assert document["verdict"][0]["kept"] is False


def test_the_picture_is_one(tmp_path: Path) -> None:
    soaked = outcome(checks=[Check(30.0, "SIGHUP", 0.1, 0), Check(60.0, "overrun", math.inf, 3)])
    soaked.rows = rows(soaked.samples, soaked.checks, PLAN.row, soaked.ended)
    plot.draw(tmp_path / "soak.png", soaked)
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG\r\n")
