"""A subtask raises where it awaits something: at any await of any task of a child of the supervisor."""

from collections.abc import Callable, Iterator

import outcome
import trio
from trio.lowlevel import Task

# What waits inside of Trio's own bookkeeping cannot raise what it likes.
_NOT_THERE = frozenset({"_nested_child_finished", "acquire", "start"})


class InjectedError(RuntimeError):
    """A bug that nobody has thought of."""


class Crasher(trio.abc.Instrument):
    """Armed with a child's name and a number, it lets the child raise at its await of that number from now on.

    thrown: how often that has happened, by child. told: is called with the place each time.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self.thrown: dict[str, int] = {}
        self._told = told
        self._child = ""
        self._left = 0

    def arm(self, child: str, awaits: int) -> None:
        """The next one."""
        if not self._child:
            trio.lowlevel.add_instrument(self)
        self._child, self._left = child, awaits

    def disarm(self) -> None:
        """None."""
        if self._child:
            self._child = ""
            trio.lowlevel.remove_instrument(self)

    def before_task_step(self, task: Task) -> None:
        """Raise instead of what the task was to go on with, if it may."""
        if child_of(task) != self._child or not isinstance(task._next_send, outcome.Value):
            return
        self._left -= 1
        where = list(awaits(task.coro))
        if self._left > 0 or _NOT_THERE.intersection(where):
            return
        task._next_send = outcome.Error(InjectedError("an injected failure"))
        self.thrown[self._child] = self.thrown.get(self._child, 0) + 1
        self._told(f"{self._child} raises in {' > '.join(where[-6:])}")
        self.disarm()


def child_of(task: Task) -> str:
    """The name of the supervisor's child that a task belongs to; "" for any other task."""
    below = ""
    while task.parent_nursery is not None:
        if task.name.startswith("supervisor of "):
            return below
        below = task.name
        task = task.parent_nursery.parent_task
    return ""


def awaits(coroutine: object) -> Iterator[str]:
    """The functions that are awaiting one another, outermost first."""
    while coroutine is not None:
        code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
        if code is None:
            return
        yield code.co_name
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
