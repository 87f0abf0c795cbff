"""ops/systemd and ops/supervisord, as far as they can be judged without being run; tests/e2e/systemd runs the units."""

import configparser
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from portsyncd import errors
from portsyncd.config import parse

OPS: Final = Path(__file__).parents[2] / "ops"
UNIT, TEMPLATE = OPS / "systemd/portsyncd.service", OPS / "systemd/portsyncd@.service"
SUPERVISORD = OPS / "supervisord/portsyncd.conf"
INSTANCE = "asic0"
MOST_EXPOSED = "20"  # 2.0, of 10
# Where the template names its instance: lines that portsyncd.service has in other words, and those that it has not.
IN_OTHER_WORDS: Final = ["Description", "ExecStart", "StateDirectory", "RuntimeDirectory"]
OF_INSTANCES: Final = ["NetworkNamespacePath", "Environment"]

Settings = list[tuple[str, str]]


def settings(unit: Path) -> Settings:
    """Key and value of each line, in order, sections left out."""
    lines = (line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def values(unit: Path, key: str) -> list[str]:
    return [value for name, value in settings(unit) if name == key]


def environment(assignments: Iterable[str]) -> dict[str, str]:
    return dict(assignment.replace("%i", INSTANCE).split("=", 1) for assignment in assignments)


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_against_it(
    unit: Path, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    analyze = require_program("systemd-analyze")
    # It wants the program to be there.
    text = unit.read_text()
    assert "ExecStart=/usr/bin/portsyncd" in text
    copy = tmp_path / unit.name
    copy.write_text(text.replace("ExecStart=/usr/bin/portsyncd", "ExecStart=/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_it_is_exposed_little(unit: Path, require_program: Callable[[str], str]) -> None:
    argv = [require_program("systemd-analyze"), "security", "--no-pager", "--offline=true"]
    done = subprocess.run([*argv, f"--threshold={MOST_EXPOSED}", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Overall exposure level" in done.stdout


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_a_start_may_wait_for_redis_also_over_a_daemon_reload(unit: Path) -> None:
    # systemd 252 forgets then what EXTEND_TIMEOUT_USEC= has asked for, and goes by this alone.
    assert values(unit, "TimeoutStartSec") == ["infinity"]


def test_an_instance_differs_in_names_and_folders_alone() -> None:
    shared = [line for line in settings(TEMPLATE) if "%i" not in line[1]]
    assert shared == [line for line in settings(UNIT) if line in shared]
    assert [line[0] for line in settings(UNIT) if line not in shared] == IN_OTHER_WORDS
    assert {key for key, value in settings(TEMPLATE) if "%i" in value} == {*IN_OTHER_WORDS, *OF_INSTANCES}


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_the_daemon_takes_the_environment(unit: Path) -> None:
    config = parse("", environ=environment(values(unit, "Environment")))
    assert config.daemon.exit_to_restart
    assert config.metrics.key == "/etc/portsyncd/metrics/server.key"
    (state,), (run,) = values(unit, "StateDirectory"), values(unit, "RuntimeDirectory")
    folder = f"/var/lib/{state}".replace("%i", INSTANCE)
    assert config.warm_restart.state_file == f"{folder}/port_state.json"
    assert config.metrics.storage_path == f"{folder}/metrics"
    assert config.netlink.run_dir == f"/run/{run}".replace("%i", INSTANCE)
    assert config.database.namespace == (INSTANCE if unit is TEMPLATE else "")


def test_what_the_units_say_of_exit_codes_is_so() -> None:
    (prevented,) = values(UNIT, "RestartPreventExitStatus")
    assert {int(code) for code in prevented.split()} == {
        errors.EXIT_USAGE,
        errors.EXIT_NO_PERMISSION,
        errors.EXIT_CONFIG,
    }


def test_folders_and_groups_are_those_of_the_unit() -> None:
    sysusers = (OPS / "systemd/portsyncd.sysusers").read_text()
    tmpfiles = (OPS / "systemd/portsyncd.tmpfiles").read_text()
    (user,), (group,) = values(UNIT, "User"), values(UNIT, "Group")
    assert re.search(rf"^u {user} ", sysusers, re.MULTILINE)
    assert re.search(rf"^m {user} redis$", sysusers, re.MULTILINE)
    certificates = Path(environment(values(UNIT, "Environment"))["PORTSYNCD_METRICS_KEY"]).parent
    assert re.search(rf"^d {certificates} 0750 root {group}$", tmpfiles, re.MULTILINE)


def test_in_sonics_container_it_is_never_restarted_alone() -> None:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(" ;",))
    parser.read_string(SUPERVISORD.read_text())
    program = parser["program:portsyncd"]
    assert parser.sections() == ["program:portsyncd"]
    assert (program["command"], program["autorestart"]) == ("/usr/bin/portsyncd", "false")
    assignments = [assignment.replace('"', "") for assignment in program["environment"].split(",")]
    assert not parse("", environ=environment(assignments)).daemon.exit_to_restart
