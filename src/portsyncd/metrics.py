"""Every metric of the daemon: name, type, labels, unit, buckets and help, in this one file.

Services record into ``Histogram`` and plain integers; ``Facts`` is one consistent look at all of it, taken when somebody
scrapes. So recording costs an addition, and the catalogue knows no service.

A scrape is rendered here and not by prometheus-client, whose 4 us a sample are too many for thousands of ports. Its own
registry holds the same families; a property test keeps both texts equal. The library is imported when the first
``Metrics`` is made: a daemon without the endpoint never pays for it.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal

from portsyncd.model.sync import Counted, PortCounters

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

__all__ = [
    "CATALOGUE",
    "CONTENT_TYPE_OPENMETRICS",
    "CONTENT_TYPE_TEXT",
    "EVENT_LATENCY_BUCKETS",
    "REDIS_LATENCY_BUCKETS",
    "SYNC_DURATION_BUCKETS",
    "Facts",
    "Family",
    "Histogram",
    "Metrics",
    "PortCounters",
    "WebFacts",
]

CONTENT_TYPE_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
CONTENT_TYPE_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

EVENT_LATENCY_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
REDIS_LATENCY_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1)
SYNC_DURATION_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0)

# Label values that are known beforehand: told from the start, so that a rate() sees the first one.
RESYNC_REASONS: Final = ("start", "overrun", "interrupted", "redis_reconnect", "generation")
HEALTH: Final[Mapping[str, float]] = {"healthy": 1.0, "degraded": 0.5, "unhealthy": 0.0}

# Ports of one family in a slice of a scrape; a slice takes some 0.1 ms.
_PORTS_IN_A_SLICE = 256
_FAMILIES_IN_A_SLICE = 8
_EOF = "# EOF\n"


class Histogram:
    """Counts per bucket; what services record durations into. All in seconds.

    counts: one more than there are bounds, for what is above the last; not cumulated. total: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Record one value; one that equals a bound belongs below it (Prometheus' ``le``)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Record a batch."""
        bounds, counts, total = self.bounds, self.counts, self.total
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total = total

    def copy(self) -> "Histogram":
        """As it is now."""
        made = Histogram(self.bounds)
        made.counts[:] = self.counts
        made.total = self.total
        return made


@dataclass(frozen=True, slots=True)
class WebFacts:
    """What the metrics endpoint knows of itself. Expiries are Unix seconds by role (server, ca)."""

    handshake_failures: Mapping[str, int] = field(default_factory=dict)
    reloads: Mapping[str, int] = field(default_factory=dict)
    certificate_expiries: Mapping[str, float] = field(default_factory=dict)
    tls_profile: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the daemon, for one scrape. Counters are totals since the process began; times are Unix seconds, None
    where it has not happened yet; ``port_counters`` is read lazily, while the scrape is rendered."""

    uptime: float
    memory_bytes: int
    health: str  # model.health.Status: healthy, degraded, unhealthy
    redis_connected: bool
    netlink_connected: bool
    events_processed: int
    events_failed: int
    events_conflated: int
    ports: Mapping[str, int]  # up, down, awaited, pending
    port_counters: Sequence[tuple[str, Counted]]
    queue_depth: int
    queue_bound: int
    event_latency: Histogram
    redis_latency: Histogram
    sync_duration: Histogram
    overruns: int
    last_certified_sync: float | None
    resyncs: Mapping[str, int]  # by reason
    restarts: Mapping[str, int]  # by service
    warm_restarts: int
    cold_starts: int
    eoiu_detected: int
    eoiu_timeouts: int
    last_warm_restart: float | None
    last_eoiu: float | None
    web: WebFacts


# One value, None for none yet; by the value of the one label; by those of three; a histogram.
_Value = float | None | Mapping[str, float] | Mapping[tuple[str, str, str], float] | Histogram


@dataclass(frozen=True)
class Family:
    """One family of metrics. read: its value or values; None for those of ``PER_PORT``, whose every port has one sample
    for each of ``per_port``: the values of the labels before ``port``, and which of ``PortCounters`` it is."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[Facts], _Value] | None = None
    labels: tuple[str, ...] = ()
    per_port: tuple[tuple[tuple[str, ...], str], ...] = ()

    @property
    def unit(self) -> str:
        """The base unit, which its name ends with; "" for a plain number."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in ("seconds", "bytes", "ratio") else ""


def _by(labels: Sequence[str], values: Mapping[str, float]) -> Mapping[str, float]:
    """These labels in this order, 0 where nothing is known of one; then whatever else there is."""
    return dict.fromkeys(labels, 0) | dict(values)


BUILD_INFO: Final = Family(
    "portsyncd_build_info",
    "gauge",
    "Always 1; the labels say which version runs, on which Python, and which TLS profile is in force.",
    labels=("python", "tls_profile", "version"),
)

CATALOGUE: Final[Sequence[Family]] = (
    # ---- events
    Family(
        "portsyncd_events_processed_total",
        "counter",
        "Link events that were carried through to Redis, or rightly ignored because no port's state follows from them. "
        "Stands still on an idle switch; standing still while links change means that the daemon is stuck.",
        lambda facts: facts.events_processed,
    ),
    Family(
        "portsyncd_events_failed_total",
        "counter",
        "Link events that could not be decoded, that a full mailbox refused, or that were being carried out when Redis "
        "failed. Each is made up for by reading all links anew, so a few are harmless; a steady rate is not.",
        lambda facts: facts.events_failed,
    ),
    Family(
        "portsyncd_events_conflated_total",
        "counter",
        "Link events that a newer one of the same port replaced before anything was written. They count as processed, "
        "too: high in a storm and while Redis is away, and no loss.",
        lambda facts: facts.events_conflated,
    ),
    Family(
        "portsyncd_event_latency_seconds",
        "histogram",
        "Time from reading a link event to the acknowledgement of Redis, one observation for each port written, by its "
        "oldest event. Without what came while Redis was away, and what waited for an APPL_DB entry.",
        lambda facts: facts.event_latency,
    ),
    Family(
        "portsyncd_queue_depth",
        "gauge",
        "Ports that changed and that the writer has not taken yet. Near 0 but for moments; it grows while Redis is away.",
        lambda facts: facts.queue_depth,
    ),
    Family(
        "portsyncd_queue_saturation_ratio",
        "gauge",
        "Share of the mailbox that is in use, 0 to 1. At 1 events of further ports are refused, and all links are read "
        "anew.",
        lambda facts: facts.queue_depth / max(facts.queue_bound, 1),
    ),
    # ---- the daemon and its connections
    Family(
        "portsyncd_health_status",
        "gauge",
        "Health in one number: 1 healthy, 0.5 degraded, 0 unhealthy. The /health page gives the reasons.",
        lambda facts: HEALTH[facts.health],
    ),
    Family(
        "portsyncd_health_state",
        "gauge",
        "1 for the present state of health, 0 for the others.",
        lambda facts: {status: float(status == facts.health) for status in HEALTH},
        ("status",),
    ),
    Family(
        "portsyncd_redis_connected",
        "gauge",
        "1 while all databases can be used; 0: port states wait, and are written when Redis is back.",
        lambda facts: facts.redis_connected,
    ),
    Family(
        "portsyncd_netlink_connected",
        "gauge",
        "1 while the kernel's link events are being received; 0 for more than a moment: changes of links go unnoticed.",
        lambda facts: facts.netlink_connected,
    ),
    Family(
        "portsyncd_redis_latency_seconds",
        "histogram",
        "Time of one pipeline round trip to Redis: writes, and the look that is taken once a second.",
        lambda facts: facts.redis_latency,
    ),
    Family("portsyncd_uptime_seconds", "gauge", "Time since the daemon was started.", lambda facts: facts.uptime),
    Family(
        "portsyncd_memory_bytes",
        "gauge",
        "Resident memory of the daemon. Steady after the start; growth over days is worth a report.",
        lambda facts: facts.memory_bytes,
    ),
    Family(
        "portsyncd_service_restarts_total",
        "counter",
        "Parts of the daemon that failed and were started anew by its supervisor. The log says why.",
        lambda facts: facts.restarts,
        ("service",),
    ),
    # ---- full syncs
    Family(
        "portsyncd_netlink_overruns_total",
        "counter",
        "Times that the kernel dropped link events, because they came faster than they were read, or cut one short. "
        "All links are read anew each time. If it happens often: a larger netlink.receive_buffer_bytes.",
        lambda facts: facts.overruns,
    ),
    Family(
        "portsyncd_resyncs_total",
        "counter",
        "Times that all links were read anew, by reason; one may have several. overrun: the kernel dropped events, or one "
        "could not be decoded.",
        lambda facts: _by(RESYNC_REASONS, facts.resyncs),
        ("reason",),
    ),
    Family(
        "portsyncd_sync_duration_seconds",
        "histogram",
        "Time of a full sync, from beginning to read all links until all they brought was written.",
        lambda facts: facts.sync_duration,
    ),
    Family(
        "portsyncd_last_certified_sync_timestamp_seconds",
        "gauge",
        "When the databases were last proven equal to the kernel: by a full sync in which nothing was lost. Events keep "
        "them equal from then on, so that an old time alone is no fault; absent: not since the start.",
        lambda facts: facts.last_certified_sync,
    ),
    # ---- starts
    Family(
        "portsyncd_warm_restarts_total",
        "counter",
        "Starts of the daemon that were warm (ports and markers in APPL_DB were kept), the present one among them; starts "
        "before it, only where it has kept a record of them.",
        lambda facts: facts.warm_restarts,
    ),
    Family(
        "portsyncd_cold_starts_total",
        "counter",
        "Starts of the daemon that were cold (all ports were announced anew), the present one among them; starts before "
        "it, only where it has kept a record of them.",
        lambda facts: facts.cold_starts,
    ),
    Family(
        "portsyncd_eoiu_detected_total",
        "counter",
        "Starts whose end of initial update was reached (the first full read of the links came in complete), counted as "
        "portsyncd_cold_starts_total counts.",
        lambda facts: facts.eoiu_detected,
    ),
    Family(
        "portsyncd_eoiu_timeouts_total",
        "counter",
        "Warm restarts whose first sync did not end in time and that were completed all the same (see eoiu_timeout_secs), "
        "counted as portsyncd_warm_restarts_total counts.",
        lambda facts: facts.eoiu_timeouts,
    ),
    Family(
        "portsyncd_last_warm_restart_timestamp_seconds",
        "gauge",
        "When the daemon was last restarted warm.",
        lambda facts: facts.last_warm_restart,
    ),
    Family(
        "portsyncd_last_eoiu_timestamp_seconds",
        "gauge",
        "When the end of the initial update was last reached.",
        lambda facts: facts.last_eoiu,
    ),
    # ---- this endpoint
    Family(
        "portsyncd_tls_reloads_total",
        "counter",
        "Reloads of certificate, key and CA of this endpoint. Refused: the new files are unusable, the old ones stay in "
        "use until they expire; the log names every problem.",
        lambda facts: _by(("applied", "refused"), facts.web.reloads),
        ("result",),
    ),
    Family(
        "portsyncd_tls_handshake_failures_total",
        "counter",
        "Connections to this endpoint that were turned away, by reason. Expected from scanners; from your own "
        "Prometheus it means a wrong or expired certificate.",
        lambda facts: facts.web.handshake_failures,
        ("reason",),
    ),
    Family(
        "portsyncd_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the endpoint's own certificate (server) and the CA of its clients (ca) expire: the first of the server's "
        "chain, the last of several CAs. Rotate before: nobody can scrape afterwards.",
        lambda facts: facts.web.certificate_expiries,
        ("role",),
    ),
    BUILD_INFO,
    # ---- ports; those with a sample a port come last
    Family(
        "portsyncd_ports",
        "gauge",
        "Ports by state: up, down (oper state of the link); awaited: no link, though CONFIG_DB has had the port since all "
        "were announced; pending: a link, but orchagent has made no APPL_DB entry yet. No VLAN sub-interfaces. Awaited or "
        "pending for minutes after a start: PortInitDone waits.",
        lambda facts: _by(("up", "down", "awaited", "pending"), facts.ports),
        ("state",),
    ),
    Family(
        "portsyncd_port_flaps_total",
        "counter",
        "Carrier losses of a port by the kernel's own counter, also of those too short to be seen. A rate above 0 on a "
        "port in use means a bad cable, transceiver or neighbour.",
        labels=("port",),
        per_port=(((), "flaps"),),
    ),
    Family(
        "portsyncd_port_transitions_total",
        "counter",
        "Changes of a port's oper state, up and down, also those that were folded into one event.",
        labels=("direction", "port"),
        per_port=((("up",), "ups"), (("down",), "downs")),
    ),
    Family(
        "portsyncd_port_sync_success_total",
        "counter",
        "Writes of a port's state that Redis acknowledged.",
        labels=("port",),
        per_port=(((), "written"),),
    ),
    Family(
        "portsyncd_port_sync_failures_total",
        "counter",
        "Writes of a port's state that Redis refused, or whose outcome is unknown because no answer came. They are "
        "repeated; a count that goes on growing means that Redis does not take writes.",
        labels=("port",),
        per_port=(((), "failed"),),
    ),
)


class Metrics:
    """The catalogue filled in: as a scrape's text, and as prometheus-client's registry.

    read: takes one look at the daemon, for each scrape. version: of the daemon. process: with the ``process_*`` families
    of prometheus-client's own collector.
    """

    def __init__(self, read: Callable[[], Facts], *, version: str, process: bool = True) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._read = read
        python = ".".join(map(str, sys.version_info[:3]))
        build_info = replace(BUILD_INFO, read=lambda facts: {(python, facts.web.tls_profile, version): 1})
        self._single = [build_info if family is BUILD_INFO else family for family in CATALOGUE if not family.per_port]
        self._per_port = [family for family in CATALOGUE if family.per_port]
        self.registry = CollectorRegistry()
        self.registry.register(_Collector([*self._single, *self._per_port], read))
        self._process = ProcessCollector(registry=self.registry) if process else None

    def render(self, openmetrics: bool = False) -> Iterator[str]:
        """The text of one scrape in slices, each well below a millisecond of work: others may run between two of them.
        It is the daemon as it was at the first slice, but for the ports' counts, which move on."""
        facts = self._read()
        for start in range(0, len(self._single), _FAMILIES_IN_A_SLICE):
            some = self._single[start : start + _FAMILIES_IN_A_SLICE]
            yield "".join(_render(family, facts, openmetrics=openmetrics) for family in some)
        ports = _Ports(facts.port_counters)
        for family in self._per_port:
            yield from ports.render(family, openmetrics=openmetrics)
        if self._process is not None:
            yield _library_text(self._process, openmetrics=openmetrics)
        if openmetrics:
            yield _EOF


class _Collector:
    """The same families for prometheus-client: for tests, and for whoever asks the registry."""

    def __init__(self, families: Sequence[Family], read: Callable[[], Facts]) -> None:
        self._families = families
        self._read = read

    def describe(self) -> Iterator["Metric"]:
        """The families without their values."""
        return map(_metric, self._families)

    def collect(self) -> Iterator["Metric"]:
        """Those families that have values."""
        facts = self._read()
        for family in self._families:
            metric = _metric(family)
            for name, labels, value in _port_samples(family, facts) if family.per_port else _samples(family, facts):
                metric.add_sample(name, dict(labels), value)
            if metric.samples:
                yield metric


def _metric(family: Family) -> "Metric":
    from prometheus_client import Metric

    return Metric(family.name.removesuffix("_total"), family.help, family.kind, family.unit)


# ---- values

# A name, labels with their values in the order of the labels, and the value.
_Sample = tuple[str, Sequence[tuple[str, str]], float]


def _samples(family: Family, facts: Facts) -> Iterator[_Sample]:
    """The samples of a family that is none of ports."""
    name, value = family.name, family.read(facts) if family.read else None
    if isinstance(value, Histogram):
        yield from _histogram_samples(name, value)
    elif isinstance(value, Mapping):
        for key, number in value.items():
            named = (key,) if isinstance(key, str) else key
            yield name, [(label, _printable(text)) for label, text in zip(family.labels, named, strict=True)], number
    elif value is not None:
        yield name, (), value


def _histogram_samples(name: str, histogram: Histogram) -> Iterator[_Sample]:
    below = 0
    for bound, count in zip((*map(repr, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        yield f"{name}_bucket", [("le", bound)], below
    yield f"{name}_count", (), below
    yield f"{name}_sum", (), histogram.total


def _port_samples(family: Family, facts: Facts) -> Iterator[_Sample]:
    for values, counted in family.per_port:
        for port, counts in facts.port_counters:
            labels = zip(family.labels, (*values, _printable(port)), strict=True)
            yield family.name, list(labels), getattr(counts, counted)


# ---- text


def _render(family: Family, facts: Facts, *, openmetrics: bool) -> str:
    """A family that is none of ports; "" when it has no value yet."""
    lines = [f"{name}{_braced(labels)} {_number(value)}\n" for name, labels, value in _samples(family, facts)]
    return _head(family, openmetrics=openmetrics) + "".join(lines) if lines else ""


def _head(family: Family, *, openmetrics: bool) -> str:
    """The lines above a family's samples. A help text here has nothing to escape."""
    if not openmetrics:
        return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    name = family.name.removesuffix("_total")
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n{unit}"


def _braced(labels: Sequence[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _printable(text: str) -> str:
    """A kernel may call a link by any bytes; what is no UTF-8, which the text has to be, is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _number(value: float) -> str:
    if type(value) is int and value < 1_000_000:
        return f"{value}.0"
    from prometheus_client.utils import floatToGoString

    return str(floatToGoString(value))  # type: ignore[no-untyped-call] # the library's form, to the letter


def _library_text(collector: "Collector", *, openmetrics: bool) -> str:
    from prometheus_client.exposition import generate_latest
    from prometheus_client.openmetrics import exposition

    if not openmetrics:
        return generate_latest(collector).decode()
    text = exposition.generate_latest(collector).decode()  # type: ignore[no-untyped-call] # it has no types
    return str(text).removesuffix(_EOF)


class _Ports:
    """The ports of one scrape: in parts that fit a slice, their names brought into form once."""

    def __init__(self, counters: Sequence[tuple[str, Counted]]) -> None:
        self._parts = [
            counters[start : start + _PORTS_IN_A_SLICE] for start in range(0, len(counters), _PORTS_IN_A_SLICE)
        ]
        self._names: list[list[str]] = []

    def render(self, family: Family, *, openmetrics: bool) -> Iterator[str]:
        """A family of ports, a part at a time; nothing where there are no ports."""
        head = _head(family, openmetrics=openmetrics)
        for values, counted in family.per_port:
            fixed = "".join(f'{label}="{value}",' for label, value in zip(family.labels, values, strict=False))
            start = f'{family.name}{{{fixed}port="'
            count = attrgetter(counted)
            for number, part in enumerate(self._parts):
                if number == len(self._names):
                    self._names.append([_in_form(name) for name, _ in part])
                lines = [
                    f'{start}{name}"}} {value}.0\n'
                    if (value := count(counts)) < 1_000_000
                    else f'{start}{name}"}} {_number(value)}\n'
                    for name, (_, counts) in zip(self._names[number], part, strict=True)
                ]
                yield head + "".join(lines)
                head = ""


def _in_form(name: str) -> str:
    # Most names need nothing, and to find that out must cost nothing.
    return name if name.isalnum() else _escaped(_printable(name))
