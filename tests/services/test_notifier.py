"""What the service manager makes of what it is told, on the test clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import structlog.testing
import trio
from trio.testing import MockClock

from portsyncd.services.notifier import Notifier
from portsyncd.testing.fake_manager import FakeServiceManager, UnitState

WATCHDOG = 30.0


class Service:
    """A daemon, as far as it is told of. stood, line: see ``Notifier``. manager: its systemd."""

    def __init__(self, *, watchdog: float | None = WATCHDOG, feed_every: float | None = 15.0) -> None:
        self.manager = FakeServiceManager(watchdog=watchdog)
        self.ready = trio.Event()
        self.stood, self.line = 0.0, "starts"
        self.notifier = Notifier(
            self.manager,
            feed_every=feed_every,
            max_stall=10.0,
            ready=self.ready,
            stood=lambda: self.stood,
            line=lambda: self.line,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.notifier.run)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()

    def count(self, **field: int) -> int:
        return sum(field.items() <= dict(each).items() for each in self.manager.heard)


async def test_it_is_active_the_moment_its_first_sync_is_over(autojump_clock: MockClock) -> None:
    service = Service()
    async with service.running():
        await trio.sleep(200)
        assert service.manager.says() == "activating: starts"
        # Without a gap in which the start would have been given up.
        assert trio.current_time() - service.manager.extended_at <= 11
        assert service.manager.extension == 30
        service.ready.set()
        await trio.testing.wait_all_tasks_blocked()
        assert service.manager.state is UnitState.ACTIVE
        before = len(service.manager.heard)
        service.line = "128 ports in sync"
        await trio.sleep(1.1)
        assert service.manager.status == "128 ports in sync"
        assert len(service.manager.heard) == before + 1
    assert service.count(READY=1) == 1


@pytest.mark.parametrize(
    ("watchdog", "feed_every", "expected"), [(30, 15, 15), (10, 15, 5), (60, 2, 2), (None, 15, 15)]
)
async def test_the_watchdog_is_fed_twice_in_its_time_or_more_often(
    autojump_clock: MockClock, watchdog: float | None, feed_every: float, expected: float
) -> None:
    service = Service(watchdog=watchdog, feed_every=feed_every)
    service.ready.set()
    async with service.running():
        for _ in range(1000):
            await trio.sleep(0.1)
            assert trio.current_time() - service.manager.fed_at <= expected + 1e-6
    # No more often than the looks make it necessary.
    assert service.count(WATCHDOG=1) <= 100 / max(1.0, expected - 1) + 1


async def test_a_short_watchdog_is_fed_in_time(autojump_clock: MockClock) -> None:
    service = Service(watchdog=0.5)
    service.ready.set()
    async with service.running():
        for _ in range(50):
            await trio.sleep(0.1)
            assert not service.manager.starved_for()


async def test_who_stands_still_starves_and_is_told_of_once(autojump_clock: MockClock) -> None:
    service = Service()
    service.ready.set()
    with structlog.testing.capture_logs() as log:
        async with service.running():
            await trio.sleep(100)
            service.stood = 10.0
            await trio.sleep(31)
            assert service.manager.starved_for()
            service.stood = 0.0
            await trio.sleep(1.1)
            assert not service.manager.starved_for()
    assert [line["log_level"] for line in log] == ["error", "warning"]


@pytest.mark.parametrize("watchdog", [WATCHDOG, None])
async def test_who_wants_no_watchdog_has_it_switched_off(autojump_clock: MockClock, watchdog: float | None) -> None:
    service = Service(watchdog=watchdog, feed_every=None)
    service.ready.set()
    with structlog.testing.capture_logs() as log:
        async with service.running():
            service.stood = 1000.0
            await trio.sleep(1000)
            assert service.manager.watchdog is None
    assert service.count(WATCHDOG_USEC=0) == (watchdog is not None)
    assert not service.count(WATCHDOG=1)
    assert log == []


async def test_what_could_not_be_sent_is_sent_later(autojump_clock: MockClock) -> None:
    service = Service()
    service.manager.deaf = True
    service.ready.set()
    async with service.running():
        await trio.sleep(5)
        service.manager.deaf = False
        await trio.sleep(1.1)
        assert service.manager.says() == "active: starts"
        with service.notifier.reloading():
            assert service.manager.state is UnitState.RELOADING
            service.manager.deaf = True
        service.manager.deaf = False
        await trio.sleep(1.1)
        assert service.manager.says() == "active: starts"


async def test_that_no_watchdog_is_wanted_is_said_until_it_is_heard(autojump_clock: MockClock) -> None:
    service = Service(feed_every=None)
    service.manager.deaf = True
    service.ready.set()
    async with service.running():
        await trio.sleep(5)
        service.manager.deaf = False
        await trio.sleep(1.1)
    assert service.manager.watchdog is None


async def test_whatever_is_wrong_with_the_line_the_watchdog_is_fed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(watchdog=2.0)

    def fail() -> str:
        raise ZeroDivisionError(5000 * "x")

    with structlog.testing.capture_logs() as log:
        monkeypatch.setattr(service.notifier, "_line", fail)
        async with service.running():
            service.ready.set()
            for _ in range(50):
                await trio.sleep(0.2)
                assert not service.manager.starved_for()
            assert service.manager.says().startswith("active: state unknown: ZeroDivisionError('xxx")
            monkeypatch.undo()
            await trio.sleep(1.1)
            assert service.manager.says() == "active: starts"
    assert [line["log_level"] for line in log] == ["error"]


async def test_of_two_reloads_at_once_the_last_ends_it(autojump_clock: MockClock) -> None:
    service = Service()
    service.ready.set()
    async with service.running():
        with service.notifier.reloading():
            with service.notifier.reloading():
                pass
            assert service.manager.state is UnitState.RELOADING
        assert service.manager.says() == "active: starts"
    assert service.count(READY=1) == 2
    assert sum("RELOADING" in each for each in service.manager.heard) == 1


async def test_a_reload_has_a_beginning_and_an_end_also_when_it_fails(autojump_clock: MockClock) -> None:
    service = Service()
    service.ready.set()
    async with service.running():
        with suppress(ZeroDivisionError), service.notifier.reloading():
            assert service.manager.state is UnitState.RELOADING
            raise ZeroDivisionError
        assert service.manager.state is UnitState.ACTIVE


async def test_a_reload_makes_no_start_ready_and_revives_nobody_who_stops(autojump_clock: MockClock) -> None:
    service = Service()
    async with service.running():
        with service.notifier.reloading():
            await trio.sleep(1)
        assert service.manager.state is UnitState.ACTIVATING
        service.ready.set()
        await trio.testing.wait_all_tasks_blocked()
        with service.notifier.reloading():
            service.notifier.stop(5000 * "y")
        service.line = "in sync"
        await trio.sleep(100)
        with service.notifier.reloading():
            pass
    assert service.manager.says().startswith("deactivating: stopping: yyy")
    assert service.manager.heard[-1].keys() == {"STOPPING", "STATUS"}


async def test_begun_anew_it_does_not_repeat_what_is_known(autojump_clock: MockClock) -> None:
    service = Service()
    service.ready.set()
    async with service.running():
        pass
    before = list(service.manager.heard)
    async with service.running():
        await trio.sleep(1)
    assert service.manager.heard == before
