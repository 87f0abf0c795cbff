"""TOML with line numbers: ``tomllib`` says what a file holds, this says where, and writes values back for display."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

# Of lists and tables, one in the other. Python's recursion has a bound, and dotted keys reach it without one in the parser.
_MAX_DEPTH: Final = 100
_BARE_KEY = re.compile(r"[\w-]+", re.ASCII)
_POSITION = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
# What tells where a statement ends, in text that is TOML: brackets and newlines, but for those in comments and strings.
_TOKEN = re.compile(
    r"""\#[^\n]*
    | \"{3} (?: [^"\\] | \\. | "(?!"") )*+ "{3,5}
    | '{3} (?: [^'] | '(?!'') )*+ '{3,5}
    | " (?: [^"\\] | \\. )*+ "
    | ' [^']*+ '
    | [][{}\n]""",
    re.VERBOSE | re.DOTALL,
)


class TomlError(ValueError):
    """The text is not TOML. Caused by who wrote it. ``line`` is where, None if the parser did not say."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> dict[str, Any]:
    """What ``tomllib`` makes of the text. Raises ``TomlError``, whatever the text."""
    try:
        document = tomllib.loads(text)
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
    level: list[object] = [document]
    for _ in range(_MAX_DEPTH):
        level = [inner for node in level for inner in _inner(node)]
    if level:
        raise TomlError("nested too deeply", None)
    return document


def _inner(node: object) -> Iterable[object]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each table and each key begins, of text that ``parse`` accepted.

    Each statement (a header, or a key with its value) is read once by itself.
    """
    found: dict[tuple[str, ...], int] = {}
    header: tuple[str, ...] = ()
    for begin, statement in _statements(text):
        paths = list(_paths(tomllib.loads(statement)))
        if statement.lstrip().startswith("["):
            header = paths[-1]
            found.setdefault(header[:1], begin)
            found.setdefault(header, begin)
        else:
            for path in paths:
                found.setdefault(header + path, begin)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with the number of the line on which it begins. One goes as far as the first newline that is in no
    string and no list."""
    begin, start, depth = 1, 0, 0
    for token in _TOKEN.finditer(text + "\n"):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and not depth:
            statement = text[start : token.end()]
            yield begin, statement
            begin, start = begin + statement.count("\n"), token.end()


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
            pairs = ", ".join(f"{_key(key)} = {show(each)}" for key, each in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case float():
            return str(value)
        case _:
            return _quoted(str(value))


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """A string. What cannot be seen is escaped, for it may be meant for the terminal."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
