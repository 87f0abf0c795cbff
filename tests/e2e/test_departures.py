"""Contract, section 5: where this project departs from C++ portsyncd on purpose, one test and more for each departure.

5.4 is in ``test_generations``, 5.7 in ``test_redis_faults``, the filter of 5.6 in ``test_noise``.
"""

import signal

import pytest
import redis

from portsyncd.testing import burst
from portsyncd.testing.links import LinkState
from portsyncd.testing.monitor import Monitor, Write
from portsyncd.testing.switch import Switch, as_fields
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]


def port_writes(monitor: Monitor, position: int, name: str) -> list[Write]:
    return [write for write in monitor.writes(position) if write.key == f"PORT_TABLE|{name}"]


def hset(name: str, oper: bool, admin: bool, mtu: int = 1500) -> Write:
    return Write("STATE_DB", "hset", f"PORT_TABLE|{name}", as_fields(LinkState(oper, admin, mtu)))


def delete(name: str) -> Write:
    return Write("STATE_DB", "del", f"PORT_TABLE|{name}", {})


# ---- 5.1 writes only on change


def test_5_1_messages_that_change_nothing_cause_no_write(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with Monitor(switch.redis) as monitor:
        switch.links.set("Ethernet0", txqlen=500)
        switch.links.set("Ethernet0", ifalias="to the roof")
        switch.links.set("Ethernet0", mtu=1500)
        switch.barrier()
        assert port_writes(monitor, 0, "Ethernet0") == []


def test_5_1_an_admin_excursion_is_written_once_in_its_final_state(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.set("Ethernet0", up=True)
    switch.wait_equal()
    with Monitor(switch.redis) as monitor:
        switch.daemon.pause()
        switch.links.set("Ethernet0", up=False)
        switch.links.set("Ethernet0", up=True)
        switch.daemon.resume()
        switch.barrier()
        assert port_writes(monitor, 0, "Ethernet0") == [hset("Ethernet0", oper=False, admin=True)]


def test_5_1_an_mtu_excursion_is_no_change(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with Monitor(switch.redis) as monitor:
        switch.daemon.pause()
        switch.links.set("Ethernet0", mtu=9000)
        switch.links.set("Ethernet0", mtu=1500)
        switch.daemon.resume()
        switch.barrier()
        assert port_writes(monitor, 0, "Ethernet0") == []


def test_5_1_a_link_made_anew_is_deleted_and_written_although_it_looks_the_same(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with Monitor(switch.redis) as monitor:
        switch.daemon.pause()
        switch.links.delete("Ethernet0")
        switch.links.add_port("Ethernet0")
        switch.daemon.resume()
        switch.barrier()
        assert port_writes(monitor, 0, "Ethernet0") == [delete("Ethernet0"), hset("Ethernet0", False, False)]


def test_5_1_what_somebody_else_overwrote_is_put_right_at_the_next_comparison(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.state_db.hset("PORT_TABLE|Ethernet0", "mtu", "77")
    switch.daemon.terminate()
    switch.daemon.start()
    switch.wait_equal()


# ---- 5.2 a link before its APPL_DB entry waits (bug 3 is the plain case)


def test_5_2_each_waiting_port_is_published_when_its_own_entry_appears(switch: Switch) -> None:
    switch.load_config([])
    switch.start()
    switch.add_ports(PORTS)
    switch.barrier()
    assert switch.states().keys().isdisjoint(PORTS)
    switch.appl_db.hset("PORT_TABLE:Ethernet4", "lanes", "4")
    switch.wait(lambda: switch.state("Ethernet4"), "Ethernet4 is published")
    switch.barrier()
    assert not switch.state("Ethernet0")
    switch.links.set("Ethernet0", mtu=9000)
    switch.appl_db.hset("PORT_TABLE:Ethernet0", "lanes", "0")
    switch.wait_equal()
    assert switch.state("Ethernet0")["mtu"] == "9000"


def test_5_2_also_where_redis_sends_no_notifications(switch: Switch) -> None:
    switch.config_db.config_set("notify-keyspace-events", "")
    switch.load_config(PORTS)
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.add_ports(PORTS)
    switch.barrier()
    switch.orchagent.start()
    switch.wait_settled()


# ---- 5.3 old links


def old_link(switch: Switch) -> int:
    """A link that is up before anything else exists."""
    switch.add_ports(["Ethernet0"], up=True)
    switch.wait(lambda: switch.links.states()["Ethernet0"].oper_up, "the old link runs")
    return switch.links.index("Ethernet0")


@pytest.mark.parametrize("mode", ["reset", "auto"])
def test_5_3_a_cold_start_sets_old_links_down_and_ignores_them(make_switch: SwitchMaker, mode: str) -> None:
    switch = make_switch(config={"netlink": {"existing_links": mode}})
    old_link(switch)
    switch.load_config(PORTS)
    switch.start()
    assert not switch.links.states()["Ethernet0"].admin_up
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(["Ethernet4"])
    switch.links.set("Ethernet0", up=True)
    switch.barrier()
    assert switch.states().keys() & set(PORTS) == {"Ethernet4"}
    assert not switch.has_marker("PortInitDone")
    # Made anew it is a link like any other.
    switch.links.delete("Ethernet0")
    switch.add_ports(["Ethernet0"])
    switch.wait_settled()


def test_5_3_an_ifindex_is_forgotten_with_its_link(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"netlink": {"existing_links": "reset"}})
    index = old_link(switch)
    switch.load_config(["Ethernet0"])
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows the port")
    switch.links.delete("Ethernet0")
    switch.links.add("Ethernet0", "bridge", index=index)
    switch.wait_settled()
    assert switch.links.index("Ethernet0") == index


def test_5_3_an_old_link_that_persists_is_named_as_the_reason(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"netlink": {"existing_links": "reset"}})
    old_link(switch)
    switch.load_config(["Ethernet0"])
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows the port")
    switch.barrier()
    assert not switch.has_marker("PortInitDone")
    said = switch.daemon.wait_for("PortInitDone waits", 60)
    assert "Ethernet0" in str(said["first"])
    assert "from before this start" in str(said["first"])


def test_5_3_links_that_are_no_ports_are_let_alone(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"netlink": {"existing_links": "reset"}})
    for name in ("PortChannel1", "eth7"):
        switch.links.add_port(name)
        switch.links.set(name, up=True)
    switch.load_config(PORTS)
    switch.start()
    states = switch.links.states(("PortChannel", "eth"))
    assert states["PortChannel1"].admin_up
    assert states["eth7"].admin_up
    switch.appl_db.hset("PORT_TABLE:PortChannel1", "lanes", "0")
    switch.wait_equal()
    assert "PortChannel1" in switch.states()


def test_5_3_adopt_keeps_links_up_and_publishes_them(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"netlink": {"existing_links": "adopt"}})
    old_link(switch)
    switch.load_config(["Ethernet0"])
    switch.start()
    switch.wait_settled()
    assert switch.links.states()["Ethernet0"] == LinkState(True, True, 1500)


def test_5_3_auto_adopts_on_a_dpu(switch: Switch) -> None:
    switch.config_db.hset("DEVICE_METADATA|localhost", "switch_type", "dpu")
    old_link(switch)
    switch.load_config(["Ethernet0"])
    switch.start()
    switch.wait_settled()
    assert switch.links.states()["Ethernet0"].admin_up


@pytest.mark.parametrize("table", ["PORT_TABLE", "_PORT_TABLE"])
def test_5_3_auto_adopts_while_a_generation_is_under_way(switch: Switch, table: str) -> None:
    switch.appl_db.hset(f"{table}:PortConfigDone", "count", "1")
    if table == "_PORT_TABLE":
        switch.appl_db.sadd("PORT_TABLE_KEY_SET", "PortConfigDone")
    old_link(switch)
    switch.load_config(["Ethernet0"])
    switch.start()
    switch.wait_settled()
    assert switch.links.states()["Ethernet0"].admin_up


# ---- 5.5 removal


def test_5_5_deletion_while_the_daemon_was_down_is_noticed(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.state_db.hset("PORT_TABLE|Ethernet0", "host_tx_ready", "true")
    switch.daemon.terminate()
    switch.links.delete("Ethernet0")
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.wait_equal()
    # On a removal the whole hash goes: xcvrd acts on that DEL.
    assert not switch.state("Ethernet0")
    assert switch.state("Ethernet4")


def test_5_5_a_rename_to_another_port_removes_one_and_publishes_the_other(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.delete("Ethernet4")
    switch.links.rename("Ethernet0", "Ethernet4")
    switch.links.set("Ethernet4", mtu=9000)
    switch.wait_equal()
    assert switch.states().keys() == {"Ethernet4"}


def test_5_5_names_that_are_swapped_end_with_their_new_owners(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.set("Ethernet4", mtu=9000)
    switch.wait_equal()
    for old, new in (("Ethernet0", "swap"), ("Ethernet4", "Ethernet0"), ("swap", "Ethernet4")):
        switch.links.rename(old, new)
    switch.wait_equal()
    assert switch.state("Ethernet0")["mtu"] == "9000"


def test_5_5_an_entry_without_state_stays(switch: Switch) -> None:
    switch.state_db.hset("PORT_TABLE|Ethernet8", "host_tx_ready", "false")
    switch.bring_up(PORTS)
    switch.barrier()
    assert switch.state("Ethernet8") == {"host_tx_ready": "false"}
    # Nor does the removal of a link take it along, while APPL_DB did not have the port.
    switch.links.add_port("Ethernet8")
    switch.links.delete("Ethernet8")
    switch.barrier()
    assert switch.state("Ethernet8") == {"host_tx_ready": "false"}


def test_5_5_an_entry_that_lost_its_state_is_somebody_elses(switch: Switch) -> None:
    switch.bring_up(PORTS)
    # As after a flush of STATE_DB that another writer was the first to notice.
    switch.state_db.delete("PORT_TABLE|Ethernet0")
    switch.state_db.hset("PORT_TABLE|Ethernet0", "host_tx_ready", "false")
    switch.links.delete("Ethernet0")
    switch.barrier()
    assert switch.state("Ethernet0") == {"host_tx_ready": "false"}


def test_5_5_made_anew_unseen_it_is_written_without_a_deletion(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"netlink": {"receive_buffer_bytes": 65536}})
    switch.bring_up(PORTS)
    first, other = (switch.links.index(name) for name in PORTS)
    with Monitor(switch.redis) as monitor:
        switch.daemon.pause()
        switch.kernel.send(burst.mtu_flips([other], 2000))
        switch.kernel.send([burst.delete(first), burst.add_port("Ethernet0")])
        assert switch.dropped_events()
        switch.daemon.resume()
        switch.barrier()
        switch.wait_equal()
        assert port_writes(monitor, 0, "Ethernet0") == [hset("Ethernet0", False, False)]


# ---- 5.8 PortInitDone


def test_5_8_the_operator_can_release_the_wait(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(["Ethernet0"])
    switch.barrier()
    assert not switch.has_marker("PortInitDone")
    switch.daemon.signal(signal.SIGUSR1)
    switch.wait(lambda: switch.orchagent.init_done, "PortInitDone is released")
    (said,) = switch.daemon.events("PortInitDone is released by the operator")
    assert said["ports"] == ["Ethernet4"]
    # A port that comes later is published, and brings no second marker.
    with Monitor(switch.redis) as monitor:
        switch.add_ports(["Ethernet4"])
        switch.wait_equal()
        switch.barrier()
        assert not [write for write in monitor.writes() if write.kind == "producer_set"]


# ---- 5.9 odd input


def test_5_9_a_name_with_odd_bytes_is_published_as_it_is(switch: Switch) -> None:
    switch.bring_up(PORTS)
    odd = b"Ethernet\xff\xfe"
    raw = redis.Redis(unix_socket_path=switch.redis.socket_path, db=0)
    raw.hset(b"PORT_TABLE:" + odd, b"lanes", b"0")
    raw.close()
    switch.kernel.send([burst.add_port(odd.decode("utf-8", "surrogateescape"))])
    states = redis.Redis(unix_socket_path=switch.redis.socket_path, db=6)
    switch.wait(lambda: states.hget(b"PORT_TABLE|" + odd, b"state") == b"ok", "the odd name is published")
    states.close()
    switch.links.set("Ethernet0", mtu=9000)
    switch.barrier()
    assert switch.state("Ethernet0")["mtu"] == "9000"


def test_5_9_a_repeat_of_the_bridge_is_not_the_links_own_removal(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.add("br0", "bridge")
    with Monitor(switch.redis) as monitor:
        switch.links.set("Ethernet0", master="br0")
        switch.links.set("Ethernet0", master="")
        switch.links.delete("br0")
        switch.barrier()
        assert delete("Ethernet0") not in monitor.writes()
    switch.wait_equal()
