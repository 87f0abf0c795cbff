"""docs/security.md: the tests, files, bounds and packages that it names are those of the tree; and the bill of materials."""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from ops.audit import sbom

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
TEXT = PAGE.read_text("utf-8")
LOCK = (ROOT / "requirements" / "run.txt").read_text("utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
PATHS = sorted(set(re.findall(r"(?<![\w/])((?:src|tests|ops|docs|requirements)/[\w./-]*\w)", TEXT)))


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table whose head begins with this cell, head and rule left out."""
    table = TEXT.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    for line in table.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize(("path", "function"), TESTS)
def test_a_test_that_is_named_exists(path: str, function: str) -> None:
    assert function in functions(path)


def test_every_test_is_named_with_its_file() -> None:
    assert len(TESTS) > 80
    named = {name for path, function in TESTS for name in (Path(path).stem, function)}
    assert set(re.findall(r"\btest_\w+", TEXT)) - named - {Path(path).stem for path in PATHS} == set()


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("page", [PAGE, ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_linked_files_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    assert targets
    assert [target for target in targets if not (page.parent / target).exists()] == []


def bound(place: str) -> Any:
    """A constant, or the default of a dataclass' field: ``module:NAME`` or ``module:Class.field``."""
    module, _, name = place.partition(":")
    owner, _, key = name.partition(".")
    found = getattr(importlib.import_module(module), owner)
    if not key:
        return found
    assert is_dataclass(found)
    (chosen,) = [each for each in fields(found) if each.name == key]
    return chosen.default_factory() if callable(chosen.default_factory) else chosen.default


BOUNDS = [(what, most, place.strip("`")) for what, most, place in rows("what | most") if "portsyncd." in place]


@pytest.mark.parametrize(("what", "most", "place"), BOUNDS)
def test_a_bound_is_the_code_s(what: str, most: str, place: str) -> None:
    assert bound(place) == int(most)


def test_most_that_comes_in_has_a_bound() -> None:
    assert len(BOUNDS) > 10


def test_dependencies_are_those_of_the_lock() -> None:
    """What it is called, who asks for it, under which licence, whether it has native code."""
    bill = sbom.document(LOCK)
    name_of = {each["bom-ref"]: each["name"] for each in [*bill["components"], bill["metadata"]["component"]]}
    wanted_by: dict[str, list[str]] = {name: [] for name in name_of.values()}
    for each in bill["dependencies"]:
        for reference in each["dependsOn"]:
            wanted_by[name_of[reference]].append(name_of[each["ref"]])
    expected = []
    for each in bill["components"]:
        (licence,) = each["licenses"]
        native = any(file.suffix == ".so" for file in distribution(each["name"]).files or [])
        expected.append(
            [
                f"`{each['name']}`",
                ", ".join(sorted(wanted_by[each["name"]])),
                licence.get("expression") or licence["license"]["name"],
                "yes" if native else "no",
            ]
        )
    assert [cells[:4] for cells in rows("package")] == expected


def test_the_bill_of_materials_is_the_lock(tmp_path: Path) -> None:
    target = tmp_path / "new" / "sbom.cdx.json"
    sbom.main(str(ROOT / "requirements" / "run.txt"), str(target))
    made = target.read_text("utf-8")
    assert sbom.document(LOCK) == sbom.document(LOCK)
    assert {each["name"]: each["version"] for each in sbom.document(LOCK)["components"]} == sbom.pins(LOCK)
    assert len(sbom.pins(LOCK)) == len(re.findall(r"^\S+==", LOCK, re.MULTILINE))
    # Neither a host but that of the format itself, nor a path.
    assert re.findall(r"\w+://[^\"]*", made) == ["http://cyclonedx.org/schema/bom-1.6.schema.json"]
    assert not re.search(r'"/|/home|/root|/tmp|not declared', made)


def test_a_bill_of_other_versions_is_not_made() -> None:
    with pytest.raises(ValueError, match=r"click is installed as .*, and locked as 0\.1"):
        sbom.document(re.sub(r"^click==\S+", "click==0.1", LOCK, flags=re.MULTILINE))
