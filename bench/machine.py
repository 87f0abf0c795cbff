"""The machine that the figures come from: its cores, who runs on which of them, and what else tells runs apart."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portsyncd.testing.redis_server import RedisServer

_POLICIES: Final = {
    os.SCHED_OTHER: "like any process",
    os.SCHED_RR: "real-time (SCHED_RR), so that other load on the machine counts little",
    os.SCHED_FIFO: "real-time (SCHED_FIFO), so that other load on the machine counts little",
}


@dataclass(frozen=True)
class Cores:
    """Who runs where. Sets, so that "anywhere" can be said too."""

    daemon: frozenset[int]
    redis: frozenset[int]
    driver: frozenset[int]

    def on_one(self) -> "Cores":
        """All three on the daemon's core."""
        return Cores(self.daemon, self.daemon, self.daemon)

    def __str__(self) -> str:
        named = {"daemon": self.daemon, "Redis": self.redis, "link driver": self.driver}
        return ", ".join(f"{who} on core {' '.join(map(str, sorted(cores)))}" for who, cores in named.items())


def assign_cores() -> Cores:
    """A core each where there are three; with two, Redis and the link driver share one: the daemon's is its own."""
    cores = sorted(os.sched_getaffinity(0))
    one = [frozenset({core}) for core in cores]
    return Cores(one[0], one[min(1, len(one) - 1)], one[min(2, len(one) - 1)])


def describe(server: RedisServer, cores: Cores, link_kind: str) -> dict[str, str]:
    """What a reader must know to judge the figures."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "pinned": str(cores),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "Redis": f"{server.client(0).info('server')['redis_version']}, on a Unix socket",
        "links": f"{link_kind}, IPv6 off",
        "scheduling": _POLICIES.get(os.sched_getscheduler(0), "unusual"),
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
