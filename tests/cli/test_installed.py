"""Completion in shells: what click proposes, and that real shells take its scripts."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from portsyncd.cli.main import cli
from portsyncd.errors import EXIT_OK, EXIT_USAGE

# The command as it is installed lies beside the interpreter that runs the tests; the package is that of this tree.
ENVIRON = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
}


def proposals(*words: str) -> list[str]:
    """For the last word, each with its kind."""
    environ = {"_PORTSYNCD_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(cli, [], env=environ)
    assert result.exit_code == EXIT_OK
    return result.stdout.split()


def test_the_first_word_is_a_command() -> None:
    assert proposals("portsyncd", "") == [f"plain,{name}" for name in sorted(cli.commands)]
    assert proposals("portsyncd", "ch") == ["plain,check-config"]


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        (["--log"], ["plain,--log-level"]),
        (["--v"], ["plain,--version", "plain,--validate-config"]),
        (["--he"], ["plain,--help"]),
        (["--log-level", "no"], ["plain,notice"]),
        (["--config", "/x", "--redis-"], ["plain,--redis-socket"]),
        (["run", "--existing-links", "a"], ["plain,auto", "plain,adopt"]),
        (["certs", "m"], ["plain,make"]),
        (["completion", ""], ["plain,bash", "plain,zsh", "plain,fish"]),
        (["--config", ""], ["file,"]),
        (["run", "--metrics-cert", "/etc/p"], ["file,/etc/p"]),
        (["check-config", ""], ["file,"]),
        (["version", "--nonsense"], []),
    ],
    ids=" ".join,
)
def test_what_is_proposed(words: Sequence[str], proposed: Sequence[str]) -> None:
    assert proposals("portsyncd", *words) == proposed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_asks_the_program(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert (result.exit_code, result.stderr) == (EXIT_OK, "")
    assert f"_PORTSYNCD_COMPLETE={shell}_complete" in result.stdout


def test_no_other_shell_is_known() -> None:
    result = CliRunner().invoke(cli, ["completion", "csh"])
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert "'bash', 'zsh', 'fish'" in result.stderr


@pytest.mark.parametrize(
    ("shell", "program", "printed"),
    [
        (
            "bash",
            'COMP_WORDS=(portsyncd ch) COMP_CWORD=1; _portsyncd_completion portsyncd; echo "${COMPREPLY[@]}"',
            "check-config",
        ),
        ("bash", "complete -p portsyncd", "complete -o nosort -F _portsyncd_completion portsyncd"),
        ("zsh", "print $_comps[portsyncd]", "_portsyncd_completion"),
    ],
)
def test_a_real_shell_completes_the_installed_command(
    require_program: Callable[[str], str], tmp_path: Path, shell: str, program: str, printed: str
) -> None:
    started = {"bash": ["--norc"], "zsh": ["-f"]}[shell]
    prepared = {"bash": "", "zsh": f"autoload -U compinit && compinit -u -d {tmp_path}/dump; "}[shell]
    script = f'{prepared}eval "$(portsyncd completion {shell})"; {program}'
    command = [require_program(shell), *started, "-c", script]
    ran = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, timeout=60, check=True)
    assert (ran.stdout.strip(), ran.stderr) == (printed, "")
