"""A reader that is rebuilt: what happened while nobody listened."""

import trio
from trio.testing import MockClock

from tests.services.watching import PORTS, ObservedSwitch, observed


async def test_an_admin_excursion_while_nobody_listened_is_written(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch):
        await trio.sleep(1)
        before = switch.states()
        switch.redis.writes.clear()
        switch.supervisor.cancel_child("reader", "a test")
        await switch.settle()
        assert not switch.reader.statistics().listening
        switch.kernel.set(PORTS[0], up=False)
        switch.kernel.set(PORTS[0], up=True)
        await trio.sleep(1)
        assert switch.states() == before
        # The kernel told nobody of it; each port that is admin up may have had one.
        assert [switch.written(name) for name in PORTS] == [["hset"], ["hset"]]


async def test_what_came_and_went_while_nobody_listened_is_found(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch):
        await trio.sleep(1)
        switch.supervisor.cancel_child("reader", "a test")
        await switch.settle()
        switch.kernel.delete(PORTS[0])
        switch.kernel.set(PORTS[1], mtu=1400)
        await trio.sleep(1)
        assert switch.states() == switch.expected_states()
        assert PORTS[0] not in switch.states()
