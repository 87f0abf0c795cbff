"""kill -9 at random moments while the links change: whatever the moment, the next start makes everything good.

``make chaos`` does it some hundred times. The seed decides which links change how, and when the daemon dies; how far it
has got by then is for the machine to say. So a round that failed does not always fail again, but its like does.
"""

import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from portsyncd.model.saved import SavedPort
from portsyncd.testing.descriptor_store import DescriptorStoreParent
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold
from portsyncd.wire import schema
from tests.chaos.churn import Churn
from tests.chaos.kept import Kept, read_all, saved_now, state_file

pytestmark = pytest.mark.root

PORTS = [f"Ethernet{4 * number}" for number in range(24)]
STEADY, OTHERS = PORTS[::2], PORTS[1::2]
LONGEST_LIFE_SECONDS = 1.5
# A start takes about half a second.
LONGEST_START_SECONDS = 0.8
LONGEST_STOP_SECONDS = 0.1
LONGEST_SAVE_SECONDS = 0.03
ROUNDS_A_LINE = 10
LOUD = ("warning", "error", "critical")
# On a machine that is busy a start takes longer than health's first look.
EXPECTED = ("health changed",)
# With and without a keeper of its socket: half of the rounds each.
WAYS = 2
SAVE_SECONDS = 1
CONFIG = {
    "warm_restart": {"save_interval_secs": SAVE_SECONDS},
    "metrics": {"sample_interval_secs": SAVE_SECONDS, "save_interval_secs": SAVE_SECONDS},
}


@pytest.fixture(params=[False, True], ids=["alone", "with its socket kept"])
def switch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Switch]:
    """A switch whose daemon saves all the time; the kernel's events are kept while it is dead, or not."""
    with ExitStack() as stack:
        store = stack.enter_context(DescriptorStoreParent(tmp_path)) if request.param else None
        yield stack.enter_context(Switch(tmp_path, config=CONFIG, store=store))


def test_whatever_the_moment_of_its_death_nothing_is_damaged_or_lost(
    switch: Switch, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    total, seed = pytestconfig.getoption("--rounds"), pytestconfig.getoption("--seed")
    print(f"make chaos ROUNDS={total} SEED={seed}")  # noqa: T201  pytest shows it where the test fails
    rounds, chance = max(total // WAYS, 1), random.Random(seed)
    witness = Witness(switch)
    with Churn(switch, steady=STEADY, others=OTHERS, seed=seed) as churn:
        for number in range(1, rounds + 1):
            live_and_die(switch, churn, chance)
            witness.look()
            if number % ROUNDS_A_LINE == 0:
                with capsys.disabled():
                    print(f"  killed {number} of {rounds} times, seed {seed}: {witness.summary()}")  # noqa: T201
        switch.daemon.start()
        switch.daemon.wait_in_sync()
    switch.wait_equal()
    witness.look_at_last()


def live_and_die(switch: Switch, churn: Churn, chance: random.Random) -> None:
    """One life of the daemon. Half of them end while it starts, or not long after; else while it runs, saves or stops."""
    switch.daemon.start()
    if chance.random() < 0.5:
        hold(chance.uniform(0, LONGEST_START_SECONDS))
    else:
        switch.daemon.wait_in_sync()
        with churn.paused():
            switch.wait_equal()
        hold(chance.uniform(0, LONGEST_LIFE_SECONDS))
        match chance.randrange(4):
            case 0 | 1:
                wait_for_save(switch)
                hold(chance.uniform(0, LONGEST_SAVE_SECONDS))
            case 2:
                switch.daemon.signal(signal.SIGTERM)
                hold(chance.uniform(0, LONGEST_STOP_SECONDS))
    switch.daemon.kill()
    switch.orchagent.check()


def wait_for_save(switch: Switch) -> None:
    """Until a save begins, or ought to have. It is over within milliseconds: too soon for one who sleeps between looks."""
    folder, end = state_file(switch).parent, time.monotonic() + 2 * SAVE_SECONDS
    before = folder.stat().st_mtime_ns
    while folder.stat().st_mtime_ns == before and time.monotonic() < end:
        pass


class Witness:
    """Compares what each life has left with what was there before."""

    def __init__(self, switch: Switch) -> None:
        """The switch is brought up, for warm starts from now on, and the daemon dead."""
        self._switch = switch
        switch.bring_up(PORTS)
        switch.enable_warm_restart()
        assert switch.daemon.terminate() == 0
        self._kept = read_all(switch)
        self._restores = self._restore_count()
        self._lives = self._restored = 0
        # What each port had lost before the daemon knew it.
        self._uncounted = uncounted(self._kept.ports.ports)

    def look(self) -> None:
        """After each death."""
        self._lives += 1
        started = bool(self._switch.daemon.events("in sync"))
        restores = self._restore_count()
        assert started <= restores - self._restores <= 1
        self._restores = restores
        self._restored += started
        assert [
            line for line in self._switch.daemon.events() if line["level"] in LOUD and line["event"] not in EXPECTED
        ] == []
        self._compare(read_all(self._switch))

    def _compare(self, kept: Kept) -> None:
        """Nothing went back, and no flap was counted twice or not at all."""
        before, after = self._kept.ports.ports, kept.ports.ports
        assert uncounted(after) == self._uncounted
        assert [name for name in STEADY if after[name].flaps < before[name].flaps] == []
        assert kept.chronicle.warm_restarts >= self._kept.chronicle.warm_restarts
        assert kept.chronicle.warm_restarts <= self._restores
        assert len(kept.history.starts) >= len(self._kept.history.starts)
        assert len(kept.history.samples) >= len(self._kept.history.samples)
        self._kept = kept

    def look_at_last(self) -> None:
        """The daemon lives, and the links rest. It has counted what the kernel has, in spite of all deaths."""

        def all_are_counted() -> bool:
            saved = saved_now(self._switch)
            assert saved is not None
            return {name: saved.ports[name].carrier_losses for name in STEADY} == self._carrier_losses()

        # linkwatch takes a second to report carrier changes, and the state is saved a second later.
        self._switch.wait(all_are_counted, "the daemon has seen every carrier loss")
        assert self._switch.daemon.terminate() == 0
        self.look()
        counted = {name: self._kept.ports.ports[name].flaps + self._uncounted[name] for name in STEADY}
        assert counted == self._carrier_losses()
        assert self._kept.history.starts[-1].stopped

    def _carrier_losses(self) -> dict[str, int]:
        """As the kernel has counted them."""
        with self._switch.namespace.enter(), IPRoute() as kernel:
            links = {link.get("ifname"): link.get("carrier_down_count") for link in kernel.get_links()}
        return {name: links[name] for name in STEADY}

    def _restore_count(self) -> int:
        return int(self._switch.state_db.hget(schema.WARM_KEY, "restore_count") or 0)

    def summary(self) -> str:
        flaps = sum(self._kept.ports.ports[name].flaps for name in STEADY)
        return f"{self._restored} of {self._lives} starts came to their end, {flaps} flaps counted"


def uncounted(ports: Mapping[str, SavedPort]) -> dict[str, int]:
    return {name: ports[name].carrier_losses - ports[name].flaps for name in STEADY}
