"""Every order of events, tried out once: a breadth-first search over the states of a ``World``.

Two orders that lead to the same state are one from there on. A broken rule is reported with the shortest order of
steps that leads to it.
"""

from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from tests.model.copies import clone, key_of
from tests.model.databases import BrokenRuleError
from tests.model.rules import PARTS
from tests.model.world import Move, World

_NO_PARTS = (-1,) * len(PARTS)


@dataclass(frozen=True, slots=True)
class Explored:
    """How much was tried. settled: states in which nothing was left to do."""

    states: int
    steps: int
    settled: int


@dataclass(frozen=True, slots=True)
class _Node:
    """A state. parts: a number for each part of the world, equal for equal parts. left: how often each step that does not
    come by itself may still be taken; first, how many of them in all."""

    world: World
    parts: Sequence[int]
    left: tuple[int, ...]
    number: int


class _Search:
    def __init__(self, start: World) -> None:
        self._start = start
        self._parts: dict[Hashable, int] = {}
        self._numbers: dict[Hashable, int] = {}
        # Per state: the state that it was first reached from, and how.
        self._origins: list[tuple[int, Move | None]] = []
        self.free_steps: list[tuple[int, int]] = []
        self.new: deque[_Node] = deque()

    def __len__(self) -> int:
        return len(self._origins)

    def meet(self, world: World, left: tuple[int, ...], before: _Node | None, move: Move | None) -> int:
        """The number of this state; it is to be followed up if it is new."""
        old = None if before is None else before.world
        parts = list(_NO_PARTS if before is None else before.parts)
        for n, name in enumerate(PARTS):
            part = getattr(world, name)
            if part is not getattr(old, name, None):
                parts[n] = self._parts.setdefault((name, key_of(part)), len(self._parts))
        number = self._numbers.setdefault((left, world.file, *parts), len(self))
        if number == len(self):
            self._origins.append((0 if before is None else before.number, move))
            self.new.append(_Node(world, parts, left, number))
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
    search.meet(start, (total, *leave.values()), None, None)
    while search.new:
        node = search.new.popleft()
        free = node.world.free_moves()
        if not free:
            settled += 1
            try:
                clone(node.world).check_at_rest()
            except BrokenRuleError as problem:
                raise search.report(problem, node.number) from None
        for move, left in [*((move, node.left) for move in free), *_other_moves(node, leave)]:
            world = node.world.child(move)
            steps += 1
            try:
                world.do(move)
            except BrokenRuleError as problem:
                raise search.report(problem, node.number, move) from None
            number = search.meet(world, left, node, move)
            if left is node.left:
                search.free_steps.append((node.number, number))
    _check_progress(search)
    return Explored(len(search), steps, settled)


def _other_moves(node: _Node, leave: Mapping[Move, int]) -> list[tuple[Move, tuple[int, ...]]]:
    """The steps of ``leave`` that are possible, each with what is left after it."""
    total, *each = node.left
    if not total:
        return []
    return [
        (move, (total - 1, *each[:n], each[n] - 1, *each[n + 1 :]))
        for n, move in enumerate(leave)
        if each[n] and node.world.possible(move)
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
