"""Files that the daemon keeps: the list of old links, in a folder under /run that a boot empties; and how its files are
opened, so that a folder in which others can write does not turn it against other files."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import trio

from portsyncd.errors import FileError
from portsyncd.logs import get_logger
from portsyncd.model.commands import OldLinks
from portsyncd.reading import read_file

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NETWORK_NAMESPACE = Path("/proc/self/ns/net")

log = get_logger()

_FILE_MODE: Final = 0o640
# A hundred thousand ifindexes make 1 MB.
_MAX_BYTES: Final = 16 << 20
_LARGEST_IFINDEX: Final = 2**31 - 1
# Every session with Redis waits for this file: where its folder hangs, the port sync goes on without it.
_ANSWER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where ifindexes mean something: a boot of the machine, and a network namespace (its inode number)."""

    boot_id: str
    network_namespace: int


def here() -> Place:
    """The place of this process."""
    return Place(_BOOT_ID.read_text(encoding="ascii").strip(), _NETWORK_NAMESPACE.stat().st_ino)


def read_kept(path: Path, most: int) -> bytes | None:
    """All of a regular file; None where it has more than ``most`` bytes. Raises ``OSError``, also for anything but a file: what
    somebody else put there (a link, a FIFO) is neither followed, nor waited for."""
    try:
        return read_file(path, most, follow=False)[0]
    except OSError as problem:
        if problem.errno == errno.EFBIG:
            return None
        raise


def open_new(path: Path, mode: int) -> BinaryIO:
    """A file of this mode, whatever the umask, that did not exist before: a left-over goes, and so does a link that somebody
    put there, never what it points at. Raises ``OSError``."""
    path.unlink(missing_ok=True)
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb")
    os.fchmod(file.fileno(), mode)
    return file


class OldLinksFile:
    """See ``backends.base.OldLinksStore``; one small JSON file, replaced as a whole.

    One that is loading or saving lets others wait their turn; a save that is given up is finished by its thread, also for who
    has given up waiting behind it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "old_links.json"
        self._one_at_a_time = trio.CapacityLimiter(1)
        # What is to be kept.
        self._newest: OldLinks | None = None

    async def load(self) -> OldLinks | None:
        """What was kept in this boot and network namespace; None when nothing usable was, or it is not to be had in time."""
        with trio.move_on_after(_ANSWER_SECONDS):
            return await trio.to_thread.run_sync(self._load, limiter=self._one_at_a_time, abandon_on_cancel=True)
        log.warning("the list of old links cannot be had: the port sync goes on without it", path=str(self._path))
        return None

    def _load(self) -> OldLinks | None:
        try:
            kept = json.loads(read_kept(self._path, _MAX_BYTES) or b"")
            place = here()
            if (kept["boot_id"], kept["network_namespace"]) != (place.boot_id, place.network_namespace):
                return None
            return OldLinks(str(kept["generation"]), frozenset(map(_ifindex, kept["ifindexes"])))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # Absent, or not what this daemon writes: as good as nothing.
            return None

    async def save(self, old: OldLinks) -> None:
        """Keep this instead. Raises ``FileError``."""
        self._newest = old
        with trio.move_on_after(_ANSWER_SECONDS) as waiting:
            await trio.to_thread.run_sync(self._save_newest, limiter=self._one_at_a_time, abandon_on_cancel=True)
        if waiting.cancelled_caught:
            raise FileError(f"could not write {self._path}: the disk did not answer within {_ANSWER_SECONDS:g} s")

    def _save_newest(self) -> None:
        saved: OldLinks | None = None
        while (newest := self._newest) is not None and newest is not saved:
            self._save(newest)
            saved = newest

    def _save(self, old: OldLinks) -> None:
        # Another process may write the same file (a second start by mistake); each replaces it as a whole.
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            place = here()
            content = {
                "boot_id": place.boot_id,
                "network_namespace": place.network_namespace,
                "generation": old.generation,
                "ifindexes": sorted(old.ifindexes),
            }
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with open_new(temporary, _FILE_MODE) as file:
                file.write(json.dumps(content).encode())
            temporary.replace(self._path)
        except OSError as problem:
            raise FileError(f"could not write {self._path}: {problem}") from problem


def _ifindex(value: Any) -> int:
    """Raises ``ValueError`` for what no link can have."""
    if type(value) is not int or not 0 < value <= _LARGEST_IFINDEX:
        raise ValueError(f"{value!r} is no ifindex")
    return value
