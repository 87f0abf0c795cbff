"""Links made and changed in a namespace."""

from collections.abc import Iterator

import pytest

from portsyncd.testing.links import Links, LinkState, peer_name
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.wait import until

pytestmark = pytest.mark.root


@pytest.fixture
def links() -> Iterator[Links]:
    with NetworkNamespace() as namespace, Links(namespace) as links:
        yield links


def test_a_port_runs_when_both_ends_are_up(links: Links) -> None:
    links.add_port("Ethernet0")
    assert links.states() == {"Ethernet0": LinkState(oper_up=False, admin_up=False, mtu=1500)}
    links.set("Ethernet0", up=True, mtu=9000)
    assert links.states() == {"Ethernet0": LinkState(oper_up=False, admin_up=True, mtu=9000)}
    links.carrier("Ethernet0", up=True)
    until(lambda: links.states()["Ethernet0"] == LinkState(True, True, 9000), what="the cable is plugged")
    links.carrier("Ethernet0", up=False)
    until(lambda: links.states()["Ethernet0"] == LinkState(False, True, 9000), what="the cable is pulled")


def test_rename_altname_delete(links: Links) -> None:
    index = links.add_port("Ethernet0")
    links.rename("Ethernet0", "eth0")
    assert links.states() == {}
    assert links.index("eth0") == index
    links.altname("eth0", "uplink")
    links.delete("eth0")
    assert links.states(("",)).keys() == {"lo"}
    with pytest.raises(KeyError):
        links.index("eth0")


def test_master_is_named_and_left_with_an_empty_name(links: Links) -> None:
    links.add_port("Ethernet0")
    links.add("br0", "bridge")
    links.set("Ethernet0", master="br0")
    links.set("Ethernet0", master="")
    links.delete("br0")
    assert links.states().keys() == {"Ethernet0"}


def test_names_of_peers_fit_the_kernel() -> None:
    assert peer_name("Ethernet0") == "pEthernet0"
    assert len(peer_name("EthernetLong123")) == 15
