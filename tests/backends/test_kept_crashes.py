"""Every step of a save fails, and every step is the last one: what is loaded then is the old or the new version."""

import errno
import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from portsyncd.backends.kept import Steps
from portsyncd.errors import FileError
from portsyncd.wire.statefile import Flaw
from tests.backends.keeping import NAME, CrashError, Disk, make, names, numbered


class Scene(NamedTuple):
    """What was there before the save. links: the file system has hard links. left_over: of a process that died."""

    saves: int
    max_backups: int
    links: bool = True
    left_over: bool = False


SCENES = [
    Scene(0, 0),
    Scene(0, 2),
    Scene(1, 0),
    Scene(1, 2),
    Scene(4, 2),
    Scene(4, 2, left_over=True),
    Scene(1, 2, links=False),
    Scene(4, 2, links=False),
]
scenes = pytest.mark.parametrize("scene", SCENES, ids=str)


def no_links(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


async def prepare(scene: Scene, folder: Path) -> None:
    for number in range(scene.saves):
        await make(folder, max_backups=scene.max_backups).save({"number": number})
    if scene.left_over:
        (folder / f"{NAME}.tmp-{os.getpid()}").write_bytes(b"{")


async def save(scene: Scene, folder: Path, disk: Disk) -> None:
    """The version "new" on this disk."""
    steps = disk.steps()
    if not scene.links:
        counted = steps.link

        def link(*arguments: Any, **options: Any) -> None:
            counted(*arguments, **options)
            arguments[1].unlink()
            no_links()

        steps = replace(steps, link=link)
    with closing(disk):
        await make(folder, max_backups=scene.max_backups, steps=steps).save({"number": "new"})


async def count_steps(scene: Scene, folder: Path) -> int:
    await prepare(scene, folder)
    disk = Disk()
    await save(scene, folder, disk)
    return len(disk.taken)


async def rounds(scene: Scene, folder: Path) -> list[tuple[int, Path]]:
    """A prepared folder for each step."""
    folders = numbered(folder)
    steps = await count_steps(scene, next(folders))
    made = [(at, next(folders)) for at in range(1, steps + 1)]
    for _, each in made:
        await prepare(scene, each)
    return made


async def check(scene: Scene, folder: Path, where: str) -> object:
    """The old or the new version loads, and the next save leaves order. Returns what was loaded."""
    loaded = await make(folder).load()
    allowed = [{"number": "new"}, {"number": scene.saves - 1} if scene.saves else None]
    assert loaded.content in allowed, where
    # Nothing that stands under a name from which it is loaded was ever unsound.
    assert loaded.set_aside == (), where
    await make(folder, max_backups=scene.max_backups).save({"number": "next"})
    assert (await make(folder).load()).content == {"number": "next"}, where
    assert not [name for name in names(folder) if name.startswith(".tmp")], where
    backups = [name for name in names(folder) if name.startswith(".backup")]
    assert len(backups) <= scene.max_backups, where
    if loaded.content is not None and scene.max_backups:
        # What was loaded is what the next save kept a backup of.
        (folder / NAME).unlink()
        assert (await make(folder).load()).content == loaded.content, where
    return loaded.content


@scenes
@pytest.mark.parametrize("how", ["crash", "crash_half_written", "cut_power"])
async def test_wherever_it_ends_the_old_or_the_new_version_is_loaded(scene: Scene, how: str, tmp_path: Path) -> None:
    outcomes = []
    for at, folder in await rounds(scene, tmp_path):
        disk = Disk(at=at)
        disk._fault = getattr(disk, how)
        with pytest.raises(CrashError):
            await save(scene, folder, disk)
        outcomes.append(await check(scene, folder, f"{how} at step {at}: {disk.taken}"))
    # Once it is the new one it stays the new one, and both come about.
    new = [content == {"number": "new"} for content in outcomes]
    assert new == sorted(new)
    assert set(new) == {False, True}


def failing(code: int) -> Callable[..., Any]:
    def fail(*_arguments: object) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


@scenes
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EPERM, errno.EDQUOT])
async def test_whatever_step_fails_the_old_or_the_new_version_is_loaded(
    scene: Scene, code: int, tmp_path: Path
) -> None:
    for at, folder in await rounds(scene, tmp_path):
        disk = Disk(failing(code), at=at)
        where = f"{errno.errorcode[code]} at step {at}: "
        problem = None
        try:
            await save(scene, folder, disk)
        except FileError as caught:
            problem = caught
        where += str(disk.taken)
        if not scene.left_over:
            assert not [name for name in names(folder) if name.startswith(".tmp")], where
        # What does not matter to the new version is no failure: another way to a backup, an old temporary file.
        if problem is None:
            assert disk.taken[at - 1] in ("link", "unlink"), where
            assert (await make(folder).load()).content == {"number": "new"}, where
        elif not scene.left_over:
            assert str(problem) == f"could not save {folder / NAME}: {os.strerror(code)}"
        await check(scene, folder, where)


@scenes
async def test_a_disk_that_is_gone_from_some_step_on_leaves_the_old_or_the_new_version(
    scene: Scene, tmp_path: Path
) -> None:
    for at, folder in await rounds(scene, tmp_path):
        disk = Disk(at=at)

        def fail(*_arguments: object, disk: Disk = disk) -> Any:
            disk._at += 1  # and the next one too
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        disk._fault = fail
        with suppress(FileError):
            await save(scene, folder, disk)
        await check(scene, folder, f"gone from step {at} on: {disk.taken}")


@scenes
async def test_a_write_may_take_a_part_only(scene: Scene, tmp_path: Path) -> None:
    await prepare(scene, tmp_path)
    taken = []

    def write(file: int, data: memoryview) -> int:
        taken.append(min(len(data), 7))
        return os.write(file, data[:7])

    await make(tmp_path, max_backups=scene.max_backups, steps=Steps(write=write)).save({"number": "new"})
    assert len(taken) > 10
    assert sum(taken) == (tmp_path / NAME).stat().st_size
    assert await check(scene, tmp_path, "short writes") == {"number": "new"}


async def test_a_disk_that_fills_up_during_the_write_leaves_the_old_version(tmp_path: Path) -> None:
    scene = Scene(1, 2)
    await prepare(scene, tmp_path)
    room = [100]

    def write(file: int, data: memoryview) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, data[: room.pop()])

    with pytest.raises(FileError, match="No space left on device"):
        await make(tmp_path, steps=Steps(write=write)).save({"number": "new"})
    assert names(tmp_path) == [""]
    assert await check(scene, tmp_path, "full") == {"number": 0}


async def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_success(tmp_path: Path) -> None:
    disk = Disk()
    await prepare(Scene(3, 2), tmp_path)
    await save(Scene(3, 2), tmp_path, disk)
    assert disk.taken == ["makedirs", "open", "fchmod", "write", "fsync", "link", "rename", "open", "fsync", "unlink"]


async def test_saves_that_fail_at_the_last_moment_again_and_again_pile_up_nothing(tmp_path: Path) -> None:
    await make(tmp_path).save({"number": 0})
    for _ in range(5):
        with pytest.raises(FileError):
            await make(tmp_path, steps=Steps(rename=failing(errno.EIO))).save({"number": "new"})
    assert names(tmp_path) == ["", ".backup-000001"]
    kept = await make(tmp_path).save({"number": "new"})
    assert (kept.backups_created, kept.backups_cleaned) == (1, 0)
    assert names(tmp_path) == ["", ".backup-000001"]


# ---- loading


@pytest.mark.parametrize("fault", ["crash", "fail"])
async def test_wherever_setting_aside_ends_or_fails_the_sound_version_is_found(tmp_path: Path, fault: str) -> None:
    folders = numbered(tmp_path)
    for at in (1, 2):
        folder = next(folders)
        for number in range(3):
            await make(folder).save({"number": number})
        for name in (NAME, f"{NAME}.backup-000002"):
            (folder / name).write_bytes(b"{")
        disk = Disk(at=at)
        disk._fault = disk.crash if fault == "crash" else failing(errno.EROFS)
        loaded = None
        with suppress(CrashError):
            loaded = await make(folder, steps=disk.steps()).load()
        if fault == "fail":
            assert loaded is not None
            assert (loaded.content, loaded.set_aside) == ({"number": 0}, (Flaw.TRUNCATED, Flaw.TRUNCATED))
        assert (await make(folder).load()).content == {"number": 0}
