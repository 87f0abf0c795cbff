"""The databases that stores are held against."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from portsyncd.backends.base import Store
from tests.contract.store_worlds import FakeWorld, RealWorld, World


@pytest.fixture(params=["fake", "fake-apart", "real", "real-apart"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_world(kind: str, tmp_path: Path) -> Iterator[Callable[..., World]]:
    with ExitStack() as stack:

        def make(*, notify: bool = True) -> World:
            together = not kind.endswith("apart")
            if kind.startswith("fake"):
                return FakeWorld(together=together, notify=notify)
            return RealWorld(tmp_path, stack, together=together, notify=notify)

        yield make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
async def store(world: World) -> AsyncIterator[Store]:
    with closing(world.make()) as store:
        await store.open()
        yield store
