"""What the unit lets portsyncd do, which is its work, and what it does not, which is everything else."""

import json
from collections.abc import Mapping
from typing import Final

import pytest

from tests.e2e.clients import unrestricted
from tests.e2e.systemd.installation import PROBE
from tests.e2e.systemd.switch import RUN, STATE, UNIT, ServiceSwitch

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]
BUFFER_BYTES = 33554432
# <linux/capability.h>; policies of sched(7); fields of proc(5), stat, after the name.
CAP_NET_ADMIN = 1 << 12
SCHED_BATCH = "3"
NICE, POLICY = 16, 38

NEEDED: Final = (
    "write state",
    "write run",
    "read key",
    "read boot id",
    "read network namespace",
    "connect to Redis",
    "socket netlink",
    "socket inet6",
    "socket inet",
    "batch scheduling",
    "nice",
)


def probed(output: str) -> dict[str, str]:
    outcomes: dict[str, str] = json.loads(output)
    return outcomes


def status(switch: ServiceSwitch) -> Mapping[str, str]:
    """What the kernel says of the daemon."""
    text = (switch.guest.root / f"proc/{switch.main_pid}/status").read_text()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_it_can_do_its_work(switch: ServiceSwitch) -> None:
    # A system call that the filter refuses is the end here, so that none is refused without a word.
    switch.guest.drop_in(UNIT, "SystemCallErrorNumber=")
    switch.configure({"daemon": {"log_level": "debug"}, "netlink": {"existing_links": "reset"}})
    switch.add_ports(["Ethernet96"], up=True)
    switch.bring_up(PORTS)
    # Old links were set down, and the buffer is larger than net.core.rmem_max lets it be.
    assert not switch.links.states()["Ethernet96"].admin_up
    switch.wait_message(f"listening to the kernel receive_buffer_bytes={2 * BUFFER_BYTES}")
    switch.links.set("Ethernet0", up=True)
    switch.wait_equal()
    # Prometheus is answered, and the thread that shakes hands has stepped back.
    switch.wait_message("metrics endpoint is open")
    curl = switch.namespace.run(switch.certificates.curl(), env=unrestricted())
    assert 'portsyncd_ports{state="up"}' in curl.stdout
    tasks = (switch.guest.root / f"proc/{switch.main_pid}/task").glob("*/stat")
    fields = [path.read_text().rpartition(")")[2].split() for path in tasks]
    assert ("10", SCHED_BATCH) in {(field[NICE], field[POLICY]) for field in fields}
    # What it keeps is there, and its own.
    for path in (f"{STATE}/port_state.json", f"{STATE}/metrics/counters.json", f"{RUN}/old_links.json"):
        file = switch.guest.root / path.lstrip("/")
        switch.wait(file.exists, f"{path} is kept")
        assert str(file.stat().st_uid) in status(switch)["Uid"].split()
    switch.guest.systemctl("reload", UNIT)
    switch.guest.systemctl("restart", UNIT)
    switch.wait_message("read what happened while no process listened")
    switch.guest.systemctl("stop", UNIT)
    assert not any("Main process exited" in message for message in switch.messages())


def test_it_is_nobody_else_and_has_one_capability(switch: ServiceSwitch) -> None:
    switch.bring_up(PORTS)
    said = status(switch)
    names = {
        line.split(":")[2]: line.split(":")[0] for line in (switch.guest.root / "etc/group").read_text().splitlines()
    }
    assert "0" not in said["Uid"].split()
    assert {names[group] for group in said["Groups"].split()} == {"portsyncd", "redis"}
    assert {names[group] for group in said["Gid"].split()} == {"portsyncd"}
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(said[kind], 16) == CAP_NET_ADMIN
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
    # Of a core that a program receives, nothing is memory: the private key is in there.
    assert int((switch.guest.root / f"proc/{switch.main_pid}/coredump_filter").read_text(), 16) == 0


def test_it_can_do_without_that_capability(switch: ServiceSwitch) -> None:
    switch.configure({"netlink": {"existing_links": "adopt"}})
    switch.guest.drop_in(UNIT, "AmbientCapabilities=", "CapabilityBoundingSet=")
    switch.bring_up(PORTS)
    switch.links.set("Ethernet0", up=True)
    switch.wait_equal()
    said = status(switch)
    assert {int(said[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    # Whose the kept socket is, it may not ask.
    switch.links.set("Ethernet0", mtu=9000)
    switch.guest.systemctl("restart", UNIT)
    switch.wait_message("an inherited descriptor is not taken over")
    switch.wait_equal()


def test_it_can_do_nothing_else(switch: ServiceSwitch) -> None:
    switch.guest.write("/tmp/secret", "others'")  # noqa: S108 - so that there is something to be read
    switch.guest.write("/home/someone/file", "theirs")
    outside = probed(switch.guest.run("sh", "-c", f"mkdir -p {STATE} {RUN} && exec {PROBE}").stdout)
    switch.guest.run("rm", "-r", STATE, RUN)
    # The same sandbox, with another program in it.
    switch.guest.drop_in(UNIT, "Type=oneshot", "WatchdogSec=0", "Restart=no", "ExecStart=", f"ExecStart={PROBE}")
    switch.guest.systemctl("start", UNIT)
    inside = probed(switch.wait_message('{"write state"'))
    assert {name for name, outcome in inside.items() if outcome == "done"} == set(NEEDED)
    # What nobody may do here is no proof of a sandbox.
    assert {name for name, outcome in outside.items() if outcome != "done"} == set()
