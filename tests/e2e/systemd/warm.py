"""What happens while a daemon is replaced by its successor, and what must have come of it."""

from typing import Final

from tests.e2e.systemd.switch import ServiceSwitch

PORTS: Final = [f"Ethernet{4 * number}" for number in range(4)]


def warm_switch(switch: ServiceSwitch) -> None:
    """It runs, all ports are up, and the next start will be warm."""
    switch.bring_up(PORTS)
    for name in PORTS:
        switch.links.set(name, up=True)
        switch.links.carrier(name, up=True)
    switch.wait(lambda: all(entry["netdev_oper_status"] == "up" for entry in switch.states().values()), "all are up")
    switch.wait_equal()
    switch.enable_warm_restart()


def change_links(switch: ServiceSwitch) -> None:
    """Of each kind of change one, and one of which nothing is to be seen afterwards."""
    switch.links.set("Ethernet0", mtu=9000)
    switch.links.set("Ethernet4", up=False)
    switch.links.set("Ethernet4", up=True)
    switch.links.carrier("Ethernet8", up=False)
    switch.links.delete("Ethernet12")


def assert_warm(switch: ServiceSwitch) -> None:
    """The last start was a warm one, had the events from before it, and STATE_DB is what the kernel is."""
    switch.wait_equal()
    assert switch.states().keys() == {"Ethernet0", "Ethernet4", "Ethernet8"}
    switch.orchagent.check()
    ends = [message for message in switch.messages() if message.startswith("initial sync complete by EOIU")]
    assert [" start=warm " in message for message in ends] == [False, True]
    (inherited,) = (
        message for message in switch.messages() if "read what happened while no process listened" in message
    )
    assert " lost=False" in inherited
