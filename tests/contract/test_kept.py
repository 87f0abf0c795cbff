"""What every ``KeptDocument`` does: the shipped fake and the real one, held to the same tests."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from portsyncd.backends.base import Kept, Loaded
from portsyncd.errors import FileError
from portsyncd.wire.statefile import Flaw
from tests.contract.kept_worlds import FakeWorld, RealWorld, World


@pytest.fixture(params=[FakeWorld, RealWorld], ids=["fake", "real"])
def make_world(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., World]:
    return partial(request.param, tmp_path)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


async def save(world: World, *contents: int) -> None:
    """These versions, a second each."""
    for number in contents:
        world.now += 1
        await world.document.save({"number": number})


def kept(number: int, saved_at: float, *, backup: bool = False, set_aside: tuple[Flaw, ...] = ()) -> Loaded:
    return Loaded({"number": number}, saved_at, trusted=True, backup=backup, set_aside=set_aside)


# ---- sound


async def test_at_first_there_is_nothing(world: World) -> None:
    assert await world.document.load() == Loaded()


async def test_what_was_saved_last_is_loaded(world: World) -> None:
    await save(world, 1, 2)
    assert await world.document.load() == kept(2, world.now)
    assert await world.document.load() == kept(2, world.now)


async def test_content_comes_back_as_json_has_it_and_is_nobody_elses(world: World) -> None:
    content: dict[str, Any] = {"ports": {"Ethernet\udcff0": ("ok", 1.5, None, True)}, "empty": {}}
    await world.document.save(content)
    content["ports"].clear()
    loaded = (await world.document.load()).content
    assert loaded == {"ports": {"Ethernet\udcff0": ["ok", 1.5, None, True]}, "empty": {}}


async def test_in_another_boot_it_is_not_trusted_but_known(world: World) -> None:
    await save(world, 1)
    world.boot()
    assert await world.document.load() == Loaded({"number": 1}, world.now, trusted=False)
    await save(world, 2)
    assert (await world.document.load()).trusted


async def test_each_version_becomes_a_backup_and_the_oldest_goes(world: World) -> None:
    done = []
    for number in range(6):
        kept = await world.document.save({"number": number})
        assert world.current is not None
        assert kept.size == len(world.current)
        done.append((kept.backups_created, kept.backups_cleaned, world.backups()))
    assert done == [(0, 0, 0), (1, 0, 1), (1, 0, 2), (1, 0, 3), (1, 1, 3), (1, 1, 3)]


async def test_none_is_made_where_none_is_wanted(make_world: Callable[..., World]) -> None:
    world = make_world(max_backups=0)
    await save(world, 1)
    assert world.current is not None
    assert await world.document.save({"number": 2}) == Kept(0, 0, len(world.current))
    assert world.backups() == 0
    assert await world.document.load() == kept(2, world.now)


async def test_loading_and_saving_let_others_run(world: World) -> None:
    with trio.testing.assert_checkpoints():
        await world.document.save({})
    with trio.testing.assert_checkpoints():
        await world.document.load()


# ---- not sound


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def change(raw: bytes) -> bytes:
    return raw.replace(b"number", b"nember")


DAMAGES = [
    pytest.param(lambda _: b"", Flaw.EMPTY, id="empty"),
    pytest.param(lambda raw: bytes(len(raw)), Flaw.EMPTY, id="zeros"),
    pytest.param(cut, Flaw.TRUNCATED, id="cut"),
    pytest.param(change, Flaw.CORRUPT, id="changed"),
]


@pytest.mark.parametrize(("damage", "flaw"), DAMAGES)
async def test_a_damaged_version_is_told_once_and_a_backup_serves(
    world: World, damage: Callable[[bytes], bytes], flaw: Flaw
) -> None:
    await save(world, 1, 2)
    world.damage_current(damage)
    assert await world.document.load() == kept(1, world.now - 1, backup=True, set_aside=(flaw,))
    assert world.current is None
    # Still not the newest that was there, but nothing new to tell.
    assert await world.document.load() == kept(1, world.now - 1, backup=True)
    # The next save has nothing to back up; the backup stays.
    assert (await world.document.save({"number": 3})).backups_created == 0
    assert await world.document.load() == kept(3, world.now)
    assert world.backups() == 1


@pytest.mark.parametrize(("damage", "flaw"), DAMAGES)
async def test_a_damaged_backup_is_passed_over_too(world: World, damage: Callable[[bytes], bytes], flaw: Flaw) -> None:
    await save(world, 1, 2, 3)
    world.damage_backup(damage)
    assert await world.document.load() == kept(3, world.now)
    world.damage_current(change)
    assert await world.document.load() == kept(1, world.now - 2, backup=True, set_aside=(Flaw.CORRUPT, flaw))
    assert world.backups() == 1


async def test_where_all_is_damaged_there_is_nothing(world: World) -> None:
    await save(world, 1, 2)
    world.damage_current(lambda _: b"")
    world.damage_backup(cut)
    assert await world.document.load() == Loaded(set_aside=(Flaw.EMPTY, Flaw.TRUNCATED))
    assert await world.document.load() == Loaded()
    await save(world, 3)
    assert await world.document.load() == kept(3, world.now)


async def test_too_old_is_of_no_use_nor_are_its_backups(make_world: Callable[..., World]) -> None:
    world = make_world(max_age=100.0)
    await save(world, 1, 2)
    world.now += 100
    assert await world.document.load() == kept(2, world.now - 100)
    world.now += 1
    assert await world.document.load() == Loaded(set_aside=(Flaw.TOO_OLD, Flaw.TOO_OLD))


async def test_without_a_limit_age_is_no_matter(make_world: Callable[..., World]) -> None:
    world = make_world(max_age=math.inf)
    await save(world, 1)
    for seconds in (1e8, -2e8):
        world.now += seconds
        loaded = await world.document.load()
        assert (loaded.content, loaded.set_aside) == ({"number": 1}, ())


async def test_what_is_of_the_future_is_not_used_and_the_clock_may_be_set_back_a_little(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_age=1e6)
    await save(world, 1)
    world.now += 1000
    await save(world, 2)
    world.now -= 60
    assert await world.document.load() == kept(2, world.now + 60)
    world.now -= 1
    assert await world.document.load() == kept(1, world.now - 940, backup=True, set_aside=(Flaw.FUTURE,))


async def test_a_clock_that_is_set_back_does_not_reorder_backups(world: World) -> None:
    await save(world, 1)
    world.now -= 30
    await save(world, 2, 3)
    world.damage_current(lambda _: b"")
    assert await world.document.load() == kept(2, world.now - 1, backup=True, set_aside=(Flaw.EMPTY,))


# ---- what cannot be saved


async def test_a_full_disk_leaves_the_former_version(world: World) -> None:
    await save(world, 1)
    before = world.current
    world.broken = True
    for _ in range(3):
        with pytest.raises(FileError, match=r"could not .*No space left"):
            await world.document.save({"number": 2})
    assert world.current == before
    assert world.backups() == 0
    assert await world.document.load() == kept(1, world.now)
    world.broken = False
    assert (await world.document.save({"number": 3})).backups_created == 1
    assert await world.document.load() == kept(3, world.now)


async def test_what_is_no_json_is_refused_and_changes_nothing(world: World) -> None:
    await save(world, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        await world.document.save({"number": math.nan})
    with pytest.raises(TypeError):
        await world.document.save({"number": object()})
    assert await world.document.load() == kept(1, world.now)


async def test_several_at_once_take_turns(world: World) -> None:
    await save(world, 0)
    async with trio.open_nursery() as nursery:
        for number in range(1, 5):
            nursery.start_soon(world.document.save, {"number": number})
    loaded = await world.document.load()
    assert loaded.content is not None
    assert loaded.content["number"] in range(1, 5)
    assert loaded.set_aside == ()
    assert world.backups() == 3
