"""Waiting for something to become true: the way in which tests here wait."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

POLL_SECONDS: Final = 0.01


class DeadlineError(AssertionError):
    """A condition did not become true in time. The message says which, and what was seen last."""


def until(condition: Callable[[], T], deadline_seconds: float = 15.0, what: str | Callable[[], str] = "condition") -> T:
    """Poll ``condition`` until it returns something true, and return that.

    Raises ``DeadlineError`` with ``what`` (a callable is asked only then, so that it can report the situation) and the
    last value. The condition is always tried once more after the deadline, so that a process that was not scheduled
    for long does not fail for that alone. What the condition raises goes up at once.
    """
    end = time.monotonic() + deadline_seconds
    while True:
        late = time.monotonic() >= end
        value = condition()
        if value:
            return value
        if late:
            said = what if isinstance(what, str) else what()
            raise DeadlineError(f"not within {deadline_seconds:g} s: {said}; last seen: {value!r}")
        time.sleep(POLL_SECONDS)


def hold(seconds: float) -> None:
    """Let real time pass: only for a fault whose length is what a test is about, never to wait for something."""
    time.sleep(seconds)
