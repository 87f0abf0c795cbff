"""A scenario with 100,000 ports, from a socketpair: how long everything takes, and how long it keeps the event loop."""

import http.client
import math
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import databases
from bench.socketpair import FIRST_MTU, PORTS, ManyPorts, many_ports
from bench.stand import OWN_COMMAND, Setup
from portsyncd.testing.wait import until

Figures = dict[str, float]

_STORM_PORTS: Final = 512
_DELETED: Final = 1_000
_SCRAPES: Final = 5
_OPEN_SECONDS: Final = 240.0
_HEAL_SECONDS: Final = 120.0
# Default of [warm_restart] save_interval_secs, and something.
_SAVED_SECONDS: Final = 40.0


def scale(setup: Setup) -> Figures:
    """Each figure once: the smaller scenarios say how it varies."""
    if setup.command != OWN_COMMAND:
        return {}
    figures: Figures = {}
    with many_ports(PORTS, metrics=True) as many:
        figures["scale.start"] = many.start()
        figures["scale.appear"] = _seconds(many, FIRST_MTU, lambda mtu: many.say(range(PORTS), mtu))
        _wait_open(many)
        many.longest_step()
        figures["scale.flips"] = _seconds(many, FIRST_MTU + 1, lambda mtu: many.say(range(PORTS), mtu))
        figures["scale.flips_step"] = 1000 * many.longest_step()
        figures["scale.storm"] = _storm(many)
        many.longest_step()
        figures["scale.sync"] = _seconds(many, FIRST_MTU + 2, many.lose)
        figures["scale.sync_step"] = 1000 * many.longest_step()
        figures |= _reconcile(many)
        figures |= _scrape(many)
        many.longest_step()
        time.sleep(_SAVED_SECONDS)
        figures["scale.save_step"] = 1000 * many.longest_step()
        figures["scale.memory"] = many.stand.daemon.resident_bytes() / 1e6
    return figures


def _seconds(many: ManyPorts, mtu: int, act: Callable[[int], None]) -> float:
    """From the act that gives each port this MTU until it is published."""
    begin = time.perf_counter()
    act(mtu)
    many.wait_for(mtu)
    return time.perf_counter() - begin


def _storm(many: ManyPorts) -> float:
    """As many events as there are ports, on a few of them; they end as all others are."""
    rounds = PORTS // _STORM_PORTS
    begin = time.perf_counter()
    for number in range(rounds - 1, -1, -1):
        many.say(range(_STORM_PORTS), FIRST_MTU + 1 + number)
    many.wait_for(FIRST_MTU + 1)
    return time.perf_counter() - begin


def _reconcile(many: ManyPorts) -> Figures:
    """Nothing where the daemon does not heed SIGUSR2, which would end it."""
    status = Path(f"/proc/{many.stand.daemon.pid}/status").read_text()
    if not int(status.partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGUSR2 - 1) & 1:
        return {}
    client = many.stand.redis.client(databases.STATE_DB)
    names = many.stand.names[:: PORTS // _DELETED]
    client.delete(*(f"PORT_TABLE|{name}" for name in names))
    many.longest_step()
    begin = time.perf_counter()
    many.stand.daemon.signal(signal.SIGUSR2)

    def there() -> bool:
        many.stand.daemon.check()
        return all(row[0] is not None for row in databases.published(many.stand.redis, names))

    until(there, _HEAL_SECONDS, "the reconciliation puts the deleted entries right")
    seconds = time.perf_counter() - begin
    # It may have more to look at than what it had to write.
    many.stand.calm()
    return {"scale.reconcile": seconds, "scale.reconcile_step": 1000 * many.longest_step()}


def _scrape(many: ManyPorts) -> Figures:
    taken = []
    body = b""
    many.longest_step()
    with many.stand.endpoint.client() as client:
        for _ in range(_SCRAPES):
            begin = time.perf_counter()
            try:
                body = client.get("/metrics")[1]
            except (OSError, http.client.HTTPException):
                # The endpoint gives up on an answer that takes too long.
                client.close()
                taken.append(math.inf)
            else:
                taken.append(time.perf_counter() - begin)
    return {
        "scale.scrape": 1000 * statistics.median(taken),
        "scale.scrape_step": 1000 * many.longest_step(),
        "scale.scrape_size": len(body) / 1e6,
    }


def _wait_open(many: ManyPorts) -> None:
    """The endpoint opens some time after the first sync."""

    def is_open() -> bool:
        many.stand.daemon.check()
        try:
            return bool(many.stand.endpoint.scrape())
        except (OSError, http.client.HTTPException):
            return False

    until(is_open, _OPEN_SECONDS, "the metrics endpoint opens")
    many.stand.calm()
