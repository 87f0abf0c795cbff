"""TOML with line numbers: ``tomllib`` says what a file holds, this says where, and writes values back for display."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

_POSITION = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")


class TomlError(ValueError):
    """The text is not TOML. Caused by who wrote it. ``line`` is where, None if the parser did not say."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> dict[str, Any]:
    """What ``tomllib`` makes of the text. Raises ``TomlError``, whatever the text."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise TomlError("nested too deeply", None) from error
    except ValueError as error:
        # Besides TOMLDecodeError: a number with more digits than Python converts, an impossible date.
        message = str(error)
        position = _POSITION.search(message)
        if position is None:
            raise TomlError(message, None) from error
        line = int(position[1]) if position[1] else text.count("\n") + 1
        raise TomlError(message[: position.start()], line) from error


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each table and each key begins, of text that ``parse`` accepted.

    A statement (a header, or a key with its value) ends with the first line at which it is TOML by itself: one that
    is cut within a string of several lines or within a list is not.
    """
    found: dict[tuple[str, ...], int] = {}
    header: tuple[str, ...] = ()
    statement, begin = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except ValueError:
            continue
        paths = list(_paths(content))
        if statement.lstrip().startswith("["):
            header = paths[-1]
            found.setdefault(header[:1], begin)
            found.setdefault(header, begin)
        else:
            for path in paths:
                found.setdefault(header + path, begin)
        statement, begin = "", number + 1
    return found


def _paths(node: object, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*prefix, key)
            yield from _paths(value, (*prefix, key))


def show(value: object) -> str:
    """A value as TOML would have it, in one line, for people to read."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            # Python writes at most 4300 decimal digits, but a hexadecimal TOML number can have more.
            return str(value) if value.bit_length() <= 64 else hex(value)
        case list() | tuple():
            return f"[{', '.join(map(show, value))}]"
        case Mapping():
            pairs = ", ".join(f"{key} = {show(each)}" for key, each in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case float():
            return str(value)
        case _:
            return json.dumps(str(value), ensure_ascii=False)
