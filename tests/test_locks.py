"""The lock files serve every Python and machine that the project supports, and name no place to fetch from.

pip-compile resolves for the Python that runs it; what another one needs besides would be missed by an install there
(``--require-hashes`` refuses what is not locked). So each installed package's own metadata is asked about all of them.
"""

import itertools
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("run.txt", "demo.txt", "dev.txt")
PINNED = re.compile(
    r"(?P<name>[a-z0-9.-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\\n(?P<hashes>(?: +--hash=.*\n)+)"
)

# Debian 12, the last before redis' boundary; the first of each minor version.
PYTHONS = ("3.11.2", "3.11.3", "3.12.0", "3.13.0", "3.14.0")
MACHINES = ("x86_64", "aarch64")


def environments() -> list[dict[str, str]]:
    return [
        {
            "python_full_version": python,
            "python_version": python.rpartition(".")[0],
            "implementation_version": python,
            "platform_machine": machine,
            "sys_platform": "linux",
            "os_name": "posix",
            "platform_system": "Linux",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        for python, machine in itertools.product(PYTHONS, MACHINES)
    ]


def lines(name: str) -> str:
    text = (ROOT / "requirements" / name).read_text()
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def pins(name: str) -> dict[str, Requirement]:
    found = (match.groupdict() for match in PINNED.finditer(lines(name)))
    texts = {
        pin["name"]: f"{pin['name']}=={pin['version']}" + (f" ; {pin['marker']}" if pin["marker"] else "")
        for pin in found
    }
    return {canonicalize_name(key): Requirement(text) for key, text in texts.items()}


def applies(requirement: Requirement, environment: dict[str, str], extras: set[str]) -> bool:
    return requirement.marker is None or any(
        requirement.marker.evaluate(environment | {"extra": extra}) for extra in extras | {""}
    )


def needs(name: str) -> list[str]:
    """What an installed package needs; nothing for one that is not for the Python that runs this."""
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def unmet(locked: dict[str, Requirement], roots: list[Requirement], environment: dict[str, str]) -> Iterator[str]:
    """What is needed in this environment, directly or not, and is not locked for it in a version that serves."""
    waiting = [(requirement, "pyproject.toml") for requirement in roots]
    seen = set()
    while waiting:
        requirement, wanted_by = waiting.pop()
        name = canonicalize_name(requirement.name)
        pin = locked.get(name)
        if pin is None or not applies(pin, environment, set()):
            yield f"{name}, which {wanted_by} needs"
            continue
        version = str(pin.specifier).removeprefix("==")
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{name}{requirement.specifier}, which {wanted_by} needs; locked is {version}"
        if (key := (name, frozenset(requirement.extras))) in seen:
            continue
        seen.add(key)
        children = map(Requirement, needs(name))
        waiting += [(child, name) for child in children if applies(child, environment, requirement.extras)]


def roots(lock: str, environment: dict[str, str]) -> list[Requirement]:
    """What pyproject.toml and the .in files ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    if lock != "run.txt":
        wanted += project["project"]["optional-dependencies"]["demo"]
    for source in ("run.in", "demo.in", "dev.in")[: LOCKS.index(lock) + 1]:
        wanted += [line for line in lines(source).splitlines() if line and not line.startswith("-")]
    return [requirement for requirement in map(Requirement, wanted) if applies(requirement, environment, set())]


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize(
    "environment", environments(), ids=lambda of: f"{of['python_full_version']}-{of['platform_machine']}"
)
def test_nothing_is_missing(lock: str, environment: dict[str, str]) -> None:
    assert list(unmet(pins(lock), roots(lock, environment), environment)) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_pin_with_hashes(lock: str) -> None:
    assert PINNED.sub("", lines(lock)).strip() == ""
    for match in PINNED.finditer(lines(lock)):
        assert re.fullmatch(r"(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", match["hashes"]), match["name"]


@pytest.mark.parametrize("lock", LOCKS)
def test_names_no_place_to_fetch_from(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert not re.search(r"https?:|file:/|--(?:extra-)?index-url|--find-links|--trusted-host|(?<![\w.-])/\w", text)


@pytest.mark.parametrize(("smaller", "larger"), list(itertools.pairwise(LOCKS)))
def test_the_larger_lock_keeps_the_smaller_ones_versions(smaller: str, larger: str) -> None:
    kept = pins(larger)
    assert {name: str(kept[name]) for name in pins(smaller)} == {name: str(pin) for name, pin in pins(smaller).items()}


def test_a_missing_package_is_seen() -> None:
    environment = environments()[0]
    locked = pins("demo.txt")
    del locked["async-timeout"]
    assert list(unmet(locked, roots("demo.txt", environment), environment))
