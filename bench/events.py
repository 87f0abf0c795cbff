"""Scenarios with link events. Each is one run on a fresh stand and returns its figures by key."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from bench import databases
from bench.rtnetlink import flips
from bench.stand import Setup, Stand

Figures = dict[str, float]

_DRAIN_EVENTS, LONG_DRAIN_EVENTS = 3_500, 20_000
_STORM_EVENTS: Final = 200_000
PACED_SECONDS: Final = 10
_NOISE_FLIPS, _NOISE_PORTS, _NOISE_NEW_PORTS = 100_000, 64, 4
_LATENCY_EVENTS, _FLOOR_EVENTS = 500, 200
_LATENCY_SECONDS, _LATENCY_STEPS, _LATENCY_STEP_SECONDS = 0.018, 7, 0.0007
_LATENCY_DEADLINE_SECONDS: Final = 5.0


def drain(setup: Setup) -> Figures:
    """Events queued while the daemon is stopped; the clock runs from SIGCONT to the last write."""
    rate, cpu = drain_once(setup, 64, _DRAIN_EVENTS)
    return {
        "drain.rate": rate,
        "drain.cpu": cpu,
        "drain.rate_20k": drain_once(setup, 64, LONG_DRAIN_EVENTS)[0],
        "drain.rate_512": drain_once(setup, 512, LONG_DRAIN_EVENTS)[0],
        "drain.rate_one_core": drain_once(replace(setup, cores=setup.cores.on_one()), 64, _DRAIN_EVENTS)[0],
    }


def drain_once(setup: Setup, ports: int, events: int, *, metrics: bool = True) -> tuple[float, float]:
    """Events a second, and CPU seconds per 10,000 events."""
    with Stand(setup, databases.port_names(ports), metrics=metrics) as stand:
        stand.bring_up()
        requests = stand.links.mtu_changes(stand.ifindexes, events)
        stand.daemon.stop()
        stand.links.send(requests)
        cpu = stand.daemon.cpu_seconds()
        begin = time.perf_counter()
        stand.daemon.cont()
        seconds = stand.settle(begin) - begin
        return events / seconds, (stand.daemon.cpu_seconds() - cpu) / events * 10_000


def storm(setup: Setup) -> Figures:
    """As many events as the kernel makes, with the daemon running; the default receive buffer does not hold them."""
    return _storm(setup, "storm64", 64) | _storm(setup, "storm512", 512) | _storm(setup, "stormflips", 64, admin=True)


def _storm(setup: Setup, key: str, ports: int, *, admin: bool = False) -> Figures:
    with Stand(setup, databases.port_names(ports)) as stand:
        stand.bring_up()
        make = flips if admin else stand.links.mtu_changes
        requests = make(stand.ifindexes, _STORM_EVENTS)
        begin = time.perf_counter()
        stand.links.send(requests)
        end = time.perf_counter()
        stale = stand.stale_after(end)
        # What was written before the last event would count as a negative time: nothing was left to do then.
        settled = max(0.0, stand.settle(end) - end)
        return {
            f"{key}.stale": stale,
            f"{key}.settle": settled * 1000,
            f"{key}.drops": stand.daemon.kernel_drops(),
            f"{key}.made": _STORM_EVENTS / (end - begin),
        }


def paced(setup: Setup) -> Figures:
    """Events one by one at a steady rate, so slowly that each port has been written before its next event."""
    return _paced(setup, 1_000) | _paced(setup, 5_000)


def _paced(setup: Setup, rate: int) -> Figures:
    with Stand(setup, databases.port_names(512)) as stand:
        stand.bring_up()
        requests = stand.links.mtu_changes(stand.ifindexes, rate * PACED_SECONDS)
        cpu = stand.daemon.cpu_seconds()
        send_paced(stand, requests, 1 / rate)
        stale = stand.stale_after(time.perf_counter())
        used = stand.daemon.cpu_seconds() - cpu
        return {f"paced{rate}.cpu": used / len(requests) * 10_000, f"paced{rate}.stale": stale}


def send_paced(stand: Stand, requests: Sequence[bytes], interval: float) -> None:
    """Each request at its own moment; what is late goes at once, so that the rate is kept."""
    due = time.perf_counter()
    for request in requests:
        ahead = due - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        stand.links.send([request])
        due += interval


def noise(setup: Setup) -> Figures:
    """Flips of a link that is no port and is older than all ports, as a management port is; then of one among them."""
    return _noise(setup, "noise.", inside=False) | _noise(setup, "noise.inside_", inside=True)


def _noise(setup: Setup, key: str, *, inside: bool) -> Figures:
    """``inside``: the link's ifindex lies between those of two ports once the last ports are made."""
    names = databases.port_names(_NOISE_PORTS + _NOISE_NEW_PORTS)
    with Stand(setup, names) as stand:
        older = [] if inside else stand.links.create(["noise0"])
        stand.bring_up(_NOISE_PORTS)
        requests = flips(older or stand.links.create(["noise0"]), _NOISE_FLIPS)
        stand.calm()
        cpu, drops = stand.daemon.cpu_seconds(), stand.daemon.kernel_drops()
        half = len(requests) // 2
        stand.links.send(requests[:half])
        stand.links.create(names[_NOISE_PORTS:])
        stand.links.send(requests[half:])
        stale = stand.stale_after(time.perf_counter())
        return {
            f"{key}cpu": stand.daemon.cpu_seconds() - cpu,
            f"{key}drops": stand.daemon.kernel_drops() - drops,
            f"{key}stale": stale,
        }


def latency(setup: Setup) -> Figures:
    """Isolated events: from just before the request is sent to the arrival of the notification at a subscriber.

    The floor is the same path with a direct HSET in place of kernel and daemon.
    """
    with Stand(setup, databases.port_names(64)) as stand:
        stand.bring_up()
        requests = stand.links.mtu_changes(stand.ifindexes, _LATENCY_EVENTS)
        event = microseconds(stand.writes, [partial(stand.links.send, (request,)) for request in requests])
        with (
            databases.Probe(stand.redis) as probe,
            databases.Notifications(stand.redis, databases.PROBE_PATTERN) as heard,
        ):
            floor = microseconds(heard, [partial(probe.send, number) for number in range(_FLOOR_EVENTS)])
        return {
            "latency.p50": percentile(event, 50),
            "latency.p99": percentile(event, 99),
            "latency.floor_p50": percentile(floor, 50),
            "latency.floor_p99": percentile(floor, 99),
        }


def microseconds(heard: databases.Notifications, actions: Sequence[Callable[[], None]]) -> list[float]:
    """How long after each action something is heard. The pause between two varies, so that no timer falls in step."""
    taken: list[float] = []
    for number, action in enumerate(actions):
        time.sleep(_LATENCY_SECONDS + number % _LATENCY_STEPS * _LATENCY_STEP_SECONDS)
        while heard.wait(0) is not None:
            pass
        begin = time.perf_counter()
        action()
        arrived = heard.wait(_LATENCY_DEADLINE_SECONDS)
        taken.append(math.inf if arrived is None else (arrived - begin) * 1e6)
    return taken


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many per cent do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
