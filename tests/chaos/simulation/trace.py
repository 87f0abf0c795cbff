"""What happened in a simulation, with virtual times, and a digest of it: the same seed must give the same."""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import TextIO

import trio

_KEPT_LINES = 60


class Trace:
    """lines: the last ones. echo: where every line is written as well. Nothing may enter it that is another in another
    process: no addresses, no clock of this machine."""

    def __init__(self, echo: TextIO | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._echo = echo
        self._digest = hashlib.sha256()

    def say(self, what: str) -> None:
        """One line, of this virtual moment."""
        line = f"{trio.current_time():11.3f}  {what}"
        self._digest.update(line.encode("utf-8", "surrogateescape"))
        self.lines.append(line)
        if self._echo is not None:
            print(line, file=self._echo)

    @property
    def digest(self) -> str:
        """Of all lines up to now."""
        return self._digest.hexdigest()[:16]


class LogSink:
    """The daemon's log as a part of the trace: a text stream for ``logs.configure``."""

    def __init__(self) -> None:
        self.trace: Trace | None = None
        # Hears each line, too.
        self.heed: Callable[[str], object] = bool

    def write(self, text: str) -> int:
        """Without the time of this machine, and without the tracebacks."""
        first, _, _ = text.partition("\n")
        if self.trace is not None and first:
            self.trace.say("  log: " + first.partition(" ")[2])
            self.heed(first)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """It is none."""
        return False
