"""Where kept documents are: in memory, and in a real folder."""

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from portsyncd.backends.base import KeptDocument
from portsyncd.backends.files import Place
from portsyncd.backends.kept import KeptFile, Steps
from portsyncd.testing.fake_files import FakeKept


class World(Protocol):
    """A document, and what happens to it. now: the wall clock. broken: the disk is full."""

    now: float
    broken: bool
    document: KeptDocument

    @property
    def current(self) -> bytes | None:
        """The newest version as it stands there."""

    def damage_current(self, damage: Callable[[bytes], bytes]) -> None:
        """Put what this makes of it in its place."""

    def backups(self) -> int:
        """How many there are."""

    def damage_backup(self, damage: Callable[[bytes], bytes]) -> None:
        """The same with the newest one."""

    def boot(self) -> None:
        """The machine starts anew."""


class FakeWorld:
    def __init__(self, _folder: Path, *, max_backups: int = 3, max_age: float = math.inf) -> None:
        self.now = 1_763_000_000.0
        self.document = FakeKept(max_backups=max_backups, max_age=max_age, wall=lambda: self.now)

    @property
    def broken(self) -> bool:
        return self.document.broken

    @broken.setter
    def broken(self, value: bool) -> None:
        self.document.broken = value

    @property
    def current(self) -> bytes | None:
        return self.document.current

    def damage_current(self, damage: Callable[[bytes], bytes]) -> None:
        assert self.document.current is not None
        self.document.current = damage(self.document.current)

    def backups(self) -> int:
        return len(self.document.backups)

    def damage_backup(self, damage: Callable[[bytes], bytes]) -> None:
        self.document.backups[-1] = damage(self.document.backups[-1])

    def boot(self) -> None:
        self.document.boot_id += " is over"


class RealWorld:
    def __init__(self, folder: Path, *, max_backups: int = 3, max_age: float = math.inf) -> None:
        self.now = 1_763_000_000.0
        self.broken = False
        self._path = folder / "lib" / "state.json"
        self._place = Place("this boot", 1)
        self.document = KeptFile(
            self._path,
            kind="test",
            version=1,
            max_backups=max_backups,
            max_age=max_age,
            wall=lambda: self.now,
            place=lambda: self._place,
            steps=Steps(write=self._write),
        )

    def _write(self, file: int, data: memoryview) -> int:
        if self.broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, data)

    @property
    def current(self) -> bytes | None:
        return self._path.read_bytes() if self._path.exists() else None

    def damage_current(self, damage: Callable[[bytes], bytes]) -> None:
        self._path.write_bytes(damage(self._path.read_bytes()))

    def _backups(self) -> list[Path]:
        return sorted(self._path.parent.glob("state.json.backup-*"))

    def backups(self) -> int:
        return len(self._backups())

    def damage_backup(self, damage: Callable[[bytes], bytes]) -> None:
        newest = self._backups()[-1]
        newest.write_bytes(damage(newest.read_bytes()))

    def boot(self) -> None:
        self._place = Place("another boot", 1)
