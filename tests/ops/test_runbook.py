"""docs/operations.md and docs/deployment.md: what they name exists, what they have one type can be typed.

That it does what they say is for tests/e2e/test_operations.py.
"""

import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click
import pytest

from portsyncd.cli.main import cli
from portsyncd.config import DEFAULT_FILE, Config, parse, sections, variable
from portsyncd.metrics import CATALOGUE
from tests.ops import catalogue
from tests.ops.pages import DOCS, SOURCES, Page, as_rules, messages
from tests.ops.rules import ROOT, promtool, rules, series

OPERATIONS = Page(DOCS / "operations.md")
PAGES = [OPERATIONS, Page(DOCS / "deployment.md")]
PARTS = ["Means", "Look", "Likely", "Do", "Escalate", "Over"]
MESSAGES = messages()
STATUS_SOURCES = ("model/service_state.py", "services/notifier.py", "daemon.py", "model/health.py")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)


# ---- the runbook


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    sections_there = re.findall(r"^### (.+)$", OPERATIONS.section("## Alerts"), re.MULTILINE)
    assert sorted(sections_there) == sorted(rules("alert"))


@pytest.mark.parametrize("name", rules("alert"))
def test_a_section_says_all_that_one_needs(name: str) -> None:
    section = OPERATIONS.section(f"### {name}")
    assert re.findall(r"^\*\*(\w+):\*\*", section, re.MULTILINE) == PARTS
    severity = re.search(r"^ +severity: (\w+)$", rules("alert")[name], re.MULTILINE)
    assert severity
    assert section.startswith(f"\n*{severity[1]}*\n")


@pages
def test_alerts_exist(page: Page) -> None:
    assert set(re.findall(r"\bPortsyncd[A-Z]\w+\b(?!\.)", page.text)) <= rules("alert").keys()


# ---- the log


def test_filters_find_lines_of_the_log() -> None:
    patterns = {
        pattern
        for page in PAGES
        for words in page.commands()
        if words[0] == "journalctl" and "-k" not in words and "-g" in words
        for pattern in words[words.index("-g") + 1].split("|")
        if not pattern.startswith("Ethernet")
    }
    assert len(patterns) > 20
    assert {pattern for pattern in patterns if not any(pattern in message.text for message in MESSAGES)} == set()


def test_lines_of_the_log_exist() -> None:
    said = re.findall(r"\blog (?:has|says|lines?) `([^`]+)`", OPERATIONS.prose)
    assert len(said) > 10
    assert {line for line in said if not any(message.matches(line) for message in MESSAGES)} == set()


def test_every_warning_and_error_is_explained() -> None:
    rows = re.findall(r"^\| `(.+?)` \|", OPERATIONS.section("### Warnings and errors"), re.MULTILINE)
    told = [row.replace("\\|", "|") for row in rows]
    assert len(told) == len(set(told))
    urgent = [message for message in MESSAGES if message.urgent]
    assert {message.text for message in urgent if not any(map(message.matches, told))} == set()
    assert {line for line in told if not any(message.matches(line) for message in urgent)} == set()


# ---- what they name


@pages
def test_links_lead_somewhere(page: Page) -> None:
    for path, anchor in page.links():
        assert path.exists(), path
        assert not anchor or anchor in Page(path).anchors(), f"{path.name}#{anchor}"


@pages
def test_series_exist(page: Page) -> None:
    there = catalogue.series() | rules("record").keys() | {family.name for family in CATALOGUE}
    assert series(page.text) - there == set()


@pages
def test_queries_are_promql(page: Page, require_program: Callable[[str], str], tmp_path: Path) -> None:
    queries = page.code("promql")
    if queries:
        (tmp_path / "queries.yml").write_text(as_rules(queries))
        said = promtool(require_program("promtool"), "check", "rules", tmp_path / "queries.yml")
        assert f"SUCCESS: {len(queries)} rules found" in said


@pages
def test_keys_exist(page: Page) -> None:
    known = {f"{name}.{key.name}" for name, section in sections().items() for key in fields(section)}
    named = set(re.findall(rf"`((?:{'|'.join(sections())})\.\w+)`", page.text))
    assert named <= known
    assert set(re.findall(r"\bPORTSYNCD_[A-Z]+_\w+", page.text)) <= {variable(path) for path in known} | {
        "PORTSYNCD_GENERATION_TABLE"
    }


@pages
def test_configurations_are_right(page: Page) -> None:
    for block in page.code("toml"):
        parse(block, source=page.path.name)


@pages
def test_files_of_the_project_exist(page: Page) -> None:
    assert {name for name in re.findall(r"\bops/[\w@./-]*\w", page.text) if not (ROOT / name).exists()} == set()


@pages
def test_folders_are_those_of_the_daemon(page: Page) -> None:
    """On the switch; an instance has folders of its own, with a suffix."""
    config = Config()
    own = [
        DEFAULT_FILE,
        str(Path(config.metrics.cert).parent.parent),
        str(Path(config.warm_restart.state_file).parent),
        config.netlink.run_dir,
    ]
    named = re.findall(r"(?<![\w/])/(?:etc/(?:sonic|portsyncd)|run|var/lib)/?[\w/.-]*\w", page.text)
    ours = [path for path in named if "portsyncd" in path]
    assert ours
    assert {path for path in ours if not re.sub(r"-asic\d", "", path).startswith(tuple(own))} == set()


@pages
def test_make_targets_exist(page: Page) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9]+)", page.text)) <= targets


def test_figures_are_those_of_the_measurements() -> None:
    figures = (DOCS / "performance.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (?!what|---).+ \|$", OPERATIONS.section("## Performance tuning").split("###")[0], re.MULTILINE
    )
    assert rows
    assert [row for row in rows if row not in figures] == []


def test_status_lines_are_those_of_the_daemon() -> None:
    """Word by word, but for numbers, times and names."""
    rows = re.findall(r"^\| `(.+?)` \|", OPERATIONS.section("### What systemctl status says"), re.MULTILINE)
    assert len(rows) > 5
    code = "".join((SOURCES / name).read_text("utf-8") for name in STATUS_SOURCES)
    for row in rows:
        for words in re.split(r"\d+(?: min| s)?|Ethernet\d+|[,:;]|\.\.\.", row):
            assert words.strip() in code, f"{row}: {words}"


# ---- what they have one type


@pages
def test_shell_blocks_are_shell(page: Page) -> None:
    for block in page.code("sh"):
        done = subprocess.run(["sh", "-n"], input=block, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


@pages
def test_commands_of_ours_exist(page: Page) -> None:
    commands = [words[1:] for words in page.commands() if words[0] == "portsyncd"]
    assert len(commands) > 5
    for words in commands:
        arguments = words[: words.index(">")] if ">" in words else words
        try:
            understood(cli, "portsyncd", arguments)
        except click.ClickException as error:
            pytest.fail(f"portsyncd {' '.join(arguments)}: {error.format_message()}")


def understood(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line as click does, down to the last command, and run nothing. Raises what click does."""
    context = command.make_context(name, list(words), parent)
    if isinstance(command, click.Group):
        # As click's own invoke does.
        found, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner
        understood(inner, found or "", rest, context)


@pages
def test_filters_are_understood(page: Page, require_program: Callable[[str], str], tmp_path: Path) -> None:
    """By the real journalctl, on a folder without a journal."""
    for words in page.commands():
        if words[0] == "journalctl":
            arguments = words[1 : words.index(">") if ">" in words else None]
            done = subprocess.run(
                [require_program("journalctl"), f"--directory={tmp_path}", *arguments],
                capture_output=True,
                text=True,
                check=False,
            )
            assert "No journal files were found" in done.stderr, f"{words}: {done.stderr}"


@pages
def test_drop_ins_are_understood(page: Page, require_program: Callable[[str], str], tmp_path: Path) -> None:
    """By the real systemd."""
    unit = tmp_path / "portsyncd-drop-ins.service"
    unit.write_text("\n".join(["[Service]\nExecStart=/bin/true", *page.code("ini")]))
    verify = [require_program("systemd-analyze"), "verify", "--recursive-errors=no", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
