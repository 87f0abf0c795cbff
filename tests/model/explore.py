"""Every order of events, tried out once: a breadth-first search over the states of a ``World``.

Two orders that lead to the same state are one from there on. A broken rule is reported with the shortest order of
steps that leads to it.
"""

from collections import Counter, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from tests.model.copies import clone, key_of
from tests.model.outside import BrokenRuleError
from tests.model.world import PARTS, Move, World


@dataclass(frozen=True, slots=True)
class Explored:
    """How much was tried. settled: states in which nothing was left to do."""

    states: int
    steps: int
    settled: int


class _Node:
    """A state. parts: a number for each part of the world, equal for equal parts. left: how often each step may still
    be taken that needs leave; first, how many of them in all."""

    __slots__ = ("left", "number", "parts", "world")

    def __init__(self, world: World, parts: tuple[int, ...], left: tuple[int, ...], number: int) -> None:
        self.world, self.parts, self.left, self.number = world, parts, left, number


class _Search:
    def __init__(self) -> None:
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
        parts = tuple(
            before.parts[n] if before is not None and part is getattr(before.world, name) else self._part(name, part)
            for n, (name, part) in enumerate((name, getattr(world, name)) for name in PARTS)
        )
        number = self._numbers.setdefault((left, world.file, parts), len(self))
        if number == len(self):
            self._origins.append((0 if before is None else before.number, move))
            self.new.append(_Node(world, parts, left, number))
        return number

    def _part(self, name: str, part: object) -> int:
        return self._parts.setdefault((name, key_of(part)), len(self._parts))

    def report(self, problem: object, number: int, *last: Move) -> BrokenRuleError:
        """The broken rule, with the order of steps that led to it."""
        moves = list(last)
        while (origin := self._origins[number])[1] is not None:
            number, move = origin
            moves.insert(0, move)  # type: ignore[arg-type]
        lines = [f"{place:3}. {move}" for place, move in enumerate(moves, 1)]
        return BrokenRuleError("\n".join([str(problem), "after these steps:", *lines]))


def explore(start: World, leave: Mapping[Move, int], total: int) -> Explored:
    """Try every order of all free steps and of at most ``total`` of those in ``leave``, each as often as that says.

    Raises ``BrokenRuleError`` whose text has the order.
    """
    search = _Search()
    steps = settled = 0
    search.meet(start, (total, *leave.values()), None, None)
    while search.new:
        node = search.new.popleft()
        free = node.world.free_moves()
        if not free:
            settled += 1
            try:
                clone(node.world).check_settled()
            except BrokenRuleError as problem:
                raise search.report(problem, node.number) from None
        for move, left in [*((move, node.left) for move in free), *_paid_moves(node, leave)]:
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


def _paid_moves(node: _Node, leave: Mapping[Move, int]) -> list[tuple[Move, tuple[int, ...]]]:
    """The steps that have leave and are possible, each with what is left after it."""
    total, *each = node.left
    if not total:
        return []
    return [
        (move, (total - 1, *each[:n], each[n] - 1, *each[n + 1 :]))
        for n, move in enumerate(leave)
        if each[n] and node.world.possible(move)
    ]


def _check_progress(search: _Search) -> None:
    """Free steps must come to an end: no state leads back to itself by them alone."""
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
        raise search.report("it settles: free steps lead round in a circle", min(following))
