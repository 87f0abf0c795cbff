"""The disk of what is kept fails under the daemon: the port sync goes on, health says why, and all is well with the disk.

The daemon is also killed and started while the disk fails. A disk is tried again every 10 s.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from portsyncd.testing.switch import Switch
from tests.chaos.kept import read_all, saved_now

# A disk that failed is tried again after ten seconds.
pytestmark = [pytest.mark.root, pytest.mark.long]

PORTS = [f"Ethernet{4 * number}" for number in range(4)]
DEADLINE_SECONDS = 50.0
CONFIG = {
    "warm_restart": {"save_interval_secs": 1},
    "metrics": {"sample_interval_secs": 1, "save_interval_secs": 1},
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, for what the daemon keeps alone. It is where the daemon's helper expects what is kept."""
    folder = tmp_path / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def switch(disk: Path, tmp_path: Path) -> Iterator[Switch]:
    """A switch that runs, whose next start is warm, and whose state is saved."""
    with Switch(tmp_path, config=CONFIG, metrics=True) as switch:
        switch.bring_up(PORTS)
        switch.enable_warm_restart()
        wait_saved(switch)
        yield switch


class Fault(NamedTuple):
    """A disk that fails until the block ends. reason: what health says, as a pattern. live: it can begin while the daemon
    has files open."""

    bring_about: Callable[[Path], AbstractContextManager[None]]
    reason: str
    live: bool = True


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filling = disk / "filling"
    with pytest.raises(OSError, match="No space left"):
        fill(filling)
    yield
    filling.unlink()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


@contextmanager
def directory_instead_of_the_file(disk: Path) -> Iterator[None]:
    state, elsewhere = disk / "port_state.json", disk / "elsewhere"
    state.rename(elsewhere)
    state.mkdir()
    yield
    state.rmdir()
    elsewhere.rename(state)


FAULTS = {
    # What SQLite gives back when it closes its files may be enough for the rest.
    "full": Fault(full, "No space left on device|database or disk is full"),
    "read-only": Fault(read_only, "Read-only file system", live=False),
    "a directory in the file's place": Fault(directory_instead_of_the_file, "Is a directory"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_disk_that_fails_stops_nothing_and_is_used_again(switch: Switch, disk: Path, fault: Fault) -> None:
    if not fault.live:
        switch.daemon.kill()
    with fault.bring_about(disk):
        if fault.live:
            assert_synced_in_spite(switch, fault.reason, 1400)
        switch.daemon.kill()
        switch.links.set(PORTS[0], mtu=1401)
        switch.daemon.start()
        switch.daemon.wait_in_sync()
        switch.wait_equal()
        assert_synced_in_spite(switch, fault.reason, 1402)
    switch.wait(lambda: storage(switch)["status"] == "healthy", "the disk is used again", DEADLINE_SECONDS)
    wait_saved(switch)
    assert switch.daemon.terminate() == 0
    assert read_all(switch).history.starts[-1].stopped


def test_a_folder_that_is_deleted_is_made_again(switch: Switch, disk: Path) -> None:
    for gone in disk.iterdir():
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink()
    # The second save makes a backup, which is counted, so that the counters are saved, too.
    for mtu in (1400, 1401):
        switch.links.set(PORTS[0], mtu=mtu)
        switch.wait_equal()
        wait_saved(switch)
    for name in ("counters.json", "history.db"):
        switch.wait((disk / "metrics" / name).exists, f"{name} is there again", DEADLINE_SECONDS)
    switch.wait(lambda: storage(switch)["status"] == "healthy", "nothing is wrong any more", DEADLINE_SECONDS)
    assert switch.daemon.terminate() == 0
    assert read_all(switch).history.starts[-1].stopped


def assert_synced_in_spite(switch: Switch, reason: str, mtu: int) -> None:
    """Changes arrive while health says that they cannot be saved."""
    switch.links.set(PORTS[0], mtu=mtu)
    switch.wait(lambda: re.search(reason, storage(switch)["reason"]), "health says why", DEADLINE_SECONDS)
    assert switch.endpoint.health()["status"] == "degraded"
    switch.links.delete(PORTS[1])
    switch.wait_equal()
    switch.add_ports([PORTS[1]], up=True)
    switch.wait_equal()
    switch.orchagent.check()


def storage(switch: Switch) -> dict[str, str]:
    """What health says of the disk."""
    switch.daemon.wait_for("metrics endpoint is open")
    check: dict[str, str] = switch.endpoint.health()["checks"]["storage"]
    return check


def wait_saved(switch: Switch) -> None:
    """Wait until the present state is on the disk."""

    def saved() -> bool:
        present = {name: tuple(fields.values()) for name, fields in switch.states().items()}
        kept = saved_now(switch)
        return kept is not None and {name: port.fields for name, port in kept.ports.items()} == present

    switch.wait(saved, "the state is saved", DEADLINE_SECONDS)
