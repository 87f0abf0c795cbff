"""The file that keeps the list of old links, and everything that may be wrong with it."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing
from trio.testing import MockClock

from portsyncd.backends import files
from portsyncd.backends.files import OldLinksFile, Place
from portsyncd.errors import FileError
from portsyncd.model.commands import OldLinks

OLD = OldLinks("abc", frozenset({3, 17}))


def kept(folder: Path) -> Path:
    return folder / "old_links.json"


async def test_what_is_saved_is_loaded_and_the_newest_counts(tmp_path: Path) -> None:
    store = OldLinksFile(tmp_path / "run" / "portsyncd")
    assert await store.load() is None
    await store.save(OldLinks("before", frozenset({1})))
    await store.save(OLD)
    assert await OldLinksFile(tmp_path / "run" / "portsyncd").load() == OLD
    await store.save(OldLinks("abc", frozenset()))
    assert await store.load() == OldLinks("abc", frozenset())
    assert [path.name for path in kept(tmp_path / "run" / "portsyncd").parent.iterdir()] == ["old_links.json"]


@pytest.mark.parametrize("other", [Place("another boot", 1), Place("this boot", 2)])
async def test_ifindexes_of_another_boot_or_namespace_mean_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Place
) -> None:
    place = Place("this boot", 1)
    monkeypatch.setattr(files, "here", lambda: place)
    store = OldLinksFile(tmp_path)
    await store.save(OLD)
    place = other
    assert await store.load() is None
    place = Place("this boot", 1)
    assert await store.load() == OLD


def test_a_place_is_this_boot_and_this_namespace() -> None:
    place = files.here()
    assert len(place.boot_id) == 36
    assert place.network_namespace == Path("/proc/self/ns/net").stat().st_ino


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"boot_id": "x"}',
        b'"text"',
        b"[" * 100_000,
    ],
)
async def test_whatever_else_stands_there_is_as_good_as_nothing(tmp_path: Path, content: bytes) -> None:
    kept(tmp_path).write_bytes(content)
    assert await OldLinksFile(tmp_path).load() is None


@pytest.mark.parametrize(
    "ifindexes", [None, 3, ["x"], [[1]], {"a": 1}, [float("inf")], [1.0], ["1"], [True], [0], [-1], [2**31]]
)
async def test_a_list_that_is_none_is_as_good_as_nothing(tmp_path: Path, ifindexes: object) -> None:
    store = OldLinksFile(tmp_path)
    await store.save(OLD)
    content = json.loads(kept(tmp_path).read_text())
    kept(tmp_path).write_text(json.dumps(content | {"ifindexes": ifindexes}))
    assert await store.load() is None


async def test_what_is_no_file_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    store = OldLinksFile(tmp_path)
    await store.save(OLD)
    kept(tmp_path).rename(tmp_path / "elsewhere")
    kept(tmp_path).symlink_to("elsewhere")
    assert await store.load() is None
    kept(tmp_path).unlink()
    os.mkfifo(kept(tmp_path))
    assert await store.load() is None


async def test_what_is_far_too_large_is_not_even_read(tmp_path: Path) -> None:
    store = OldLinksFile(tmp_path)
    await store.save(OLD)
    with kept(tmp_path).open("ab") as file:
        file.write(b" " * (16 << 20))
    assert await store.load() is None


@pytest.mark.parametrize("name", ["old_links.json", "old_links.{pid}"])
async def test_a_link_is_replaced_and_not_written_through(tmp_path: Path, name: str) -> None:
    """In a folder where others can write, a link to what only the daemon may write."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name.format(pid=os.getpid())).symlink_to(victim)
    store = OldLinksFile(tmp_path / "run")
    await store.save(OLD)
    assert victim.read_text() == "precious"
    assert await store.load() == OLD


async def test_it_belongs_to_its_group_at_most(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await OldLinksFile(tmp_path).save(OLD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept(tmp_path).stat().st_mode) == 0o640


async def test_a_folder_in_its_place_cannot_be_read_nor_replaced(tmp_path: Path) -> None:
    kept(tmp_path).mkdir()
    (kept(tmp_path) / "something").touch()
    store = OldLinksFile(tmp_path)
    assert await store.load() is None
    with pytest.raises(FileError, match=r"could not write .*old_links\.json"):
        await store.save(OLD)


async def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError):
        await OldLinksFile(tmp_path / "file" / "run").save(OLD)


async def test_reading_and_writing_let_others_run(tmp_path: Path) -> None:
    store = OldLinksFile(tmp_path)
    with trio.testing.assert_checkpoints():
        await store.save(OLD)
    with trio.testing.assert_checkpoints():
        await store.load()


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


class Hanging:
    """A disk that answers nobody until it is freed. asked: somebody has asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.freed = threading.Event(), threading.Event()
        monkeypatch.setattr(files, "here", self._here)

    def _here(self) -> Place:
        self.asked.set()
        self.freed.wait()
        return Place("this boot", 1)


async def test_a_disk_that_hangs_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock, log: list[Any]
) -> None:
    store, disk, loaded = OldLinksFile(tmp_path), Hanging(monkeypatch), []

    async def save() -> None:
        with pytest.raises(FileError, match="did not answer within 2 s"):
            await store.save(OLD)

    async def load() -> None:
        loaded.append(await store.load())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(save)
        await trio.to_thread.run_sync(disk.asked.wait)
        mock_clock.jump(2.0)
    async with trio.open_nursery() as nursery:
        # The thread is still at it: this one waits for its turn.
        nursery.start_soon(load)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2.0)
    disk.freed.set()
    await load()
    assert loaded == [None, OLD]
    assert [line["log_level"] for line in log] == ["warning"]


async def test_what_was_given_up_behind_one_that_hangs_is_kept_once_the_disk_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    store, disk = OldLinksFile(tmp_path), Hanging(monkeypatch)

    async def save(old: OldLinks) -> None:
        with pytest.raises(FileError, match="did not answer within 2 s"):
            await store.save(old)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(save, OLD)
        await trio.to_thread.run_sync(disk.asked.wait)
        mock_clock.jump(2.0)
    newest = OldLinks("abc", frozenset({17}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(save, newest)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2.0)
    disk.freed.set()
    assert await store.load() == newest


async def test_who_is_told_to_stop_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, disk = OldLinksFile(tmp_path), Hanging(monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.save, OLD)
        await trio.to_thread.run_sync(disk.asked.wait)
        nursery.cancel_scope.cancel()
    assert not kept(tmp_path).exists()
    disk.freed.set()
