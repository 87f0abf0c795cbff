"""The form of the history's database: its tables, and how what they hold is read.

Everything here works on an open connection and raises ``sqlite3.Error`` and ``DamagedError``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from portsyncd.analytics.history import LATEST, History, Outcome, PortFlaps, Restored, Sample, Start
from portsyncd.wire.statefile import Flaw

if TYPE_CHECKING:
    import sqlite3

# Of the form: PRAGMA user_version.
VERSION: Final = 2
# Rows of one reading, at most: what there is more of is summed up. So 24 hours come as some one sample a minute.
SAMPLES_READ: Final = 1_500
FLAPS_READ: Final = 10_000
STARTS_READ: Final = 10_000


class DamagedError(Exception):
    """The file is not what this daemon writes. Never leaves the history's modules."""

    def __init__(self, flaw: Flaw, text: str) -> None:
        super().__init__(text)
        self.flaw = flaw


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


# What the columns hold. They are those of Start, Sample and PortFlaps, in that order.
_START: Final[Mapping[str, Any]] = {
    "at": float,
    "warm": bool,
    "outcome": Outcome,
    "restored": Restored,
    "damaged": int,
    "ports": int,
    "differences": int,
    "sync_seconds": _optional,
    "eoiu_seconds": _optional,
    "events": int,
    "seen": float,
    "healthy": bool,
    "stopped": bool,
}
_SAMPLE: Final[Mapping[str, Any]] = {
    "at": float,
    "seconds": float,
    "health": float,
    "events": int,
    "flaps": int,
    "resyncs": int,
    "latency_p50": _optional,
    "latency_p95": _optional,
    "latency_p99": _optional,
    "memory_bytes": int,
    "queue_depth": int,
}
# A link may be called by any bytes, and SQLite's text is UTF-8: the port is bytes.
_FLAPS: Final[Mapping[str, Any]] = {"at": float, "port": bytes, "flaps": int, "total": int}

_TYPES: Final = {
    float: "REAL NOT NULL",
    _optional: "REAL",
    int: "INTEGER NOT NULL",
    bool: "INTEGER NOT NULL",
    Outcome: "TEXT NOT NULL",
    Restored: "TEXT NOT NULL",
    bytes: "BLOB NOT NULL",
}


def _columns(kinds: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_TYPES[kind]}" for name, kind in kinds.items())


_SCHEMA: Final = (
    f"CREATE TABLE starts (id INTEGER PRIMARY KEY, {_columns(_START)})",
    f"CREATE TABLE samples ({_columns(_SAMPLE)})",
    f"CREATE TABLE flaps ({_columns(_FLAPS)})",
    "CREATE INDEX samples_at ON samples (at)",
    "CREATE INDEX flaps_at ON flaps (at)",
)


def _insert(table: str, columns: Mapping[str, Any]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 # both are constants


INSERT_START: Final = _insert("starts", _START)
INSERT_SAMPLE: Final = _insert("samples", _SAMPLE)
INSERT_FLAPS: Final = _insert("flaps", _FLAPS)
UPDATE_START: Final = f"UPDATE starts SET {', '.join(f'{name} = ?' for name in _START)} WHERE id = ?"  # noqa: S608 # likewise

_SELECT_STARTS: Final = (
    f"SELECT {', '.join(_START)} FROM "  # noqa: S608 # likewise
    "(SELECT * FROM starts WHERE max(at, seen) BETWEEN ? AND ? AND min(at, seen) >= 0 ORDER BY id DESC LIMIT ?) ORDER BY id"
)
_SELECT_SAMPLES: Final = (
    "SELECT max(at), sum(seconds), min(health), sum(events), sum(flaps), sum(resyncs), max(latency_p50), "
    "max(latency_p95), max(latency_p99), max(memory_bytes), max(queue_depth) "
    "FROM (SELECT *, ntile(?) OVER (ORDER BY at, rowid) AS part FROM samples WHERE at BETWEEN ? AND ?) "
    "GROUP BY part ORDER BY part"
)
_SELECT_FLAPS: Final = "SELECT at, port, flaps, total FROM flaps WHERE at BETWEEN ? AND ? ORDER BY at, rowid"
_SELECT_FLAPS_SUMMED: Final = (
    "SELECT sum(at * flaps) / sum(flaps) AS mean, port, sum(flaps), max(total) "
    "FROM (SELECT *, ntile(?) OVER (ORDER BY at, rowid) AS part FROM flaps WHERE at BETWEEN ? AND ? AND flaps > 0) "
    "GROUP BY part, port ORDER BY mean"
)
_COUNT_FLAPS: Final = "SELECT count(*), count(DISTINCT port) FROM flaps WHERE at BETWEEN ? AND ?"
# The total is that of the row with the highest rowid: the one that was written last, whatever the clock said then.
_SELECT_COUNTED: Final = "SELECT port, total, max(rowid) FROM flaps GROUP BY port"


def text(raw: bytes) -> str:
    """For the connection's ``text_factory``: damaged text is none of ours, and no error of another kind."""
    return raw.decode("utf-8", "backslashreplace")


def create(connection: "sqlite3.Connection") -> None:
    """Make the tables where there is nothing at all."""
    if _schema(connection) == [] and number(connection, "user_version") == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")


def verify(connection: "sqlite3.Connection") -> None:
    """Raises ``DamagedError`` unless the database has this form."""
    version = number(connection, "user_version")
    if version != VERSION:
        raise DamagedError(Flaw.FOREIGN, f"its version is {version}, not {VERSION}")
    if _schema(connection) != sorted(_SCHEMA):
        raise DamagedError(Flaw.CORRUPT, "its tables are not those of its version")


def _schema(connection: "sqlite3.Connection") -> list[str]:
    return sorted(sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


def start_row(start: Start) -> list[Any]:
    """The values of its columns."""
    return [getattr(start, name) for name in _START]


def sample_row(sample: Sample) -> list[Any]:
    """The values of its columns."""
    return [getattr(sample, name) for name in _SAMPLE]


def flaps_row(flaps: PortFlaps) -> tuple[float, bytes, int, int]:
    """The values of its columns."""
    return flaps.at, flaps.port.encode("utf-8", "surrogateescape"), flaps.flaps, flaps.total


def read(connection: "sqlite3.Connection", since: float, until: float) -> History:
    """What there is from ``since`` to ``until``, summed up where it is too much."""
    # A moment that no calendar has is none.
    window = max(0.0, since), min(until, LATEST)
    # One transaction: the three lists are of the same moment. Row by row, and each name once: what this takes at its
    # most stays with the process, and the daemon reads every few minutes.
    connection.execute("BEGIN")
    count, ports = connection.execute(_COUNT_FLAPS, window).fetchone()
    bounds: tuple[float, ...] = window
    select_flaps = _SELECT_FLAPS
    if count > FLAPS_READ:
        select_flaps, bounds = _SELECT_FLAPS_SUMMED, (max(1, FLAPS_READ // ports), *window)
    name, moment = cache(_name), cache(float)
    with (
        # One that is left open would keep the file open when the connection is closed.
        closing(connection.execute(_SELECT_STARTS, (window[0], LATEST, STARTS_READ))) as starts,
        closing(connection.execute(_SELECT_SAMPLES, (SAMPLES_READ, *window))) as samples,
        closing(connection.execute(select_flaps, bounds)) as flaps,
        _of_their_kinds(),
    ):
        history = History(
            since,
            [Start(*_values(_START, row)) for row in starts],
            [Sample(*_values(_SAMPLE, row)) for row in samples],
            [PortFlaps(moment(at), name(port), int(count), int(total)) for at, port, count, total in flaps],
        )
    connection.execute("COMMIT")
    return history


def counted(connection: "sqlite3.Connection") -> dict[str, int]:
    """The total of each port's newest row."""
    rows = connection.execute(_SELECT_COUNTED).fetchall()
    with _of_their_kinds():
        return {_name(port): int(total) for port, total, _ in rows}


@contextmanager
def _of_their_kinds() -> Iterator[None]:
    """SQLite keeps whatever stands in the file, also where its column is of another kind."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, AttributeError) as problem:
        raise DamagedError(Flaw.CORRUPT, f"a value is not of its kind: {problem}") from problem


def _name(port: bytes) -> str:
    return port.decode("utf-8", "surrogateescape")


def _values(kinds: Mapping[str, Any], row: Sequence[Any]) -> list[Any]:
    return [kind(value) for kind, value in zip(kinds.values(), row, strict=True)]


def number(connection: "sqlite3.Connection", pragma: str) -> int:
    """The value of a pragma that is one number."""
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
