"""A scenario about what outlives the process: how long it takes to save the ports, and how long that holds the loop."""

import statistics
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Final, NoReturn

import trio

from bench import databases
from bench.stand import Setup
from portsyncd.backends.kept import KeptFile
from portsyncd.model.generation import Policy
from portsyncd.model.links import Link
from portsyncd.model.port import Port
from portsyncd.model.retry import Backoff
from portsyncd.model.sync import PortSync
from portsyncd.options import WarmRestartConfig
from portsyncd.services.flapbook import FlapBook
from portsyncd.services.inbox import Inbox
from portsyncd.services.keeper import Keeper
from portsyncd.services.reader import Reader
from portsyncd.services.watches import Calendar
from portsyncd.services.writer import Writer
from portsyncd.testing.fake_files import FakeOldLinks

TIMES: Final = 15
_PORTS: Final = 10_000
_TICK_SECONDS: Final = 0.001
# Not where tempfile would put it: that may be in memory only.
DISK: Final = "/var/tmp"  # noqa: S108  the folder below has a name that nobody knows before


def saving(_setup: Setup) -> dict[str, float]:
    """Medians of several saves by the daemon's keeper, with the default number of backups."""
    with tempfile.TemporaryDirectory(dir=DISK) as folder:
        times, waits = trio.run(_save, Path(folder) / "port_state.json")
    return {"saving.10000": 1000 * statistics.median(times), "saving.10000_held": 1000 * statistics.median(waits)}


async def _save(path: Path) -> tuple[list[float], list[float]]:
    """Seconds that each save took, and the longest that a task which wanted to run had to wait during each."""
    keeper, sync = _keeper(path)
    times, waits = [], []
    for _ in range(TIMES):
        for port in sync.ports.values():
            port.flaps += 1
        # Which saves what there is, whether or not it is time.
        seconds, held = await measure(keeper.finish)
        if problem := keeper.statistics().problem:
            raise RuntimeError(problem)
        times.append(seconds)
        waits.append(held)
    return times, waits


def _keeper(path: Path) -> tuple[Keeper, PortSync]:
    """A keeper of ports that all have a link, and of which each hundredth has flapped of late; nothing else of the daemon
    runs."""
    defaults = WarmRestartConfig()
    policy, inbox = Policy(), Inbox(1)
    sync, reader = PortSync(policy), Reader(_nothing, inbox, policy.prefixes)
    writer = Writer(
        _nothing,
        inbox,
        sync,
        reader,
        old_links=FakeOldLinks(),
        backoff=Backoff(cap=1.0),
        jitter=lambda: 1.0,
        fresh_id=str,
        set_log_level=lambda _: None,
    )
    writer.first_sync.set()
    names, now = databases.port_names(_PORTS), trio.current_time()
    for number, name in enumerate(names):
        port = sync.ports[name] = Port(now)
        port.link, port.ups, port.downs = Link(number + 5, ("ok", "up", "up", "9100"), 12), 7, 6
    book = FlapBook(sync.take_flaps)
    book.restore(dict.fromkeys(names[::100], 1234.56789), 0.0, now)
    kept = KeptFile(path, kind="port state", version=1, max_backups=defaults.max_backups, wall=_unix_now)
    keeper = Keeper(
        writer,
        reader,
        book,
        state=kept,
        counters=None,
        state_interval=defaults.save_interval_secs,
        counters_interval=inf,
        max_age=defaults.max_age_secs,
        calendar=Calendar(trio.current_time, _unix_now),
    )
    return keeper, sync


def _nothing() -> NoReturn:
    raise AssertionError("nothing is asked of Redis or of the kernel")


def _unix_now() -> float:
    return datetime.now(UTC).timestamp()


async def measure(action: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Seconds that an action takes, and the longest that a task which wanted to run had to wait meanwhile."""
    late: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tick, late)
        await trio.sleep(5 * _TICK_SECONDS)
        late.clear()
        begin = trio.current_time()
        await action()
        seconds = trio.current_time() - begin
        # The tick that was due while it ended counts too.
        await trio.sleep(2 * _TICK_SECONDS)
        nursery.cancel_scope.cancel()
    return seconds, max(late)


async def _tick(late: list[float]) -> None:
    while True:
        due = trio.current_time() + _TICK_SECONDS
        await trio.sleep_until(due)
        late.append(trio.current_time() - due)
