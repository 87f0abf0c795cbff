"""What each query of each dashboard must give of ``grafana_world``, by dashboard, panel and query.

The dashboard of one switch shows the second, and its port ``Ethernet4``. A rate interval is a minute: four scrapes.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from tests.ops.grafana_world import JOB, PORTS, SWITCHES, History

# By what the panel calls it; what a variable can be; when an annotation begins, by its text.
Expected = Mapping[str, float] | Sequence[str]
ONE: Final = SWITCHES[2]
PORT: Final = "Ethernet4"
RATE_SECONDS: Final = 60
RANGE_SECONDS: Final = 3600

_PYTHON: Final = ".".join(map(str, sys.version_info[:3]))
_EVENT_BOUNDS: Final = ("0.0001", "0.00025", "0.0005", "0.001", "0.005", "0.01", "0.05", "0.1", "0.5", "1.0", "+Inf")
_SYNC_BOUNDS: Final = ("0.01", "0.05", "0.1", "0.5", "1.0", "5.0", "10.0", "50.0", "100.0", "+Inf")


def everything(history: History) -> Mapping[str, Mapping[str, Expected]]:
    """Of every query, at the end of the history. What follows from recorded series holds at any time."""
    at = history.last
    flapping = {f"PortsyncdPortFlapping {ONE}": history.later}
    common: dict[str, Expected] = {
        "variable job": [JOB],
        "variable instance": list(SWITCHES.values()),
        "annotation Restarts": {f"restarted {ONE}": history.later},
        "annotation Alerts": flapping | {f"PortsyncdUnhealthy {SWITCHES[3]}": history.later},
    }
    return {
        "fleet": common | _fleet(history),
        "switch": common | {"annotation Alerts": flapping} | _switch(history, at),
        "restarts": common | _restarts(history, at),
        "endpoint": common | _endpoint(history, at),
    }


def _each(value: float, text: str = "{}") -> Mapping[str, float]:
    """So much on the first switch, twice on the second, three times on the third."""
    return {text.format(SWITCHES[number]): number * value for number in (1, 2, 3)}


def _cumulated(bounds: Sequence[str], counts: Sequence[float]) -> Mapping[str, float]:
    """What a histogram's buckets hold when these are new in each."""
    return {bound: sum(counts[: place + 1]) for place, bound in enumerate(bounds)}


def _fleet(history: History) -> dict[str, Expected]:
    return {
        "Healthy A": {"healthy": 1},
        "Healthy B": {"of": 4},
        "Degraded A": {"": 1},
        "Unhealthy A": {"": 1},
        "No answer A": {"": 1},
        "Alerts A": {"": 2},
        "Ports awaited A": {"": 2 * 6},
        "Ports up A": {"": 30 * 6},
        "P99 event latency A": {SWITCHES[1]: 0.05, SWITCHES[2]: 0.001, SWITCHES[3]: 0.05},
        # Of 300 events the 297th: 290 are below 10 ms, 8 between that and 50 ms.
        "P99 event latency B": {"all": 0.01 + 0.04 * 7 / 8},
        "Event rate A": _each(20),
        "Event rate B": {"average": 40},
        "Memory A": _each(50e6),
        "Memory B": {"average": 100e6},
        "Flaps: top 5 of the last hour A": {
            f"{name} of {SWITCHES[2]}": 240 * 2 * place for place, name in list(enumerate(PORTS[2], start=1))[-5:]
        },
        "Switches A": {SWITCHES[1]: 1, SWITCHES[2]: 1, SWITCHES[3]: 1, SWITCHES[4]: 0},
        "Switches B": {SWITCHES[1]: 1, SWITCHES[2]: 0.5, SWITCHES[3]: 0},
        "Switches C": _each(2),
        "Switches D": _each(1),
        "Switches E": {SWITCHES[number]: 1000 * (history.first - 100 * number) for number in (1, 2, 3)},
        "Switches F": {f"{SWITCHES[number]} {number}.0": 1 for number in (1, 2, 3)},
    }


def _switch(history: History, at: float) -> dict[str, Expected]:
    """Everything is twice what the first switch has, and a minute has four scrapes."""
    minute = 2 * 4
    by_port = list(enumerate(PORTS[2], start=1))
    return {
        "variable port": sorted(PORTS[2]),
        "Health A": {"": 0.5},
        "Redis A": {"": 1},
        "Kernel A": {"": 0},
        "Up for A": {"": history.uptime(2, at)},
        "Ports awaited A": {"": 4},
        "Ports contested A": {"": 2},
        "Alerts A": {"": 1},
        "Version A": {"2.0": 1},
        "Ports by state A": {"up": 60, "down": 8, "awaited": 4, "pending": 2},
        "Flaps: top 10 of the last hour A": {name: 240 * 2 * place for place, name in by_port[1:]},
        "Flap penalties: top 10 A": {name: 200 * place for place, name in by_port[1:]},
        "Event latency A": _cumulated(_EVENT_BOUNDS, [0, 200, 180, 16, 4]),
        "Event latency: quantiles A": {"p50": 0.00025},
        "Event latency: quantiles B": {"p95": 0.0005},
        "Event latency: quantiles C": {"p99": 0.001},
        "Redis latency: quantiles A": {"p50": 0.005},
        "Redis latency: quantiles B": {"p95": 0.01},
        "Redis latency: quantiles C": {"p99": 0.05},
        "Events A": {"processed": 40},
        "Events B": {"folded": 6},
        "Events C": {"failed": 2},
        "Queue depth A": {"ports": 20},
        "Queue saturation A": {"in use": 0.2},
        "Memory A": {"resident": 100e6},
        "Memory B": {"limit": 200e6},
        "CPU A": {"of one core": 0.4},
        "Resyncs by reason A": {
            "start": minute,
            "overrun": 2 * minute,
            "reconcile": 3 * minute,
            **dict.fromkeys(("interrupted", "redis_reconnect", "generation", "stall"), 0),
        },
        "Events that the kernel dropped A": {"overruns": minute},
        "Age of the last certified sync A": {"age": at - history.first + 200},
        "Age of the last certified sync B": {"interval": 300},
        "Healings by kind A": {
            "redis": minute,
            "memory": 2 * minute,
            **dict.fromkeys(("netlink", "reconcile", "stall", "disk", "certificates"), 0),
        },
        "Differences found by reconciliation A": {"missing": minute, "stale": 2 * minute, "orphan": 3 * minute},
        "Restarts of services A": {"reader": minute, "writer": 2 * minute},
        "Time since the last healing A": {
            "redis": at - history.first + 1000,
            "memory": at - history.first + 1200,
        },
        "Standstills and set clocks A": {"standstills": 2 * minute},
        "Standstills and set clocks B": {"clock set": minute},
        "What does not fit A": {"memory_bytes": 4, "flaps": 4, "health": 4},
        "Trends A": {"memory_bytes": 14, "flaps": -6, "health": 0},
        "Flaps of $port A": {"flaps": 2 * minute},
        "Transitions of $port A": {"up": 22 * minute, "down": 42 * minute},
        "Writes of $port A": {"acknowledged": 62 * minute},
        "Writes of $port B": {"failed": 2 * minute},
        "Flap penalty of $port A": {"": 400},
        "Flapping in A": {"": 120},
    }


def _restarts(history: History, at: float) -> dict[str, Expected]:
    counts = ["Warm starts", "Cold starts", "EOIU reached", "EOIU timeouts", "State recoveries", "Damaged files"]
    counts += ["Backups made", "Backups deleted"]
    ago = {"A": 1000, "B": 2000, "C": 3000, "D": 4000, "E": 5000}
    return {
        **{f"{title} A": {"": 6 * count} for count, title in enumerate(counts, start=11)},
        **{f"Starts and files of each switch {name}": _each(count) for count, name in enumerate("ABCDEFGH", start=11)},
        **{
            f"When it last happened {name}": {
                SWITCHES[number]: 1000 * (history.first - seconds * number) for number in (1, 2, 3)
            }
            for name, seconds in ago.items()
        },
        "Time since the start A": {SWITCHES[number]: history.uptime(number, at) for number in (1, 2, 3)},
        "Restarts in a day A": {SWITCHES[1]: 0, SWITCHES[2]: 1, SWITCHES[3]: 0},
        "Limits exceeded A": {
            f"{limit} of {SWITCHES[number]}": int(number == exceeded)
            for limit, exceeded in (("restarts", 3), ("events", 2))
            for number in (1, 2, 3)
        },
        "Initial sync A": {**_each(0.4, "p50 of {}"), **_each(0.9, "max of {}")},
        # Each minute every switch has 4 syncs of 20 ms, and of 400 ms in all 4 + 8 + 12.
        "Full syncs A": _cumulated(_SYNC_BOUNDS, [0, 12, 0, 24]),
        "Mean full sync A": {SWITCHES[number]: (0.02 + 0.4 * number) / (1 + number) for number in (1, 2, 3)},
        "Starts that got to the end A": _each(0.3),
        "Starts ended by timeout A": _each(0.1),
        "Damage that was made good A": _each(0.2),
        "Events in a life A": _each(1000),
        "Available in the last hour A": {SWITCHES[1]: 1, SWITCHES[2]: 1, SWITCHES[3]: 0},
        "Available in the last day A": {SWITCHES[1]: 1, SWITCHES[2]: 1, SWITCHES[3]: 0},
        "By its own records A": _each(0.25),
        "Spending of the 99.9 % budget A": {SWITCHES[1]: 0, SWITCHES[2]: 0, SWITCHES[3]: 1000},
        "Files that were not trusted A": {
            "truncated": 6,
            "too-old": 12,
            **dict.fromkeys(("empty", "corrupt", "foreign-version", "future"), 0),
        },
        "What cannot be written A": {"port_state": 0, "history": 2},
    }


def _endpoint(history: History, at: float) -> dict[str, Expected]:
    left = {"server": 1_000_000, "ca": 10_000_000}
    return {
        "Certificates expire in A": {
            f"{role} of {SWITCHES[number]}": history.first + seconds * number - at
            for role, seconds in left.items()
            for number in (1, 2, 3)
        },
        "Reloads of certificates A": {"applied": 6 * 4, "refused": 12 * 4},
        "Handshakes that failed A": {"expired": 6 * 4, "unknown_ca": 12 * 4},
        "Answers A": {SWITCHES[1]: 1, SWITCHES[2]: 1, SWITCHES[3]: 1, SWITCHES[4]: 0},
        "Duration of a scrape A": _each(0.01),
        "Samples of a scrape A": _each(200),
        "Open files A": _each(0.2),
        "Versions A": {f"{_PYTHON} profile-{number} {number}.0": 1 for number in (1, 2, 3)},
    }
