"""One soak: a switch of its own, load, faults, checks, looks; what came of it."""

import http.client
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import databases
from bench.machine import Cores, assign_cores, describe
from bench.process import running_on
from bench.soak.faults import FAULTS, Stage, possible
from bench.soak.load import Load
from bench.soak.samples import RECOVERY_SECONDS, Check, Row, Sample, row
from bench.soak.watcher import Watcher
from portsyncd.testing.daemon_process import DaemonNotRunningError
from portsyncd.testing.switch import Switch

_STEP_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.01
_SHORTEST_ROW: Final = 0.25
# One port of so many comes and goes.
_ONE_IN: Final = 8
# Above this many looks (hours), they are taken less often.
_MOST_SAMPLES: Final = 20_000


@dataclass(frozen=True)
class Plan:
    """What is asked for. seconds: of load. rate: link changes per second. row: seconds of one row of the table. warm_up:
    seconds that do not count for growth. fault_every: seconds from fault to fault. max_growth: bytes."""

    seconds: float
    rate: float
    ports: int
    seed: int
    row: float
    warm_up: float
    fault_every: float
    max_growth: float

    @property
    def sample_every(self) -> float:
        """Seconds from look to look."""
        return max(1.0, self.seconds / _MOST_SAMPLES)


@dataclass
class Outcome:
    """What came of a soak. ended: when its load ended, in seconds since that began; less than planned where something
    stopped it, which ``stopped`` says then. rows: as they were shown."""

    plan: Plan
    machine: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    failed_scrapes: int = 0
    ended: float = 0.0
    stopped: str = ""
    broken: bool = False


def soak(plan: Plan, show: Callable[[Row], None]) -> Outcome:
    """Carry out a plan; ``show`` is told each row when it is complete. An interrupt ends it early, and so does whatever
    goes wrong with the daemon: the outcome says so."""
    outcome = Outcome(plan)
    cores = assign_cores()
    with tempfile.TemporaryDirectory(prefix="portsyncd-soak-") as folder, ExitStack() as stack:
        with running_on(cores.redis):
            # Info is what a daemon logs in service.
            config = {"daemon": {"log_level": "info"}}
            switch = stack.enter_context(Switch(Path(folder), config=config, metrics=True))
        try:
            stack.enter_context(running_on(cores.driver))
            outcome.machine = describe(switch.redis, cores, "veth")
            names = databases.port_names(plan.ports)
            _bring_up(switch, names, cores)
            _Soak(switch, names, cores=cores, outcome=outcome, show=show).run()
        except KeyboardInterrupt:
            outcome.stopped = "interrupted"
        except Exception as problem:  # noqa: BLE001  what has been seen until then is worth a report
            outcome.stopped, outcome.broken = f"{type(problem).__name__}: {problem}"[:2000], True
    return outcome


def _bring_up(switch: Switch, names: Sequence[str], cores: Cores) -> None:
    switch.load_config(names)
    with running_on(cores.daemon):
        switch.daemon.start()
    switch.orchagent.start()
    switch.daemon.wait_in_sync()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(names)
    switch.wait_settled()
    switch.wait(lambda: _scraped(switch), "the metrics endpoint answers")
    switch.redis.save()


def _scraped(switch: Switch) -> bool:
    try:
        return bool(switch.endpoint.scrape())
    except (OSError, http.client.HTTPException):
        return False


class _Soak:
    """The part with load."""

    def __init__(
        self,
        switch: Switch,
        names: Sequence[str],
        *,
        cores: Cores,
        outcome: Outcome,
        show: Callable[[Row], None],
    ) -> None:
        plan = self._plan = outcome.plan
        self._switch = switch
        self._outcome = outcome
        self._show = show
        self._begin = time.monotonic()
        rng = random.Random(plan.seed)
        others = max(1, len(names) // _ONE_IN)
        self._load = Load(
            switch, steady=names[:-others], others=names[-others:], rate=plan.rate, seed=rng.getrandbits(32)
        )
        self._stage = Stage(switch, self._load, names, cores.redis, rng)
        self._faults = self._endless(rng)

    def _endless(self, rng: random.Random) -> Iterator[str]:
        """Every possible fault once, in a random order; then again."""
        names = possible(self._stage)
        while True:
            yield from rng.sample(names, len(names))

    def run(self) -> None:
        plan, outcome = self._plan, self._outcome
        self._begin = time.monotonic()
        watcher = Watcher(self._switch, self._load, interval=plan.sample_every, begin=self._begin)
        outcome.samples = watcher.samples
        next_fault = plan.fault_every
        try:
            with self._load, watcher:
                while (now := self._now()) < plan.seconds:
                    self._check_daemon()
                    self._load.check()
                    watcher.check()
                    self._show_rows(now)
                    if now >= next_fault:
                        self._fault()
                        next_fault = max(next_fault + plan.fault_every, self._now())
                    time.sleep(_STEP_SECONDS)
                outcome.checks.append(self._check("the end"))
        finally:
            outcome.failed_scrapes = watcher.failed_scrapes
            outcome.ended = self._now()
            self._show_rows(outcome.ended, last=True)

    def _now(self) -> float:
        return time.monotonic() - self._begin

    def _show_rows(self, now: float, *, last: bool = False) -> None:
        """Show what is complete, and at the very end the rest."""
        outcome, length = self._outcome, self._plan.row
        while True:
            start = outcome.rows[-1].end if outcome.rows else 0.0
            end = min(start + length, now) if last else start + length
            # What is left at the end is no row of its own where it is hardly more than the last check.
            if end > now or end - start < length * _SHORTEST_ROW:
                return
            if not (made := row(outcome.samples, outcome.checks, start, end)):
                return
            outcome.rows.append(made)
            self._show(made)

    def _fault(self) -> None:
        name = next(self._faults)
        FAULTS[name](self._stage)
        self._outcome.checks.append(self._check(name))

    def _check(self, after: str) -> Check:
        """Pause the load and compare: until all is equal, and once more after a barrier, so that nothing is under way."""
        switch = self._switch
        with self._load.paused():
            at, begin = self._now(), time.monotonic()
            while wrong := len(switch.differences()):
                self._check_daemon()
                if time.monotonic() - begin > RECOVERY_SECONDS:
                    return Check(at, after, math.inf, wrong)
                time.sleep(_LOOK_SECONDS)
            recovery = time.monotonic() - begin
            self._check_daemon()
            switch.barrier()
            return Check(at, after, recovery, len(switch.differences()))

    def _check_daemon(self) -> None:
        if not self._switch.daemon.running:
            code = self._switch.daemon.process.returncode
            raise DaemonNotRunningError(
                f"the daemon ended with {code}; it said last:\n{self._switch.daemon.log()[-1500:]}"
            )
