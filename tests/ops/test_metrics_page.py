"""docs/metrics.md: the catalogue is the code's, the questions are PromQL that works, the files that it names exist."""

import re
from collections.abc import Callable
from pathlib import Path

from portsyncd.metrics import CATALOGUE
from tests.ops import catalogue
from tests.ops.pages import Page, as_rules
from tests.ops.rules import promtool, rules, series

TEXT = catalogue.DOCUMENT.read_text("utf-8")
QUERIES = Page(catalogue.DOCUMENT).code("promql")


def test_the_catalogue_is_the_code_s() -> None:
    assert catalogue.update(TEXT) == TEXT, "run: python -m tests.ops.catalogue"
    assert all(f"| `{family.name}` | " in TEXT for family in CATALOGUE)


def test_meanings_fit_into_a_table() -> None:
    for family in CATALOGUE:
        assert re.fullmatch(r"[^|\n]{15,300}", family.help), family.name


def test_queries_are_promql(require_program: Callable[[str], str], tmp_path: Path) -> None:
    assert len(QUERIES) > 20
    path = tmp_path / "queries.yml"
    path.write_text(as_rules(QUERIES))
    assert f"SUCCESS: {len(QUERIES)} rules found" in promtool(require_program("promtool"), "check", "rules", path)


def test_queries_ask_for_what_exists() -> None:
    there = catalogue.series() | rules("record").keys()
    assert {name for query in QUERIES for name in series(query) - there} == set()


def test_no_query_takes_the_growth_of_what_has_grown_before_the_first_scrape() -> None:
    """Counters of starts have counted theirs by then; and the clock of one machine is not compared with a start by another."""
    for query in QUERIES:
        assert not re.search(r"(increase|rate|changes|resets)\(portsyncd_(warm|cold|eoiu)", query), query
        assert not re.search(r"[<>]=? process_start_time_seconds", query), query


def test_series_named_in_the_text_exist() -> None:
    there = catalogue.series() | rules("record").keys() | {family.name for family in CATALOGUE}
    aliases = {name.removesuffix("_bucket") for name in rules("record") if name.endswith("_bucket")}
    assert series(TEXT) - there - aliases == set()


def test_recorded_series_are_in_the_text() -> None:
    """Of those with a level; the last part may stand for itself, and the burn rates' windows are one row."""
    for name in rules("record"):
        base, _, operation = name.rpartition(":")
        if base and base != "instance:portsyncd_unavailable":
            assert name in TEXT or (base in TEXT and f"`:{operation}`" in TEXT)


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (catalogue.DOCUMENT.parent / target).exists(), target
