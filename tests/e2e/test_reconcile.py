"""Reconciliation on the real thing: others write to Redis what is not theirs, and SIGUSR2 asks for it to be put right."""

import signal
from pathlib import Path
from typing import Any

import pytest

from portsyncd.testing.monitor import Monitor
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.switch import Switch
from portsyncd.wire import schema
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12"]
COMPARED = "Redis compared with the kernel"


def reconcile(switch: Switch) -> None:
    """Ask for it, and wait for its end."""
    before = len(switch.daemon.events(COMPARED))
    switch.daemon.signal(signal.SIGUSR2)
    switch.wait(lambda: len(switch.daemon.events(COMPARED)) > before, "a reconciliation ends")


def differences(switch: Switch) -> dict[str, str]:
    """What the log says was wrong: the kind of each port's difference."""
    return {line["port"]: line["kind"] for line in switch.daemon.events("Redis differed")}


@pytest.mark.parametrize("instances", [1, 2])
def test_what_others_did_is_put_right(make_switch: SwitchMaker, tmp_path: Path, instances: int) -> None:
    options: dict[str, Any] = {}
    if instances == 2:
        (tmp_path / "state").mkdir()
        server = RedisServer(tmp_path / "state")
        endpoints = {"STATE_DB": f"unix:{server.socket_path}"}
        options = {"state_server": server, "config": {"database": {"redis_endpoints": endpoints}}}
    switch = make_switch(**options)
    switch.bring_up(PORTS)
    state = switch.state_db
    state.delete("PORT_TABLE|Ethernet0")
    state.hset("PORT_TABLE|Ethernet4", mapping={"mtu": "1", "speed": "40000"})
    state.hset("PORT_TABLE|Ethernet99", mapping={"state": "ok", "mtu": "1"})
    state.hset("PORT_TABLE|Ethernet100", mapping={"speed": "40000"})
    state.delete("PORT_TABLE|Ethernet8")
    state.set("PORT_TABLE|Ethernet8", "not a hash")
    switch.appl_db.delete("PORT_TABLE:PortInitDone")
    reconcile(switch)
    switch.wait_equal()
    switch.wait(lambda: switch.has_marker(schema.PORT_INIT_DONE), "PortInitDone is out again")
    assert switch.state("Ethernet4")["speed"] == "40000"
    assert switch.state("Ethernet100") == {"speed": "40000"}
    assert differences(switch) == {
        **dict.fromkeys(("Ethernet0", "Ethernet8", "PortInitDone"), "missing"),
        "Ethernet4": "stale",
        "Ethernet99": "orphan",
    }


def test_what_is_right_is_not_written(switch: Switch) -> None:
    # Where nothing differs, that is worth no more than a debug line.
    switch.daemon.configure({"daemon": {"log_level": "debug"}})
    switch.bring_up(PORTS)
    with Monitor(switch.redis) as monitor:
        reconcile(switch)
        assert [write for write in monitor.writes(0) if write.key.startswith("PORT_TABLE")] == []
    assert differences(switch) == {}
