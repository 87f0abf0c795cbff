"""The template of the configuration file."""

import re
import textwrap
from dataclasses import fields
from pathlib import Path

from click.testing import CliRunner

from portsyncd.cli import example
from portsyncd.cli.main import cli
from portsyncd.config import Config, parse, sections
from portsyncd.errors import EXIT_OK

KEYS = {f"{name}.{key.name}": key for name, section in sections().items() for key in fields(section)}
UNCOMMENTED = re.sub(r"^#(?=\S)", "", example.text(), flags=re.MULTILINE)


def test_as_it_stands_it_sets_nothing() -> None:
    config = parse(example.text())
    assert config == Config()
    assert config.given == {}


def test_uncommented_it_sets_every_key_to_its_default() -> None:
    config = parse(UNCOMMENTED, source="f")
    assert config == Config()
    assert config.given.keys() == KEYS.keys()


def test_before_each_key_stands_what_it_means_what_is_allowed_and_why_one_would_change_it() -> None:
    lines = UNCOMMENTED.splitlines()
    for path, place in parse(UNCOMMENTED, source="f").given.items():
        above = lines[: int(place.partition(":")[2]) - 1]
        comment = " ".join(
            line.removeprefix("# ") for line in above[max(n for n, line in enumerate(above) if not line) :]
        )
        metadata = KEYS[path].metadata
        assert comment.strip() == (
            f"{metadata['meaning']}. Allowed: {metadata['rule'].allowed}. Why change it: {metadata['why']}."
        )


def test_no_comment_is_wider_than_a_page() -> None:
    assert all(len(line) <= 100 for line in example.text().splitlines() if line.startswith("# "))
    assert textwrap.dedent(example.text()) == example.text()


def test_the_command_prints_it_and_check_config_accepts_it(tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli, ["config-example"])
    assert (printed.exit_code, printed.stdout) == (EXIT_OK, example.text())
    (tmp_path / "p.conf").write_text(printed.stdout)
    environ = {"PORTSYNCD_DATABASE_DATABASE_CONFIG": ""}
    assert CliRunner().invoke(cli, ["check-config", str(tmp_path / "p.conf")], env=environ).exit_code == EXIT_OK
