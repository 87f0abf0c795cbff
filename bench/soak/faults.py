"""What goes wrong during a soak. Each fault is a function: it brings about the fault, lets it last, and ends it."""

import random
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.process import running_on
from bench.soak.load import Load
from portsyncd.testing.switch import Switch
from portsyncd.wire import schema

_DOWN_SECONDS: Final = (0.5, 3.0)
_PAUSED_SECONDS: Final = (1.0, 5.0)
# Far more than any receive buffer holds.
_MOST_FLOODED: Final = 300_000
_FLOOD: Final = 10_000
# Entries that somebody else changes or deletes at a time; they are spared the next two times, where there are ports enough.
_DAMAGED: Final = 6
# Ports that do not exist have numbers from here on.
_FIRST_ORPHAN: Final = 90_000


class Stage:
    """Where faults happen. ports: those of CONFIG_DB. redis_cores: where Redis runs."""

    def __init__(
        self, switch: Switch, load: Load, ports: Sequence[str], redis_cores: frozenset[int], rng: random.Random
    ) -> None:
        self.switch = switch
        self.load = load
        self.damaged: deque[str] = deque(maxlen=2 * _DAMAGED)
        self.orphans = 0
        self.ports = list(ports)
        self.random = rng
        self._redis_cores = redis_cores

    def wait(self, bounds: tuple[float, float]) -> None:
        """Let the fault last, for a random time within these bounds (seconds)."""
        time.sleep(self.random.uniform(*bounds))

    def restart_redis(self, *, empty: bool) -> None:
        """Start it again where it has been killed."""
        with running_on(self._redis_cores):
            self.switch.redis.restart(empty=empty)

    def heeds(self, number: signal.Signals) -> bool:
        """Whether the daemon catches a signal."""
        status = Path(f"/proc/{self.switch.daemon.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (number - 1) & 1)


def redis_back_empty(stage: Stage) -> None:
    """Killed, and back without any data: CONFIG_DB is loaded again and orchagent begins anew, as on a switch."""
    stage.switch.redis.kill()
    stage.wait(_DOWN_SECONDS)
    stage.restart_redis(empty=True)
    stage.switch.orchagent.start()
    stage.switch.load_config(stage.ports)
    stage.switch.wait(lambda: stage.switch.orchagent.configured, "every port is announced again")
    stage.switch.redis.save()


def redis_back_old(stage: Stage) -> None:
    """Killed, and back with data that was saved some time ago."""
    stage.switch.redis.kill()
    stage.wait(_DOWN_SECONDS)
    stage.restart_redis(empty=False)


def redis_paused(stage: Stage) -> None:
    """SIGSTOP: connections stay, and nothing is answered."""
    stage.switch.redis.pause()
    try:
        stage.wait(_PAUSED_SECONDS)
    finally:
        stage.switch.redis.resume()


def overrun(stage: Stage) -> None:
    """The daemon is stopped until the kernel has dropped events for want of buffer."""
    before = stage.switch.dropped_events()
    stage.switch.daemon.pause()
    try:
        with stage.load.paused():
            for _ in range(_MOST_FLOODED // _FLOOD):
                stage.load.flood(_FLOOD)
                if stage.switch.dropped_events() > before:
                    return
    finally:
        stage.switch.daemon.resume()


def reload(stage: Stage) -> None:
    """SIGHUP."""
    stage.switch.daemon.signal(signal.SIGHUP)


def scripts_lost(stage: Stage) -> None:
    """SCRIPT FLUSH, which forgets what the daemon has loaded."""
    stage.switch.appl_db.script_flush()


def state_db_flushed(stage: Stage) -> None:
    """FLUSHDB of STATE_DB."""
    stage.switch.state_db.flushdb()


def foreign_damage(stage: Stage) -> None:
    """Somebody else writes, deletes and adds entries in STATE_DB; then a reconciliation is asked for. Never the same ones soon
    again: an entry that comes back wrong again and again is contested, and left as it is."""
    some = stage.random.sample([name for name in stage.ports if name not in stage.damaged], _DAMAGED)
    orphan = f"Ethernet{_FIRST_ORPHAN + stage.orphans}"
    stage.damaged.extend(some)
    stage.orphans += 1
    with stage.load.paused():
        pipeline = stage.switch.state_db.pipeline(transaction=False)
        for name in some[:3]:
            pipeline.hset(f"{schema.STATE_PORT_TABLE}|{name}", "mtu", "1")
        for name in some[3:]:
            pipeline.delete(f"{schema.STATE_PORT_TABLE}|{name}")
        pipeline.hset(f"{schema.STATE_PORT_TABLE}|{orphan}", mapping=dict.fromkeys(schema.STATE_FIELDS, "up"))
        pipeline.execute()
    stage.switch.daemon.signal(signal.SIGUSR2)


FAULTS: Final[Mapping[str, Callable[[Stage], None]]] = {
    "Redis back empty": redis_back_empty,
    "Redis back with old data": redis_back_old,
    "Redis stopped": redis_paused,
    "netlink overrun": overrun,
    "SIGHUP": reload,
    "SCRIPT FLUSH": scripts_lost,
    "STATE_DB flushed": state_db_flushed,
    "foreign damage": foreign_damage,
}


def possible(stage: Stage) -> list[str]:
    """The faults that this daemon can be asked to bear: it heals foreign damage when told by SIGUSR2, which ends one that
    does not know that signal."""
    return [name for name in FAULTS if name != "foreign damage" or stage.heeds(signal.SIGUSR2)]
