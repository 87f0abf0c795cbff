"""The folder of a kept document: names, modes, what others put there, and real disks that are full or read-only."""

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from portsyncd.backends.base import Loaded
from portsyncd.backends.files import Place
from portsyncd.backends.kept import KeptFile, Steps
from portsyncd.errors import FileError
from portsyncd.wire.statefile import Envelope, Flaw, encode
from tests.backends.keeping import NAME, NOW, make, names

STAMP = f"{datetime.fromtimestamp(NOW, UTC):%Y%m%dT%H%M%SZ}"


async def save(folder: Path, *numbers: int, max_backups: int = 2) -> None:
    for number in numbers:
        await make(folder, max_backups=max_backups).save({"number": number})


async def loaded(folder: Path) -> tuple[object, tuple[Flaw, ...]]:
    found = await make(folder).load()
    return (found.content or {}).get("number"), found.set_aside


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_process() -> int:
    """The number of a process that there is no more."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


# ---- names and modes


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_modes_do_not_depend_on_the_umask_of_the_process(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "lib" / "portsyncd"
    folder.parent.mkdir()
    before = os.umask(umask)
    try:
        await save(folder, 1, 2)
    finally:
        os.umask(before)
    assert mode(folder) == 0o755 & ~umask
    assert [mode(path) for path in folder.iterdir()] == [0o640, 0o640]


async def test_backups_are_numbered_upwards_and_beyond_the_width(tmp_path: Path) -> None:
    await save(tmp_path, 1, 2, 3, 4)
    assert names(tmp_path) == ["", ".backup-000002", ".backup-000003"]
    (tmp_path / f"{NAME}.backup-000003").rename(tmp_path / f"{NAME}.backup-999999")
    await save(tmp_path, 5, 6)
    assert names(tmp_path) == ["", ".backup-1000000", ".backup-1000001"]
    (tmp_path / NAME).unlink()
    assert await loaded(tmp_path) == (5, ())


@pytest.mark.parametrize("fewer", [0, 1])
async def test_with_fewer_backups_wanted_the_oldest_go(tmp_path: Path, fewer: int) -> None:
    await save(tmp_path, 1, 2, 3, 4, 5, max_backups=4)
    kept = await make(tmp_path, max_backups=fewer).save({"number": 6})
    assert (kept.backups_created, kept.backups_cleaned) == ((1, 4) if fewer else (0, 4))
    assert names(tmp_path) == ["", ".backup-000005"][: 1 + fewer]


async def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    others = [
        f"{NAME}.backup",
        f"{NAME}.backup-12",
        f"{NAME}.backup-000001.gz",
        f"{NAME}.backup-\u0661\u0661\u0661\u0661\u0661\u0661",
        f"{NAME}.tmp-",
        f"{NAME}.tmp-x",
        f"{NAME}.corrupt-yesterday",
        f"{NAME}.odd-20261121T141233Z-001",
        f"other-{NAME}.backup-000001",
        NAME.replace(".", "_") + ".backup-000001",
        "\udcff",
    ]
    for name in others:
        (tmp_path / name).touch()
    await save(tmp_path, 1, 2, max_backups=0)
    (tmp_path / NAME).write_bytes(b"")
    assert await loaded(tmp_path) == (None, (Flaw.EMPTY,))
    assert everything(tmp_path) == sorted([*others, f"{NAME}.empty-{STAMP}-001"])


async def test_temporary_files_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    left = {number: tmp_path / f"{NAME}.tmp-{number}" for number in (os.getpid(), os.getppid(), dead_process())}
    for path in left.values():
        path.write_bytes(b"{")
    await save(tmp_path, 1)
    assert names(tmp_path) == ["", f".tmp-{os.getppid()}"]


# ---- what is set aside


async def test_it_is_renamed_with_its_flaw_and_the_moment_and_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await save(tmp_path, 1, 2)
    (tmp_path / NAME).write_bytes(b"{")
    assert await loaded(tmp_path) == (1, (Flaw.TRUNCATED,))
    aside = f"{NAME}.truncated-{STAMP}-001"
    assert (tmp_path / aside).read_bytes() == b"{"
    assert names(tmp_path) == [".backup-000001", aside.removeprefix(NAME)]
    said = capsys.readouterr().err
    for fact in ("warning", "not usable", str(tmp_path / NAME), "reason=truncated", f"new_name={aside}"):
        assert fact in said


async def test_of_what_is_set_aside_the_ten_newest_stay(tmp_path: Path) -> None:
    for number in range(13):
        (tmp_path / NAME).write_bytes(b"%d" % number)
        await make(tmp_path, wall=lambda number=number: NOW + number // 6).load()
    assert [int((tmp_path / (NAME + name)).read_bytes()) for name in names(tmp_path)] == list(range(3, 13))


@pytest.mark.parametrize("options", [{"kind": "other"}, {"version": 2}])
async def test_another_kind_or_version_is_set_aside_as_foreign(tmp_path: Path, options: dict[str, Any]) -> None:
    await save(tmp_path, 1, 2)
    assert await make(tmp_path, **options).load() == Loaded(set_aside=(Flaw.FOREIGN, Flaw.FOREIGN))
    assert names(tmp_path) == [f".foreign-version-{STAMP}-001", f".foreign-version-{STAMP}-002"]


async def test_what_is_far_too_large_is_not_even_read(tmp_path: Path) -> None:
    await save(tmp_path, 1, 2)
    os.truncate(tmp_path / NAME, (256 << 20) + 1)
    assert await loaded(tmp_path) == (1, (Flaw.CORRUPT,))


# ---- what somebody else put there


def link_to_a_sound_version(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(encode("test", 1, Envelope(NOW, "boot", 1, {"number": 99})))
    path.symlink_to(target)


@pytest.mark.parametrize("put", [link_to_a_sound_version, os.mkfifo, Path.mkdir], ids=["link", "FIFO", "folder"])
async def test_what_is_no_file_is_neither_followed_nor_waited_for_nor_moved(
    tmp_path: Path, put: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(put)
    await save(tmp_path, 1, 2)
    (tmp_path / NAME).unlink()
    put(tmp_path / NAME)
    kind = stat.S_IFMT((tmp_path / NAME).lstat().st_mode)
    assert await loaded(tmp_path) == (1, ())
    assert "cannot be read" in capsys.readouterr().err
    assert stat.S_IFMT((tmp_path / NAME).lstat().st_mode) == kind
    # The next save replaces it where the kernel lets it, and it never becomes a backup.
    if kind == stat.S_IFDIR:
        with pytest.raises(FileError, match="Is a directory"):
            await save(tmp_path, 3)
        assert await loaded(tmp_path) == (1, ())
    else:
        await save(tmp_path, 3)
        assert await loaded(tmp_path) == (3, ())
    assert [name for name in names(tmp_path) if name.startswith(".")] == [".backup-000001"]


async def test_without_a_folder_there_is_nothing_and_a_file_in_its_place_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await make(tmp_path / "a" / "b").load() == Loaded()
    assert capsys.readouterr().err == ""
    (tmp_path / "a").touch()
    assert await make(tmp_path / "a" / "b").load() == Loaded()
    assert "Not a directory" in capsys.readouterr().err
    with pytest.raises(FileError, match=r"could not save .*/a/b/port_state.json: Not a directory"):
        await make(tmp_path / "a" / "b").save({})


async def test_where_the_place_is_not_known_nothing_is_trusted_nor_saved(tmp_path: Path) -> None:
    await save(tmp_path, 1)

    def nowhere() -> Place:
        raise FileNotFoundError(2, "No such file or directory", "/proc/self/ns/net")

    lost = make(tmp_path, place=nowhere)
    found = await lost.load()
    assert (found.content, found.trusted) == ({"number": 1}, False)
    with pytest.raises(FileError, match="could not save"):
        await lost.save({"number": 2})


async def test_it_belongs_to_this_boot_and_namespace_by_default(tmp_path: Path) -> None:
    kept = KeptFile(tmp_path / NAME, kind="test", version=1, max_backups=0, wall=lambda: NOW)
    await kept.save({})
    assert (await kept.load()).trusted


# ---- threads


async def test_a_save_that_is_cancelled_is_left_at_once_and_finished_by_its_thread(tmp_path: Path) -> None:
    begun, goes_on, threads = trio.Event(), threading.Event(), []

    def write(file: int, data: memoryview) -> int:
        threads.append(threading.get_ident())
        trio.from_thread.run_sync(begun.set)
        goes_on.wait()
        return os.write(file, data)

    kept = make(tmp_path, steps=Steps(write=write))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.save, {"number": 1})
        await begun.wait()
        nursery.cancel_scope.cancel()
    goes_on.set()
    # One at a time: this waits until that thread has ended.
    assert (await kept.load()).content == {"number": 1}
    assert threading.get_ident() not in threads


# ---- real disks


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A disk of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_keeps_the_former_version(tmp_path: Path, require_root: None) -> None:
    with tmpfs(tmp_path / "disk", "size=256k") as folder:
        await save(folder, 1)
        for _ in range(3):
            with pytest.raises(FileError, match="No space left on device"):
                await make(folder).save({"filling": "x" * 300_000})
        assert names(folder) == [""]
        assert await loaded(folder) == (1, ())
        await save(folder, 2)
        assert await loaded(folder) == (2, ())


async def test_a_disk_without_a_free_inode_keeps_the_former_version(tmp_path: Path, require_root: None) -> None:
    with tmpfs(tmp_path / "disk", "nr_inodes=4") as folder:
        await save(folder, 1)
        (folder / "last").touch()
        with pytest.raises(FileError, match="No space left on device"):
            await save(folder, 2, 3)
        assert (await loaded(folder))[0] in (1, 2)


async def test_a_read_only_disk_is_read_and_its_flawed_file_is_judged_each_time(
    tmp_path: Path, require_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with tmpfs(tmp_path / "disk", "size=1m") as folder:
        await save(folder, 1, 2)
        (folder / NAME).write_bytes(b"{}\n")
        before = names(folder)
        await trio.run_process(["mount", "-o", "remount,ro", folder])
        for _ in range(2):
            assert await loaded(folder) == (1, (Flaw.CORRUPT,))
            assert "Read-only file system" in capsys.readouterr().err
        with pytest.raises(FileError, match="Read-only file system"):
            await save(folder, 3)
        assert names(folder) == before
