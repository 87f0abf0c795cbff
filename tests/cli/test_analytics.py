"""``portsyncd analytics``: real histories, what is said of them, and how it ends."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

from portsyncd import errors
from portsyncd.analytics.analysis import Analysis, FlappingPort, SeriesAnalysis, Summary, Trend, document
from portsyncd.analytics.history import LATEST, Outcome, PortFlaps, Restored, Sample, Start
from portsyncd.backends.history import HistoryFile
from portsyncd.cli import analytics_report as report
from portsyncd.cli.main import cli

DAY = 86400.0
SAMPLE = Sample(0.0, 600.0, 1.0, 60, 0, 0, 0.0004, 0.0008, 0.0012, 50_000_000, 0)


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine counts, and the folder is that of the environment."""
    for name in os.environ:
        if name.startswith("PORTSYNCD_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("portsyncd.config.DEFAULT_FILE", str(tmp_path / "none.conf"))
    monkeypatch.setenv("PORTSYNCD_METRICS_STORAGE_PATH", str(tmp_path))


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, ["analytics", *args])


def answer(*args: str) -> Any:
    result = invoke("--json", *args)
    assert result.exit_code == errors.EXIT_OK, result.output
    return json.loads(result.stdout)


def write(folder: Path, starts: Sequence[Start], rows: Mapping[Sample, Sequence[PortFlaps]]) -> None:
    """A history as a daemon leaves it behind."""

    async def fill() -> None:
        store = HistoryFile(folder, 1 << 24)
        await store.counted()
        for start in starts:
            await store.begin(start)
        for sample, flaps in rows.items():
            await store.append(sample, flaps)
        await store.close()

    trio.run(fill)


def write_days(folder: Path, *, slow: bool = False) -> float:
    """Ten days with a start each, the newest one half an hour ago, and a port that flaps. Returns when that was written."""
    now = datetime.now(UTC).timestamp()
    starts = [
        Start(
            now - 1800 - day * DAY,
            warm=True,
            outcome=Outcome.TIMEOUT if day == 1 else Outcome.EOIU,
            restored=Restored.FILE,
            ports=4,
            eoiu_seconds=0.25,
            sync_seconds=0.5,
            events=1000,
            seen=now - (day and 1800 + (day - 1) * DAY),
            healthy=True,
        )
        for day in reversed(range(10))
    ]
    rows: dict[Sample, Sequence[PortFlaps]] = {
        replace(SAMPLE, at=now - 600 * (number + 1)): [] for number in reversed(range(144))
    }
    newest = replace(SAMPLE, at=now, flaps=3, latency_p99=0.9 if slow else 0.0012)
    rows[newest] = [PortFlaps(now, "Ethernet0", 3, 3), PortFlaps(now, "Ethernet4", 1, 1)]
    write(folder, starts, rows)
    return now


# ---- the window


def test_the_last_day_is_looked_at_unless_said_otherwise(tmp_path: Path) -> None:
    now = write_days(tmp_path)
    said = answer()
    assert (said["storage"], said["window_seconds"]) == (str(tmp_path), DAY)
    assert said["analysis"]["at"] - said["analysis"]["since"] == DAY
    assert said["analysis"]["at"] == pytest.approx(now, abs=60)
    assert said["analysis"].keys() == document(Analysis(1.0, 0.0)).keys()
    # The life of the day before lasted into it.
    assert said["analysis"]["starts"] == 2


@pytest.mark.parametrize(
    ("since", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 7 * DAY), ("2w", 14 * DAY)]
)
def test_a_span_is_a_number_and_a_unit(tmp_path: Path, since: str, seconds: float) -> None:
    write_days(tmp_path)
    assert answer("--since", since)["window_seconds"] == seconds


def test_a_span_from_before_time_began_is_all_there_is(tmp_path: Path) -> None:
    write_days(tmp_path)
    said = answer("--since", "999999w")
    assert (said["analysis"]["since"], said["analysis"]["starts"]) == (0, 10)
    assert "window   1970-01-01 00:00:00 UTC to" in invoke("--since", "999999w").stdout


@pytest.mark.parametrize(
    "since", ["7", "d", "7 d", "7y", "-1d", "0d", "0.0000001w", "1e3s", "nan", "", "7D", "9999999s"]
)
def test_a_span_that_is_none_is_explained(since: str) -> None:
    result = invoke(f"--since={since}")
    assert result.exit_code == errors.EXIT_USAGE
    assert f"{since!r} is no span of time" in result.stderr
    assert "7d" in result.stderr


# ---- which history


def test_a_folder_that_is_named_needs_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_days(tmp_path / "copied")
    monkeypatch.setenv("PORTSYNCD_METRICS_LISTEN", "nonsense")
    assert answer("--storage", str(tmp_path / "copied"))["storage"] == str(tmp_path / "copied")
    assert invoke().exit_code == errors.EXIT_CONFIG


def test_a_configuration_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTSYNCD_METRICS_STORAGE_PATH")
    write_days(tmp_path / "kept")
    config = tmp_path / "p.conf"
    config.write_text(f'[metrics]\nstorage_path = "{tmp_path / "kept"}"\n')
    assert answer("--config", str(config))["storage"] == str(tmp_path / "kept")
    assert invoke("--config", str(config), "--storage", str(tmp_path)).exit_code == errors.EXIT_USAGE


def test_a_wrong_configuration_is_told(tmp_path: Path) -> None:
    result = invoke("--config", str(tmp_path / "there-is-none.conf"))
    assert result.exit_code == errors.EXIT_CONFIG
    assert "there-is-none.conf" in result.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_without_a_history_it_says_where_it_looked_and_what_makes_one(tmp_path: Path, more: list[str]) -> None:
    result = invoke("--storage", str(tmp_path / "nothing"), *more)
    assert (result.exit_code, result.stdout) == (errors.EXIT_UNEXPECTED, "")
    assert f"there is no history in {tmp_path / 'nothing'}. `portsyncd run` makes one" in result.stderr
    assert "--storage" in result.stderr
    assert not (tmp_path / "nothing").exists()


def test_where_none_is_kept_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTSYNCD_METRICS_STORAGE_PATH", "")
    result = invoke()
    assert result.exit_code == errors.EXIT_UNEXPECTED
    assert "metrics.storage_path is empty" in result.stderr


def test_a_history_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"no database " * 1000)
    result = invoke()
    assert result.exit_code == errors.EXIT_UNEXPECTED
    assert f"could not read the history {tmp_path / 'history.db'}" in result.stderr
    assert result.stdout == ""


# ---- what it says


def test_a_report_has_all_sections(tmp_path: Path) -> None:
    write_days(tmp_path, slow=True)
    said = invoke("--since", "7d").stdout
    titles = [line for line in said.splitlines() if line and not line.startswith(" ")]
    assert [title.split("  ")[0] for title in titles] == [
        "history",
        "window",
        "verdict",
        "starts",
        "rates",
        "series",
        "anomalies",
        "flapping ports",
    ]
    assert f"history  {tmp_path}" in said
    assert "verdict  degraded" in said
    for line in (
        r"  starts                         8, of them restarts: 7",
        r"  initial sync complete          87.5 % of the starts",
        r"  initial sync timed out         12.5 % of those that ended",
        r"  damaged state recovered        -",
        r"  time to end of initial update  p50 250 ms, p95 250 ms, max 250 ms (8 starts)",
        r"  events in a life  1,000 on average",
        r"  restarts          1 in the last 60 min, within the limit of 5",
    ):
        assert line in said.splitlines(), said
    (latency,) = [line for line in said.splitlines() if line.startswith("  latency_p99")]
    assert re.sub(r" {2,}", "|", latency) == "|latency_p99|145|1.2 ms|7.4 ms|1.2 ms|1.2 ms|1.2 ms|900 ms|steady"


def test_what_is_odd_and_which_ports_flap_is_told(tmp_path: Path) -> None:
    write_days(tmp_path, slow=True)
    lines = invoke().stdout.splitlines()
    assert any("latency_p99" in line and "900 ms" in line and "the window" in line for line in lines)
    (worst,) = [line.split() for line in lines if line.startswith("  Ethernet0")]
    assert (worst[1], worst[-1]) == ("3", "now")


@pytest.mark.parametrize("at", [1e15, -1e15, inf, -inf, LATEST])
def test_a_clock_that_was_far_off_leaves_a_report(tmp_path: Path, at: float) -> None:
    write_days(tmp_path)
    write(tmp_path, [Start(at, seen=at, healthy=True)], {replace(SAMPLE, at=at): [PortFlaps(at, "Ethernet0", 1, 1)]})
    for span, count in (("23.9h", 144), ("50000w", 145)):
        result = invoke("--since", span)
        assert result.exit_code == errors.EXIT_OK, result.output
        assert answer("--since", span)["analysis"]["series"]["health"]["summary"]["count"] == count


def test_a_window_in_which_nothing_was_kept_is_told(tmp_path: Path) -> None:
    write(tmp_path, [Start(1000.0, seen=2000.0, stopped=True)], {})
    said = invoke().stdout
    assert "nothing is known of this time" in said
    assert said.count("\n  none") == 3


def test_help_teaches_by_examples() -> None:
    said = invoke("--help").stdout
    assert "portsyncd analytics --since 7d" in said
    assert max(map(len, said.splitlines())) <= 80


# ---- words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (0.0000012, "1.2 us"),
        (0.25, "250 ms"),
        (1.5, "1.5 s"),
        (119.0, "119 s"),
        (150.0, "2.5 min"),
        (7200.0, "2 h"),
        (604800.0, "7 d"),
        (-0.25, "-250 ms"),
    ],
)
def test_spans_are_told_in_few_digits(seconds: float, said: str) -> None:
    assert report.span(seconds) == said


@pytest.mark.parametrize(
    ("series", "number", "said"),
    [
        ("latency_p99", 0.0012, "1.2 ms"),
        ("memory_bytes", 51_234_567.0, "51.2 MB"),
        ("memory_bytes", -2_000.0, "-2 kB"),
        ("memory_bytes", 12.0, "12 B"),
        ("flaps", 0.0, "0"),
        ("events_per_second", 1234.5678, "1235"),
        ("events_per_second", 1_234_567.8, "1,234,568"),
    ],
)
def test_values_are_told_in_their_unit(series: str, number: float, said: str) -> None:
    assert report.value(series, number) == said


def test_many_ports_are_cut_short_and_a_name_cannot_steer_the_terminal() -> None:
    ports = [FlappingPort("Ethernet\x1b[2J", 1, 1900.0, suppressed=False, crosses_in=90.0)]
    ports += [FlappingPort(f"Ethernet{number}", 1, 5.0, suppressed=False, crosses_in=None) for number in range(25)]
    said = report.text(Analysis(DAY, 0.0, flapping=ports), "here")
    assert r"Ethernet\x1b[2J  1      1900     in 90 s at this rate" in said
    assert said.endswith("  and 6 more; --json has all")
    assert "Ethernet18 " in said
    assert "Ethernet19 " not in said


def test_a_trend_is_told_in_the_unit_of_its_series() -> None:
    summary = Summary(9, 1e6, 9e6, 5e6, 5e6, 9e6, 9e6)
    series = {
        "memory_bytes": SeriesAnalysis(summary, Trend("rising", 2.5e6, 0.001)),
        "flaps": SeriesAnalysis(summary, Trend("steady", 2.5e6, 0.5)),
        "resyncs": SeriesAnalysis(summary, None),
        "latency_p99": SeriesAnalysis(None, None),
    }
    lines = report.text(Analysis(DAY, 0.0, series=series), "here").splitlines()
    ends = {line.split()[0]: line for line in lines if line.split()[:1] and line.split()[0] in series}
    assert ends["memory_bytes"].endswith("  rising, 2.5 MB an hour")
    assert ends["flaps"].endswith("  steady")
    assert ends["resyncs"].endswith("  -")
    assert "latency_p99" not in ends
