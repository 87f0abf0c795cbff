"""Each service of the daemon dies, its event loop stands still, and the daemon itself dies."""

import random
import time
from collections.abc import Callable
from math import ceil

import pytest

from portsyncd.testing import burst
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold
from tests.e2e.chaos.trial import PORTS, assert_goes_on, change, now, seconds_until_told, seconds_until_well
from tests.e2e.conftest import SwitchMaker
from tests.e2e.hooks import ARGV, Hooks
from tests.e2e.recovery import Measure

pytestmark = pytest.mark.root

BLOCKED_SECONDS = 3.0
# The one that takes longest begins after the first sync, and imports much.
ALL_RUN_SECONDS = 30.0
KILLS, KILLS_IN_FULL = 3, 100  # the latter over all of --repeat
LEAK_LIMIT_MEGABYTES = 128


@pytest.fixture
def switch(make_switch: SwitchMaker) -> Switch:
    """One whose daemon has everything switched on, and can be hurt from inside."""
    return make_switch(metrics=True, argv=ARGV)


@pytest.mark.parametrize("way", [Hooks.cancel, Hooks.crash], ids=["cancelled", "crashed"])
def test_each_service_that_ends_is_rebuilt(switch: Switch, measure: Measure, way: Callable[[Hooks, str], None]) -> None:
    hooks = Hooks(switch.namespace)
    switch.bring_up(PORTS)
    switch.daemon.wait_for("metrics endpoint is open", ALL_RUN_SECONDS)
    children = hooks.children()
    assert {"writer", "reader", "guardian", "keeper", "observer", "recorder", "metrics"} <= set(children)
    tasks = hooks.tasks()
    for number, name in enumerate(children):
        began = now()
        switch.links.set(PORTS[2], mtu=2000 + number)
        way(hooks, name)
        switch.links.set(PORTS[3], mtu=2000 + number)
        failed = seconds_until_told(switch, "service failed", began, service=name)
        rebuilt = seconds_until_told(switch, "service runs again", began, service=name) - failed
        measure(f"service {name} ended; until it runs again", detected=failed, recovered=rebuilt)
        switch.wait_equal()
    change(switch)
    seconds_until_well(switch)
    switch.daemon.wait_for("metrics endpoint is open")
    switch.wait(lambda: switch.endpoint.health()["checks"], "the endpoint answers again")
    switch.wait(lambda: hooks.tasks() <= tasks, lambda: f"no task is left over: {tasks} before, {hooks.tasks()} now")
    assert_goes_on(switch)


def test_an_event_loop_that_stood_still_makes_up_for_it(switch: Switch, measure: Measure) -> None:
    switch.daemon.configure({"health": {"max_stall_seconds": 1}})
    hooks = Hooks(switch.namespace)
    switch.bring_up(PORTS)
    change(switch)
    began = now()
    hooks.block(BLOCKED_SECONDS)
    recovered = seconds_until_well(switch)
    detected = seconds_until_told(switch, "the event loop does not turn: something blocks it", began)
    (told, *_) = switch.daemon.events("the event loop does not turn: something blocks it")
    assert "hooked_daemon.py" in told["traceback"], "the stack says where it stands"
    measure(f"event loop stood still for {BLOCKED_SECONDS:g} s", detected=detected, recovered=recovered)
    assert_goes_on(switch)


def test_memory_that_is_too_much_is_told_and_stops_nothing(switch: Switch) -> None:
    switch.daemon.configure({"self_healing": {"memory_limit_mb": LEAK_LIMIT_MEGABYTES}})
    hooks = Hooks(switch.namespace)
    switch.bring_up(PORTS)
    switch.daemon.wait_for("metrics endpoint is open", ALL_RUN_SECONDS)
    assert not switch.daemon.events("memory is too much")
    hooks.leak(LEAK_LIMIT_MEGABYTES)
    change(switch)
    switch.daemon.wait_for("memory is too much")
    gave = switch.daemon.wait_for("gave memory back")
    assert {"before", "after", "limit"} <= gave.keys()
    seconds_until_well(switch)
    assert_goes_on(switch)


def test_kill_9_of_the_daemon(make_switch: SwitchMaker, measure: Measure, pytestconfig: pytest.Config) -> None:
    # What it leaves on its disk is looked at by tests/chaos/test_kill.py.
    switch, chance = make_switch(), random.Random(pytestconfig.getoption("--seed"))
    switch.bring_up(PORTS)
    indexes = [switch.links.index(name) for name in PORTS]
    in_full, runs = pytestconfig.getoption("--full"), pytestconfig.getoption("--repeat")
    for number in range(ceil(KILLS_IN_FULL / runs) if in_full else KILLS):
        switch.kernel.send(burst.mtu_flips(indexes, chance.randrange(0, 4000)))
        hold(chance.uniform(0, 0.05))
        switch.daemon.kill()
        mtu = 2000 + number
        switch.links.set(PORTS[0], mtu=mtu)
        began = time.monotonic()
        switch.daemon.start()
        switch.wait(lambda: switch.state(PORTS[0]).get("mtu") == str(mtu), "the daemon has read the links")  # noqa: B023
        switch.wait_equal()
        measure("daemon killed (SIGKILL); from its next start", recovered=time.monotonic() - began)
    change(switch)
    seconds_until_well(switch)
    assert_goes_on(switch)
