"""Scenarios about what the daemon needs: time to start, memory, CPU while nothing happens."""

import math
import time
from typing import Final

from bench import databases
from bench.socketpair import FIRST_MTU, PORTS, many_ports
from bench.stand import OWN_COMMAND, Setup, Stand

Figures = dict[str, float]

_IDLE_SECONDS: Final = 20
_STORM_EVENTS: Final = 200_000
_DOWN_SECONDS: Final = 20.0


def startup(setup: Setup) -> Figures:
    """From before the fork to PortConfigDone. Byte code and files are cached: an unmeasured run went before."""
    figures: Figures = {}
    for ports in (0, 512, 4096):
        with Stand(setup, databases.port_names(ports)) as stand:
            figures[f"startup.{ports}"] = stand.start() * 1000
    return figures | _reset(setup)


def _reset(setup: Setup) -> Figures:
    """A cold start that finds 512 links up and has to set them down."""
    names = databases.port_names(512)
    with Stand(setup, names, netlink='existing_links = "reset"') as stand:
        stand.links.create(names)
        seconds = stand.start()
        end = time.perf_counter() + _DOWN_SECONDS
        while any(link.admin_up for link in stand.links.links().values()):
            if time.perf_counter() > end:
                return {"startup.reset": seconds * 1000, "startup.reset_down": math.inf}
            time.sleep(0.002)
        down = time.perf_counter() - stand.daemon.started_at
        return {"startup.reset": seconds * 1000, "startup.reset_down": down * 1000}


def memory(setup: Setup) -> Figures:
    """Resident memory at rest, without the metrics endpoint: after the first sync, and after a storm."""
    figures: Figures = {}
    with Stand(setup, databases.port_names(512), metrics=False) as stand:
        stand.bring_up()
        figures["memory.512"] = stand.daemon.resident_bytes() / 1e6
        stand.links.send(stand.links.mtu_changes(stand.ifindexes, _STORM_EVENTS))
        stand.calm()
        figures["memory.512_after_storm"] = stand.daemon.resident_bytes() / 1e6
    with Stand(setup, databases.port_names(2000), metrics=False) as stand:
        stand.bring_up()
        figures["memory.2000"] = stand.daemon.resident_bytes() / 1e6
    if setup.command == OWN_COMMAND:
        figures |= _many()
    return figures


def _many() -> Figures:
    """With 100,000 ports: at rest after the first sync, and at the highest while every port then changes."""
    with many_ports(PORTS, metrics=False) as many:
        many.start()
        figures: Figures = {}
        for mtu in (FIRST_MTU, FIRST_MTU + 1):
            many.say(range(PORTS), mtu)
            many.wait_for(mtu)
            many.stand.calm()
            figures.setdefault("memory.100000", many.stand.daemon.resident_bytes() / 1e6)
        return figures | {"memory.100000_peak": many.stand.daemon.peak_bytes() / 1e6}


def idle(setup: Setup) -> Figures:
    """CPU and wake-ups while nothing happens."""
    with Stand(setup, databases.port_names(512)) as stand:
        stand.bring_up()
        cpu, switches = stand.daemon.cpu_seconds(), stand.daemon.voluntary_switches()
        begin = time.perf_counter()
        time.sleep(_IDLE_SECONDS)
        seconds = time.perf_counter() - begin
        # A thread that ended meanwhile takes its count along.
        slept = sum(count - switches.get(thread, 0) for thread, count in stand.daemon.voluntary_switches().items())
        return {"idle.cpu": (stand.daemon.cpu_seconds() - cpu) / seconds * 100, "idle.switches": slept / seconds}
