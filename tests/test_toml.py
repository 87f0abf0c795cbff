"""Where things stand in a TOML text, and how values are shown."""

import tomllib

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


def test_lines_of_a_file_written_on_windows() -> None:
    assert toml.lines("[a]\r\n\r\nx = 1\r\n") == {("a",): 1, ("a", "x"): 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \n", 2),
        ("a = 1\n\nb = [1,", 3),
        ("a = 1\na = 2", 2),
        ("a = " + "[" * 100000, None),
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
    ],
)
def test_show(value: object, shown: str) -> None:
    assert toml.show(value) == shown


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text("aä \"\\\n'$"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_shown_is_toml(value: object) -> None:
    assert tomllib.loads(f"value = {toml.show(value)}")["value"] == value


@given(st.text(st.characters()) | st.text("[]{}=.\"'#ab1\n\r "))
def test_any_text_has_lines_or_is_refused(text: str) -> None:
    try:
        document = toml.parse(text)
    except toml.TomlError:
        return
    assert {path[0] for path in toml.lines(text)} == set(document)
