"""The ten bugs of C++ portsyncd that were reproduced against the real thing; the daemon must have none of them."""

import pytest

from portsyncd.testing import burst
from portsyncd.testing.links import LinkState
from portsyncd.testing.monitor import Monitor
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12"]
SMALL_BUFFER = {"netlink": {"receive_buffer_bytes": 65536}}


def overrun(switch: Switch, names: list[str]) -> None:
    """Make the stopped daemon's socket overflow by changes of these ports."""
    switch.kernel.send(burst.mtu_flips([switch.links.index(name) for name in names], 3000))
    assert switch.dropped_events(), "the socket held them all"


def test_bug_01_an_overrun_is_resynced(make_switch: SwitchMaker) -> None:
    switch = make_switch(config=SMALL_BUFFER)
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(PORTS[:2])
    # Not in CONFIG_DB: it may go without PortInitDone waiting for it.
    switch.appl_db.hset("PORT_TABLE:Ethernet100", "lanes", "100")
    switch.add_ports(["Ethernet100"])
    switch.links.set("Ethernet0", up=True)
    switch.wait_equal()
    with Monitor(switch.redis) as monitor:
        switch.daemon.pause()
        overrun(switch, ["Ethernet4"])
        # All of this is lost: creations, a removal, a change.
        switch.add_ports(PORTS[2:], up=True)
        switch.links.delete("Ethernet100")
        switch.links.set("Ethernet4", mtu=9000)
        switch.daemon.resume()
        switch.wait_settled()
        switch.barrier()
        # An admin excursion may have gone unseen: each port that is up is written once, though it looks the same.
        quiet = [write for write in monitor.writes() if write.key == "PORT_TABLE|Ethernet0"]
    assert [write.kind for write in quiet] == ["hset"]
    assert switch.states().keys() >= set(PORTS)
    assert not switch.state("Ethernet100")


def test_bug_01_also_while_the_storm_goes_on(make_switch: SwitchMaker) -> None:
    switch = make_switch(config=SMALL_BUFFER)
    switch.bring_up(PORTS)
    indexes = [switch.links.index(name) for name in PORTS]
    for mtu in range(1401, 1411):
        switch.kernel.send(burst.mtu_flips(indexes, 8000, (1400, mtu)))
    switch.wait_equal()
    assert switch.state("Ethernet12")["mtu"] == "1410"


def test_bug_02_redis_that_goes_away_costs_neither_cpu_nor_life_nor_truth(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.redis.save()
    switch.redis.kill()
    before = switch.daemon.cpu_seconds()
    for mtu in range(2000, 2050):
        switch.links.set("Ethernet0", mtu=mtu)
    switch.links.delete("Ethernet4")
    hold(2)
    # A thread that spins would have used it all.
    assert switch.daemon.cpu_seconds() - before < 0.7
    assert switch.daemon.running
    switch.redis.start()
    switch.wait_equal()
    assert switch.state("Ethernet0")["mtu"] == "2049"


def test_bug_02_redis_absent_at_the_start_is_waited_for(switch: Switch) -> None:
    switch.redis.kill()
    switch.daemon.start()
    switch.daemon.wait_for("Redis cannot be used: port states wait, and will be written when it can")
    switch.redis.start()
    switch.load_config(PORTS)
    switch.orchagent.start()
    switch.daemon.wait_in_sync()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(PORTS)
    switch.wait_settled()


def test_bug_02_script_flush_before_port_init_done_changes_nothing(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.appl_db.script_flush()
    switch.add_ports(PORTS)
    switch.wait_settled()


def test_bug_03_a_link_before_its_appl_db_entry_is_published_later(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.add_ports(PORTS)
    switch.barrier()
    assert switch.states().keys().isdisjoint(PORTS)
    switch.orchagent.start()
    switch.wait_settled()
    assert switch.states().keys() >= set(PORTS)


def test_bug_04_port_init_done_waits_for_the_links(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent has popped every port")
    for name in PORTS:
        switch.barrier()
        assert not switch.has_marker("PortInitDone")
        switch.add_ports([name])
    switch.wait_settled()


def test_bug_05_a_restart_of_the_daemon_alone_leaves_the_ports_up(switch: Switch) -> None:
    switch.bring_up(PORTS)
    for name in PORTS:
        switch.links.set(name, up=True)
        switch.links.carrier(name, up=True)
    switch.wait_equal()
    for stop in (switch.daemon.terminate, switch.daemon.kill):
        stop()
        switch.links.set("Ethernet4", mtu=switch.links.states()["Ethernet4"].mtu + 1)
        switch.daemon.start()
        switch.daemon.wait_in_sync()
        switch.wait_equal()
        assert all(link.admin_up for name, link in switch.links.states().items() if name in PORTS)
        # They are followed, not ignored.
        switch.links.carrier("Ethernet8", up=False)
        switch.links.set("Ethernet12", up=False)
        switch.wait_equal()
        switch.links.carrier("Ethernet8", up=True)
        switch.links.set("Ethernet12", up=True)
        switch.wait_equal()
    switch.orchagent.check()


def test_bug_06_links_made_while_the_daemon_starts_are_not_taken_for_old_ones(switch: Switch) -> None:
    names = [f"Ethernet{4 * number}" for number in range(256)]
    switch.load_config(names)
    switch.orchagent.start()
    switch.daemon.start()
    made: set[str] = set()

    def make_what_is_known() -> bool:
        known = list(switch.orchagent.ports.keys() - made)
        # As fast as orchagent can: in the middle of the daemon's announcement.
        switch.kernel.send(burst.add_port(name, up=True) for name in known)
        made.update(known)
        return len(made) == len(names)

    switch.wait(make_what_is_known, "every port is known")
    switch.wait_settled()
    links = switch.links.states()
    assert all(links[name].admin_up for name in names)
    assert switch.states().keys() >= set(names)


def test_bug_07_a_port_deleted_during_a_warm_restart_goes_and_port_init_done_comes(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.daemon.terminate()
    switch.enable_warm_restart()
    switch.links.delete("Ethernet4")
    switch.config_db.delete("PORT|Ethernet4")
    switch.appl_db.delete("PORT_TABLE:PortInitDone")
    with Monitor(switch.redis) as monitor:
        switch.daemon.start()
        switch.daemon.wait_in_sync()
        switch.wait(lambda: switch.appl_db.exists("PORT_TABLE:PortInitDone"), "PortInitDone comes")
        switch.wait_equal()
        assert [write.key for write in monitor.writes() if write.kind == "producer_set"] == ["PortInitDone"]
    assert not switch.state("Ethernet4")
    switch.orchagent.check()


def test_bug_08_a_port_renamed_away_loses_its_entry(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.rename("Ethernet0", "eth0")
    switch.wait_equal()
    assert not switch.state("Ethernet0")
    # And it is heard again when it comes back.
    switch.links.rename("eth0", "Ethernet0")
    switch.wait_equal()
    assert switch.state("Ethernet0")


@pytest.mark.parametrize("impossible", ["foo", "Ethernet1234567890", "Ethernet/1", "PortChannel1"])
def test_bug_09_a_name_that_can_never_be_a_link_does_not_hold_port_init_done(switch: Switch, impossible: str) -> None:
    switch.load_config([*PORTS, impossible])
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every row")
    # It is announced as any other row, and counted.
    assert switch.orchagent.count == len(PORTS) + 1
    assert impossible in switch.orchagent.ports
    switch.add_ports(PORTS[1:])
    switch.barrier()
    assert not switch.has_marker("PortInitDone")
    switch.add_ports(PORTS[:1])
    switch.wait_settled()


def test_bug_10_a_message_that_changes_nothing_is_not_written(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.add("br0", "bridge")
    with Monitor(switch.redis) as monitor:
        switch.links.set("Ethernet0", master="br0")
        switch.links.set("Ethernet4", txqlen=77)
        switch.barrier()
        assert not [
            write for write in monitor.writes() if write.key in ("PORT_TABLE|Ethernet0", "PORT_TABLE|Ethernet4")
        ]
        switch.links.set("Ethernet0", mtu=1400)
        switch.barrier()
        assert len([write for write in monitor.writes() if write.key == "PORT_TABLE|Ethernet0"]) == 1
    assert switch.links.states()["Ethernet0"] == LinkState(False, False, 1400)
