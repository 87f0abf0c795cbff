"""Every order of events, tried out once: a breadth-first search over the states of a ``World``.

Two orders that lead to the same state are one from there on. What a step does follows from the parts of the world that it
asks for: where these are the same again, so is what comes of it, and it is not taken again. A broken rule is reported with
the shortest order of steps that leads to it.
"""

from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge
from typing import Any

from tests.model.copies import clone, key_of
from tests.model.databases import BrokenRuleError
from tests.model.rules import PARTS
from tests.model.world import Move, World

# All that a step can change; and what it cannot.
_CHANGING = (*PARTS, "file", "saved")
_FIXED = ("policy", "coarse", "notifying")

# A state: for each of ``_CHANGING`` a number, equal for equal parts. Different ones never have the same.
_State = tuple[int, ...]
# How often each step that does not come by itself may still be taken; first, how many of them in all.
_Left = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Explored:
    """How much was tried. settled: states in which nothing was left to do."""

    states: int
    steps: int
    settled: int


class _Trial(World):
    """A world to take one step in: what the step asks for comes from the world before, a copy where the step may change it.
    asked: for which parts, in this order."""

    __slots__ = ("_before", "_touched", "asked")

    def __init__(self, before: World, move: Move) -> None:
        self._before = before
        self._touched: Sequence[str] = before.touched(move)
        self.asked: list[str] = []
        for name in _FIXED:
            setattr(self, name, getattr(before, name))
        if move.name == "command":
            # Which one it is has been asked just now.
            self.asked.append("sync")
            self.sync = clone(before.sync)

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._before, name)
        self.asked.append(name)
        if name in self._touched:
            part = clone(part)
        setattr(self, name, part)
        return part

    def changed(self) -> dict[str, Any]:
        """What is another object than before. It is asked for nothing more from here on."""
        self._touched = ()
        return {name: part for name in _CHANGING if (part := getattr(self, name)) is not getattr(self._before, name)}


@dataclass(frozen=True, slots=True)
class _Asks:
    """A step asks for a part; what it does next goes by the part's number."""

    place: int
    then: "dict[int, _Known]"


# What is known of a step: what it asks for next; or, at its end, which parts are others then, by their places.
_Known = _Asks | dict[int, int]


@dataclass(frozen=True, slots=True)
class _Node:
    """A state, and what is left when the search comes to it."""

    state: _State
    left: _Left
    number: int


class _Search:
    def __init__(self, start: World) -> None:
        self._start = start
        self._numbers: dict[Hashable, int] = {}
        # By their numbers.
        self._parts: list[Any] = []
        self._known: dict[Move, _Known] = {}
        # Per state: with what left the search came to it, and the numbers that these nodes have.
        self._met: dict[_State, list[tuple[_Left, int]]] = {}
        # Per node: the node that it was first reached from, and how.
        self._origins: list[tuple[int, Move | None]] = []
        self.free_steps: list[tuple[int, int]] = []
        self.new: deque[_Node] = deque()

    def __len__(self) -> int:
        return len(self._origins)

    def number(self, name: str, part: Any) -> int:
        """Of this part of a world, which is kept."""
        number = self._numbers.setdefault((name, key_of(part)), len(self._parts))
        if number == len(self._parts):
            self._parts.append(part)
        return number

    def world(self, state: _State) -> World:
        """Of this state. Nothing in it may be changed."""
        made = object.__new__(World)
        for name in _FIXED:
            setattr(made, name, getattr(self._start, name))
        for name, number in zip(_CHANGING, state, strict=True):
            setattr(made, name, self._parts[number])
        return made

    def after(self, state: _State, world: World, move: Move) -> _State:
        """The state that this step leads to from ``state``, whose world is ``world``. Raises ``BrokenRuleError``."""
        known = self._known.get(move)
        while isinstance(known, _Asks):
            known = known.then.get(state[known.place])
        if known is None:
            known = self._take(state, world, move)
        return tuple([known.get(place, number) for place, number in enumerate(state)])

    def _take(self, state: _State, world: World, move: Move) -> dict[int, int]:
        trial = _Trial(world, move)
        trial.do(move)
        # Of different kinds of keys: a step, and then numbers.
        known: dict[Any, _Known] = self._known
        key: Any = move
        for name in trial.asked:
            place = _CHANGING.index(name)
            asks = known.setdefault(key, _Asks(place, {}))
            assert isinstance(asks, _Asks)
            known, key = asks.then, state[place]
        changed = {_CHANGING.index(name): self.number(name, part) for name, part in trial.changed().items()}
        known[key] = changed
        return changed

    def meet(self, state: _State, left: _Left, before: _Node | None, move: Move | None) -> int:
        """The number of the node; it is to be followed up, unless all that can come of it comes of one that was met before:
        of the same state, with no step less that is left."""
        met = self._met.setdefault(state, [])
        for other, number in met:
            if all(map(ge, other, left)):
                return number
        number = len(self)
        met.append((left, number))
        self._origins.append((0 if before is None else before.number, move))
        self.new.append(_Node(state, left, number))
        return number

    def report(self, problem: object, number: int, *last: Move) -> BrokenRuleError:
        """The broken rule, with the order of steps that led to it."""
        moves = deque(last)
        while (move := self._origins[number][1]) is not None:
            moves.appendleft(move)
            number = self._origins[number][0]
        return BrokenRuleError(f"{problem}, after:\n{order_in_words(self._start, moves)}")


def order_in_words(start: World, moves: Sequence[Move]) -> str:
    """The steps, one a line; commands with what they say. The last of them may break a rule: it is not taken."""
    world, lines = start, []
    for place, move in enumerate(moves, 1):
        lines.append(f"{place:3}. {world.describe(move)}")
        if place < len(moves):
            world = world.child(move)
            world.do(move)
    return "\n".join(lines)


def explore(start: World, leave: Mapping[Move, int], total: int) -> Explored:
    """Try every order of all steps that come by themselves and at most ``total`` of those in ``leave``, each as often as
    that says. Raises ``BrokenRuleError`` whose text has the order."""
    search = _Search(start)
    steps = settled = 0
    search.meet(
        tuple(search.number(name, getattr(start, name)) for name in _CHANGING), (total, *leave.values()), None, None
    )
    while search.new:
        node = search.new.popleft()
        world = search.world(node.state)
        free = world.free_moves()
        if not free:
            settled += 1
            try:
                clone(world).check_at_rest()
            except BrokenRuleError as problem:
                raise search.report(problem, node.number) from None
        for move, left in [*((move, node.left) for move in free), *_other_moves(world, node.left, leave)]:
            steps += 1
            try:
                state = search.after(node.state, world, move)
            except BrokenRuleError as problem:
                raise search.report(problem, node.number, move) from None
            number = search.meet(state, left, node, move)
            if left is node.left:
                search.free_steps.append((node.number, number))
    _check_progress(search)
    return Explored(len(search), steps, settled)


def _other_moves(world: World, left: _Left, leave: Mapping[Move, int]) -> list[tuple[Move, _Left]]:
    """The steps of ``leave`` that are possible, each with what is left after it."""
    total, *each = left
    if not total:
        return []
    return [
        (move, (total - 1, *each[:n], each[n] - 1, *each[n + 1 :]))
        for n, move in enumerate(leave)
        if each[n] and world.possible(move)
    ]


def _check_progress(search: _Search) -> None:
    """What comes by itself must come to an end: no state leads back to itself."""
    awaited = Counter(after for _, after in search.free_steps)
    following: dict[int, list[int]] = {}
    for before, after in search.free_steps:
        following.setdefault(before, []).append(after)
    ended = deque(number for number in range(len(search)) if not awaited[number])
    while ended:
        for after in following.pop(ended.popleft(), ()):
            awaited[after] -= 1
            if not awaited[after]:
                ended.append(after)
    if following:
        raise search.report("it never settles: steps lead round in a circle", min(following))
