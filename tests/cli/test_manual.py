"""The manual page: two formatters find no fault in it, and all of it can be read."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path

import click
import pytest

from portsyncd import __version__
from portsyncd.cli import facts, manual
from portsyncd.cli.main import cli
from portsyncd.config import sections

PAGE = manual.page(date(2026, 1, 31))


def plain(text: str | None) -> str:
    """Without line breaks and marks."""
    assert text
    return " ".join(text.replace("`", "").split())


@pytest.fixture
def shown(require_program: Callable[[str], str]) -> str:
    """What man shows, without its line breaks."""
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    command = [require_program("man"), "--warnings", "--local-file", "-"]
    ran = subprocess.run(command, env=environ, input=PAGE, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stderr == ""
    return plain(ran.stdout)


def test_mandoc_finds_no_fault(require_program: Callable[[str], str]) -> None:
    command = [require_program("mandoc"), "-Tlint"]
    ran = subprocess.run(command, input=PAGE, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "", 0)


def test_man_shows_every_command_and_option(shown: str) -> None:
    assert f"portsyncd {__version__} 2026-01-31" in shown
    certs = cli.commands["certs"]
    assert isinstance(certs, click.Group)
    for command in (*cli.commands.values(), *certs.commands.values()):
        assert plain(command.help) in shown
        for option in command.params:
            if isinstance(option, click.Option):
                assert f" {option.opts[0]} " in shown
                assert plain(option.help) in shown


def test_man_shows_every_key(shown: str) -> None:
    for name, section in sections().items():
        assert f" [{name}] {section.__doc__}" in shown
        for key in fields(section):
            assert f" {key.name} = " in shown
            assert f" {key.metadata['meaning']}. Allowed: {key.metadata['rule'].allowed}." in shown


@pytest.mark.parametrize("table", [facts.ENVIRONMENT, facts.SIGNALS, facts.EXIT_CODES, facts.EXAMPLES])
def test_man_shows_what_else_an_operator_has_to_know(shown: str, table: Mapping[object, str]) -> None:
    for tag, meaning in table.items():
        assert f" {tag} {plain(meaning)}" in shown


def test_what_roff_would_take_for_its_own_is_escaped() -> None:
    assert manual._line(".TP \\fB 'x' -a `b^~\"`") == r"\&.TP \(rsfB \(aqx\(aq \-a \fBb\(ha\(ti\(dq\fR"
    assert list(manual._text("x " * 37 + ".hidden")) == ["x " * 36 + "x", r"\&.hidden"]


def test_packagers_set_the_date() -> None:
    assert manual._today({"SOURCE_DATE_EPOCH": "86400"}) == date(1970, 1, 2)
    before = datetime.now(UTC).date()
    assert before <= manual._today({}) <= datetime.now(UTC).date()


def test_it_is_printed() -> None:
    epoch = int(datetime(2026, 1, 31, tzinfo=UTC).timestamp())
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "portsyncd.cli.manual"]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == PAGE
