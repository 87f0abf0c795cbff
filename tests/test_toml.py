"""Where things stand in a TOML text, and how values are shown."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd import toml

TEXT = '''\
# comment
top = 1

[a]  # b = 5
x = """
y = 2
[b]
"""
y = [
  1,
  # z = 3
  2,
]
"quoted key" = 1
d.e = 1
t = { f = 1, g = { h = 2 } }
[b.c]
x = 1
[[list]]
x = 1
'''


def test_lines_are_those_on_which_statements_begin() -> None:
    assert toml.lines(TEXT) == {
        ("top",): 2,
        ("a",): 4,
        ("a", "x"): 5,
        ("a", "y"): 9,
        ("a", "quoted key"): 14,
        ("a", "d"): 15,
        ("a", "d", "e"): 15,
        ("a", "t"): 16,
        ("a", "t", "f"): 16,
        ("a", "t", "g"): 16,
        ("a", "t", "g", "h"): 16,
        ("b",): 17,
        ("b", "c"): 17,
        ("b", "c", "x"): 18,
        ("list",): 19,
        ("list", "x"): 20,
    }


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("x = [\n" + "  1,\n" * 4000 + "]\n", 1),
        ('x = """\n' + "text [ ' #\n" * 4000 + '"""\n', 1),
        ("# comment [\n\n" * 2000 + "x = 1\n", 4001),
        ("[a]\n" + "".join(f"k{number} = '#['\n" for number in range(4000)), 4001),
    ],
    ids=["list", "string", "comments", "keys"],
)
def test_each_statement_is_read_once(monkeypatch: pytest.MonkeyPatch, text: str, statements: int) -> None:
    read: list[str] = []
    loads = tomllib.loads

    def remember(part: str) -> dict[str, Any]:
        read.append(part)
        return loads(part)

    monkeypatch.setattr("tomllib.loads", remember)
    assert toml.lines(text)
    assert "".join(read) == text
    assert len([part for part in read if part]) == statements


def test_lines_of_a_file_written_on_windows() -> None:
    assert toml.lines("[a]\r\n\r\nx = 1\r\n") == {("a",): 1, ("a", "x"): 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \n", 2),
        ("a = 1\n\nb = [1,", 3),
        ("a = 1\na = 2", 2),
        ("a = " + "[" * 100000, None),
        ("a." * 3000 + "a = 1", None),
        ("a = " + "9" * 5000, None),
        ("a = 2025-99-99", 1),
    ],
)
def test_text_that_is_not_toml(text: str, line: int | None) -> None:
    with pytest.raises(toml.TomlError) as caught:
        toml.parse(text)
    assert caught.value.line == line
    assert "(at " not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (5, "5"),
        pytest.param(16**5000, hex(16**5000), id="hexadecimal"),
        (2.0, "2.0"),
        ('a"b\\\n', '"a\\"b\\\\\\n"'),
        ("ä", '"ä"'),
        (["a", 1], '["a", 1]'),
        (("a",), '["a"]'),
        ({}, "{}"),
        ({"a": 1, "b": ["x"]}, '{ a = 1, b = ["x"] }'),
        ({"a b": 1, "": 2}, '{ "a b" = 1, "" = 2 }'),
        ("\x1b[2J\x9b\u202e\x7f", r'"\u001b[2J\U0000009b\U0000202e\U0000007f"'),
    ],
)
def test_show(value: object, shown: str) -> None:
    assert toml.show(value) == shown


TEXTS = st.text("aä \"\\\n'$-\x1b\x7f\x9b\u202e")
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_shown_is_toml_of_one_line_that_does_nothing_to_a_terminal(value: object) -> None:
    shown = toml.show(value)
    assert shown.isprintable()
    assert tomllib.loads(f"value = {shown}")["value"] == value


@given(VALUES)
def test_statements_over_several_lines_are_one(value: object) -> None:
    split = toml.show([value]).replace("[", "[ # ]\n").replace(", ", ",\n")
    text = f"a = 1\nb = {split}\nc = 1"
    try:
        toml.parse(text)
    except toml.TomlError:
        # A table is one line, and a bracket in a string is one of its characters.
        return
    found = toml.lines(text)
    assert (found["a",], found["b",], found["c",]) == (1, 2, text.count("\n") + 1)


@given(st.text(st.characters()) | st.text("[]{}=.\"'#ab1\n\r "))
def test_any_text_has_lines_or_is_refused(text: str) -> None:
    try:
        document = toml.parse(text)
    except toml.TomlError:
        return
    assert {path[0] for path in toml.lines(text)} == set(document)
