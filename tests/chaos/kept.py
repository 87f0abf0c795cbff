"""What a killed daemon has left on its disk, judged from outside."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from portsyncd.analytics.history import History
from portsyncd.backends.history import FILE_NAME, read_history
from portsyncd.metrics import Chronicle
from portsyncd.model.saved import Saved, from_content
from portsyncd.testing.switch import Switch
from portsyncd.wire.statefile import decode


class Kept(NamedTuple):
    """All of it."""

    ports: Saved
    chronicle: Chronicle
    history: History


def state_file(switch: Switch) -> Path:
    return switch.daemon.folder / "state" / "port_state.json"


def saved_now(switch: Switch) -> Saved | None:
    """What a daemon that lives has saved last; None where there is nothing."""
    try:
        raw = state_file(switch).read_bytes()
    except FileNotFoundError:
        return None
    return from_content(decode(raw, "port state", 1).content, age=0.0, trusted=True)


def read_all(switch: Switch) -> Kept:
    """What the next start will find; the daemon is dead. Fails where anything of it is damaged, or has ever been found so."""
    metrics = state_file(switch).parent / "metrics"
    ports = from_content(document(state_file(switch), "port state"), age=0.0, trusted=True)
    chronicle = Chronicle.of(document(metrics / "counters.json", "counters"))
    assert chronicle.corruptions_detected == 0
    return Kept(ports, chronicle, history(metrics))


def document(path: Path, kind: str) -> dict[str, Any]:
    """The content of the newest version; the older ones are sound, too, and nothing else lies about."""
    beside = {other.name.removeprefix(f"{path.name}.") for other in path.parent.glob(f"{path.name}.*")}
    backups = sorted(name for name in beside if name.startswith("backup-"))
    left_over = {name for name in beside if name.startswith("tmp-")}
    assert beside - {*backups} - left_over == set(), "something was set aside"
    assert len(left_over) <= 1, "what dead processes were writing piles up"
    versions = [path.with_name(f"{path.name}.{name}") for name in backups] + [path] * path.exists()
    contents = [dict(decode(version.read_bytes(), kind, 1).content) for version in versions]
    return contents[-1]


def history(folder: Path) -> History:
    """Read from a copy, so that the daemon finds the log of the database as it was left."""
    assert not list(folder.glob(f"{FILE_NAME}.*")), "something was set aside"
    with TemporaryDirectory() as copy:
        for path in folder.glob(f"{FILE_NAME}*"):
            shutil.copy(path, copy)
        with closing(sqlite3.connect(Path(copy, FILE_NAME))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return read_history(Path(copy), since=0.0)
