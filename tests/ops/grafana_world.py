"""Four switches with known values, as an hour of scrapes that the real code has rendered.

Switch ``n`` of 1, 2 and 3 has ``n`` times what the first has, so that sums, averages and labels that were mixed up show.
The first is healthy, the second degraded, the third unhealthy; the fourth does not answer. Counters grow by the same each
scrape, and began long before.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from portsyncd.analytics.analysis import Analysis, Summary
from portsyncd.analytics.figures import SeriesAnalysis
from portsyncd.analytics.flaps import FlappingPort
from portsyncd.analytics.limits import Limit
from portsyncd.analytics.trend import Trend
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

# Not the one that the rules and the example configuration have: no dashboard may need that.
JOB: Final = "sonic"
SWITCHES: Final = {number: f"[2001:db8::{number}]:9090" for number in (1, 2, 3, 4)}
STEP: Final = 15
# Scrapes before the first one here: what is extrapolated to the beginning of a counter stays away from 0.
EARLIER: Final = 1000
# So many scrapes after the first one here the second switch's daemon was started anew, and two alerts began to fire.
LATER: Final = 100
HEALTH: Final = {1: "healthy", 2: "degraded", 3: "unhealthy"}
# Ports of each: the last of eleven is on no list of ten.
PORTS: Final = {1: ["Ethernet0"], 2: [f"Ethernet{4 * place}" for place in range(11)], 3: ["Ethernet0", "Ethernet4"]}

# How many observations each scrape adds, by their seconds. Half, 95 and 99 of 100 are at most a bucket's bound.
EVENT_SECONDS: Final = {
    1: {0.003: 50, 0.007: 45, 0.03: 4, 0.07: 1},
    2: {0.0002: 50, 0.0004: 45, 0.0007: 4, 0.003: 1},
    3: {0.003: 50, 0.007: 45, 0.03: 4, 0.07: 1},
}
REDIS_SECONDS: Final = {0.003: 50, 0.007: 45, 0.03: 4, 0.07: 1}
SYNC_SECONDS: Final = {number: {0.02: 1, 0.4: number} for number in (1, 2, 3)}

# The second and the third switch have one alert of portsyncd that fires; the others are not to be counted.
ALERTS: Final = {
    2: [
        'alertname="PortsyncdPortFlapping",alertstate="firing",severity="warning",port="Ethernet4"',
        'alertname="NodeDown",alertstate="firing",severity="critical"',
    ],
    3: [
        'alertname="PortsyncdUnhealthy",alertstate="firing",severity="critical"',
        'alertname="PortsyncdHighLatency",alertstate="pending",severity="warning"',
    ],
}


class History:
    """Scrapes from ``first`` to ``last`` (Unix seconds, multiples of ``STEP``)."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last

    def uptime(self, number: int, at: float) -> int:
        """Seconds that the daemon has told in its last scrape before ``at``."""
        elapsed = int(at - self.first) // STEP * STEP
        return elapsed - LATER * STEP if number == 2 and elapsed >= LATER * STEP else 10000 * number + elapsed

    @property
    def later(self) -> int:
        """When the second switch's daemon was started anew, and alerts began to fire."""
        return self.first + LATER * STEP

    def text(self) -> Iterator[str]:
        """All scrapes, in OpenMetrics with their times."""
        for at in range(self.first, self.last + 1, STEP):
            for number, instance in SWITCHES.items():
                for line in self._scrape(number, at):
                    yield _stored(line, instance, at)
        yield "# EOF\n"

    def _scrape(self, number: int, at: int) -> Iterator[str]:
        """The samples of one scrape, and those that Prometheus adds."""
        if number in HEALTH:
            facts = self._facts(number, at)
            rendered = "".join(Metrics(lambda: facts, version=f"{number}.0", process=False).render())
            yield from (line for line in rendered.splitlines() if not line.startswith("#"))
            yield f"process_start_time_seconds {at - self.uptime(number, at)}"
            yield f"process_cpu_seconds_total {3 * number * self._scrapes(at)}"
            yield f"process_open_fds {20 * number}"
            yield "process_max_fds 100"
            yield f"scrape_duration_seconds {0.01 * number}"
            yield f"scrape_samples_scraped {200 * number}"
            # What rules have recorded.
            yield f"instance:portsyncd_unavailable:ratio1m {int(HEALTH[number] == 'unhealthy')}"
            if at >= self.later:
                yield from (f"ALERTS{{{labels}}} 1" for labels in ALERTS.get(number, ()))
        yield f"up {int(number in HEALTH)}"

    def _scrapes(self, at: int) -> int:
        return EARLIER + (at - self.first) // STEP

    def _facts(self, number: int, at: int) -> Facts:
        times = number * self._scrapes(at)
        scrapes = self._scrapes(at)
        return Facts(
            uptime=self.uptime(number, at),
            memory_bytes=50_000_000 * number,
            health=HEALTH[number],
            redis_connected=number != 3,
            netlink_connected=number != 2,
            events_processed=300 * times,
            events_failed=15 * times,
            events_conflated=45 * times,
            ports={"up": 30 * number, "down": 4 * number, "awaited": 2 * number, "pending": number},
            port_counters=[
                (
                    name,
                    PortCounters(
                        place * times, (place + 20) * times, (place + 40) * times, (place + 60) * times, place * times
                    ),
                )
                for place, name in enumerate(PORTS[number], start=1)
            ],
            queue_depth=10 * number,
            queue_bound=100,
            event_latency=_histogram(EVENT_LATENCY_BUCKETS, EVENT_SECONDS[number], scrapes),
            redis_latency=_histogram(REDIS_LATENCY_BUCKETS, REDIS_SECONDS, scrapes),
            sync_duration=_histogram(SYNC_DURATION_BUCKETS, SYNC_SECONDS[number], scrapes),
            overruns=times,
            last_certified_sync=self.first - 100.0 * number,
            resyncs={"start": times, "overrun": 2 * times, "reconcile": 3 * times},
            restarts={"reader": times, "writer": 2 * times},
            chronicle=Chronicle(
                warm_restarts=11 * number,
                cold_starts=12 * number,
                eoiu_detected=13 * number,
                eoiu_timeouts=14 * number,
                state_recoveries=15 * number,
                corruptions_detected=16 * number,
                backups_created=17 * number,
                backups_cleaned=18 * number,
                last_warm_restart=self.first - 1000.0 * number,
                last_eoiu=self.first - 2000.0 * number,
                last_state_recovery=self.first - 3000.0 * number,
                last_corruption=self.first - 4000.0 * number,
            ),
            set_aside={"truncated": number, "too-old": 2 * number},
            storage={"port_state": True, "history": number == 1},
            analysis=self._analysis(number),
            flap_penalties={name: 100.0 * place * number for place, name in enumerate(PORTS[number], start=1)},
            healing=HealingFacts(
                counts={"redis": times, "memory": 2 * times},
                last={"redis": self.first - 500.0 * number, "memory": self.first - 600.0 * number},
                differences={"missing": times, "stale": 2 * times, "orphan": 3 * times},
                contested_ports=number,
                clock_steps=times,
                loop_blocks=2 * times,
                memory_limit=200_000_000,
                reconcile_interval=300.0,
            ),
            web=WebFacts(
                handshake_failures={"expired": times, "unknown_ca": 2 * times},
                reloads={"applied": times, "refused": 2 * times},
                certificate_expiries={
                    "server": self.first + 1_000_000.0 * number,
                    "ca": self.first + 10_000_000.0 * number,
                },
                tls_profile=f"profile-{number}",
            ),
        )

    def _analysis(self, number: int) -> Analysis:
        values = Summary(10, 0.1 * number, 0.9 * number, 0.5 * number, 0.4 * number, 0.8 * number, 0.85 * number)
        trends = {
            "memory_bytes": Trend("rising", 7.0 * number, 0.0),
            "flaps": Trend("falling", -3.0 * number, 0.0),
            "health": Trend("steady", 1.0, 1.0),
        }
        return Analysis(
            at=float(self.last),
            since=float(self.first),
            recovery_success=0.3 * number,
            corruption_recovery=0.2 * number,
            eoiu_timeouts=0.1 * number,
            events_per_restart=1000.0 * number,
            availability=0.25 * number,
            last_healthy_restart=self.first - 5000.0 * number,
            eoiu_latency=values,
            restart_limit=Limit(count=6, limit=5, seconds=3600.0, exceeded=number == 3),
            event_limit=Limit(count=0, limit=100, seconds=60.0, exceeded=number == 2),
            series={
                name: SeriesAnalysis(summary=values, trend=trend, latest_score=-2.0 * number)
                for name, trend in trends.items()
            },
            flapping=[FlappingPort(name, 1, 1.0, False, 60.0 * number) for name in PORTS[number]],
        )


def _histogram(bounds: Sequence[float], observed: Mapping[float, int], scrapes: int) -> Histogram:
    histogram = Histogram(bounds)
    for seconds, count in observed.items():
        histogram.counts[bisect_left(bounds, seconds)] += count * scrapes
        histogram.total += seconds * count * scrapes
    return histogram


def _stored(line: str, instance: str, at: int) -> str:
    """A sample as Prometheus stores it: with the labels of its target, and its time."""
    match = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? (\S+)", line)
    assert match, line
    labels = f'job="{JOB}",instance="{instance}"' + (f",{match[2]}" if match[2] else "")
    return f"{match[1]}{{{labels}}} {match[3]} {at}\n"
