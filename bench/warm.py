"""A scenario about restarts: how long a warm one takes, and what it writes."""

import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from bench import databases
from bench.stand import OWN_COMMAND, Setup, Stand
from portsyncd.backends.kept import KeptFile
from portsyncd.model.saved import from_content
from portsyncd.testing.descriptor_store import DescriptorStoreParent

_LINKS: Final = 4096
_CHANGED_LINKS, _EVENTS = 64, 2000
# Longer than the time from a write to its notification.
_QUIET_SECONDS: Final = 0.2
_LOADS: Final = 15


def warm(setup: Setup) -> dict[str, float]:
    """Five processes, one after the other, on the same links: the first starts cold, the fourth keeps its socket."""
    with Stand(setup, databases.port_names(_LINKS)) as stand, DescriptorStoreParent(stand.folder) as store:
        stand.bring_up()
        databases.enable_warm_restart(stand.redis)
        stand.daemon.end()
        figures = _restart(stand, "clean")
        stand.daemon.kill()
        figures |= _restart(stand, "killed")
        stand.daemon.end()
        stand.restart(store)
        stand.calm()
        stand.daemon.end()
        stand.links.send(stand.links.mtu_changes(stand.ifindexes[:_CHANGED_LINKS], _EVENTS))
        figures |= _restart(stand, "inherited", store)
        figures["warm.inherited_drops"] = stand.daemon.kernel_drops()
        state = stand.folder / "state" / "port_state.json"
        if setup.command == OWN_COMMAND:
            figures["warm.size"] = state.stat().st_size / 1e3
            figures["warm.load"] = 1000 * trio.run(_load, state)
        return figures


def _restart(stand: Stand, name: str, store: DescriptorStoreParent | None = None) -> dict[str, float]:
    """The time from before the fork to reconciled, and what is written until the daemon sleeps."""
    stand.writes.count(_QUIET_SECONDS)
    seconds = stand.restart(store)
    stand.calm()
    writes = stand.writes.count(_QUIET_SECONDS)
    if stale := stand.stale():
        raise stand.daemon.error(f"{stale} ports are not published after a warm start")
    return {f"warm.{name}": 1000 * seconds, f"warm.{name}_writes": writes}


async def _load(path: Path) -> float:
    """The median of what a start needs to read the state; in seconds."""
    document = KeptFile(path, kind="port state", version=1, max_backups=0, wall=lambda: datetime.now(UTC).timestamp())
    times = []
    for _ in range(_LOADS):
        begin = time.perf_counter()
        loaded = await document.load()
        if loaded.content is None:
            raise RuntimeError(f"{path} cannot be loaded: {loaded.set_aside}")
        from_content(loaded.content, age=0.0, trusted=True)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
