"""Documents that outlive the process: one file each, replaced as a whole, with backups of its earlier versions beside it.

In the folder of ``port_state.json`` stand:

- ``port_state.json.backup-000017``: earlier versions. The number only grows, so that a clock that is set back does not
  make an old one the newest.
- ``port_state.json.tmp-4711``: what process 4711 is writing, or was when it died.
- ``port_state.json.corrupt-20261121T141233Z-001``: what was found unusable (``wire.statefile.Flaw``), and when. Kept for the
  operator to look at, never loaded again.

At every moment of a save one whole version stands under its own name or as the newest backup, on the disk and not only
in its cache: the process may be killed and the power fail between any two steps.
"""

import errno
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from portsyncd.backends.base import Kept, Loaded
from portsyncd.backends.files import Place, here, read_kept
from portsyncd.errors import FileError
from portsyncd.logs import get_logger
from portsyncd.wire.statefile import Envelope, Flaw, FlawedError, age_flaw, decode, encode

# What is kept is for the owner and the group (operators); others may pass through the folder to what is exported there.
_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o640
# A hundred thousand ports make 12 MB; nothing of this size was written here.
_MAX_BYTES: Final = 256 << 20
_MAX_SET_ASIDE: Final = 10
# What link(2) says where a file system has no hard links, or where fs.protected_hardlinks forbids this one.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

# Longer than a thread takes to wake up: one that finds the interpreter taken again waits its 5 ms from the beginning.
_PAUSE_SECONDS: Final = 0.0001

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Steps:
    """What changes the disk, step by step: what can fail, or be the last thing that a process did."""

    makedirs: Callable[..., None] = os.makedirs
    open: Callable[..., int] = os.open
    fchmod: Callable[[int, int], None] = os.fchmod
    write: Callable[[int, memoryview], int] = os.write
    fsync: Callable[[int], None] = os.fsync
    link: Callable[..., None] = os.link
    rename: Callable[[Path, Path], None] = os.rename
    unlink: Callable[[Path], None] = os.unlink


class _Beside(NamedTuple):
    """What stands in the folder and belongs to one document; each oldest first. temporaries: those of no live process."""

    backups: list[Path]
    next_number: int
    temporaries: list[Path]
    set_aside: list[Path]


class KeptFile:
    """See ``backends.base.KeptDocument``.

    kind, version: what the content is; a file of another kind or version is not loaded. max_backups: how many earlier
    versions to keep, from 0. max_age: seconds after which a version is of no use, as is one of the future; infinite: its
    date does not matter. wall: Unix seconds.

    One that is loading or saving lets others wait their turn; a save that is cancelled is finished by its thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        kind: str,
        version: int,
        max_backups: int,
        wall: Callable[[], float],
        max_age: float = math.inf,
        place: Callable[[], Place] = here,
        steps: Steps | None = None,
    ) -> None:
        self._path = path
        self._kind = kind
        self._version = version
        self._max_backups = max_backups
        self._wall = wall
        self._max_age = max_age
        self._place = place
        self._steps = steps or Steps()
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def load(self) -> Loaded:
        """The newest version that can be trusted; what cannot be is set aside. Never raises."""
        # A disk that hangs keeps the thread and nobody else.
        return await trio.to_thread.run_sync(self._load, limiter=self._one_at_a_time, abandon_on_cancel=True)

    async def save(self, content: Mapping[str, Any]) -> Kept:
        """Replace it as a whole. ``content`` must not change meanwhile, nor after a cancellation.

        Raises ``FileError``; then the former version is still there, or the new one where only the last steps failed: its
        way to the disk, the deletion of old backups. Raises ``ValueError`` or ``TypeError`` for what JSON cannot hold.
        """
        return await trio.to_thread.run_sync(self._save, content, limiter=self._one_at_a_time, abandon_on_cancel=True)

    # ---- saving

    def _save(self, content: Mapping[str, Any]) -> Kept:
        try:
            place = self._place()
            envelope = Envelope(self._wall(), place.boot_id, place.network_namespace, content)
            raw = encode(self._kind, self._version, envelope, _let_others_run)
            self._steps.makedirs(self._path.parent, _FOLDER_MODE, exist_ok=True)
            beside = self._look_beside()
            for left_over in beside.temporaries:
                self._try_to_unlink(left_over)  # first, since the disk may be full
            backup = self._replace(raw, beside)
            backups = beside.backups if backup is None else [*beside.backups, backup]
            surplus = backups[: max(len(backups) - self._max_backups, 0)]
            for old in surplus:
                self._steps.unlink(old)
        except OSError as problem:
            raise FileError(f"could not save {self._path}: {problem.strerror or problem}") from problem
        return Kept(backups_created=int(backup is not None), backups_cleaned=len(surplus), size=len(raw))

    def _replace(self, raw: bytes, beside: _Beside) -> Path | None:
        """Write the new version, make the current one a backup, and put the new one in its place."""
        temporary = self._path.with_name(f"{self._path.name}.tmp-{os.getpid()}")
        try:
            self._write(temporary, raw)
            backup = self._back_up(beside)
            self._steps.rename(temporary, self._path)
        except OSError:
            self._try_to_unlink(temporary)
            raise
        self._sync_folder()
        return backup

    def _write(self, path: Path, raw: bytes) -> None:
        # O_EXCL also means that no symbolic link is followed.
        file = self._steps.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            self._steps.fchmod(file, _FILE_MODE)  # whatever the umask took
            rest = memoryview(raw)
            while rest:
                rest = rest[self._steps.write(file, rest) :]
            self._steps.fsync(file)
        finally:
            os.close(file)

    def _back_up(self, beside: _Beside) -> Path | None:
        """Give the current version a second name; None where there is nothing to back up."""
        if not self._max_backups:
            return None
        try:
            current = self._path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(current.st_mode):
            return None
        if beside.backups and os.path.samestat(current, beside.backups[-1].lstat()):
            return beside.backups.pop()  # made by a save that got no further; it counts for this one
        backup = self._path.with_name(f"{self._path.name}.backup-{beside.next_number:06d}")
        try:
            self._steps.link(self._path, backup, follow_symlinks=False)
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
            self._steps.rename(self._path, backup)
        return backup

    def _sync_folder(self) -> None:
        folder = self._steps.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._steps.fsync(folder)
        finally:
            os.close(folder)

    # ---- loading

    def _load(self) -> Loaded:
        flaws = []
        for path in self._newest_first():
            judged = self._judge(path)
            if isinstance(judged, Flaw):
                flaws.append(judged)
                self._set_aside(path, judged)
            elif judged is not None:
                return Loaded(
                    content=judged.content,
                    saved_at=judged.saved_at,
                    trusted=self._is_here(judged),
                    backup=path != self._path,
                    set_aside=tuple(flaws),
                )
        return Loaded(set_aside=tuple(flaws))

    def _newest_first(self) -> Iterator[Path]:
        yield self._path
        try:
            yield from reversed(self._look_beside().backups)
        except FileNotFoundError:
            pass  # the folder is made by the first save
        except OSError as problem:
            _log.warning("cannot look for backups", folder=str(self._path.parent), reason=problem.strerror)

    def _judge(self, path: Path) -> Envelope | Flaw | None:
        """What the file holds, or why it must not be used; None where it is absent or cannot be read: it may be sound."""
        try:
            raw = read_kept(path, _MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as problem:
            _log.warning("a saved file cannot be read", file=str(path), reason=problem.strerror)
            return None
        if raw is None:
            return Flaw.CORRUPT
        try:
            envelope = decode(raw, self._kind, self._version)
        except FlawedError as problem:
            return problem.flaw
        return age_flaw(envelope, self._wall(), self._max_age) or envelope

    def _is_here(self, envelope: Envelope) -> bool:
        try:
            return Place(envelope.boot_id, envelope.network_namespace) == self._place()
        except OSError:
            return False

    def _set_aside(self, path: Path, flaw: Flaw) -> None:
        """Rename it, for good or until there are too many such. Where that cannot be done it stays: it is judged anew."""
        stem = f"{self._path.name}.{flaw}-{datetime.fromtimestamp(self._wall(), UTC):%Y%m%dT%H%M%SZ}-"
        try:
            others = self._look_beside().set_aside
            numbers = [int(other.name.removeprefix(stem)) for other in others if other.name.startswith(stem)]
            aside = self._path.with_name(f"{stem}{max(numbers, default=0) + 1:03d}")
            self._steps.rename(path, aside)
        except OSError as problem:
            _log.warning("a saved file is not usable", file=str(path), reason=flaw, not_renamed=problem.strerror)
            return
        _log.warning("a saved file is not usable: set aside", file=str(path), reason=flaw, new_name=aside.name)
        for old in others[: max(len(others) + 1 - _MAX_SET_ASIDE, 0)]:
            self._try_to_unlink(old)

    # ---- both

    def _look_beside(self) -> _Beside:
        own = re.escape(self._path.name)
        kinds = "|".join(Flaw)
        named = re.compile(rf"{own}\.(?:backup-(\d{{6,}})|tmp-(\d+)|(?:{kinds})-(\d{{8}}T\d{{6}}Z-\d{{3,}}))", re.ASCII)
        backups, temporaries, set_aside = [], [], []
        for path in self._path.parent.iterdir():
            match = named.fullmatch(path.name)
            if match is None:
                continue
            number, process, moment = match.groups()
            if number is not None:
                backups.append((int(number), path))
            elif process is None:
                set_aside.append((moment, path))
            elif process == str(os.getpid()) or not Path("/proc", process).exists():
                temporaries.append(path)
        backups.sort()
        set_aside.sort()
        return _Beside(
            backups=[path for _, path in backups],
            next_number=backups[-1][0] + 1 if backups else 1,
            temporaries=temporaries,
            set_aside=[path for _, path in set_aside],
        )

    def _try_to_unlink(self, path: Path) -> None:
        with suppress(OSError):
            self._steps.unlink(path)


def _let_others_run() -> None:
    """Give the event loop's thread the interpreter, which it else gets only after ``sys.getswitchinterval()``."""
    time.sleep(_PAUSE_SECONDS)  # noqa: TID251  this is a worker thread
