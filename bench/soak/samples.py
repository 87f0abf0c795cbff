"""What a soak measures, and what follows from it. Pure: no clock, no files."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

MB: Final = 1e6
# A check that takes longer has failed.
RECOVERY_SECONDS: Final = 30.0
_LATENCY: Final = "portsyncd_event_latency_seconds_bucket"
# Of the samples after the warm-up, this share at each end is compared for growth.
_END_SHARE: Final = 0.1


@dataclass(frozen=True)
class Sample:
    """One look at the daemon. at: seconds since the load began. resident, anonymous: bytes. cpu: seconds used so far.
    made: link changes that the load has asked the kernel for; steady: those of its steady stream. paused: for how long the
    load has been paused so far, in seconds. metrics: of the daemon's last scrape, by sample as it is
    written there ("name" or 'name{label="value"}'); empty where that failed."""

    at: float
    resident: int
    anonymous: int
    descriptors: int
    threads: int
    cpu: float
    made: int
    steady: int = 0
    paused: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A quiet moment: the load paused. at: when it began. after: the fault that went before. recovery: seconds until
    STATE_DB equalled the kernel; infinite where it did not in time. wrong: ports that differed after that and a barrier."""

    at: float
    after: str
    recovery: float
    wrong: int


@dataclass(frozen=True)
class Row:
    """A stretch of time, from ``start`` to ``end`` (seconds). Rates are per second; latencies in seconds, None where none
    was observed; cpu in per cent of a core; memory and descriptors as they were at the end (medians of the last few looks);
    of the checks the longest recovery (None: no check); healed: None where the daemon does not count it."""

    start: float
    end: float
    made: float
    handled: float
    p50: float | None
    p99: float | None
    cpu: float
    resident: float
    descriptors: int
    threads: int
    overruns: int
    resyncs: int
    healed: int | None
    checks: int
    wrong: int
    recovery: float | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """One sentence of the verdict. limit: None for what is only told."""

    what: str
    value: str
    limit: str | None
    kept: bool


def parse(text: str) -> dict[str, float]:
    """The samples of a scrape that are none of single ports: thousands of those say nothing here."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("#") and 'port="' not in line:
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def total(metrics: Mapping[str, float], family: str) -> float | None:
    """The sum over all labels of a family; None where it has no sample."""
    values = [value for name, value in metrics.items() if name.partition("{")[0] == family]
    return math.fsum(values) if values else None


def latencies(before: Mapping[str, float], after: Mapping[str, float]) -> list[tuple[float, float]]:
    """Upper bound and count (not cumulated) of each bucket, of what was observed between two scrapes."""
    cumulated = sorted(
        (float(name.partition('le="')[2].rstrip('"}')), value - before.get(name, 0.0))
        for name, value in after.items()
        if name.startswith(_LATENCY)
    )
    below = 0.0
    buckets = []
    for bound, count in cumulated:
        buckets.append((bound, count - below))
        below = count
    return buckets


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """The value below which ``share`` of the observations lie, linear within its bucket as Prometheus'
    ``histogram_quantile``; the last finite bound for what is above it. None where there are none."""
    wanted = share * math.fsum(count for _, count in buckets)
    if not wanted:
        return None
    lower = seen = 0.0
    for bound, count in buckets:
        if seen + count >= wanted and count:
            return lower if math.isinf(bound) else lower + (bound - lower) * (wanted - seen) / count
        seen += count
        lower = lower if math.isinf(bound) else bound
    return lower


def row(samples: Sequence[Sample], checks: Sequence[Check], start: float, end: float) -> Row | None:
    """What happened from ``start`` to ``end``; None where nobody looked. The last look before is where counts begin."""
    inside = [sample for sample in samples if start <= sample.at < end]
    if not inside:
        return None
    earlier = [sample for sample in samples if sample.at < start]
    first, last = (earlier or inside)[-1 if earlier else 0], inside[-1]
    seconds = max(last.at - first.at, 1e-9)
    scraped = [sample.metrics for sample in (*earlier[-10:], *inside) if sample.metrics]
    before: Mapping[str, float] = next((each.metrics for each in reversed(earlier) if each.metrics), {})
    before = before or (scraped[0] if scraped else {})
    after = scraped[-1] if scraped else {}
    buckets = latencies(before, after)

    def growth(family: str) -> float | None:
        now = total(after, family)
        return None if now is None else now - (total(before, family) or 0.0)

    handled = (growth("portsyncd_events_processed_total") or 0) + (growth("portsyncd_events_failed_total") or 0)
    healed = growth("portsyncd_healings_total")
    own = [check for check in checks if start <= check.at < end]
    return Row(
        start=start,
        end=end,
        made=(last.made - first.made) / seconds,
        handled=handled / seconds,
        p50=quantile(buckets, 0.5),
        p99=quantile(buckets, 0.99),
        cpu=100 * (last.cpu - first.cpu) / seconds,
        resident=statistics.median(sample.resident for sample in inside[-5:]),
        descriptors=int(statistics.median_low(sample.descriptors for sample in inside[-5:])),
        threads=int(statistics.median_low(sample.threads for sample in inside[-5:])),
        overruns=int(growth("portsyncd_netlink_overruns_total") or 0),
        resyncs=int(growth("portsyncd_resyncs_total") or 0),
        healed=None if healed is None else int(healed),
        checks=len(own),
        wrong=sum(check.wrong for check in own),
        recovery=max((check.recovery for check in own), default=None),
        faults=tuple(check.after for check in own),
    )


def rows(samples: Sequence[Sample], checks: Sequence[Check], length: float, end: float) -> list[Row]:
    """Rows of ``length`` seconds each; the last one may be shorter."""
    starts = [number * length for number in range(math.ceil(end / length))]
    found = (row(samples, checks, start, min(start + length, end)) for start in starts)
    return [each for each in found if each is not None]


@dataclass(frozen=True)
class Growth:
    """Of something over a stretch of time. ends: the median of its last tenth less that of its first. slope: what the
    Theil-Sen slope (the median of the slopes of all pairs) makes of the whole stretch. seconds: how long it is."""

    ends: float
    slope: float
    seconds: float


def growth(points: Sequence[tuple[float, float]]) -> Growth | None:
    """How much these values (time, value) have grown; None where there are fewer than four."""
    if len(points) < 4:
        return None
    # All pairs of 400 points are 80,000 slopes; medians of neighbours stand for more.
    some = _thinned(points, 400)
    slopes = [
        (value - before) / (at - then) for n, (at, value) in enumerate(some) for then, before in some[:n] if at > then
    ]
    count = max(1, round(len(points) * _END_SHARE))
    seconds = points[-1][0] - points[0][0]
    values = [value for _, value in points]
    return Growth(
        ends=statistics.median(values[-count:]) - statistics.median(values[:count]),
        slope=(statistics.median(slopes) if slopes else 0.0) * seconds,
        seconds=seconds,
    )


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / most)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(statistics.median(at for at, _ in part), statistics.median(value for _, value in part)) for part in parts]


def verdict(samples: Sequence[Sample], checks: Sequence[Check], *, warm_up: float, max_growth: float) -> list[Rule]:
    """Whether the goals were kept. warm_up: seconds that do not count for growth. max_growth: bytes, over the rest."""
    warm = [sample for sample in samples if sample.at >= warm_up]
    wrong = sum(check.wrong for check in checks)
    late = [check for check in checks if math.isinf(check.recovery)]
    rules = [
        Rule("wrong ports, over all checks", f"{wrong} in {len(checks)} checks", "0", wrong == 0 and bool(checks)),
        Rule("faults without recovery", str(len(late)), "0", not late),
    ]
    memory = growth([(sample.at, sample.resident) for sample in warm])
    if memory is None:
        rules.append(Rule("memory growth after the warm-up", "not measured: the soak was too short", None, kept=True))
        return rules
    limit, minutes = f"< {max_growth / MB:g} MB", memory.seconds / 60
    for what, value in (("end less beginning", memory.ends), ("trend (Theil-Sen)", memory.slope)):
        text = f"{value / MB:+.2f} MB in {minutes:.1f} min"
        rules.append(Rule(f"memory growth after the warm-up, {what}", text, limit, value < max_growth))
    # Connections of scrapes come and go: what stays open is what the lowest looks have.
    count = max(1, round(len(warm) / 4))
    opened = min(each.descriptors for each in warm[-count:]) - min(each.descriptors for each in warm[:count])
    rules.append(Rule("file descriptors, more than after the warm-up", f"{opened:+d}", "0", opened <= 0))
    return rules
