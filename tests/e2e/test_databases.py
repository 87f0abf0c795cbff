"""Where the databases are: several instances, and SONiC's own list of them."""

import json
from pathlib import Path

import pytest

from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.switch import Switch
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]


@pytest.fixture
def two_instances(make_switch: SwitchMaker, tmp_path: Path) -> Switch:
    """A switch whose STATE_DB lives in a Redis of its own."""
    folder = tmp_path / "state"
    folder.mkdir()
    server = RedisServer(folder)
    endpoints = {"STATE_DB": f"unix:{server.socket_path}"}
    return make_switch(state_server=server, config={"database": {"redis_endpoints": endpoints}})


def test_databases_in_two_instances(two_instances: Switch) -> None:
    switch = two_instances
    switch.bring_up(PORTS)
    switch.links.set("Ethernet0", up=True)
    switch.links.delete("Ethernet4")
    switch.wait_equal()
    assert switch.states().keys() == {"Ethernet0"}
    # Nothing of STATE_DB went to the other instance.
    assert switch.redis.client(6).keys() == []


def test_in_two_instances_a_link_waits_for_its_entry_too(two_instances: Switch) -> None:
    switch = two_instances
    switch.load_config(PORTS)
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.add_ports(PORTS)
    switch.barrier()
    assert switch.states().keys().isdisjoint(PORTS)
    switch.orchagent.start()
    switch.wait_settled()


@pytest.mark.parametrize("failing", ["redis", "state_redis"])
def test_either_of_two_instances_may_go_away(two_instances: Switch, failing: str) -> None:
    switch = two_instances
    switch.bring_up(PORTS)
    server: RedisServer = getattr(switch, failing)
    server.save()
    server.kill()
    switch.links.set("Ethernet0", mtu=9000)
    switch.links.delete("Ethernet4")
    switch.daemon.wait_for("Redis cannot be used: port states wait, and will be written when it can")
    server.start()
    switch.wait_equal()
    assert switch.state("Ethernet0")["mtu"] == "9000"
    switch.add_ports(["Ethernet4"])
    switch.wait_settled()


@pytest.mark.parametrize(
    "late", [None, "", '{"INSTANCES": {'], ids=["there", "absent at first", "half written at first"]
)
def test_sonics_list_of_databases_is_read_whenever_it_comes(switch: Switch, tmp_path: Path, late: str | None) -> None:
    listing = tmp_path / "database_config.json"
    instance = {"hostname": "127.0.0.1", "port": 1, "unix_socket_path": switch.redis.socket_path}
    numbers = {"APPL_DB": (0, ":"), "CONFIG_DB": (4, "|"), "STATE_DB": (6, "|")}
    databases = {
        name: {"id": number, "separator": separator, "instance": "redis"}
        for name, (number, separator) in numbers.items()
    }
    switch.daemon.configure({"database": {"unix_socket_path": "", "database_config": str(listing)}})
    whole = json.dumps({"INSTANCES": {"redis": instance}, "DATABASES": databases, "VERSION": "1.0"})
    if late is None:
        listing.write_text(whole)
        switch.bring_up(PORTS)
        return
    if late:
        listing.write_text(late)
    switch.load_config(PORTS)
    switch.daemon.start()
    said = switch.daemon.wait_for("Redis cannot be used: port states wait, and will be written when it can")
    assert str(listing) in said["problem"]
    listing.write_text(whole)
    switch.daemon.wait_in_sync()
    switch.orchagent.start()
    switch.add_ports(PORTS)
    switch.wait_settled()
