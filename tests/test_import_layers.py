"""Holds every module of the package to the direction of imports that the package's design sets.

A *room* is a module or package right below ``portsyncd`` (``backends.base`` and ``cli.demo`` are rooms of their own).
All imports count: those inside functions and under ``TYPE_CHECKING`` too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = "portsyncd"

# Lowest first. A room imports rooms of lower layers and its own modules; never a room beside it, never one above.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("wire",),
    ("model", "analytics"),
    ("text", "reading"),
    ("rules", "toml"),  # what config is made of
    ("options",),
    ("backends.base", "metrics", "config", "logs", "tls"),
    ("services", "web"),
    ("inputs",),
    ("world",),
    ("assembly",),
    ("daemon",),
    ("cli",),
    ("__main__",),
)


def below(name: str) -> frozenset[str]:
    """Every room of the layers below the layer of ``name``."""
    height = next(number for number, rooms in enumerate(LAYERS) if name in rooms)
    return frozenset(room for rooms in LAYERS[:height] for room in rooms)


# What a room may import beside itself. Concrete backends ("backends") are for the daemon, which chooses them, and for
# the shipped fakes and builders; those are for the demo alone, so that the daemon never carries them.
MAY_IMPORT: dict[str, frozenset[str]] = {
    **{room: below(room) for rooms in LAYERS for room in rooms},
    "backends": below("services"),
    "inputs": below("inputs") | {"backends"},
    "world": below("world") | {"backends"},
    "daemon": below("daemon") | {"backends"},
    "testing": below("daemon") | {"backends"},
    "cli": below("cli") | {"cli.demo"},
    "cli.demo": below("cli") | {"cli", "testing"},
    PACKAGE: frozenset(),
}

# Pure rooms decide; they do no I/O, read no clock, draw no lot, and know no library that does.
PURE = frozenset({"wire", "model", "analytics"})
IMPURE = frozenset({"trio", "socket", "redis", "os", "time", "random", "logging", "prometheus_client"})


def room_of(module: str) -> str | None:
    """The room of a dotted name of this package (also of a name inside a module); None where the design has no place for it."""
    parts = module.split(".")[1:]
    if not parts or (parts[0].startswith("__") and parts[0] not in MAY_IMPORT):
        return PACKAGE  # portsyncd itself, portsyncd.__version__
    if parts == ["backends"]:
        return "backends.base"  # its __init__ runs whenever base is imported
    for room in (".".join(parts[:2]), parts[0]):
        if room in MAY_IMPORT:
            return room
    return None


def imports(source: str, *, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that ``source`` imports; ``package`` is what its relative imports start from."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What in ``source``, the text of ``module``, goes against the tables above."""
    room = room_of(module)
    if room is None:
        return [f"{module} has no place in LAYERS: give it one"]
    found = []
    for line, name in imports(source, package=module if is_package else module.rpartition(".")[0]):
        top = name.partition(".")[0]
        if top == PACKAGE:
            target = room_of(name)
            if target not in (room, PACKAGE) and target not in MAY_IMPORT[room]:
                found.append(
                    f"{module}:{line} imports {name}: {room} must not see {target or 'what LAYERS does not name'}"
                )
        elif room in PURE and top in IMPURE:
            found.append(f"{module}:{line} imports {top}: {room} is pure")
    return found


FILES = sorted((SOURCE / PACKAGE).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_keeps_to_the_layers(path: Path) -> None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    assert violations(module, path.read_text(encoding="utf-8"), is_package=is_package) == []


def test_the_modules_are_found() -> None:
    assert SOURCE / PACKAGE / "errors.py" in FILES


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("portsyncd.errors", "from portsyncd.wire import schema"),
        ("portsyncd.wire.netlink", "import portsyncd.model.sync"),
        ("portsyncd.wire.netlink", "import os.path"),
        ("portsyncd.wire.netlink", "from socket import AF_NETLINK"),
        ("portsyncd.model.sync", "def now():\n    from time import monotonic"),
        ("portsyncd.model.sync", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trio"),
        ("portsyncd.model.sync", "from ..backends import base"),
        ("portsyncd.model.health", "from portsyncd.analytics import stats"),
        ("portsyncd.analytics.stats", "import random"),
        ("portsyncd.config", "from portsyncd import metrics"),
        ("portsyncd.backends.base", "from portsyncd.backends.redis import RedisStore"),
        ("portsyncd.backends.redis", "from portsyncd.services import writer"),
        ("portsyncd.services.writer", "from portsyncd.backends import redis"),
        ("portsyncd.services.writer", "from portsyncd.backends import netlink as kernel, base"),
        ("portsyncd.services.writer", "import portsyncd.web.app"),
        ("portsyncd.services.writer", "from portsyncd.testing import fakes"),
        ("portsyncd.web.app", "from portsyncd.services.guardian import Guardian"),
        ("portsyncd.daemon", "from portsyncd.testing import FakeStore"),
        ("portsyncd.daemon", "from portsyncd.cli.render import table"),
        ("portsyncd.cli.main", "from portsyncd.backends.redis import RedisStore"),
        ("portsyncd.cli.main", "from portsyncd import testing"),
        ("portsyncd.cli.demo", "from portsyncd.backends import netlink"),
        ("portsyncd.testing.fakes", "from portsyncd.daemon import run"),
        ("portsyncd.services.writer", "from portsyncd.helpers import anything"),
        ("portsyncd.helpers", ""),
        ("portsyncd", "from portsyncd.daemon import run"),
    ],
)
def test_a_violation_is_seen(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("portsyncd.wire.netlink", "from portsyncd.errors import DecodeError\nimport struct"),
        ("portsyncd.model.sync", "from . import ports\nfrom ..wire.schema import UP"),
        ("portsyncd.backends.base", "from portsyncd.model.sync import Snapshot"),
        ("portsyncd.backends.redis", "from portsyncd.backends.base import Notices\nimport os, redis"),
        ("portsyncd.services.writer", "from portsyncd.backends import base\nfrom portsyncd.services import supervisor"),
        ("portsyncd.daemon", "from portsyncd.backends.redis import RedisStore\nfrom portsyncd import __version__"),
        ("portsyncd.testing.fakes", "from portsyncd.backends.netlink import NetlinkSource"),
        ("portsyncd.cli.main", "from portsyncd.daemon import run\nfrom portsyncd.cli import demo"),
        (
            "portsyncd.cli.demo",
            "from portsyncd.testing.netns import NetworkNamespace\nfrom portsyncd.cli import render",
        ),
        ("portsyncd.cli.demo.view", "import portsyncd.testing.links"),
        ("portsyncd.__main__", "from portsyncd.cli.main import main"),
    ],
)
def test_what_the_design_allows_is_let_through(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_an_init_starts_its_relative_imports_from_itself() -> None:
    assert violations("portsyncd.wire", "from .schema import UP", is_package=True) == []
    assert violations("portsyncd.wire", "from ..model import sync", is_package=True) != []
