"""Other links' noise, many links, and storms: what they cost, and that nothing is lost."""

import pytest

from portsyncd.testing import burst
from portsyncd.testing.links import peer_name
from portsyncd.testing.switch import Switch

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]
# The clock of /proc/PID/stat ticks every 10 ms, and the look once a second goes on.
FEW_TICKS = 0.03


def test_100_000_flips_of_an_unrelated_link_cost_nothing_and_lose_nothing(switch: Switch) -> None:
    # Made before the ports, so that its ifindex lies outside of their range.
    noisy = switch.links.add("eth7", "bridge")
    switch.bring_up(PORTS)
    switch.barrier()
    before = switch.daemon.cpu_seconds()
    assert switch.kernel.send(burst.mtu_flips([noisy], 100_000)) == 100_000
    # Queued behind it all, if any of it had come through.
    switch.links.set("Ethernet0", mtu=9000)
    switch.wait_equal()
    assert switch.daemon.cpu_seconds() - before <= FEW_TICKS
    assert switch.dropped_events() == 0


def test_the_noise_hides_no_rename(switch: Switch) -> None:
    noisy = switch.links.add("eth7", "bridge")
    switch.bring_up(PORTS)
    switch.kernel.send(burst.mtu_flips([noisy], 20_000))
    switch.links.rename("Ethernet0", "away")
    switch.kernel.send(burst.mtu_flips([noisy], 20_000))
    switch.wait_equal()
    assert switch.states().keys() == {"Ethernet4"}


def test_a_link_becomes_a_port_by_its_name(switch: Switch) -> None:
    switch.links.add_port("early")
    switch.bring_up(PORTS)
    switch.appl_db.hset("PORT_TABLE:Ethernet8", "lanes", "8")
    switch.links.rename("early", "Ethernet8")
    switch.wait_equal()
    assert switch.state("Ethernet8")
    switch.links.rename("Ethernet8", "late")
    switch.wait_equal()
    assert not switch.state("Ethernet8")


def test_a_storm_of_our_own_ports_ends_in_the_final_state(switch: Switch) -> None:
    names = [f"Ethernet{4 * number}" for number in range(64)]
    switch.bring_up(names)
    indexes = [switch.links.index(name) for name in names]
    switch.kernel.send(burst.mtu_flips(indexes, 64 * 1001))
    switch.wait_equal()
    assert {switch.state(name)["mtu"] for name in names} == {"1400"}
    # One line or a few for all of it.
    assert len(switch.daemon.events()) < 100


def test_512_ports_take_at_most_64_megabytes(switch: Switch) -> None:
    names = [f"Ethernet{number}" for number in range(512)]
    switch.bring_up(names)
    switch.kernel.send(burst.mtu_flips([switch.links.index(name) for name in names], 512 * 20))
    switch.wait_equal()
    assert switch.daemon.resident_bytes() <= 64 * 1024 * 1024


@pytest.mark.long
def test_2_000_links(switch: Switch) -> None:
    names = [f"Ethernet{number}" for number in range(2000)]
    switch.load_config(names)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.kernel.send(burst.add_port(name, up=number % 2 == 0) for number, name in enumerate(names))
    switch.wait_settled()
    assert len(switch.states()) == 2000
    # Every tenth goes away by another name, every tenth for good.
    indexes = {name: switch.links.index(name) for name in names[::5]}
    switch.kernel.send(burst.rename(indexes[name], f"away{name[8:]}") for name in names[::10])
    switch.kernel.send(burst.delete(indexes[name]) for name in names[5::10])
    switch.wait_equal()
    assert len(switch.states()) == 1600
    # A restart compares everything, and takes nothing down.
    switch.daemon.kill()
    switch.kernel.send(burst.delete(switch.links.index(name)) for name in names[1:100:10])
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.wait_equal()
    assert len(switch.states()) == 1590
    assert switch.links.states()["Ethernet2"].admin_up
    assert switch.links.index(peer_name("Ethernet2"))
