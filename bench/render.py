"""Scenarios about the metrics without the endpoint: what recording costs, and what it takes to render a scrape."""

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bench import databases
from bench.stand import Setup
from portsyncd.metrics import (
    EVENT_LATENCY_BUCKETS,
    REDIS_LATENCY_BUCKETS,
    SYNC_DURATION_BUCKETS,
    Chronicle,
    Facts,
    HealingFacts,
    Histogram,
    Metrics,
    PortCounters,
    WebFacts,
)
from portsyncd.model.commands import Op, PortWrite
from portsyncd.model.links import Link
from portsyncd.model.mailbox import Conflated, Mailbox, Taken
from portsyncd.model.port import Port
from portsyncd.model.ports import fields
from portsyncd.services.tally import Tally
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP

Figures = dict[str, float]

_TIMES: Final = 15
_EVENTS: Final = 20_000


def render(_setup: Setup) -> Figures:
    """Each figure is the median of several; rendered is what all slices take together."""
    figures = {"record.event": 1e6 * _record(1), "record.batch": 1e6 * _record(64)}
    for ports in (512, 10_000):
        whole, longest = _scrape(ports)
        figures[f"render.{ports}"] = 1000 * whole
        figures[f"render.{ports}_slice"] = 1000 * longest
    return figures


def _record(batch: int) -> float:
    """Seconds an event, ``batch`` of which are taken and written at once: everything that is only there to be counted.

    The state goes up and down, so that each event is a transition.
    """
    mailbox, tally, port, now = Mailbox(1024), Tally(), Port(0.0), time.perf_counter()
    up, down = Link(1, fields(IFF_UP | IFF_RUNNING, 9100), 0), Link(1, fields(IFF_UP, 9100), 1)
    changes = {f"Ethernet{number}": Conflated(up, now) for number in range(batch)}
    taken = Taken(changes, events=batch)
    writes, answer = [PortWrite(name, Op.SET, up.fields) for name in changes], [True] * batch

    def record() -> None:
        mailbox.count(batch)
        tally.took(taken)
        for _ in changes:
            port.count(up, down)
            port.written += 1
        tally.redis_latency.observe(0.0002)
        tally.wrote(writes, answer)
        tally.done(taken, now + 0.0003, 0.0)

    return _median(lambda: _repeat(record, _EVENTS // batch)) / _EVENTS


def _repeat(action: Callable[[], None], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        action()
    return time.perf_counter() - begin


def filled(ports: int, *, process: bool = True) -> Metrics:
    """Metrics with so many ports."""
    facts = replace(_FACTS, port_counters=[(name, PortCounters(1, 3, 2, 5, 0)) for name in databases.port_names(ports)])
    return Metrics(lambda: facts, version="bench", process=process)


def _scrape(ports: int) -> tuple[float, float]:
    """Seconds for a whole scrape, and for its longest slice."""
    metrics = filled(ports)
    longest: list[float] = []

    def once() -> float:
        slices: list[float] = []
        begin = before = time.perf_counter()
        for _ in metrics.render():
            now = time.perf_counter()
            slices.append(now - before)
            before = now
        longest.append(max(slices))
        return before - begin

    whole = _median(once)
    return whole, sorted(longest)[len(longest) // 2]


def _median(measure: Callable[[], float]) -> float:
    """Without the pauses of a garbage collector that has the whole bench to look through."""
    gc.collect()
    gc.disable()
    try:
        return sorted(measure() for _ in range(_TIMES))[_TIMES // 2]
    finally:
        gc.enable()


_FACTS: Final = Facts(
    uptime=3600.5,
    memory_bytes=55_000_000,
    health="healthy",
    redis_connected=True,
    netlink_connected=True,
    events_processed=1_000_000,
    events_failed=1,
    events_conflated=500_000,
    ports={"up": 500, "down": 12, "awaited": 0, "pending": 0},
    port_counters=[],
    queue_depth=0,
    queue_bound=100_000,
    event_latency=Histogram(EVENT_LATENCY_BUCKETS),
    redis_latency=Histogram(REDIS_LATENCY_BUCKETS),
    sync_duration=Histogram(SYNC_DURATION_BUCKETS),
    overruns=1,
    last_certified_sync=1_763_000_000.5,
    resyncs={"start": 1, "overrun": 1},
    restarts={"reader": 0, "writer": 0, "metrics": 0},
    chronicle=Chronicle(
        cold_starts=1, eoiu_detected=1, last_eoiu=1_763_000_000.5, backups_created=120, backups_cleaned=110
    ),
    set_aside={},
    storage={"port_state": True, "history": True},
    analysis=None,
    flap_penalties={},
    healing=HealingFacts(
        counts={"reconcile": 1}, last={"reconcile": 1_763_000_000.5}, memory_limit=512 << 20, reconcile_interval=300.0
    ),
    web=WebFacts(
        handshake_failures={"no_certificate": 0, "expired": 0, "protocol": 0},
        certificate_expiries={"server": 1.8e9, "ca": 1.9e9},
        tls_profile="CNSA 1.0",
    ),
)
