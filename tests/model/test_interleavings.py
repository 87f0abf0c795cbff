"""Whatever the order in which things happen on a switch, ``PortSync`` keeps the contract: see ``rules``.

First every order, on at most two ports and with few faults; then random ones, longer, on more ports.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portsyncd.model import generation, reconcile
from portsyncd.model.commands import Command, PortRead, WaitForPorts
from portsyncd.model.generation import ExistingLinks, Generation
from portsyncd.model.mailbox import Conflated
from portsyncd.model.port import Port
from portsyncd.model.reconcile import Reconciler, Verdict
from portsyncd.model.sync import PortSync
from tests.model.copies import clone, key_of
from tests.model.databases import BrokenRuleError
from tests.model.explore import explore, order_in_words
from tests.model.rules import PARTS
from tests.model.world import Move, World, running, switch, warm

# PortSync's own tests take its branches; here are some hundred thousand steps.
pytestmark = pytest.mark.unmeasured

PORTS = ("Ethernet0", "Ethernet4")
FIRST, SECOND = PORTS


def coarse(world: World) -> World:
    world.coarse = True
    return world


class Case(NamedTuple):
    """A switch, and what may happen on it besides what comes by itself: each step as often as it is named, and ``total``
    of them in all."""

    start: Callable[[], World]
    steps: str
    total: int


LINK = f"create {FIRST}, delete {FIRST}, set_up {FIRST}, set_down {FIRST}"
ANSWERS = "reply_lost, reply_late, request_lost"
REDIS = f"flush, redis_empty, {ANSWERS}"
DEATHS = "crash, swss_restart"

CASES = {
    # The order of dump chunks and events, where links come, go and change under a running or a starting reader.
    "an overrun and events": Case(lambda: running(PORTS), f"{LINK}, flip_carrier {SECOND}, overrun", 4),
    "a restart and events": Case(lambda: running(PORTS), f"{LINK}, flip_carrier {SECOND}, crash", 2),
    "a first dump and events": Case(lambda: switch(PORTS[:1], links=1), f"{LINK}, overrun", 3),
    "a warm start's first dump and events": Case(lambda: warm(PORTS), f"{LINK}, overrun", 2),
    # The order of commands and faults, at the start of a generation and later.
    "a cold start without links": Case(lambda: coarse(switch(PORTS)), f"{REDIS}, {DEATHS}", 2),
    "a cold start with an old link": Case(
        lambda: coarse(switch(PORTS[:1], links=1, left=True)),
        f"flush, request_lost, crash, delete {FIRST}, create {FIRST}",
        2,
    ),
    "a cold start without ports": Case(lambda: coarse(switch(())), f"flush, reply_lost, request_lost, {DEATHS}", 2),
    "explicit reset": Case(
        lambda: coarse(switch(PORTS[:1], links=1, left=True, existing_links=ExistingLinks.RESET)),
        f"flush, reply_lost, crash, delete {FIRST}, create {FIRST}",
        2,
    ),
    "explicit adoption": Case(
        lambda: coarse(switch(PORTS[:1], links=1, existing_links=ExistingLinks.ADOPT)),
        f"flush, reply_lost, crash, delete {FIRST}",
        2,
    ),
    "the last port's link": Case(lambda: coarse(running(PORTS[::-1], links=1)), f"{LINK}, {REDIS}, {DEATHS}", 2),
    "a running switch": Case(lambda: coarse(running(PORTS)), f"{LINK}, {REDIS}, {DEATHS}", 2),
    "a carrier that flaps": Case(
        lambda: coarse(running(PORTS)), f"flip_carrier {FIRST}, flip_carrier {FIRST}, {ANSWERS}", 4
    ),
    "old data": Case(lambda: coarse(running(PORTS)), f"{LINK}, redis_old, reply_lost, disconnect", 3),
    "a reconciliation": Case(
        lambda: coarse(running(PORTS)),
        f"reconcile, {LINK}, foreign_remove {FIRST}, foreign_change {FIRST}, foreign_change {SECOND}, reply_lost, flush",
        2,
    ),
    "a reconciliation of what is no link": Case(
        lambda: running(PORTS, links=1),
        f"reconcile, create {SECOND}, foreign_change {SECOND}, lose_marker, request_lost, overrun",
        2,
    ),
    "a port that is deleted": Case(lambda: coarse(running(PORTS)), f"{LINK}, wipe, unconfigure {FIRST}, reply_lost", 3),
    "a warm start": Case(
        lambda: coarse(warm(PORTS)), f"delete {FIRST}, create {FIRST}, reply_lost, crash, flush, wipe", 2
    ),
    "a warm start under explicit reset": Case(
        lambda: coarse(warm(PORTS, rebooted=True, existing_links=ExistingLinks.RESET)), f"{LINK}, reply_lost, crash", 1
    ),
    "a warm start before PortInitDone": Case(
        lambda: coarse(warm(PORTS[::-1], links=1)), f"create {FIRST}, {ANSWERS}, crash", 2
    ),
    "a warm start after a reboot": Case(
        lambda: coarse(warm(PORTS, rebooted=True)), f"delete {FIRST}, {ANSWERS}, crash", 2
    ),
}


def steps(text: str) -> Mapping[Move, int]:
    """How often each of these steps may be taken."""
    return Counter(Move(*step.split(" ", 1)) for step in text.split(", "))


def test_every_order_of_a_reconciliation_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "PORTS_PER_QUESTION", 1)
    explore(
        coarse(running(PORTS)), steps(f"{LINK}, foreign_remove {FIRST}, foreign_change {SECOND}, flush, lose_marker"), 2
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_order_of(case: Case) -> None:
    explored = explore(case.start(), steps(case.steps), case.total)
    assert explored.settled > case.total


def test_every_order_of_a_flush_and_an_announcement_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "ROWS_PER_COMMAND", 1)
    explore(coarse(switch(PORTS)), steps("flush, crash, reply_lost"), 2)


# ---- the search itself


def lose_sight_of_lost_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PortSync, "lost", lambda _self, _command: None)


def do_not_check_again_after_subscribing(patch: pytest.MonkeyPatch) -> None:
    done = PortSync.done

    def careless(self: PortSync, command: Command, answer: Collection[bool] = (), *, now: float) -> None:
        done(self, command, answer, now=now)
        if isinstance(command, WaitForPorts):
            self._dirty.clear()

    patch.setattr(PortSync, "done", careless)


def see_no_flush(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Generation, "looked", lambda _self, _look: False)


def overlook_excursions(patch: pytest.MonkeyPatch) -> None:
    take = PortSync.take

    def inattentive(self: PortSync, changes: Mapping[str, Conflated], now: float) -> None:
        take(self, {name: replace(change, dipped=False) for name, change in changes.items()}, now)

    patch.setattr(PortSync, "take", inattentive)


def take_new_links_for_old(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Generation, "forget_old", lambda self, _ifindexes: self.old.add(2))


def overlook_differences(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "judge", lambda *_: Verdict.LEAVE)


def do_not_ask_for_orphans(patch: pytest.MonkeyPatch) -> None:
    judge = Reconciler.judge

    def rash(self: Reconciler, read: PortRead, port: Port | None, now: float) -> Verdict:
        verdict = judge(self, read, port, now)
        return Verdict.HELD if verdict is Verdict.ASK else verdict

    patch.setattr(Reconciler, "judge", rash)


@pytest.mark.parametrize(
    ("fault", "case", "rule"),
    [
        (overlook_differences, "a reconciliation", "STATE_DB says what the kernel says: Ethernet0"),
        (do_not_ask_for_orphans, "a reconciliation of what is no link", "goes only with its link: Ethernet4"),
        (lose_sight_of_lost_writes, "a carrier that flaps", "STATE_DB says what the kernel says: Ethernet0"),
        (do_not_check_again_after_subscribing, "the last port's link", "STATE_DB says what the kernel says: Ethernet4"),
        (see_no_flush, "a running switch", "APPL_DB holds the generation's id"),
        (overlook_excursions, "an overrun and events", "went admin down and came back is written once: Ethernet0"),
        (take_new_links_for_old, "explicit reset", "only links that the first dump showed are old"),
    ],
)
def test_the_search_finds(
    fault: Callable[[pytest.MonkeyPatch], None], case: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    with pytest.raises(BrokenRuleError, match=rf"{rule}, after:\n +1\. "):
        test_every_order_of(CASES[case])


def test_the_search_finds_that_it_never_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    world = coarse(running(PORTS))
    # No look is the last one.
    monkeypatch.setattr(World, "look", lambda _self: None)
    with pytest.raises(BrokenRuleError, match=r"never settles: [^\n]+, after:\n  1\. flush\Z"):
        explore(world, steps("flush"), 1)


# ---- random orders

NAMES = ("Ethernet0", "Ethernet4", "Ethernet8", "PortChannel1")
SPARE = ("Ethernet12",)
ANYTHING = [
    *(
        Move(step, name)
        for name in NAMES + SPARE
        for step in (
            *("create", "delete", "set_up", "set_down", "flip_carrier"),
            *("foreign_write", "foreign_remove", "foreign_change"),
        )
    ),
    *(Move("rename", f"{before} {after}") for before in (*NAMES, "swp1") for after in (*NAMES, "swp1")),
    *(Move(step, name) for name in NAMES[1:3] + SPARE for step in ("configure", "unconfigure")),
    *map(
        Move,
        (
            "overrun",
            "flush",
            "wipe",
            "redis_empty",
            "redis_old",
            "take",
            "time_out",
            "crash",
            "swss_restart",
            "disconnect",
            "reconcile",
            "lose_marker",
        ),
    ),
    *map(Move, ("reply_lost", "reply_late", "request_lost")),
]


STARTS = {
    "a cold start": lambda: switch(NAMES[:3], spare=NAMES[3:] + SPARE),
    "a cold start with links": lambda: switch(NAMES[:3], links=2, left=True, spare=NAMES[3:] + SPARE),
    "explicit reset": lambda: switch(
        NAMES[:3], links=2, left=True, spare=NAMES[3:] + SPARE, existing_links=ExistingLinks.RESET
    ),
    "a running switch": lambda: running(NAMES[:3], spare=NAMES[3:] + SPARE),
    "a running switch in part": lambda: running(NAMES[:3], links=2, spare=NAMES[3:] + SPARE),
    "a warm start": lambda: warm(NAMES[:3], spare=NAMES[3:] + SPARE),
}


def begin(start: str, *, notifying: bool) -> World:
    """What Redis may come back with is of another generation; that it does not is part of a warm restart."""
    world = STARTS[start]()
    world.notifying = notifying
    world.saved = None if world.databases.warm else clone(world.databases)
    if world.saved is not None:
        world.saved.generation = "g0"
    return world


def choose(world: World, choice: int) -> Move:
    """Half of the steps come by themselves."""
    free = world.free_moves()
    others = [move for move in ANYTHING if world.possible(move)]
    return free[choice // 2 % len(free)] if choice % 2 and free else others[choice // 2 % len(others)]


orders = st.lists(st.integers(0, 10_000), max_size=80)


@given(st.sampled_from(sorted(STARTS)), st.booleans(), orders)
def test_any_order(start: str, notifying: bool, choices: list[int]) -> None:
    world, taken = begin(start, notifying=notifying), list[Move]()
    try:
        for choice in choices:
            taken.append(choose(world, choice))
            world.do(taken[-1])
        world.settle()
        world.check_at_rest()
    except BrokenRuleError as problem:
        order = order_in_words(begin(start, notifying=notifying), taken)
        raise BrokenRuleError(f"{problem}, after:\n{order}") from None


@given(st.sampled_from(sorted(STARTS)), orders)
@settings(max_examples=20)
def test_a_step_leaves_the_world_that_it_came_from_as_it_was(start: str, choices: list[int]) -> None:
    world = begin(start, notifying=True)
    for choice in choices:
        move = choose(world, choice)
        before = [key_of(getattr(world, name)) for name in PARTS]
        after = world.child(move)
        after.do(move)
        assert [key_of(getattr(world, name)) for name in PARTS] == before, move
        world = after
