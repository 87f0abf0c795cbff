"""``portsyncd demo``, as a newcomer runs it; its exit code is its own verdict on STATE_DB and the kernel."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from portsyncd.testing.wait import until

pytestmark = pytest.mark.root

DEMO = (sys.executable, "-m", "portsyncd", "demo")
DEADLINE_SECONDS = 90.0


def environment(folder: Path) -> Mapping[str, str]:
    """Its temporary files go where the test can look for what is left of them."""
    return {**os.environ, "TMPDIR": str(folder), "CI": "true"}


def play(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def is_clean(folder: Path) -> bool:
    """No file is left, and no process that had one of them on its command line (its Redis has)."""
    return not list(folder.iterdir()) and not processes_of(str(folder))


def processes_of(text: str) -> Sequence[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text()
        except OSError:
            continue  # it has just ended
        if text in line:
            found.append(line)
    return found


def test_it_ends_with_state_db_equal_to_the_kernel_and_leaves_nothing(tmp_path: Path) -> None:
    done = play(tmp_path, "--duration", "2", "--ports", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PortInitDone" in done.stdout
    assert "STATE_DB equals the kernel on all 3 ports" in done.stdout
    assert is_clean(tmp_path)


def play_until(folder: Path, seen: Sequence[str], *arguments: str) -> tuple[int, str]:
    """Play without end until each of these has been said, then interrupt; the exit code, and all that was said."""
    said = ""
    with subprocess.Popen(
        [*DEMO, "--duration", "0", *arguments], env=environment(folder), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            said += line
            if all(each in said for each in seen):
                break
        demo.send_signal(signal.SIGINT)
        said += demo.stdout.read()
    return demo.returncode, said


@pytest.mark.long
def test_with_chaos_it_heals(tmp_path: Path) -> None:
    accidents = ("more than the socket holds", "the supervisor rebuilds it", "Redis is back, empty")
    code, said = play_until(tmp_path, accidents, "--ports", "4", "--chaos")
    assert code == 0, said
    assert "STATE_DB equals the kernel on all 4 ports" in said
    until(lambda: is_clean(tmp_path), what="the demo leaves nothing behind")


def test_an_interrupt_ends_it_with_its_verdict(tmp_path: Path) -> None:
    code, said = play_until(tmp_path, ["events/s"])
    assert code == 0, said
    assert "STATE_DB equals the kernel on all 8 ports" in said
    until(lambda: is_clean(tmp_path), what="the demo leaves nothing behind")


def test_the_curl_command_that_it_prints_works(tmp_path: Path, require_program: Callable[[str], str]) -> None:
    require_program("curl")
    begin = ("nsenter", "--target")
    with subprocess.Popen(
        [*DEMO, "--duration", "0", "--ports", "2"], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        command = next(words for words in map(shlex.split, demo.stdout) if tuple(words[:2]) == begin)
        try:
            scraped = until(lambda: subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        finally:
            demo.send_signal(signal.SIGINT)
            demo.stdout.read()
    assert "portsyncd_build_info{" in scraped
    assert demo.returncode == 0
    assert is_clean(tmp_path)
