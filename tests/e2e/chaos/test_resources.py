"""No space on the disk, no file descriptor left: the port sync goes on, and the rest comes back by itself."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from portsyncd.testing.descriptors import no_descriptors_left
from portsyncd.testing.small_disk import SmallDisk
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold
from tests.e2e.chaos.trial import (
    COMPLAINT,
    PORTS,
    assert_goes_on,
    change,
    now,
    seconds_until_told,
    seconds_until_well,
)
from tests.e2e.conftest import SwitchMaker
from tests.e2e.recovery import Measure

pytestmark = pytest.mark.root

SAVED_OFTEN = {
    "warm_restart": {"save_interval_secs": 1},
    "metrics": {"sample_interval_secs": 1, "save_interval_secs": 1},
}
# A disk that failed is tried again every 10 s.
DISK_DEADLINE_SECONDS = 50.0
EXHAUSTED_SECONDS = 2.0
CLIENTS = 20
# A service that cannot be started is tried again after ever longer pauses.
LINES_A_SECOND = 10
# Enough to run at all, not enough to talk with kernel and Redis.
TOO_FEW = 9
RUN = (sys.executable, "-m", "portsyncd", "run", "--config", "{config}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """What the daemon keeps lies on it, and nothing else."""
    with SmallDisk(tmp_path / "state", megabytes=2) as disk:
        yield disk


@pytest.mark.long
def test_a_full_disk(disk: SmallDisk, make_switch: SwitchMaker, measure: Measure) -> None:
    switch = make_switch(config=SAVED_OFTEN, metrics=True)
    switch.bring_up(PORTS)
    switch.daemon.wait_for("metrics endpoint is open")
    disk.fill()
    change(switch)
    measure("disk full: STATE_DB meanwhile", recovered=seconds_until_well(switch))
    filled = time.monotonic()
    switch.wait(lambda: switch.endpoint.health()["status"] == "degraded", "health says so", DISK_DEADLINE_SECONDS)
    told = time.monotonic() - filled
    disk.free()
    freed = time.monotonic()
    switch.wait(lambda: storage(switch) == "healthy", "the disk is used again", DISK_DEADLINE_SECONDS)
    saved = disk.folder / "port_state.json"
    switch.wait(lambda: str(7777) in saved.read_text(), "the state is saved", DISK_DEADLINE_SECONDS)
    measure("disk full: from the first free byte until saved", detected=told, recovered=time.monotonic() - freed)
    assert_goes_on(switch)


def storage(switch: Switch) -> str:
    return str(switch.endpoint.health()["checks"]["storage"]["status"])


def test_no_file_descriptor_is_left(make_switch: SwitchMaker, measure: Measure) -> None:
    switch = make_switch(metrics=True)
    switch.bring_up(PORTS)
    switch.redis.save()
    switch.daemon.wait_for("metrics endpoint is open")
    with ExitStack() as clients, no_descriptors_left(switch.daemon.pid):
        # What is open already goes on.
        for mtu in (2000, 2001):
            switch.links.set(PORTS[0], mtu=mtu)
            switch.wait_equal()
        # Nobody can be let in, and no loop tries to without a pause, nor says so again and again.
        for _ in range(CLIENTS):
            clients.enter_context(closing(switch.endpoint.connect()))
        assert_quiet(switch)
        # Now nothing is left that was open, and new links need more.
        began = now()
        switch.redis.restart(empty=False)
        change(switch)
        detected = seconds_until_told(switch, COMPLAINT, began)
        assert_quiet(switch)
        assert switch.daemon.running
    measure("no file descriptor left, Redis restarted", detected=detected, recovered=seconds_until_well(switch))
    assert switch.endpoint.health()["checks"]
    assert_goes_on(switch)


def assert_quiet(switch: Switch) -> None:
    """It neither spins nor floods its log."""
    cpu, lines = switch.daemon.cpu_seconds(), len(loud_lines(switch))
    hold(EXHAUSTED_SECONDS)
    assert switch.daemon.cpu_seconds() - cpu < 0.35 * EXHAUSTED_SECONDS + 0.3
    said = loud_lines(switch)[lines:]
    assert len(said) <= LINES_A_SECOND * EXHAUSTED_SECONDS, said


def loud_lines(switch: Switch) -> list[str]:
    """What an operator sees, and whatever is no line of our log."""
    return [line for line in switch.daemon.log().splitlines() if '"level": "debug"' not in line]


def test_too_few_file_descriptors_from_the_start(make_switch: SwitchMaker, measure: Measure) -> None:
    switch = make_switch(argv=("prlimit", f"--nofile={TOO_FEW}:", *RUN))
    switch.load_config(PORTS)
    switch.orchagent.start()
    switch.daemon.start()
    switch.daemon.wait_for(COMPLAINT)
    hold(EXHAUSTED_SECONDS)
    assert switch.daemon.running
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = time.monotonic()
    resource.prlimit(switch.daemon.pid, resource.RLIMIT_NOFILE, before)
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(PORTS)
    switch.wait_settled()
    measure("too few file descriptors at the start, then enough", recovered=time.monotonic() - raised)
    switch.links.delete(PORTS[5])
    assert_goes_on(switch)
