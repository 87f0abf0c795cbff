"""The history's file: what becomes of it when it is damaged, killed, too long, read by others, or the disk is full."""

import errno
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from portsyncd.analytics.history import PortFlaps, Sample, Start
from portsyncd.backends import history_form as form
from portsyncd.backends.history import HistoryFile, read_history
from portsyncd.errors import FileError

MEGABYTE = 1 << 20
SAMPLE = Sample(0.0, 10.0, 1.0, 3, 2, 1, 0.0001, 0.0002, 0.0003, 50_000_000, 4)


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def sample(at: float) -> Sample:
    return replace(SAMPLE, at=at)


async def filled(folder: Path, samples: int = 50) -> HistoryFile:
    """One that is open, with a start and as many samples, each with a flap."""
    store = HistoryFile(folder, 4 * MEGABYTE)
    await store.begin(Start(1.0))
    for number in range(samples):
        await store.append(sample(float(number)), [PortFlaps(float(number), "Ethernet0", 1, 1)])
    return store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- the file


async def test_it_belongs_to_its_group_at_most(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = await filled(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "b").iterdir()}
    assert modes == dict.fromkeys(("history.db", "history.db-shm", "history.db-wal"), 0o640)
    await store.close()
    assert names(tmp_path / "a" / "b") == ["history.db"]


async def test_a_second_process_continues_it(tmp_path: Path) -> None:
    await (await filled(tmp_path, 3)).close()
    store = await filled(tmp_path, 2)
    history = await store.read(0.0)
    await store.close()
    assert len(history.starts) == 2
    assert [each.at for each in history.samples] == [0.0, 0.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_goes_while_it_is_open_is_begun_anew(tmp_path: Path, how: str) -> None:
    store = await filled(tmp_path)
    for name in names(tmp_path):
        (tmp_path / name).unlink()
    if how == "replaced":
        (tmp_path / "history.db").touch()
    await store.update(Start(1.0, seen=2.0))
    await store.append(sample(7.0), [])
    history = await store.read(0.0)
    await store.close()
    assert history.starts == [Start(1.0, seen=2.0)]
    assert history.samples == [sample(7.0)]


async def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"could not use the history .*/file/kept/history\.db: .*Not a directory"):
        await HistoryFile(tmp_path / "file" / "kept", MEGABYTE).counted()


async def test_a_folder_in_its_place_is_our_error_and_passes(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    store = HistoryFile(tmp_path, MEGABYTE)
    with pytest.raises(FileError, match="Is a directory"):
        await store.counted()
    (tmp_path / "history.db").rmdir()
    await store.append(sample(1.0), [])
    assert (await store.read(0.0)).samples == [sample(1.0)]
    await store.close()


@pytest.mark.parametrize("exists", [True, False])
async def test_a_link_is_not_followed(tmp_path: Path, exists: bool) -> None:
    """In a folder where others can write, a link to what only the daemon may write."""
    victim = tmp_path / "victim"
    if exists:
        victim.touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "history.db").symlink_to(victim)
    with pytest.raises(FileError, match="symbolic links"):
        await HistoryFile(tmp_path / "kept", MEGABYTE).counted()
    assert victim.exists() == exists
    assert not exists or victim.stat().st_size == 0


async def test_a_second_writer_is_waited_for_and_then_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portsyncd.backends.history._BUSY_SECONDS", 0.01)
    store = await filled(tmp_path)
    other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FileError, match="database is locked"):
        await store.append(sample(60.0), [])
    other.execute("COMMIT")
    other.close()
    await store.append(sample(60.0), [])
    assert (await store.read(60.0)).samples == [sample(60.0)]
    await store.close()


async def test_a_disk_that_hangs_is_left_at_once_and_what_comes_next_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(tmp_path, 1)
    begun, hanging, ended = threading.Event(), threading.Event(), threading.Event()
    append = store._append

    def hang(*args: Any) -> None:
        begun.set()
        hanging.wait(timeout=10)
        append(*args)
        ended.set()

    monkeypatch.setattr(store, "_append", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.append, sample(60.0), [])
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.close)
        await trio.testing.wait_all_tasks_blocked()
        assert "history.db-wal" in names(tmp_path)
        assert not ended.is_set()
        hanging.set()
    assert names(tmp_path) == ["history.db"]
    assert (await store.read(0.0)).samples == [sample(0.0), sample(60.0)]
    await store.close()


# ---- damage


@pytest.mark.parametrize(
    ("content", "aside"),
    [
        (b"not a database, but long enough to be asked for a header" * 100, "history.db.corrupt"),
        (b"SQLite format 3\0", "history.db.corrupt"),
    ],
)
async def test_what_is_no_database_is_set_aside(tmp_path: Path, log: list[Any], content: bytes, aside: str) -> None:
    (tmp_path / "history.db").write_bytes(content)
    store = HistoryFile(tmp_path, MEGABYTE)
    await store.counted()
    await store.counted()
    assert store.damaged == 1
    await store.append(sample(1.0), [])
    assert (await store.read(0.0)).samples == [sample(1.0)]
    await store.close()
    assert names(tmp_path) == ["history.db", aside]
    assert (tmp_path / aside).read_bytes() == content
    assert [(line["event"], line["reason"]) for line in log] == [("history set aside, a new one begins", "corrupt")]


async def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "history.db").touch()
    store = HistoryFile(tmp_path, MEGABYTE)
    await store.counted()
    assert store.damaged == 0
    await store.close()


@pytest.mark.parametrize(
    ("statement", "aside", "damaged"),
    [
        ("PRAGMA user_version = 1", "history.db.foreign-version", 0),
        ("PRAGMA user_version = 0", "history.db.foreign-version", 0),
        ("DROP TABLE flaps", "history.db.corrupt", 1),
        ("ALTER TABLE starts ADD COLUMN more", "history.db.corrupt", 1),
    ],
)
async def test_another_form_is_set_aside(tmp_path: Path, statement: str, aside: str, damaged: int) -> None:
    await (await filled(tmp_path)).close()
    other = sqlite3.connect(tmp_path / "history.db")
    other.execute(statement)
    other.close()
    store = HistoryFile(tmp_path, MEGABYTE)
    await store.counted()
    assert store.damaged == damaged
    assert (await store.read(0.0)).samples == []
    await store.close()
    assert names(tmp_path) == ["history.db", aside]


async def test_only_the_last_of_each_kind_is_kept(tmp_path: Path) -> None:
    store = HistoryFile(tmp_path, MEGABYTE)
    for number, content in enumerate((b"first" * 100, b"second" * 100), 1):
        (tmp_path / "history.db").write_bytes(content)
        await store.counted()
        assert store.damaged == number
        await store.close()
    assert names(tmp_path) == ["history.db", "history.db.corrupt"]
    assert (tmp_path / "history.db.corrupt").read_bytes() == b"second" * 100


async def test_a_value_of_another_kind_is_damage(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    other = sqlite3.connect(tmp_path / "history.db")
    other.execute("UPDATE starts SET outcome = 'nonsense'")
    other.commit()
    other.close()
    with pytest.raises(FileError, match="not of its kind"):
        await store.read(0.0)
    assert store.damaged == 1
    await store.update(Start(1.0, seen=2.0))
    history = await store.read(0.0)
    assert history.starts == [Start(1.0, seen=2.0)]
    assert history.samples == []
    await store.close()
    assert names(tmp_path) == ["history.db", "history.db.corrupt"]


async def test_a_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    """Also where nothing would need it for long."""
    whole = _whole(tmp_path)
    (tmp_path / "history.db").write_bytes(whole[:-4096] + random.Random(1).randbytes(4096))
    store = HistoryFile(tmp_path, MEGABYTE)
    await store.counted()
    assert store.damaged == 1
    await store.close()


async def test_damage_that_comes_while_it_is_open_costs_one_request(tmp_path: Path) -> None:
    store = await filled(tmp_path, 2000)
    await store.close()
    await store.counted()
    assert store._connection is not None
    # What it has in memory is sound.
    store._connection.execute("PRAGMA shrink_memory")
    size = (tmp_path / "history.db").stat().st_size
    with (tmp_path / "history.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(FileError, match="malformed"):
        await store.read(0.0)
    assert store.damaged == 1
    await store.append(sample(1.0), [])
    assert (await store.read(0.0)).samples == [sample(1.0)]
    await store.close()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 400), cut=st.booleans())
async def test_random_damage_never_ends_it(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, cut: bool
) -> None:
    """Whatever bytes change: after at most one failed request it works, and what it gives are numbers."""
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("damage")
    content = bytearray(_whole(folder))
    # Half of it in the header and schema, where it does most.
    for _ in range(count):
        content[chance.randrange(chance.choice((1024, len(content))))] = chance.randrange(256)
    (folder / "history.db").write_bytes(content[: chance.randrange(len(content))] if cut else content)
    store = HistoryFile(folder, 4 * MEGABYTE)
    failures = 0
    await store.counted()
    for attempt in range(3):
        try:
            await store.update(Start(5.0, seen=6.0))
            await store.append(sample(1e6 + attempt), [PortFlaps(1e6, "Ethernet4", 1, 1)])
            await store.trim(10.0)
            await store.read(0.0)
        except FileError:
            failures += 1
    assert failures <= 1
    assert (await store.read(1e6)).samples[-1].at == 1e6 + 2
    await store.close()


_CONTENT: dict[str, bytes] = {}


def _whole(folder: Path) -> bytes:
    """A sound file of some pages."""
    if not _CONTENT:
        connection = sqlite3.connect(folder / "sound.db", isolation_level=None)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        form.create(connection)
        connection.execute("BEGIN")
        for number in range(300):
            connection.execute(form.INSERT_SAMPLE, form.sample_row(sample(float(number))))
            connection.execute(form.INSERT_FLAPS, form.flaps_row(PortFlaps(float(number), "Ethernet0", 1, 1)))
        connection.execute(form.INSERT_START, form.start_row(Start(1.0, seen=300.0)))
        connection.execute("COMMIT")
        connection.close()
        _CONTENT["sound"] = (folder / "sound.db").read_bytes()
    return _CONTENT["sound"]


# ---- the process is killed

_APPENDS = """
import sys, trio
from pathlib import Path
from portsyncd.analytics.history import PortFlaps, Sample, Start
from portsyncd.backends.history import HistoryFile

async def main():
    store = HistoryFile(Path(sys.argv[1]), 4 << 20)
    await store.begin(Start(0.0))
    number = int(sys.argv[2])
    while True:
        number += 1
        flaps = [PortFlaps(float(number), f"Ethernet{port}", number, number) for port in range(8)]
        await store.append(Sample(float(number), 1.0, 1.0, number, 0, 0, None, None, None, 0, 0), flaps)
        print(number, flush=True)

trio.run(main)
"""


@pytest.fixture
def read_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is let loose writes more than is read one by one."""
    monkeypatch.setattr(form, "SAMPLES_READ", 1_000_000)
    monkeypatch.setattr(form, "FLAPS_READ", 8_000_000)


def appending(folder: Path, written: int) -> subprocess.Popen[str]:
    """A process that goes on after ``written`` samples, and says the number of each that it has written."""
    command = [sys.executable, "-c", _APPENDS, str(folder), str(written)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(folder: Path, written: int, lines: int) -> int:
    """Kill such a process once it has said so many; the last that it said."""
    with appending(folder, written) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    return int([line for line in said if line.endswith("\n")][-1])


async def test_kill_9_loses_nothing_that_was_written_and_tears_nothing(tmp_path: Path, read_all: None) -> None:
    written, chance = 0, random.Random(1)
    for life in range(1, 9):
        acknowledged = killed(tmp_path, written, chance.randrange(1, 150))
        beside = read_history(tmp_path, 0.0)
        store = HistoryFile(tmp_path, 4 * MEGABYTE)
        await store.counted()
        assert store.damaged == 0
        history = await store.read(0.0)
        await store.close()
        assert history == beside
        # One more may have been written that the child could not say any more.
        written = len(history.samples)
        assert acknowledged <= written <= acknowledged + 1
        assert [each.events for each in history.samples] == list(range(1, written + 1))
        assert [each.flaps for each in history.flaps] == [number for number in range(1, written + 1) for _ in range(8)]
        assert len(history.starts) == life


# ---- no room


@pytest.fixture
def small_disk(tmp_path: Path, require_root: None) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Take all the room; the file that has it."""
    filler = disk / "filler"
    file = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError as problem:
        assert problem.errno == errno.ENOSPC
    finally:
        os.close(file)
    return filler


async def append_all(store: HistoryFile, numbers: Iterator[int]) -> None:
    for number in numbers:
        await store.append(sample(float(number)), [])


async def test_a_full_disk_is_our_error_and_passes(small_disk: Path) -> None:
    store = await filled(small_disk)
    filler = fill(small_disk)
    numbers = count(50)
    with pytest.raises(FileError, match=r"full|disk I/O error"):
        await append_all(store, numbers)
    # The last one was tried in vain.
    written = next(numbers) - 1
    with pytest.raises(FileError):
        await store.append(sample(float(written)), [PortFlaps(0.0, "Ethernet0", 1, 1)] * 10_000)
    filler.unlink()
    await store.append(sample(float(written)), [])
    history = await store.read(0.0)
    await store.close()
    assert [each.at for each in history.samples] == [float(number) for number in range(written + 1)]
    assert len(history.flaps) == 50


async def test_a_full_disk_at_the_start_is_our_error_and_passes(small_disk: Path) -> None:
    filler = fill(small_disk)
    store = HistoryFile(small_disk, MEGABYTE)
    with pytest.raises(FileError):
        await store.append(sample(1.0), [])
    filler.unlink()
    await store.append(sample(1.0), [])
    assert (await store.read(0.0)).samples == [sample(1.0)]
    await store.close()
    assert names(small_disk) == ["history.db"]


def size(folder: Path) -> int:
    """Of everything there, as the disk has it."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


async def test_it_never_grows_beyond_its_limit_and_keeps_the_newest(tmp_path: Path) -> None:
    store = HistoryFile(tmp_path, MEGABYTE)
    await store.begin(Start(0.5))
    largest = 0
    for number in range(400):
        flaps = [PortFlaps(float(number), f"Ethernet{port}", 1, 1) for port in range(100)]
        await store.append(sample(float(number)), flaps)
        largest = max(largest, size(tmp_path))
    history = await store.read(0.0)
    await store.close()
    assert largest <= MEGABYTE
    first = int(history.samples[0].at)
    assert 0 < first < 350
    assert [each.at for each in history.samples] == [float(number) for number in range(first, 400)]
    assert history.starts == [Start(0.5)]


async def test_a_lower_limit_shrinks_it(tmp_path: Path) -> None:
    store = HistoryFile(tmp_path, 8 * MEGABYTE)
    for number in range(40):
        await store.append(sample(float(number)), [PortFlaps(float(number), "Ethernet0", 1, 1)] * 2000)
    await store.close()
    assert size(tmp_path) > 2 * MEGABYTE
    store = HistoryFile(tmp_path, MEGABYTE)
    await store.trim(0.0)
    last = (await store.read(0.0)).samples[-1]
    await store.close()
    assert last.at == 39.0
    assert size(tmp_path) <= MEGABYTE


async def test_starts_alone_can_be_too_much(tmp_path: Path) -> None:
    """A daemon that ends again and again."""
    store = HistoryFile(tmp_path, 512 * 1024 + 16 * 4096)
    for number in range(1500):
        await store.begin(Start(float(number)))
        await store.trim(0.0)
    starts = (await store.read(0.0)).starts
    await store.close()
    assert 0 < len(starts) < 1500
    assert starts[-1].at == 1499.0
    assert starts[0].at == 1500.0 - len(starts)


async def test_the_present_start_stays_where_there_is_room_for_nothing(tmp_path: Path) -> None:
    store = HistoryFile(tmp_path, 0)
    await store.begin(Start(1.0))
    for number in range(3):
        await store.append(sample(float(number)), [])
    history = await store.read(0.0)
    await store.close()
    assert history.starts == [Start(1.0)]
    assert [each.at for each in history.samples] == [2.0]


async def test_more_than_fits_at_all_is_our_error(tmp_path: Path) -> None:
    store = HistoryFile(tmp_path, MEGABYTE)
    with pytest.raises(FileError, match="full"):
        await store.append(sample(1.0), [PortFlaps(1.0, f"Ethernet{port}", 1, 1) for port in range(50_000)])
    await store.append(sample(2.0), [])
    assert [each.at for each in (await store.read(0.0)).samples] == [2.0]
    await store.close()


# ---- much to read


async def test_many_samples_are_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "SAMPLES_READ", 10)
    store = HistoryFile(tmp_path, MEGABYTE)
    for number in range(25):
        await store.append(
            Sample(
                at=float(number),
                seconds=2.0,
                health=0.5 if number == 1 else 1.0,
                events=number,
                flaps=1,
                resyncs=2,
                latency_p50=None,
                latency_p95=None if number % 2 else number / 10,
                latency_p99=float(number),
                memory_bytes=100 - number,
                queue_depth=number,
            ),
            [],
        )
    samples = (await store.read(0.0)).samples
    assert len(samples) == 10
    assert samples[0] == Sample(2.0, 6.0, 0.5, 3, 3, 6, None, 0.2, 2.0, 100, 2)
    assert samples[-1].at == 24.0
    assert sum(each.seconds for each in samples) == 50.0
    assert sum(each.events for each in samples) == sum(range(25))
    assert len((await store.read(15.0)).samples) == 10
    # What is left out takes no room of what is told.
    assert [each.at for each in (await store.read(2.0, 11.0)).samples] == [float(number) for number in range(2, 12)]
    await store.close()


async def test_many_flaps_are_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "FLAPS_READ", 10)
    store = HistoryFile(tmp_path, MEGABYTE)
    for number in range(20):
        await store.append(
            sample(float(number)),
            [
                PortFlaps(float(number), "Ethernet0", 1 + 2 * (number % 2), 2 * number + 1),
                PortFlaps(float(number), "Ethernet4", 1, 1),
                PortFlaps(float(number), "Ethernet8", 0, 0),
            ],
        )
    flaps = (await store.read(0.0)).flaps
    assert len(flaps) <= 10
    assert [each.at for each in flaps] == sorted(each.at for each in flaps)
    assert sum(each.flaps for each in flaps if each.port == "Ethernet0") == 40
    assert sum(each.flaps for each in flaps if each.port == "Ethernet4") == 20
    # The mean moment, and each flap counts.
    assert sum(each.at * each.flaps for each in flaps if each.port == "Ethernet4") == pytest.approx(190.0)
    assert sum(each.at * each.flaps for each in flaps if each.port == "Ethernet0") == pytest.approx(390.0)
    assert len((await store.read(18.0)).flaps) == 6
    await store.close()


async def test_more_ports_than_rows_are_one_row_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "FLAPS_READ", 10)
    store = HistoryFile(tmp_path, MEGABYTE)
    for at in (1.0, 3.0):
        await store.append(sample(at), [PortFlaps(at, f"Ethernet{port}", 2, 4 + int(at)) for port in range(12)])
    flaps = (await store.read(0.0)).flaps
    await store.close()
    assert sorted(flaps) == sorted(PortFlaps(2.0, f"Ethernet{port}", 4, 7) for port in range(12))


async def test_of_many_starts_the_newest_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "STARTS_READ", 3)
    store = HistoryFile(tmp_path, MEGABYTE)
    for number in range(5):
        await store.begin(Start(float(number)))
    assert [start.at for start in (await store.read(0.0)).starts] == [2.0, 3.0, 4.0]
    await store.close()


# ---- a command reads


async def test_a_reader_sees_what_a_running_daemon_wrote(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    before = names(tmp_path)
    assert read_history(tmp_path, 0.0) == await store.read(0.0)
    await store.append(sample(60.0), [])
    assert read_history(tmp_path, 60.0).samples == [sample(60.0)]
    assert names(tmp_path) == before
    await store.close()


def test_a_reader_beside_a_writer_sees_whole_samples_only(tmp_path: Path, read_all: None) -> None:
    with appending(tmp_path, 0) as child:
        assert child.stdout is not None
        for _ in range(20):
            said = int(child.stdout.readline())
            history = read_history(tmp_path, 0.0)
            count = len(history.samples)
            assert count >= said
            assert [each.events for each in history.samples] == list(range(1, count + 1))
            assert len(history.flaps) == 8 * count
        child.kill()


async def test_a_reader_leaves_no_trace(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    history = await store.read(0.0)
    await store.close()
    assert read_history(tmp_path, 0.0) == history
    assert names(tmp_path) == ["history.db"]


_READS_AS_NOBODY = """
import os, sys, sqlite3
from pathlib import Path
from portsyncd.backends.history import read_history
os.setgid(65534)
os.setuid(65534)
print(len(read_history(Path(sys.argv[1]), 0.0).samples))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody gets to."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def read_as_nobody(folder: Path) -> int:
    """Read as somebody who is in the files' group and may write nothing; how many samples there are."""
    for path in folder.iterdir():
        os.chown(path, 0, 65534)
    command = [sys.executable, "-c", _READS_AS_NOBODY, str(folder)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.root
async def test_a_reader_needs_no_permission_to_write(open_folder: Path) -> None:
    store = await filled(open_folder)
    assert read_as_nobody(open_folder) == 50
    await store.close()
    assert read_as_nobody(open_folder) == 50
    assert names(open_folder) == ["history.db"]
    acknowledged = killed(open_folder, 50, 20)
    before = names(open_folder)
    assert read_as_nobody(open_folder) in (acknowledged, acknowledged + 1)
    assert names(open_folder) == before


def test_a_reader_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"could not read the history .*history\.db: .*No such file"):
        read_history(tmp_path, 0.0)
    assert names(tmp_path) == []
    (tmp_path / "history.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(FileError, match="not a database"):
        read_history(tmp_path, 0.0)
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    (tmp_path / "other.db").rename(tmp_path / "history.db")
    with pytest.raises(FileError, match="its version is 7, not 2"):
        read_history(tmp_path, 0.0)
    assert names(tmp_path) == ["history.db"]
