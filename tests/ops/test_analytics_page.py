"""docs/analytics.md: figures, series and thresholds are the code's."""

import re
from dataclasses import fields
from math import log
from pathlib import Path

from portsyncd.analytics import anomaly, availability, flaps, limits, trend, verdict
from portsyncd.analytics.analysis import Analysis, analyze
from portsyncd.analytics.history import History
from tests.ops import catalogue
from tests.ops.rules import rules, series

PAGE = Path(__file__).parents[2] / "docs" / "analytics.md"
TEXT = PAGE.read_text("utf-8")
# Sentences run over lines.
WORDS = " ".join(TEXT.split())


def test_figures_of_the_tables_are_those_of_an_analysis() -> None:
    named = {name for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", TEXT, re.MULTILINE) for name in row.split(", ")}
    own = {f"`{each.name}`" for each in fields(Analysis)}
    assert named <= own
    told_elsewhere = {f"`{name}`" for name in ("at", "since", "series", "flapping", "status", "reasons")}
    assert own - named == told_elsewhere


def test_series_are_all_told() -> None:
    for name in analyze(History(0.0), 1.0).series:
        assert f"`{name}`" in TEXT


def test_metrics_and_alerts_exist() -> None:
    assert series(TEXT) <= catalogue.series()
    assert set(re.findall(r"\bPortsyncd[A-Z]\w+", TEXT)) <= rules("alert").keys()


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target


def test_thresholds_are_those_of_the_code() -> None:
    steady = flaps.SUPPRESS / flaps.PENALTY * log(2) / flaps.HALF_LIFE * 3600
    for said in (
        f"more than {limits.RESTARTS} restarts within an hour",
        f"more than {limits.EVENTS:,} link events within a minute",
        f"p < {trend.SIGNIFICANT} on",
        f"Fewer than {trend.FEWEST} values have none. More than {trend.MOST} are",
        f"Beyond {anomaly.THRESHOLD} either way",
        f"In fewer than {anomaly.FEWEST} values nothing is",
        f"adds {flaps.PENALTY:.0f} to a port's penalty, which halves every {flaps.HALF_LIFE / 60:.0f} minutes",
        f"From {flaps.SUPPRESS:.0f} on a port counts as flapping",
        f"at {steady:.1f} flaps an hour and fewer",
        f"seen within {availability.RECENT / 60:.0f} minutes",
        f"fewer than {verdict.RECOVERY:.0%}".replace("%", " %"),
        f"below {verdict.AVAILABILITY:.0%} of at least an hour".replace("%", " %"),
        f"a score of {verdict.LATENCY_SCORE:.0f} and more, and of at least {1000 * verdict.LATENCY_SECONDS:.0f} ms",
        f"at least {['', 'one', 'two', 'three', 'four', 'five', 'six'][round(verdict.MEMORY_SECONDS / 3600)]} hours",
    ):
        assert said in WORDS, said
    assert (limits.RESTART_SECONDS, limits.EVENT_SECONDS, verdict.MIN_SECONDS) == (3600, 60, 3600)
    assert (anomaly.DAYS, verdict.MIN_STARTS, verdict.MEMORY_GROWTH, verdict.MEMORY_HOURS) == (7, 3, 0.5, 7 * 24)
