import gc
import weakref
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from portsyncd.web.host import RealHost
from portsyncd.web.memory import Tidier, give_back


class Circle:
    def __init__(self) -> None:
        self.me = self


async def tidied_at(intervals: list[tuple[int, float]]) -> list[float]:
    """When it tidied up, while so many connections end every so many seconds."""
    times: list[float] = []

    async def note() -> None:
        times.append(trio.current_time())

    tidier = Tidier(note)
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tidier.run)
        for count, seconds in intervals:
            for _ in range(count):
                tidier.connection_ended()
                await trio.sleep(seconds)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    return [round(time - begun, 1) for time in times]


async def test_a_few_connections_are_no_reason(autojump_clock: MockClock) -> None:
    assert await tidied_at([(15, 0.01)]) == []


async def test_after_many_it_tidies_once_it_is_quiet(autojump_clock: MockClock) -> None:
    (moment,) = await tidied_at([(400, 0.01)])
    assert 5 <= moment <= 6.1


async def test_in_a_lasting_flood_it_tidies_now_and_then(autojump_clock: MockClock) -> None:
    moments = await tidied_at([(3500, 0.01)])
    assert len(moments) == 4
    assert all(later - earlier >= 10 for earlier, later in pairwise(moments[:3]))


async def test_circles_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portsyncd.web.host.give_back", bool)
    gone = weakref.ref(Circle())
    gc.disable()
    try:
        await RealHost().tidy()
    finally:
        gc.enable()
    assert gone() is None


def test_memory_is_given_back_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back()
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    give_back()


async def test_what_takes_long_is_done_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    done = trio.Event()
    monkeypatch.setattr("portsyncd.web.memory._QUIET_SECONDS", 0.01)
    monkeypatch.setattr("portsyncd.web.host.give_back", lambda: trio.from_thread.run_sync(done.set))
    tidier = Tidier(RealHost().tidy)
    for _ in range(16):
        tidier.connection_ended()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tidier.run)
        with trio.fail_after(30):
            await done.wait()
        nursery.cancel_scope.cancel()
