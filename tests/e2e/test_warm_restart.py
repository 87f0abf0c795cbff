"""A restart of the real daemon: what the rest of the switch sees of it, and what the next process knows."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from portsyncd.testing.monitor import Monitor
from portsyncd.testing.switch import Switch
from portsyncd.wire import schema
from tests.e2e.conftest import SwitchMaker
from tests.e2e.keyspace import Subscriber

pytestmark = pytest.mark.root

PORTS = [f"Ethernet{4 * number}" for number in range(8)]
ENDS = {"planned": signal.SIGTERM, "crash": signal.SIGKILL}


def warm_switch(switch: Switch) -> None:
    """It runs, all ports are up, and the next start will be warm."""
    switch.bring_up(PORTS)
    for name in PORTS:
        switch.links.set(name, up=True)
        switch.links.carrier(name, up=True)
    switch.wait(lambda: all(entry["netdev_oper_status"] == "up" for entry in switch.states().values()), "all are up")
    switch.wait_equal()
    switch.enable_warm_restart()


def end(switch: Switch, how: str) -> None:
    """The daemon's life ends."""
    if how == "crash":
        # What was saved last is of the present state.
        switch.wait(lambda: len(saved(switch)["ports"]) == len(PORTS), "the state is saved")
        switch.daemon.kill()
    else:
        assert switch.daemon.terminate() == 0


def state_file(switch: Switch) -> Path:
    return switch.daemon.folder / "state" / "port_state.json"


def saved(switch: Switch) -> dict[str, Any]:
    path = state_file(switch)
    content: dict[str, Any] = json.loads(path.read_text())["content"] if path.exists() else {"ports": {}}
    return content


def ended(switch: Switch) -> dict[str, Any]:
    """The one line that says how the initial sync ended."""
    switch.daemon.wait_in_sync()
    switch.wait(lambda: switch.state_db.hget(schema.WARM_KEY, "state") == "reconciled", "the warm start ends")
    switch.wait(lambda: switch.daemon.events("initial sync complete by EOIU"), "the end is logged")
    lines = switch.daemon.events("initial sync complete by EOIU")
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("how", ENDS)
def test_a_restart_is_heard_by_nobody_where_nothing_changed(make_switch: SwitchMaker, how: str) -> None:
    switch = make_switch(config={"warm_restart": {"save_interval_secs": 1}})
    warm_switch(switch)
    count = int(switch.state_db.hget(schema.WARM_KEY, "restore_count") or -1)
    keys = sorted(str(key) for key in switch.appl_db.scan_iter("PORT_TABLE:*"))
    end(switch, how)
    with Subscriber(switch) as subscriber, Monitor(switch.redis) as monitor:
        switch.daemon.start()
        line = ended(switch)
        switch.wait(lambda: switch.has_marker("PortInitDone"), "PortInitDone is there")
        assert subscriber.heard() == []
        writes = monitor.writes()
    assert (line["start"], line["ports"], line["differences"]) == ("warm", len(PORTS), 0)
    assert switch.state_db.hget(schema.WARM_KEY, "restore_count") == str(count + 1)
    rows = [write.fields["state"] for write in writes if write.key == schema.WARM_KEY and "state" in write.fields]
    assert rows == ["initialized", "restored", "reconciled"]
    # SONiC's own check: nothing is written to PORT_TABLE but PortInitDone.
    assert {write.key for write in writes if write.kind.startswith("producer")} <= {"PortInitDone"}
    assert sorted(str(key) for key in switch.appl_db.scan_iter("PORT_TABLE:*")) == keys


def test_only_differences_are_heard(make_switch: SwitchMaker) -> None:
    switch = make_switch()
    warm_switch(switch)
    end(switch, "planned")
    switch.links.delete("Ethernet0")
    switch.links.set("Ethernet4", mtu=1400)
    switch.links.delete("Ethernet8")
    switch.add_ports(["Ethernet8"])
    with Subscriber(switch) as subscriber:
        switch.daemon.start()
        assert ended(switch)["differences"] == 3
        switch.wait_equal()
        assert sorted(subscriber.heard()) == [("del", "Ethernet0"), ("hset", "Ethernet4"), ("hset", "Ethernet8")]


def test_flaps_while_the_daemon_was_away_are_counted(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"warm_restart": {"save_interval_secs": 1}})
    warm_switch(switch)
    end(switch, "planned")
    before = saved(switch)
    for _ in range(3):
        switch.links.carrier("Ethernet0", up=False)
        switch.links.carrier("Ethernet0", up=True)
    switch.daemon.start()
    ended(switch)
    assert switch.daemon.terminate() == 0
    after = saved(switch)
    assert flaps(after, "Ethernet0") - flaps(before, "Ethernet0") == 3
    assert flaps(after, "Ethernet4") == flaps(before, "Ethernet4")


def flaps(content: dict[str, Any], name: str) -> int:
    return int(content["ports"][name][content["columns"].index("flaps")])


def test_a_damaged_state_is_set_aside_and_its_backup_taken(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"warm_restart": {"save_interval_secs": 1}})
    warm_switch(switch)
    switch.wait(lambda: any(state_file(switch).parent.glob("*.backup-*")), "there is a backup")
    end(switch, "planned")
    path = state_file(switch)
    path.write_bytes(path.read_bytes()[:-10])
    switch.daemon.start()
    ended(switch)
    assert switch.daemon.wait_for("restored the state of the ports")["source"] == "backup"
    assert any(path.parent.glob("port_state.json.truncated-*"))
    switch.wait_equal()


def test_a_folder_that_cannot_be_written_stops_nothing(make_switch: SwitchMaker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    switch = make_switch(
        config={
            "warm_restart": {"state_file": str(tmp_path / "file" / "port_state.json")},
            "metrics": {"storage_path": str(tmp_path / "file" / "metrics")},
        }
    )
    warm_switch(switch)
    switch.daemon.wait_for("cannot be saved; a restart will know less")
    end(switch, "planned")
    switch.daemon.start()
    assert ended(switch)["differences"] == 0
