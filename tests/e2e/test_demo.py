"""``portsyncd demo``, as a newcomer runs it; its exit code is its own verdict on STATE_DB and the kernel."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
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


def test_with_chaos_it_heals(tmp_path: Path) -> None:
    done = play(tmp_path, "--duration", "10", "--ports", "4", "--chaos")
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("accident: Redis is killed", "more than the socket holds", "the supervisor rebuilds it"):
        assert said in done.stdout
    assert "STATE_DB equals the kernel on all 4 ports" in done.stdout
    assert is_clean(tmp_path)


def test_an_interrupt_ends_it_with_its_verdict(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*DEMO, "--duration", "0"], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        lines = iter(demo.stdout.readline, "")
        assert any("events/s" in line for line in lines)
        demo.send_signal(signal.SIGINT)
        assert any("STATE_DB equals the kernel" in line for line in lines)
    assert demo.returncode == 0
    until(lambda: is_clean(tmp_path), what="the demo leaves nothing behind")
