"""The catalogue filled in: as a scrape's text, and as prometheus-client's registry.

A scrape is rendered here and not by prometheus-client, whose 4 us a sample are too many for thousands of ports. Its own
registry holds the same families; a property test keeps both texts equal. The library is imported when the first
``Metrics`` is made: a daemon without the endpoint never pays for it.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from portsyncd.metrics.catalogue import BUILD_INFO, CATALOGUE, Family
from portsyncd.metrics.facts import Facts, Histogram
from portsyncd.model.port import Counted

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

CONTENT_TYPE_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
CONTENT_TYPE_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Samples of one family of ports in a slice of a scrape; a slice takes some 0.1 ms.
_PORTS_IN_A_SLICE = 256
_FAMILIES_IN_A_SLICE = 8
_EOF = "# EOF\n"

# A name, labels with their values in the order of the labels, and the value.
Sample = tuple[str, Sequence[tuple[str, str]], float]


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
        self._single = [build_info if family is BUILD_INFO else family for family in CATALOGUE if not family.of_ports]
        self._of_ports = [family for family in CATALOGUE if family.of_ports]
        self.registry = CollectorRegistry()
        self.registry.register(_Collector([*self._single, *self._of_ports], read))
        self._process = ProcessCollector(registry=self.registry) if process else None

    def render(self, openmetrics: bool = False) -> Iterator[str]:
        """The text of one scrape in slices, each well below a millisecond of work: others may run between two of them.
        It is the daemon as it was at the first slice, but for the ports' counts, which move on."""
        facts = self._read()
        for start in range(0, len(self._single), _FAMILIES_IN_A_SLICE):
            some = self._single[start : start + _FAMILIES_IN_A_SLICE]
            yield "".join(_render(family, facts, openmetrics=openmetrics) for family in some)
        ports = _Ports(facts.port_counters)
        for family in self._of_ports:
            if family.by_port is None:
                yield from ports.render(family, openmetrics=openmetrics)
            else:
                yield from _parts(family, family.by_port(facts), openmetrics=openmetrics)
        if self._process is not None:
            yield _library_text(self._process, openmetrics=openmetrics)
        if openmetrics:
            yield _EOF

    def samples(self) -> Iterator[Sequence[Sample]]:
        """What ``render`` tells but for the ``process_*`` families, as values, in such slices too."""
        facts = self._read()
        for family in (*self._single, *self._of_ports):
            left = _port_samples(family, facts) if family.of_ports else _samples(family, facts)
            while part := list(islice(left, _PORTS_IN_A_SLICE)):
                yield part


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
            for name, labels, value in _port_samples(family, facts) if family.of_ports else _samples(family, facts):
                metric.add_sample(name, dict(labels), value)
            if metric.samples:
                yield metric


def _metric(family: Family) -> "Metric":
    from prometheus_client import Metric

    return Metric(family.name.removesuffix("_total"), family.help, family.kind, family.unit)


# ---- values


def _samples(family: Family, facts: Facts) -> Iterator[Sample]:
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


def _histogram_samples(name: str, histogram: Histogram) -> Iterator[Sample]:
    below = 0
    for bound, count in zip((*map(repr, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        yield f"{name}_bucket", [("le", bound)], below
    yield f"{name}_count", (), below
    yield f"{name}_sum", (), histogram.total


def _port_samples(family: Family, facts: Facts) -> Iterator[Sample]:
    for port, value in () if family.by_port is None else family.by_port(facts):
        yield family.name, [("port", _printable(port))], value
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
    if abs(value) < 1_000_000:
        return repr(float(value))
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


def _parts(family: Family, values: Iterable[tuple[str, float]], *, openmetrics: bool) -> Iterator[str]:
    """A family of some ports, a part at a time; nothing where there are none."""
    head = _head(family, openmetrics=openmetrics)
    start = f'{family.name}{{port="'
    left = iter(values)
    while part := list(islice(left, _PORTS_IN_A_SLICE)):
        yield head + "".join([f'{start}{_in_form(name)}"}} {_number(value)}\n' for name, value in part])
        head = ""


def _in_form(name: str) -> str:
    # Most names need nothing, and to find that out must cost nothing.
    return name if name.isalnum() else _escaped(_printable(name))
