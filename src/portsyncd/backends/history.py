"""The history: an SQLite database with the daemon's starts, its samples and the flaps of its ports.

It is in WAL mode with ``synchronous=NORMAL``: a transaction is there as a whole or not at all, whatever the moment at
which the process or the machine ends, so that there are no torn records to look for. The end of the process loses
nothing that was written; the end of the machine may lose what was written since the last checkpoint. sqlite3 is imported
when the file is opened: a daemon that keeps nothing never pays for it.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

import trio

from portsyncd.analytics.history import LATEST, History, PortFlaps, Sample, Start
from portsyncd.backends import history_form as form
from portsyncd.backends.history_form import DamagedError
from portsyncd.errors import FileError
from portsyncd.logs import get_logger
from portsyncd.wire.statefile import Flaw

if TYPE_CHECKING:
    import sqlite3

log = get_logger()

_Result = TypeVar("_Result")

FILE_NAME: Final = "history.db"
# SQLite's log, and its index of the log, stand beside it.
_WAL: Final = "-wal"
_WAL_INDEX: Final = "-shm"

_PAGE_BYTES: Final = 4096
# The log becomes part of the database when it is so long, and is cut to that.
_WAL_PAGES: Final = 64
# What is read every few minutes is in the kernel's cache anyway; SQLite's own would take 2 MB.
_CACHE_KIB: Final = 256
# Room that the log and its index may take of what is allowed.
_RESERVED_BYTES: Final = 512 * 1024
# The oldest part that goes when there is too much; and the share of the allowed pages that is too much.
_PART: Final = 16
_FULL: Final = 15 / 16
# Another process that writes to the file (a second daemon by mistake) is waited for so long.
_BUSY_SECONDS: Final = 1.0

# When a row was last true.
_MOMENTS: Final = {"starts": "max(at, seen)", "samples": "at", "flaps": "at"}


class HistoryFile:
    """See ``backends.base.HistoryStore``; ``history.db`` in ``folder``, which is made where it is missing.

    max_bytes: of the database and its log together. A reading sums up where there are more than ``SAMPLES_READ`` samples
    (the worst health, the sums of seconds and counts, the highest of the others) or ``FLAPS_READ`` flaps (those of a
    port at their mean moment); see ``backends.history_form``.

    A file that is damaged or has a foreign version is renamed to ``history.db.<flaw>``, in place of an earlier one, and a
    new one is begun: where the file is opened, or after the first request that finds it so, which fails. After any failure
    the next request opens the file anew.

    A request that is cancelled is left to its thread, and the next one waits for that: so a disk that hangs holds up
    nobody who does not want to wait.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._path = folder / FILE_NAME
        self._max_pages = max(1, (max_bytes - _RESERVED_BYTES) // _PAGE_BYTES)
        self._one_at_a_time = trio.CapacityLimiter(1)
        # These belong to the thread at work.
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._life: int | None = None
        self._damaged = 0

    @property
    def damaged(self) -> int:
        return self._damaged

    async def counted(self) -> Mapping[str, int]:
        return await self._do(form.counted)

    async def begin(self, start: Start) -> None:
        await self._do(partial(self._begin, start))

    async def update(self, start: Start) -> None:
        await self._do(partial(self._update, start))

    async def append(self, sample: Sample, flaps: Sequence[PortFlaps]) -> None:
        await self._do(partial(self._append, sample, flaps))

    async def trim(self, before: float) -> None:
        await self._do(partial(self._trim, before))

    async def read(self, since: float, until: float = LATEST) -> History:
        return await self._do(lambda connection: form.read(connection, since, until))

    async def close(self) -> None:
        await self._in_thread(self._disconnect)

    # ---- in the thread

    async def _do(self, action: Callable[["sqlite3.Connection"], _Result]) -> _Result:
        return await self._in_thread(partial(self._carry_out, action))

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        # The limiter counts a thread that was left until it ends.
        return await trio.to_thread.run_sync(work, limiter=self._one_at_a_time, abandon_on_cancel=True)

    def _carry_out(self, action: Callable[["sqlite3.Connection"], _Result]) -> _Result:
        import sqlite3

        try:
            try:
                return action(self._connect())
            except (sqlite3.Error, UnicodeDecodeError, DamagedError) as problem:
                self._disconnect()
                if damage := _damage(problem):
                    self._set_aside(damage)
                raise
        except (sqlite3.Error, UnicodeDecodeError, DamagedError, OSError) as problem:
            raise FileError(f"could not use the history {self._path}: {problem}") from problem

    def _connect(self) -> "sqlite3.Connection":
        """The open database; a new one where there is none, or one that cannot be used."""
        if self._connection is not None and not self._is_in_place():
            # Somebody deleted or replaced the file: what is written to the old one nobody will ever see.
            self._disconnect()
        if self._connection is None:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                self._connection = self._open()
            except DamagedError as damage:
                self._set_aside(damage)
                self._connection = self._open()
            self._inode = self._path.stat().st_ino
        return self._connection

    def _is_in_place(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _open(self) -> "sqlite3.Connection":
        import sqlite3

        # SQLite would make it 0644, would open one that it may not write without a word, and would follow a link.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640))
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException as problem:
            # Whatever it was, nobody else will close it.
            connection.close()
            # The file can be written and the statements are right: these two come of a damaged header or schema.
            if damage := _damage(problem, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_ERROR):
                raise damage from problem
            raise
        return connection

    def _prepare(self, connection: "sqlite3.Connection") -> None:
        # These two take effect in a database that has no page yet.
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        connection.text_factory = form.text
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_PAGES * _PAGE_BYTES}")
        form.create(connection)
        form.verify(connection)
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedError(Flaw.CORRUPT, verdict)
        self._bound(connection)

    def _bound(self, connection: "sqlite3.Connection") -> None:
        # The last resort; SQLite takes the present size where that is larger.
        connection.execute(f"PRAGMA max_page_count = {self._max_pages}")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _set_aside(self, damage: DamagedError) -> None:
        """Rename the file and its log. Raises ``OSError``."""
        flaw = damage.flaw.value
        log.warning("history set aside, a new one begins", path=str(self._path), reason=flaw, problem=str(damage))
        for suffix in (_WAL, ""):
            aside = self._path.with_name(f"{FILE_NAME}.{flaw}{suffix}")
            aside.unlink(missing_ok=True)
            if (there := self._path.with_name(FILE_NAME + suffix)).exists():
                there.rename(aside)
        self._path.with_name(FILE_NAME + _WAL_INDEX).unlink(missing_ok=True)
        self._damaged += damage.flaw.damage

    def _begin(self, start: Start, connection: "sqlite3.Connection") -> None:
        self._life = None
        self._update(start, connection)

    def _update(self, start: Start, connection: "sqlite3.Connection") -> None:
        values = form.start_row(start)
        if connection.execute(form.UPDATE_START, (*values, self._life)).rowcount == 0:
            # It begins, or the file that had it is gone.
            self._life = connection.execute(form.INSERT_START, values).lastrowid

    def _append(self, sample: Sample, flaps: Sequence[PortFlaps], connection: "sqlite3.Connection") -> None:
        connection.execute("BEGIN IMMEDIATE")
        self._make_room(connection)
        connection.execute(form.INSERT_SAMPLE, form.sample_row(sample))
        connection.executemany(form.INSERT_FLAPS, map(form.flaps_row, flaps))
        connection.execute("COMMIT")

    def _trim(self, before: float, connection: "sqlite3.Connection") -> None:
        connection.execute("BEGIN IMMEDIATE")
        self._delete(connection, before)
        self._make_room(connection)
        connection.execute("COMMIT")
        # Gives one page back with each step, and has no rows: only a script is carried on to its end.
        connection.executescript("PRAGMA incremental_vacuum")
        self._bound(connection)

    def _make_room(self, connection: "sqlite3.Connection") -> None:
        """Delete the oldest part until what is left is not too much."""
        while (
            form.number(connection, "page_count") - form.number(connection, "freelist_count") > self._max_pages * _FULL
        ):
            counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _MOMENTS}  # noqa: S608 # the tables are constants
            longest = max(counts, key=counts.__getitem__)
            oldest = f"SELECT {_MOMENTS[longest]} AS moment FROM {longest} ORDER BY moment LIMIT 1 OFFSET ?"  # noqa: S608 # likewise
            (cut,) = connection.execute(oldest, (counts[longest] // _PART,)).fetchone()
            if not self._delete(connection, math.nextafter(cut, math.inf)):
                return

    def _delete(self, connection: "sqlite3.Connection", before: float) -> bool:
        """Whether there was anything older than this; the present start stays, whatever its date."""
        changes = connection.total_changes
        connection.execute("DELETE FROM samples WHERE at < ?", (before,))
        connection.execute("DELETE FROM flaps WHERE at < ?", (before,))
        connection.execute("DELETE FROM starts WHERE max(at, seen) < ? AND id IS NOT ?", (before, self._life))
        return connection.total_changes > changes


def read_history(folder: Path, since: float, until: float = LATEST) -> History:
    """What is kept in ``folder`` from ``since`` to ``until``, whether or not a daemon writes to it. Needs no permission to
    write. Raises ``FileError``.

    Blocks; it is for a command, not for the daemon.
    """
    import sqlite3

    path = folder / FILE_NAME
    # A log is there while the daemon runs, or where it was killed. Without one nobody writes, and SQLite has to be told
    # so, or it makes one.
    mode = "mode=ro" if path.with_name(FILE_NAME + _WAL).exists() else "immutable=1"
    try:
        # SQLite's own words for a file that is missing do not say so.
        path.stat()
        with closing(
            sqlite3.connect(f"file:{quote(bytes(path))}?{mode}", uri=True, isolation_level=None)
        ) as connection:
            connection.text_factory = form.text
            form.verify(connection)
            return form.read(connection, since, until)
    except (sqlite3.Error, UnicodeDecodeError, DamagedError, OSError) as problem:
        raise FileError(f"could not read the history {path}: {problem}") from problem


def _damage(problem: BaseException, *codes: int) -> DamagedError | None:
    """The damage that a problem comes of, if any. codes: SQLite's result codes that mean it, beside the plain ones."""
    import sqlite3

    if isinstance(problem, DamagedError):
        return problem
    # SQLite's messages quote the schema; Python raises the other where that is no text.
    code = getattr(problem, "sqlite_errorcode", -1) & 0xFF
    if isinstance(problem, UnicodeDecodeError) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, *codes):
        return DamagedError(Flaw.CORRUPT, str(problem))
    return None
