"""Generations (contract 5.4): flushes, crashes between the markers, and cold restarts of orchagent."""

import pytest

from portsyncd.testing.monitor import Monitor, Write
from portsyncd.testing.switch import Switch
from portsyncd.wire.schema import GENERATION_KEY
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12"]


def produced(writes: list[Write]) -> list[str]:
    return [write.key for write in writes if write.kind == "producer_set"]


def generation(switch: Switch) -> str | None:
    found = switch.appl_db.hget(GENERATION_KEY, "id")
    return None if found is None else str(found)


def running_switch(switch: Switch) -> None:
    """A switch with all ports up."""
    switch.bring_up(PORTS)
    for name in PORTS:
        switch.links.set(name, up=True)
        switch.links.carrier(name, up=True)
    switch.wait_equal()
    switch.barrier()


def all_up(switch: Switch) -> bool:
    links = switch.links.states()
    return all(links[name].admin_up and links[name].oper_up for name in PORTS)


def test_the_generation_has_a_key_of_its_own_outside_port_table(switch: Switch) -> None:
    running_switch(switch)
    assert generation(switch)
    # Orchagent counts the keys of PORT_TABLE on a warm boot, and wipes the table if they are not as many as said.
    assert len(switch.appl_db.keys("PORT_TABLE:*")) == len(PORTS) + len(["PortConfigDone", "PortInitDone"])


def test_a_flush_under_a_running_daemon_begins_a_new_generation(switch: Switch) -> None:
    running_switch(switch)
    before = generation(switch)
    switch.orchagent.stop()
    with Monitor(switch.redis) as monitor:
        switch.appl_db.flushdb()
        # A cold orchagent: it knows nothing.
        switch.orchagent.start()
        switch.wait(lambda: switch.orchagent.configured, "every port is announced again")
        switch.wait_settled()
        writes = monitor.writes()
    assert generation(switch) not in (None, before)
    keys = produced(writes)
    assert sorted(keys) == sorted([*PORTS, "PortConfigDone", "PortInitDone"])
    assert keys[-2:] == ["PortConfigDone", "PortInitDone"]
    # The links are adopted: none was set down, not even for a moment.
    assert all_up(switch)
    assert not [write for write in writes if write.fields.get("admin_status") == "down"]


def test_two_flushes_are_two_generations(switch: Switch) -> None:
    running_switch(switch)
    seen = {generation(switch)}
    for _ in range(2):
        switch.orchagent.stop()
        switch.appl_db.flushdb()
        switch.orchagent.start()
        switch.wait_settled()
        seen.add(generation(switch))
    assert len(seen) == 3


def test_the_loss_of_the_key_alone_is_no_new_generation(switch: Switch) -> None:
    running_switch(switch)
    before = generation(switch)
    with Monitor(switch.redis) as monitor:

        def looks() -> int:
            return sum(command.words == ("HGET", GENERATION_KEY, "id") for command in monitor.commands)

        # The key must have been seen after PortConfigDone: a flush between the two would look the same.
        switch.wait(lambda: looks() >= 2, "the daemon looks at the key")
        switch.appl_db.delete(GENERATION_KEY)
        switch.wait(lambda: generation(switch), "the key is put back")
        switch.barrier()
        assert produced(monitor.writes()) == []
    assert generation(switch) == before


def test_a_crash_between_the_markers_does_not_take_new_links_for_old_ones(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.daemon.kill()
    switch.add_ports(PORTS[:2], up=True)
    assert not switch.has_marker("PortInitDone")
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.add_ports(PORTS[2:], up=True)
    switch.wait_settled()
    switch.wait(lambda: all_up(switch), "all ports run")


@pytest.mark.parametrize("mode", ["reset", "auto"])
def test_which_links_are_old_outlives_a_crash_between_the_markers(make_switch: SwitchMaker, mode: str) -> None:
    switch = make_switch(config={"netlink": {"existing_links": mode}})
    switch.add_ports(["Ethernet0"], up=True)
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    assert not switch.links.states()["Ethernet0"].admin_up
    switch.add_ports(PORTS[1:], up=True)
    switch.barrier()
    switch.daemon.kill()
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.barrier()
    # The old one is still ignored, the new ones are not.
    assert switch.states().keys() & set(PORTS) == set(PORTS[1:])
    assert not switch.has_marker("PortInitDone")
    switch.links.delete("Ethernet0")
    switch.add_ports(["Ethernet0"], up=True)
    switch.wait_settled()
    switch.wait(lambda: all_up(switch), "all ports run")


def test_a_crash_before_anything_was_announced_is_a_start_like_the_first(switch: Switch) -> None:
    switch.redis.pause()
    switch.daemon.start()
    switch.daemon.wait_for("Redis cannot be used: port states wait, and will be written when it can")
    switch.daemon.kill()
    switch.redis.resume()
    switch.bring_up(PORTS)


def test_a_cold_restart_of_orchagent_and_daemon_with_a_flush(switch: Switch) -> None:
    running_switch(switch)
    before = generation(switch)
    switch.orchagent.stop()
    switch.daemon.terminate()
    switch.appl_db.flushdb()
    switch.start()
    # No generation is under way: the links are those of the life before, and are about to be made anew.
    assert not any(link.admin_up for name, link in switch.links.states().items() if name in PORTS)
    switch.wait(lambda: switch.orchagent.configured, "every port is announced again")
    for name in PORTS:
        switch.links.delete(name)
    switch.add_ports(PORTS, up=True)
    switch.wait_settled()
    switch.wait(lambda: all_up(switch), "all ports run")
    assert generation(switch) not in (None, before)


def test_a_cold_restart_of_orchagent_and_daemon_without_a_flush(switch: Switch) -> None:
    running_switch(switch)
    before = generation(switch)
    switch.orchagent.stop()
    switch.daemon.terminate()
    with Monitor(switch.redis) as monitor:
        switch.start()
        # A cold orchagent knows a port, and a marker, only from a pop: everything is announced again.
        switch.wait(lambda: switch.orchagent.configured, "every port is announced again")
        switch.wait_settled()
        keys = produced(monitor.writes())
    assert sorted(keys) == sorted([*PORTS, "PortConfigDone", "PortInitDone"])
    assert keys[-2:] == ["PortConfigDone", "PortInitDone"]
    assert all_up(switch)
    assert generation(switch) == before


def test_a_cold_restart_of_orchagent_alone_without_a_flush_is_not_the_daemons_business(switch: Switch) -> None:
    running_switch(switch)
    switch.orchagent.stop()
    with Monitor(switch.redis) as monitor:
        switch.orchagent.start()
        switch.links.set("Ethernet0", mtu=9000)
        switch.wait_equal()
        switch.barrier()
        assert produced(monitor.writes()) == []
    switch.orchagent.check()


def test_a_running_daemon_announces_once_although_its_connections_break(switch: Switch) -> None:
    running_switch(switch)
    with Monitor(switch.redis) as monitor:
        for mtu in (9000, 1500, 9000):
            break_connections(switch)
            switch.links.set("Ethernet0", mtu=mtu)
            switch.wait_equal()
        switch.barrier()
        assert produced(monitor.writes()) == []
    assert all_up(switch)


def break_connections(switch: Switch) -> None:
    """Have Redis close every connection but the monitor's and our own."""
    own = switch.appl_db.client_id()
    for client in switch.appl_db.client_list():
        if client["cmd"] != "monitor" and int(client["id"]) != own:
            switch.appl_db.client_kill_filter(_id=client["id"])


def test_a_warm_start_announces_nothing_that_is_there(switch: Switch) -> None:
    running_switch(switch)
    switch.enable_warm_restart()
    switch.daemon.terminate()
    switch.orchagent.stop()
    for name in PORTS:
        switch.state_db.hset(f"PORT_TABLE|{name}", "host_tx_ready", "true")
    with Monitor(switch.redis) as monitor:
        switch.orchagent.start(warm=True)
        switch.daemon.start()
        switch.daemon.wait_in_sync()
        switch.wait(lambda: warm_row(switch).get("state") == "reconciled", "the warm start ends")
        switch.barrier()
        writes = monitor.writes()
    assert produced(writes) == []
    states = [w.fields["state"] for w in writes if w.key == "WARM_RESTART_TABLE|portsyncd" and "state" in w.fields]
    assert states == ["initialized", "restored", "reconciled"]
    assert warm_row(switch)["restore_count"] == "1"
    assert all_up(switch)
    assert switch.state("Ethernet0")["host_tx_ready"] == "true"


def test_a_warm_start_sends_port_init_done_where_it_is_missing_and_waits_for_the_links(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.enable_warm_restart()
    switch.daemon.terminate()
    with Monitor(switch.redis) as monitor:
        switch.daemon.start()
        switch.daemon.wait_in_sync()
        switch.barrier()
        assert produced(monitor.writes()) == []
        switch.add_ports(PORTS)
        switch.wait_settled()
        assert produced(monitor.writes()) == ["PortInitDone"]


def test_a_flush_after_a_warm_start_begins_a_generation_like_any_other(switch: Switch) -> None:
    running_switch(switch)
    switch.enable_warm_restart()
    switch.daemon.terminate()
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.barrier()
    switch.orchagent.stop()
    switch.appl_db.flushdb()
    switch.orchagent.start()
    switch.wait_settled()
    assert all_up(switch)


def warm_row(switch: Switch) -> dict[str, str]:
    return {str(k): str(v) for k, v in switch.state_db.hgetall("WARM_RESTART_TABLE|portsyncd").items()}
