"""What the trials have in common: what changes during a fault, and what is measured of it."""

import time
from datetime import UTC, datetime

from portsyncd.testing import burst
from portsyncd.testing.switch import Switch

PORTS = [f"Ethernet{4 * number}" for number in range(8)]
COMPLAINT = "Redis cannot be used: port states wait, and will be written when it can"
CHANGED_MTU = 7777
# What is promised are 5 s to notice, and 1 s to be well. Without a probe the kernel's keepalive takes 25 s.
DEADLINE_SECONDS = 20.0


def change(switch: Switch) -> None:
    """Hundreds of changes of every kind. The last one is what ``seconds_until_well`` looks for."""
    switch.links.delete(PORTS[5])
    switch.links.delete(PORTS[6])
    switch.links.add_port(PORTS[6])
    switch.links.set(PORTS[7], up=True)
    switch.kernel.send(burst.mtu_flips([switch.links.index(name) for name in PORTS[:4]], 400, (1400, 9000)))
    switch.links.set(PORTS[0], mtu=CHANGED_MTU)


def seconds_until_well(switch: Switch) -> float:
    """Wait until STATE_DB equals the kernel, with what ``change`` has done; how long that took."""
    began = time.monotonic()
    switch.wait(
        lambda: switch.state(PORTS[0]).get("mtu") == str(CHANGED_MTU), "the last change arrives", DEADLINE_SECONDS
    )
    switch.wait_equal(DEADLINE_SECONDS)
    took = time.monotonic() - began
    assert not switch.state(PORTS[5])
    assert switch.state(PORTS[6])
    return took


def assert_goes_on(switch: Switch) -> None:
    """All is as before the fault: changes arrive, and orchagent has nothing to complain about. PORTS[5] is away until then."""
    switch.links.set(PORTS[1], mtu=1234)
    switch.add_ports([PORTS[5]], up=True)
    switch.wait_settled()
    switch.barrier()
    assert switch.state(PORTS[1])["mtu"] == "1234"
    assert switch.daemon.running
    switch.orchagent.check()


def now() -> datetime:
    """On the log's clock."""
    return datetime.now(UTC)


def seconds_until_told(switch: Switch, event: str, began: datetime, **facts: object) -> float:
    """Wait until the log has an event with these facts from after ``began``; how long after that, by the log's clock."""

    def told() -> list[datetime]:
        return [
            moment
            for line in switch.daemon.events(event)
            if facts.items() <= line.items() and (moment := datetime.fromisoformat(line["timestamp"])) >= began
        ]

    return (switch.wait(told, f"the daemon logs {event!r}", DEADLINE_SECONDS)[0] - began).total_seconds()
