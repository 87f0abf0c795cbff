"""Reader and writer together, whatever happens and in whatever order: in the end Redis says what the kernel says.

And at every moment each event that was read is accounted for.
"""

from collections.abc import Callable
from typing import Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from portsyncd.errors import LinkSourceError
from portsyncd.model.generation import ExistingLinks, Policy
from tests.services.books import Auditor, balance
from tests.services.switch import FakeSwitch

PORTS: Final = ("Ethernet0", "Ethernet4", "Ethernet8")
NAMES: Final = (*PORTS, "PortChannel1", "other")

# What may happen, by name; each does nothing where it makes no sense.
Action = Callable[["Mortal", str], object]


def toggle_link(switch: FakeSwitch, name: str) -> None:
    if switch.kernel.find(name) is None:
        switch.kernel.add(name, "ifb")
    else:
        switch.kernel.delete(name)


def toggle_admin(switch: FakeSwitch, name: str) -> None:
    if (link := switch.kernel.find(name)) is not None:
        switch.kernel.set(name, up=not link.up)


def toggle_carrier(switch: FakeSwitch, name: str) -> None:
    if (link := switch.kernel.find(name)) is not None and link.peer in switch.kernel.links:
        switch.kernel.set(switch.kernel.links[link.peer].name, up=not link.carrier)


def excurse(switch: FakeSwitch, name: str) -> None:
    toggle_admin(switch, name)
    toggle_admin(switch, name)


def make_anew(switch: FakeSwitch, name: str) -> None:
    toggle_link(switch, name)
    toggle_link(switch, name)


def rename(switch: FakeSwitch, name: str) -> None:
    """To the next name that is free."""
    free = next((other for other in NAMES if switch.kernel.find(other) is None), None)
    if free is not None and switch.kernel.find(name) is not None:
        switch.kernel.rename(name, free)


def overrun(switch: FakeSwitch, name: str) -> None:
    """So many events that some are lost, the last ones among them."""
    if switch.kernel.find(name) is not None:
        for number in range(60):
            switch.kernel.set(name, mtu=1400 + number)


def lose_the_socket(switch: FakeSwitch, _name: str) -> None:
    if switch.reader._source is not None:
        switch.reader._source.close()


ACTIONS: Final[dict[str, Action]] = {
    "toggle_link": toggle_link,
    "toggle_admin": toggle_admin,
    "toggle_carrier": toggle_carrier,
    "excurse": excurse,
    "make_anew": make_anew,
    "rename": rename,
    "overrun": overrun,
    "lose_the_socket": lose_the_socket,
    "interrupt": lambda switch, _name: toggle_link(switch, "noise"),
    "pop": lambda switch, _name: switch.redis.pop(),
    "stop": lambda switch, _name: switch.redis.stop(),
    "start": lambda switch, _name: switch.redis.start(),
    "pause": lambda switch, _name: switch.redis.pause(),
    "resume": lambda switch, _name: switch.redis.resume(),
    "save": lambda switch, _name: switch.redis.save(),
    "restart": lambda switch, _name: switch.redis.restart(empty=False),
    "lose a reply": lambda switch, _name: switch.redis.lose_reply(carried_out=True),
    "lose a request": lambda switch, _name: switch.redis.lose_reply(carried_out=False),
    "flush APPL_DB": lambda switch, _name: switch.redis.flush(0),
    "flush STATE_DB": lambda switch, _name: switch.redis.flush(6),
    "end": lambda switch, _name: switch.end(),
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(sorted(ACTIONS)),
        st.sampled_from(NAMES),
        # Nothing, a round trip, and what is longer than a look, a time-out, a backoff.
        st.sampled_from((0.0, 0.0, 0.02, 0.3, 1.5, 6.0)),
    ),
    max_size=40,
)


class Mortal(FakeSwitch):
    """A switch whose daemon can end in the middle of anything, and is started again."""

    def __init__(self) -> None:
        super().__init__(policy=Policy(existing_links=ExistingLinks.ADOPT), buffer_bytes=40_000)
        self.life = trio.CancelScope()
        self.redis.latency = 0.01
        self.load_config(PORTS)
        self.redis.save()

    def end(self) -> None:
        self.life.cancel()

    async def live(self) -> None:
        while True:
            with trio.CancelScope() as self.life:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.writer.run)
                    nursery.start_soon(self.keep_reading)
            self.begin_process()

    async def keep_reading(self) -> None:
        """As the supervisor does."""
        while True:
            try:
                await self.reader.run()
            except LinkSourceError:
                await trio.sleep(0.1)


async def play(steps: list[tuple[str, str, float]]) -> None:
    switch = Mortal()
    auditor = Auditor(switch)
    trio.lowlevel.add_instrument(auditor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(switch.live)
        await trio.sleep(1)
        switch.redis.pop()
        switch.add_ports(PORTS)
        await trio.sleep(1)
        for action, name, pause in steps:
            ACTIONS[action](switch, name)
            await trio.sleep(pause)
        # Everything is well again; orchagent takes what there is, when it is there.
        switch.redis.start()
        switch.redis.resume()
        for _ in range(12):
            await trio.sleep(6)
            switch.redis.pop()
        await trio.sleep(6)
        assert switch.states() == switch.expected_states()
        missing = [name for name in PORTS if switch.kernel.find(name) is None]
        assert set(PORTS) - set(missing) <= switch.states().keys()
        assert switch.has_marker("PortConfigDone")
        assert switch.has_marker("PortInitDone") or missing
        # At rest.
        writes = len(switch.redis.writes)
        await trio.sleep(100)
        assert len(switch.redis.writes) == writes
        assert balance(switch).in_flight == 0
        assert auditor.problem is None
        nursery.cancel_scope.cancel()


@pytest.mark.unmeasured
@settings(max_examples=80)
@given(STEPS)
def test_in_the_end_redis_says_what_the_kernel_says(steps: list[tuple[str, str, float]]) -> None:
    trio.run(play, steps, clock=MockClock(autojump_threshold=0))
