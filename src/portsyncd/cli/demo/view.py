"""What the audience sees: a live view on a terminal, or a line a second."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import trio
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from portsyncd.daemon import Daemon
from portsyncd.model.ports import admin_up, oper_up
from portsyncd.services.supervisor import ChildStatistics

_FRAMES_A_SECOND = 4
_LOG_LINES = 8
_LOG_TAIL_BYTES = 4096
_MICROSECONDS = 1e6
# Recent rates are over so many frames.
_WINDOW = 9


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the view looks: the daemon, what the actors note, the daemon's log."""

    daemon: Daemon
    notes: Sequence[str]
    log: Path


@dataclass(frozen=True, slots=True)
class Reading:
    """The daemon's figures at one time (seconds of Trio's clock); latencies in seconds."""

    at: float
    events: int
    writes: int
    resyncs: int
    sessions: int
    restarts: int
    flaps: int
    expected: int
    connected: bool
    latencies: tuple[float, ...]

    @classmethod
    def take(cls, picture: Picture) -> "Reading":
        """Read the statistics of all services."""
        daemon = picture.daemon
        reader, writer = daemon.services.reader.statistics(), daemon.services.writer.statistics()
        return cls(
            at=trio.current_time(),
            events=reader.events,
            writes=writer.writes,
            resyncs=sum(reader.resyncs.values()),
            sessions=writer.sessions,
            restarts=sum(child.restarts for child in daemon.services.supervisor.statistics().children),
            flaps=sum(port.flaps for port in daemon.services.writer.sync.ports.values()),
            expected=len(daemon.services.writer.sync.expected),
            connected=writer.connected,
            latencies=writer.latencies[-256:],
        )

    def quantile(self, share: float) -> str:
        """A latency in microseconds; "-" before the first event."""
        ordered = sorted(self.latencies)
        return f"{ordered[int(share * (len(ordered) - 1))] * _MICROSECONDS:,.0f} us" if ordered else "-"


def _rate(readings: Sequence[Reading]) -> float:
    first, last = readings[0], readings[-1]
    return (last.events - first.events) / (last.at - first.at) if last.at > first.at else 0.0


def _summary(readings: Sequence[Reading]) -> str:
    last = readings[-1]
    return (
        f"{_rate(readings):,.0f} events/s   {last.events:,} events, {last.writes:,} writes   "
        f"latency p50 {last.quantile(0.5)}, p99 {last.quantile(0.99)}   "
        f"resyncs {last.resyncs}   Redis {'connected' if last.connected else 'away'}"
    )


def _child(child: ChildStatistics) -> str:
    restarts = f" (rebuilt {child.restarts} times)" if child.restarts else ""
    return f"{child.name} {child.state}{restarts}"


async def show_lines(picture: Picture, say: Callable[[str], None]) -> None:
    """One line a second, and whatever the actors noted meanwhile."""
    before = Reading.take(picture)
    told: tuple[str, ...] = ()
    while True:
        await trio.sleep(1.0)
        notes = tuple(picture.notes)
        for note in notes:
            if note not in told:
                say(f"  {note}")
        told = notes
        now = Reading.take(picture)
        say(_summary((before, now)))
        before = now


async def show_live(picture: Picture, deadline: float) -> None:
    """The live view, until cancelled. deadline: when the performance ends, on Trio's clock."""
    readings = deque([Reading.take(picture)], maxlen=_WINDOW)
    with Live(_draw(picture, readings, deadline), auto_refresh=False, transient=False) as live:
        while True:
            await trio.sleep(1 / _FRAMES_A_SECOND)
            readings.append(Reading.take(picture))
            live.update(_draw(picture, readings, deadline), refresh=True)


def _draw(picture: Picture, readings: Sequence[Reading], deadline: float) -> Group:
    children = picture.daemon.services.supervisor.statistics().children
    left = deadline - readings[-1].at
    rest = "Ctrl-C ends it" if left == float("inf") else f"{max(left, 0):.0f} s left, Ctrl-C ends it sooner"
    busy = " ".join("▁▂▃▄▅▆▇█"[min(7, int(_rate(pair) / 50))] for pair in pairwise(readings))
    return Group(
        Panel(Text(f"{_summary(readings)}\n{busy}"), title="portsyncd: kernel → STATE_DB", subtitle=rest),
        _ports(picture.daemon, readings[-1].at),
        Panel(Text(", ".join(map(_child, children))), title="supervisor"),
        Panel(Text("\n".join(picture.notes) or "-"), title="what happens to it"),
        Panel(Text("\n".join(_tail(picture.log)), no_wrap=True, overflow="ellipsis"), title="what the daemon says"),
    )


def _ports(daemon: Daemon, now: float) -> Table:
    table = Table(expand=True)
    for heading in ("port", "oper", "admin", "MTU", "flaps", "age", "in STATE_DB"):
        table.add_column(heading, justify="right" if heading in {"MTU", "flaps", "age"} else "left")
    for name, port in list(daemon.services.writer.sync.ports.items()):
        if port.link is None:
            table.add_row(name, "-", "-", "-", str(port.flaps), f"{now - port.since:.1f} s", "awaited")
            continue
        state = port.link.fields
        table.add_row(
            name,
            _updown(up=oper_up(state)),
            _updown(up=admin_up(state)),
            state[3],
            str(port.flaps),
            f"{now - port.changed:.1f} s",
            "yes" if port.held == state else "pending",
        )
    return table


def _updown(*, up: bool) -> Text:
    return Text("up", "green") if up else Text("down", "red")


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _LOG_TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
