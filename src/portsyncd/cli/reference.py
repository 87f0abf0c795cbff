"""The generated parts of ``docs/configuration.md``: ``python -m portsyncd.cli.reference docs/configuration.md``.

Each part stands between ``<!-- generated: name -->`` and ``<!-- end -->``. A test holds the file to what this makes.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Final

import click

from portsyncd import toml
from portsyncd.cli import main, render
from portsyncd.config import sections

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def keys() -> str:
    """One table a section: key and default, what is allowed, what it means."""
    parts = []
    for name, section in sections().items():
        rows = [
            (
                f"`{key.name} = {toml.show(getattr(section(), key.name))}`",
                key.metadata["rule"].allowed,
                key.metadata["meaning"],
            )
            for key in fields(section)
        ]
        parts.append(f"### [{name}]\n\n{section.__doc__}\n\n{_table(('key and default', 'allowed', 'meaning'), rows)}")
    return "\n\n".join(parts)


def flags() -> str:
    """The flags of ``run``, with what they set."""
    rows = []
    for parameter in main.run.params:
        if isinstance(parameter, click.Option):
            value = f" {parameter.make_metavar(click.Context(main.run))}" if not parameter.is_flag else ""
            rows.append((f"`{parameter.opts[0]}{value}`".replace("|", "\\|"), parameter.help or ""))
    return _table(("flag of run", "meaning"), rows)


def exit_codes() -> str:
    """The exit codes."""
    return _table(("code", "meaning"), [(str(code), meaning) for code, meaning in render.EXIT_CODES.items()])


PARTS: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {"keys": keys, "flags": flags, "exit_codes": exit_codes}
)


def update(text: str) -> str:
    """The document with each generated part made anew. Raises ``KeyError`` for a part that is unknown."""
    return _PART.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}\n{match[3]}", text)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(update(document.read_text("utf-8")), "utf-8")
