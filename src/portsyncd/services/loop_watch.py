"""Sees from a thread of its own when the event loop does not turn, because something blocks it, and says what that is.

It does nothing about it: systemd's watchdog, which is fed by the loop, expires by itself.
"""

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, process_time
from typing import Final

from portsyncd.logs import get_logger
from portsyncd.model.blockage import Blockage, Blocked, Ended

log = get_logger()

BEAT_SECONDS: Final = 1.0


class LoopWatch:
    """One for the life of the process, made and used on the loop's thread.

    limit: seconds without a ``beat`` from which on the loop is blocked. interval: between two looks.

    blocks: how often it was; longest: the longest time so far, in seconds, of those that are over.
    """

    def __init__(self, limit: float, *, interval: float = BEAT_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._limit = limit
        self._interval = interval
        self._clock = clock
        self._thread = threading.get_ident()
        self._turned = 0.0
        self.blocks = 0
        self.longest = 0.0

    def beat(self) -> None:
        """The loop turns; to be called more often than every ``limit`` seconds."""
        self._turned = self._clock()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this is open, somebody watches, and beats are due."""
        self.beat()
        over = threading.Event()
        # A daemon thread: it must not keep a process alive that wants to end.
        threading.Thread(target=self._watch, args=(over,), name="loop watch", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, over: threading.Event) -> None:
        blockage = Blockage(self._limit, self._interval)
        while not over.wait(self._interval):
            self.take(blockage.look(self._turned, self._clock(), process_time()))

    def take(self, found: Blocked | Ended | None) -> None:
        """Tell what was found, and count it."""
        match found:
            case Blocked(seconds, first):
                self.blocks += first
                log.error(
                    "the event loop does not turn: something blocks it",
                    seconds=round(seconds, 1),
                    traceback=self._stack(),
                )
            case Ended(seconds, said):
                # Unsaid where the interpreter was not to be had: a call that holds it, of which no stack was to be seen.
                self.blocks += not said
                self.longest = max(self.longest, seconds)
                log.warning("the event loop turns again", blocked_seconds=round(seconds, 1), seen=said)

    def _stack(self) -> str:
        """Where the loop's thread is now, innermost call last."""
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - the documented way to another thread's stack
        return "" if frame is None else "".join(traceback.format_stack(frame))
