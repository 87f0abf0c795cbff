"""What the tree says of the configuration is made here: ``python -m portsyncd.cli.reference``, at the root of the tree.

That writes the template of the configuration file as a whole, and the generated parts of the reference, each of which
stands between ``<!-- generated: name -->`` and ``<!-- end -->``. A test holds both files to what this makes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import click

from portsyncd import config, toml
from portsyncd.cli import example, facts, main

DOCUMENT: Final = Path("docs/configuration.md")
TEMPLATE: Final = Path("ops/portsyncd.conf.example")

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def keys() -> str:
    """One table a section: key and default, what is allowed, what it means, why one would change it."""
    head = ("key and default", "allowed", "meaning", "why change it")
    parts = []
    for name, section in config.sections().items():
        rows = [
            (f"`{key.name} = {toml.show(key.default)}`", key.rule.allowed, key.meaning, key.why)
            for key in config.keys(section)
        ]
        parts.append(f"### [{name}]\n\n{section.__doc__}\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


def flags() -> str:
    """The flags of ``run``, with what they set."""
    rows = []
    for parameter in main.run.params:
        if isinstance(parameter, click.Option):
            value = f" {parameter.make_metavar(click.Context(main.run))}" if not parameter.is_flag else ""
            rows.append((f"`{parameter.opts[0]}{value}`", parameter.help or ""))
    return _table(("flag of run", "meaning"), rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "keys": keys,
        "flags": flags,
        "signals": lambda: _table(("signal", "meaning"), list(facts.SIGNALS.items())),
        "environment": lambda: _table(
            ("variable", "meaning"), [(f"`{name}`", meaning) for name, meaning in facts.ENVIRONMENT.items()]
        ),
        "exit_codes": lambda: _table(
            ("code", "meaning"), [(str(code), meaning) for code, meaning in facts.EXIT_CODES.items()]
        ),
    }
)


def update(text: str) -> str:
    """The document with each generated part made anew. Raises ``KeyError`` for a part that is unknown."""
    return _PART.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}\n{match[3]}", text)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    # A bar ends a cell, also within backquotes.
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *cells))


if __name__ == "__main__":
    DOCUMENT.write_text(update(DOCUMENT.read_text("utf-8")), "utf-8")
    TEMPLATE.write_text(example.text(), "utf-8")
