"""What ``portsyncd analytics`` prints for people: an analysis in, tables out."""

from collections.abc import Iterator, Sequence
from typing import Final

from portsyncd.analytics.analysis import Analysis, Anomaly, FlappingPort, Limit, Summary, Trend
from portsyncd.analytics.flaps import SUPPRESS
from portsyncd.analytics.history import utc

# Ports that are shown; JSON has all of them.
PORTS: Final = 20
_NONE: Final = "-"
_SPANS: Final = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))
_BYTES: Final = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def text(analysis: Analysis, source: str) -> str:
    """source: where the history is. All moments are UTC."""
    blocks = [
        [f"history  {source}", f"window   {moment(analysis.since)} to {moment(analysis.at)}"],
        list(_verdict(analysis)),
        _section("starts", _pairs(_starts(analysis))),
        _section("rates", _pairs(_rates(analysis))),
        _section("series", _series(analysis)),
        _section("anomalies", _anomalies(analysis)),
        _section("flapping ports", _ports(analysis.flapping)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


# ---- sections


def _verdict(analysis: Analysis) -> Iterator[str]:
    yield f"verdict  {analysis.status}"
    yield from (f"  {reason}" for reason in analysis.reasons)
    if not analysis.starts and all(each.summary is None for each in analysis.series.values()):
        yield "  nothing is known of this time; --since with a longer span may find something"


def _starts(analysis: Analysis) -> Sequence[tuple[str, str]]:
    healthy = analysis.last_healthy_restart
    return (
        ("starts", f"{analysis.starts}, of them restarts: {analysis.restarts}"),
        ("initial sync complete", f"{_share(analysis.recovery_success)} of the starts"),
        ("initial sync timed out", f"{_share(analysis.eoiu_timeouts)} of those that ended"),
        ("damaged state recovered", _share(analysis.corruption_recovery)),
        ("last healthy start", _NONE if healthy is None else moment(healthy)),
        ("time to end of initial update", _spread(analysis.eoiu_latency)),
        ("time of initial sync", _spread(analysis.sync_duration)),
    )


def _rates(analysis: Analysis) -> Sequence[tuple[str, str]]:
    events = analysis.events_per_restart
    return (
        ("available", _share(analysis.availability, digits=3)),
        ("events in a life", _NONE if events is None else f"{events:,.0f} on average"),
        ("restarts", _limit(analysis.restart_limit)),
        ("link events", _limit(analysis.event_limit)),
    )


def _series(analysis: Analysis) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "values", "min", "mean", "p50", "p95", "p99", "max", "trend")]
    for name, each in analysis.series.items():
        if each.summary is not None:
            figures = [value(name, number) for number in _figures(each.summary)]
            rows.append((name, str(each.summary.count), *figures, _trend(name, each.trend)))
    return _table(rows)


def _anomalies(analysis: Analysis) -> list[str]:
    found = [(name, odd) for name, each in analysis.series.items() for odd in each.anomalies]
    rows: list[tuple[str, ...]] = [("when", "series", "value", "score", "compared with")]
    rows += [_anomaly(name, odd) for name, odd in sorted(found, key=lambda each: each[1].at)]
    return _table(rows)


def _anomaly(name: str, odd: Anomaly) -> tuple[str, ...]:
    compared = "this hour of earlier days" if odd.seasonal else "the window"
    return moment(odd.at), name, value(name, odd.value), f"{odd.score:+.1f}", compared


def _ports(ports: Sequence[FlappingPort]) -> list[str]:
    rows = [("port", "flaps", "penalty", f"reaches {SUPPRESS:.0f}")]
    rows += [(_printable(port.name), str(port.flaps), f"{port.penalty:.0f}", _crossing(port)) for port in ports[:PORTS]]
    more = len(ports) - PORTS
    return _table(rows) + ([f"  and {more} more; --json has all"] if more > 0 else [])


def _crossing(port: FlappingPort) -> str:
    if port.suppressed:
        return "now"
    return "not at this rate" if port.crosses_in is None else f"in {span(port.crosses_in)} at this rate"


# ---- words


def _share(ratio: float | None, digits: int = 1) -> str:
    return _NONE if ratio is None else f"{100 * ratio:.{digits}f} %"


def _spread(summary: Summary | None) -> str:
    if summary is None:
        return _NONE
    starts = "1 start" if summary.count == 1 else f"{summary.count} starts"
    return f"p50 {span(summary.p50)}, p95 {span(summary.p95)}, max {span(summary.maximum)} ({starts})"


def _limit(limit: Limit | None) -> str:
    if limit is None:
        return _NONE
    judged = "above" if limit.exceeded else "within"
    return f"{limit.count} in the last {span(limit.seconds)}, {judged} the limit of {limit.limit}"


def _figures(summary: Summary) -> tuple[float, ...]:
    return summary.minimum, summary.mean, summary.p50, summary.p95, summary.p99, summary.maximum


def _trend(name: str, trend: Trend | None) -> str:
    if trend is None:
        return _NONE
    return trend.direction if trend.direction == "steady" else f"{trend.direction}, {value(name, trend.slope)} an hour"


def value(series: str, number: float) -> str:
    """A value of a series, in a unit that needs few digits."""
    if series.startswith("latency"):
        return span(number)
    if series.endswith("_bytes"):
        unit, size = next((each for each in _BYTES if abs(number) >= each[1]), ("B", 1.0))
        return f"{number / size:.3g} {unit}"
    return f"{number:.4g}" if abs(number) < 10_000 else f"{number:,.0f}"


def span(seconds: float) -> str:
    """A duration, in a unit that needs few digits."""
    for unit, size in _SPANS:
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    if seconds == 0 or abs(seconds) >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if abs(seconds) >= 1e-3 else f"{1e6 * seconds:.3g} us"


def moment(unix: float) -> str:
    """A moment in UTC."""
    return f"{utc(unix):%Y-%m-%d %H:%M:%S} UTC"


def _printable(name: str) -> str:
    """A kernel may call a link by any bytes; a terminal gets none that would steer it."""
    return name if name.isprintable() else ascii(name)[1:-1]


# ---- layout


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *lines] if lines else [title, "  none"]


def _pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {said}" for name, said in rows]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns below their titles; nothing where there are only titles."""
    if len(rows) < 2:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [f"  {line}".rstrip() for line in lines]
