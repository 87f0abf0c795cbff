"""A disk on which any step can fail or be the last one, for the tests of kept documents."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from portsyncd.backends.files import Place
from portsyncd.backends.kept import KeptFile, Steps

NOW = 1_763_000_000.0
NAME = "port_state.json"


class CrashError(BaseException):
    """The process is killed, or the power fails, here."""


class Disk:
    """The real steps, with what goes wrong at step ``at`` (from 1; 0: nothing does).

    fault: called with the step's name and its arguments. taken: the names of the steps so far.
    """

    def __init__(self, fault: Callable[..., Any] | None = None, *, at: int = 0) -> None:
        self.taken: list[str] = []
        self.dead = False
        self._fault = fault
        self._at = at
        # What was written and is in the cache only: descriptors of our own, by those of the program.
        self._unsynced: dict[int, int] = {}

    def steps(self) -> Steps:
        real = Steps()
        names = [field.name for field in dataclasses.fields(Steps)]
        return Steps(**{name: self._step(name, getattr(real, name)) for name in names})

    def _step(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if self.dead:
                raise CrashError
            self.taken.append(name)
            if self._fault is not None and len(self.taken) == self._at:
                return self._fault(name, *arguments)
            done = real(*arguments, **options)
            if name == "open" and arguments[1] & os.O_WRONLY:
                self._unsynced[done] = os.dup(done)
            elif name == "fsync" and arguments[0] in self._unsynced:
                os.close(self._unsynced.pop(arguments[0]))
            return done

        return step

    def crash(self, name: str, *_arguments: Any) -> Any:
        """The process ends before this step. What it wrote stays in the kernel's cache, and so in the file."""
        self.dead = True
        raise CrashError(name)

    def crash_half_written(self, name: str, *arguments: Any) -> Any:
        """The process ends in the midst of a write."""
        if name == "write":
            file, data = arguments
            os.write(file, data[: len(data) // 2])
        return self.crash(name)

    def cut_power(self, name: str, *_arguments: Any) -> Any:
        """Everything that has not been flushed becomes a hole of zeros."""
        for file in self._unsynced.values():
            size = os.fstat(file).st_size
            os.ftruncate(file, 0)
            os.ftruncate(file, size)
        return self.crash(name)

    def close(self) -> None:
        for file in self._unsynced.values():
            os.close(file)
        self._unsynced.clear()


def make(folder: Path, *, max_backups: int = 2, steps: Steps | None = None, **options: Any) -> KeptFile:
    """One whose clock stands still, in a place of its own."""
    settings: dict[str, Any] = {"kind": "test", "version": 1, "wall": lambda: NOW, "place": lambda: Place("boot", 1)}
    return KeptFile(folder / NAME, max_backups=max_backups, steps=steps, **(settings | options))


def names(folder: Path) -> list[str]:
    """What is in the folder, without the document's own name at the front."""
    return sorted(path.name.removeprefix(NAME) for path in folder.iterdir())


def numbered(folder: Path) -> Iterator[Path]:
    """Folders for as many rounds as are wanted."""
    number = 0
    while True:
        number += 1
        round_folder = folder / str(number)
        round_folder.mkdir(parents=True)
        yield round_folder
