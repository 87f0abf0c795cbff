"""More events than the kernel keeps, and links that come and go without end."""

import socket

import pytest

from portsyncd.testing import burst
from portsyncd.testing.descriptors import borrowed_socket
from portsyncd.testing.switch import Switch
from tests.e2e.chaos.trial import PORTS, assert_goes_on, change, now, seconds_until_told, seconds_until_well
from tests.e2e.conftest import SwitchMaker
from tests.e2e.recovery import Measure

pytestmark = pytest.mark.root

SMALLEST_BUFFER = {"netlink": {"receive_buffer_bytes": 65536}}
AT_ONCE, TURNS = 100, 20
GROUP = 7
# <linux/netlink.h>, <linux/rtnetlink.h>
SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK = 270, 2, 1


def test_events_that_the_kernel_dropped_are_made_good(make_switch: SwitchMaker, measure: Measure) -> None:
    switch = make_switch(config=SMALLEST_BUFFER)
    switch.bring_up(PORTS)
    dropped = switch.dropped_events()
    switch.daemon.pause()
    switch.kernel.send(burst.mtu_flips([switch.links.index(name) for name in PORTS], 8000))
    assert switch.dropped_events() > dropped
    change(switch)
    switch.daemon.resume()
    measure("netlink socket overrun by 8,000 events", recovered=seconds_until_well(switch))
    assert "overrun" in str(switch.daemon.events("read all links"))
    assert_goes_on(switch)


def test_2_000_links_come_and_go(make_switch: SwitchMaker, measure: Measure) -> None:
    switch = make_switch(config=SMALLEST_BUFFER)
    names = [f"Ethernet{number}" for number in range(100, 100 + AT_ONCE)]
    switch.bring_up(PORTS)
    for name in names:
        switch.appl_db.hset(f"PORT_TABLE:{name}", "lanes", "0")
    for _ in range(TURNS):
        switch.kernel.send(burst.add_port(name, up=True, group=GROUP) for name in names)
        # Each end of a pair that goes takes the other one along.
        switch.kernel.send([burst.delete_group(GROUP)])
    # The last of them stay.
    switch.kernel.send(burst.add_port(name, up=True) for name in names)
    change(switch)
    measure("2,000 links made and deleted in a loop", recovered=seconds_until_well(switch))
    assert switch.states().keys() >= set(names)
    switch.appl_db.delete(*(f"PORT_TABLE:{name}" for name in names))
    assert_goes_on(switch)


def test_a_socket_that_the_kernel_says_nothing_to_is_found_and_made_anew(switch: Switch, measure: Measure) -> None:
    # No error, no event: only who asks finds out.
    switch.bring_up(PORTS)
    with borrowed_socket(switch.daemon.pid, event_socket(switch)) as events:
        events.setsockopt(SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK)
    began = now()
    change(switch)
    detected = seconds_until_told(switch, "service failed", began, service="reader")
    measure("netlink socket deaf; from when it is found", detected=detected, recovered=seconds_until_well(switch))
    assert_goes_on(switch)


def event_socket(switch: Switch) -> int:
    """The inode of the daemon's socket that is a member of RTNLGRP_LINK."""
    head, *lines = (line.split() for line in switch.namespace.run(["cat", "/proc/net/netlink"]).stdout.splitlines())
    sockets = [dict(zip(head, line, strict=True)) for line in lines]
    (inode,) = [
        int(each["Inode"])
        for each in sockets
        if int(each["Eth"]) == socket.NETLINK_ROUTE and int(each["Groups"], 16) == RTNLGRP_LINK
    ]
    return inode
