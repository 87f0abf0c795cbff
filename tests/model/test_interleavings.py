"""Whatever the order in which things happen on a switch, ``PortSync`` keeps the contract: see ``rules``.

First every order, on at most two ports and with few faults; then random ones, longer, on more ports.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model import generation
from portsyncd.model.commands import Command, WaitForPorts
from portsyncd.model.generation import ExistingLinks, Generation
from portsyncd.model.sync import PortSync
from portsyncd.wire import schema
from tests.model.copies import clone, key_of
from tests.model.databases import BrokenRuleError
from tests.model.explore import explore, order_in_words
from tests.model.rules import PARTS
from tests.model.world import Move, World, running, switch, warm

PORTS = ("Ethernet0", "Ethernet4")
FIRST, SECOND = PORTS


def coarse(world: World) -> World:
    world.coarse = True
    return world


class Case(NamedTuple):
    """A switch, and what may happen on it besides what comes by itself: each step once, ``total`` of them in all."""

    start: Callable[[], World]
    steps: str
    total: int


LINK = f"create {FIRST}, delete {FIRST}, set_up {FIRST}, set_down {FIRST}"
ANSWERS = "reply_lost, request_lost, disconnect"
REDIS = f"flush, redis_empty, {ANSWERS}"
DEATHS = "crash, swss_restart"

CASES = {
    # The order of dump chunks and events, where links come, go and change under a running or a starting reader.
    "an overrun and events": Case(lambda: running(PORTS), f"{LINK}, flip_carrier {SECOND}, overrun", 5),
    "a restart and events": Case(lambda: running(PORTS), f"{LINK}, flip_carrier {SECOND}, crash", 2),
    "a first dump and events": Case(lambda: switch(PORTS, links=1), f"{LINK}, overrun", 3),
    "a warm start's first dump and events": Case(lambda: warm(PORTS), f"{LINK}, overrun", 2),
    # The order of commands and faults, at the start of a generation and later.
    "a cold start without links": Case(lambda: coarse(switch(PORTS)), f"{REDIS}, {DEATHS}", 2),
    "a cold start with an old link": Case(
        lambda: coarse(switch(PORTS, links=1)), f"flush, {ANSWERS}, {DEATHS}, delete {FIRST}, create {FIRST}", 2
    ),
    "a cold start without ports": Case(lambda: coarse(switch(())), f"flush, reply_lost, request_lost, {DEATHS}", 2),
    "explicit reset": Case(
        lambda: coarse(switch(PORTS[:1], links=1, existing_links=ExistingLinks.RESET)),
        f"flush, reply_lost, crash, delete {FIRST}, create {FIRST}",
        2,
    ),
    "explicit adoption": Case(
        lambda: coarse(switch(PORTS[:1], links=1, existing_links=ExistingLinks.ADOPT)),
        f"flush, reply_lost, crash, delete {FIRST}, create {FIRST}",
        2,
    ),
    "the last port's link": Case(lambda: coarse(running(PORTS[::-1], links=1)), f"{LINK}, {REDIS}, {DEATHS}", 2),
    "a running switch": Case(lambda: coarse(running(PORTS)), f"{LINK}, {REDIS}, {DEATHS}", 2),
    "old data": Case(lambda: coarse(running(PORTS)), f"{LINK}, redis_old, reply_lost, disconnect", 3),
    "a port that is deleted": Case(
        lambda: coarse(running(PORTS)), f"{LINK}, unconfigure {FIRST}, reply_lost, flush", 3
    ),
    "a warm start": Case(lambda: coarse(warm(PORTS)), f"{LINK}, {ANSWERS}, crash", 2),
    "a warm start before PortInitDone": Case(
        lambda: coarse(warm(PORTS[::-1], links=1)), f"create {FIRST}, {ANSWERS}, crash", 2
    ),
    "a warm start after a reboot": Case(
        lambda: coarse(warm(PORTS, foreign_only=True)), f"delete {FIRST}, {ANSWERS}, crash", 2
    ),
}


def steps(text: str) -> dict[Move, int]:
    """Each of these steps may be taken once."""
    return {Move(*step.split(" ", 1)): 1 for step in text.split(", ")}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_order_of(case: Case) -> None:
    explored = explore(case.start(), steps(case.steps), case.total)
    assert explored.settled > case.total


def test_every_order_of_a_flush_and_an_announcement_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "ROWS_PER_COMMAND", 1)
    explore(coarse(switch(PORTS)), steps("flush, crash, reply_lost"), 2)


# ---- random orders

NAMES = ("Ethernet0", "Ethernet4", "Ethernet8", "PortChannel1")
SPARE = ("Ethernet12",)
ANYTHING = [
    *(
        Move(step, name)
        for name in NAMES + SPARE
        for step in ("create", "delete", "set_up", "set_down", "flip_carrier", "foreign_write")
    ),
    *(Move("rename", f"{before} {after}") for before in (*NAMES, "swp1") for after in (*NAMES, "swp1")),
    *(Move(step, name) for name in NAMES[1:] + SPARE for step in ("configure", "unconfigure")),
    *map(
        Move,
        ("overrun", "flush", "redis_empty", "redis_old", "take", "time_out", "crash", "swss_restart", "disconnect"),
    ),
    *map(Move, ("reply_lost", "request_lost")),
]


def from_another_life(world: World) -> World:
    """What Redis may come back with is of another generation."""
    world.saved = clone(world.databases)
    world.saved.generation = "g0"
    return world


STARTS = {
    "a cold start": lambda: switch(NAMES[:3], spare=NAMES[3:] + SPARE),
    "a cold start with links": lambda: switch(NAMES[:3], links=2, spare=NAMES[3:] + SPARE),
    "explicit reset": lambda: switch(
        NAMES[:3], links=2, spare=NAMES[3:] + SPARE, existing_links=ExistingLinks.RESET
    ),
    "a running switch": lambda: running(NAMES[:3], spare=NAMES[3:] + SPARE),
    "a running switch in part": lambda: running(NAMES[:3], links=2, spare=NAMES[3:] + SPARE),
    "a warm start": lambda: warm(NAMES[:3], spare=NAMES[3:] + SPARE),
}


def choose(world: World, choice: int) -> Move:
    """Half of the steps come by themselves."""
    free = world.free_moves()
    others = [move for move in ANYTHING if world.possible(move)]
    return free[choice // 2 % len(free)] if choice % 2 and free else others[choice // 2 % len(others)]


orders = st.lists(st.integers(0, 10_000), max_size=80)


@given(st.sampled_from(sorted(STARTS)), st.booleans(), orders)
def test_any_order(start: str, notifying: bool, choices: list[int]) -> None:
    world, taken = from_another_life(STARTS[start]()), []
    world.notifying = notifying
    try:
        for choice in choices:
            taken.append(choose(world, choice))
            world.do(taken[-1])
        world.settle()
        world.check_at_rest()
    except BrokenRuleError as problem:
        again = from_another_life(STARTS[start]())
        again.notifying = notifying
        raise BrokenRuleError(f"{problem}, after:\n{order_in_words(again, taken)}") from None
