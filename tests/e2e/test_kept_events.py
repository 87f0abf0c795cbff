"""Events that happen while no process of the daemon runs are read by the next one: its socket was kept meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portsyncd.testing.descriptor_store import DescriptorStoreParent
from portsyncd.testing.switch import Switch
from tests.e2e.conftest import SwitchMaker
from tests.e2e.keyspace import Subscriber
from tests.e2e.test_warm_restart import PORTS, end, ended, flaps, saved, warm_switch

pytestmark = pytest.mark.root


@pytest.fixture
def switch(make_switch: SwitchMaker, tmp_path: Path) -> Iterator[Switch]:
    """A switch whose daemon is started by somebody who keeps its descriptors."""
    with DescriptorStoreParent(tmp_path) as store:
        switch = make_switch(store=store, config={"warm_restart": {"save_interval_secs": 1}})
        yield switch
        switch.close()


@pytest.mark.parametrize("how", ["planned", "crash"])
def test_what_happened_meanwhile_is_told_as_if_the_daemon_had_been_there(switch: Switch, how: str) -> None:
    warm_switch(switch)
    end(switch, how)
    before = saved(switch)
    # Made anew: a live daemon tells of the removal, too.
    switch.links.delete("Ethernet0")
    switch.add_ports(["Ethernet0"])
    # Down and up again: the state is the same in the end, and the kernel has dropped addresses.
    switch.links.set("Ethernet4", up=False)
    switch.links.set("Ethernet4", up=True)
    switch.links.delete("Ethernet8")
    switch.links.carrier("Ethernet12", up=False)
    switch.links.rename("Ethernet16", "eth16")
    with Subscriber(switch) as subscriber:
        switch.daemon.start()
        ended(switch)
        switch.wait_equal()
        heard = subscriber.heard()
    assert {name for _, name in heard} == {"Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12", "Ethernet16"}
    assert [kind for kind, name in heard if name == "Ethernet0"] == ["del", "hset"]
    assert [kind for kind, name in heard if name == "Ethernet4"] == ["hset"]
    assert [kind for kind, name in heard if name == "Ethernet8"] == ["del"]
    assert [kind for kind, name in heard if name == "Ethernet12"] == ["hset"]
    assert [kind for kind, name in heard if name == "Ethernet16"] == ["del"]
    assert switch.daemon.wait_for("read what happened while no process listened")["events"] >= 6
    assert switch.daemon.terminate() == 0
    assert flaps(saved(switch), "Ethernet12") == flaps(before, "Ethernet12") + 1


def test_nothing_that_happened_costs_no_write(switch: Switch) -> None:
    warm_switch(switch)
    end(switch, "planned")
    with Subscriber(switch) as subscriber:
        switch.daemon.start()
        assert ended(switch)["differences"] == 0
        assert subscriber.heard() == []
    assert switch.daemon.wait_for("read what happened while no process listened")["events"] == 0


def test_a_socket_that_overran_has_everything_read_anew(make_switch: SwitchMaker, tmp_path: Path) -> None:
    with DescriptorStoreParent(tmp_path) as store:
        switch = make_switch(store=store, config={"netlink": {"receive_buffer_bytes": 65536}})
        warm_switch(switch)
        end(switch, "planned")
        for mtu in range(1400, 1600):
            switch.links.set("Ethernet0", mtu=mtu)
        switch.links.set("Ethernet4", mtu=1400)
        with Subscriber(switch) as subscriber:
            switch.daemon.start()
            ended(switch)
            switch.wait_equal()
            # What else happened is not known: every port that is admin up is written, once.
            assert sorted(subscriber.heard()) == [("hset", name) for name in sorted(PORTS)]
        assert switch.daemon.wait_for("read what happened while no process listened")["lost"]
        switch.close()
