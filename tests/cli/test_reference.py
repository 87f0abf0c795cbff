"""The reference in docs/ and the template in ops/ say what the code says."""

from pathlib import Path

import pytest

from portsyncd.cli import example, reference
from portsyncd.config import sections, variable

TREE = Path(__file__).parents[2]
DOCUMENT = TREE / reference.DOCUMENT
RUN = "run: python -m portsyncd.cli.reference"


def test_the_document_is_up_to_date() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert text == reference.update(text), RUN


def test_the_template_is_up_to_date() -> None:
    assert (TREE / reference.TEMPLATE).read_text("utf-8") == example.text(), RUN


def test_the_document_has_every_part_once() -> None:
    text = DOCUMENT.read_text("utf-8")
    for name, make in reference.PARTS.items():
        assert text.count(f"<!-- generated: {name} -->\n{make()}\n<!-- end -->") == 1


def test_every_key_is_in_the_table() -> None:
    table = reference.keys()
    for name, section in sections().items():
        part = table.partition(f"### [{name}]")[2].partition("###")[0]
        for key in section.__dataclass_fields__:
            assert f"| `{key} = " in part


def test_a_bar_does_not_end_a_cell() -> None:
    for line in DOCUMENT.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            assert line.replace("\\|", "").count("|") in {3, 5}


def test_variables_that_the_document_mentions_exist() -> None:
    assert variable("database.unix_socket_path") in DOCUMENT.read_text("utf-8")


def test_an_unknown_part_is_an_error() -> None:
    with pytest.raises(KeyError):
        reference.update("<!-- generated: nonsense -->\n<!-- end -->")


def test_update_leaves_the_rest_alone_and_can_be_repeated() -> None:
    text = "a\n<!-- generated: exit_codes -->\nold\n<!-- end -->\nb <!-- end -->\n"
    once = reference.update(text)
    assert once.startswith("a\n<!-- generated: exit_codes -->\n| code |")
    assert once.endswith("|\n<!-- end -->\nb <!-- end -->\n")
    assert "old" not in once
    assert reference.update(once) == once
