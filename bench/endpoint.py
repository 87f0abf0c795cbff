"""Scenarios about the metrics endpoint: what scraping takes, and what it and an attack take from the link events."""

import http.client
import multiprocessing
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Final

from bench import databases
from bench.events import LONG_DRAIN_EVENTS, PACED_SECONDS, drain_once, microseconds, percentile, send_paced
from bench.stand import Setup, Stand
from portsyncd.errors import PortsyncdError
from portsyncd.testing.attacks import ATTACKS, open_connection
from portsyncd.testing.endpoint import Endpoint
from portsyncd.testing.wait import until

Figures = dict[str, float]

_SCRAPES, _CONNECTIONS = 200, 50
_EVENTS, _EVENTS_AT_ONCE = 500, 50
_MANY_PORTS: Final = 10_000
_PACED_RATE: Final = 1_000
_NOT_FOUND: Final = b"GET / HTTP/1.1\r\nHost: switch\r\nConnection: close\r\n\r\n"
_START_SECONDS: Final = 60.0


def scrape(setup: Setup) -> Figures:
    """Scrapes of 512 ports one after the other over a kept connection, new connections, and memory with all of that."""
    with Stand(setup, databases.port_names(512)) as stand:
        stand.bring_up()
        endpoint = _open(stand)
        figures: Figures = {}
        with endpoint.client() as client:
            taken = [_milliseconds(partial(client.get, "/metrics")) for _ in range(_SCRAPES)]
            figures |= {"scrape.p50": percentile(taken, 50), "scrape.p99": percentile(taken, 99)}
            zipped = [_milliseconds(partial(client.get, "/metrics", accept_encoding="gzip")) for _ in range(_SCRAPES)]
            figures["scrape.gzip"] = percentile(zipped, 50)
        context = endpoint.context()
        taken = [_milliseconds(partial(_new_connection, endpoint, context)) for _ in range(_CONNECTIONS)]
        figures["scrape.connection"] = percentile(taken, 50)
        stand.calm()
        figures["scrape.memory"] = stand.daemon.resident_bytes() / 1e6
    return figures | _many(setup)


def _many(setup: Setup) -> Figures:
    """10,000 ports, scraped once a second over a kept connection by another process."""
    with Stand(setup, databases.port_names(_MANY_PORTS)) as stand:
        stand.bring_up()
        endpoint = _open(stand)
        with endpoint.client() as client:
            taken = [_milliseconds(partial(client.get, "/metrics")) for _ in range(10)]
        rest = _latencies(stand, _EVENTS)
        with _beside(_scrape_each_second, endpoint):
            scraped = _latencies(stand, 2 * _EVENTS)
        return {
            "scrape10k.p50": percentile(taken, 50),
            "scrape10k.rest_p99": percentile(rest, 99),
            "scrape10k.event_p99": percentile(scraped, 99),
            "scrape10k.ratio": percentile(scraped, 99) / percentile(rest, 99),
        }


def attack(setup: Setup) -> Figures:
    """Every attack of ``portsyncd.testing.attacks`` in full, by another process, while isolated events are timed."""
    with Stand(setup, databases.port_names(64)) as stand:
        stand.bring_up()
        endpoint = _open(stand)
        for chosen in ATTACKS.values():
            chosen.run(endpoint, 1)
        stand.calm()
        memory = stand.daemon.resident_bytes()
        rest = _latencies(stand, _EVENTS)
        all_taken: list[float] = []
        worst = 0.0
        for name in ATTACKS:
            with _beside(_attack_in_full, endpoint, name) as running:
                taken = _latencies(stand, _EVENTS_AT_ONCE)
                while running():
                    taken += _latencies(stand, _EVENTS_AT_ONCE)
            worst = max(worst, percentile(taken, 99))
            all_taken += taken
        stand.calm()
        return {
            "attack.rest_p99": percentile(rest, 99),
            "attack.event_p99": percentile(all_taken, 99),
            "attack.ratio": percentile(all_taken, 99) / percentile(rest, 99),
            "attack.worst_p99": worst,
            "attack.memory": (stand.daemon.resident_bytes() - memory) / 1e6,
        }


def recording(setup: Setup) -> Figures:
    """What the endpoint takes from those who do not use it: the same work with it and without."""
    off, on = (drain_once(setup, 64, LONG_DRAIN_EVENTS, metrics=metrics)[0] for metrics in (False, True))
    cpu_off, cpu_on = (_paced_cpu(setup, metrics=metrics) for metrics in (False, True))
    return {
        "recording.drain_off": off,
        "recording.drain_on": on,
        "recording.drain_loss": (off - on) / off * 100,
        "recording.cpu": (cpu_on - cpu_off) / PACED_SECONDS * 100,
    }


def _paced_cpu(setup: Setup, *, metrics: bool) -> float:
    with Stand(setup, databases.port_names(512), metrics=metrics) as stand:
        stand.bring_up()
        if metrics:
            _open(stand)
            stand.calm()
        requests = stand.links.mtu_changes(stand.ifindexes, _PACED_RATE * PACED_SECONDS)
        cpu = stand.daemon.cpu_seconds()
        send_paced(stand, requests, 1 / _PACED_RATE)
        stand.stale_after(time.perf_counter())
        return stand.daemon.cpu_seconds() - cpu


def _open(stand: Stand) -> Endpoint:
    """The endpoint once it is open, which it is some time after the first sync."""
    endpoint = stand.endpoint

    def is_open() -> bool:
        stand.daemon.check()
        try:
            return bool(endpoint.scrape())
        except (OSError, http.client.HTTPException):
            return False

    until(is_open, _START_SECONDS, "the metrics endpoint opens")
    stand.calm()
    return endpoint


def _latencies(stand: Stand, events: int) -> list[float]:
    """Microseconds from an isolated event to its notification."""
    requests = stand.links.mtu_changes(stand.ifindexes, events)
    return microseconds(stand.writes, [partial(stand.links.send, (request,)) for request in requests])


def _milliseconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


def _new_connection(endpoint: Endpoint, context: ssl.SSLContext) -> None:
    """Connection, handshake, and the server's first answer: only that says that it has accepted the certificate."""
    with closing(open_connection(endpoint, context)) as connection:
        connection.sendall(_NOT_FOUND)
        if not connection.recv(100).startswith(b"HTTP/1.1 404"):
            raise PortsyncdError("the metrics endpoint does not answer")


# ---- another process


@contextmanager
def _beside(work: Callable[..., None], *arguments: object) -> Iterator[Callable[[], bool]]:
    """Have another process work until the block ends; the value says whether it still does.

    It gets what Redis and the link driver leave of their core: what it takes shall come from the daemon alone.
    """

    def run() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        work(*arguments)

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    try:
        yield process.is_alive
    finally:
        process.terminate()
        process.join()


def _attack_in_full(endpoint: Endpoint, name: str) -> None:
    chosen = ATTACKS[name]
    chosen.run(endpoint, chosen.full_times)


def _scrape_each_second(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        while True:
            client.get("/metrics")
            time.sleep(1)
