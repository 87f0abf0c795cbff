"""A restart whose event socket was kept: what happened meanwhile is told as if the daemon had been there."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from portsyncd.model.port import Flapped
from portsyncd.testing.fake_kernel import FakeKernel
from portsyncd.testing.fake_links import FakeDescriptorStore
from tests.services.keeping import PORTS, KeepingSwitch, kept_running
from tests.services.test_keeper import flaps


async def restarted(
    meanwhile: Callable[[FakeKernel], object], **options: Any
) -> tuple[KeepingSwitch, dict[str, list[str]]]:
    """A switch that has run, was stopped, and ran again after this had happened. Returns the writes to each port."""
    switch = KeepingSwitch(**options)
    switch.descriptors = FakeDescriptorStore(switch.kernel)
    switch.enable_warm_restart()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
        await switch.keeper.finish()
    meanwhile(switch.kernel)
    switch.redis.writes.clear()
    switch.descriptors.restart()
    switch.begin_process()
    async with kept_running(switch):
        assert switch.states() == switch.expected_states()
        return switch, {name: switch.written(name) for name in PORTS}


def made_anew(kernel: FakeKernel) -> None:
    kernel.delete("Ethernet0")
    kernel.add_port("Ethernet0")


def dipped(kernel: FakeKernel) -> None:
    kernel.set("Ethernet0", up=False)
    kernel.set("Ethernet0", up=True)


@pytest.mark.parametrize(
    ("meanwhile", "written"),
    [
        (lambda _kernel: None, []),
        (made_anew, ["del", "hset"]),
        (dipped, ["hset"]),
        (lambda kernel: kernel.delete("Ethernet0"), ["del"]),
        (lambda kernel: kernel.rename("Ethernet0", "eth0"), ["del"]),
        (lambda kernel: kernel.set("Ethernet0", mtu=1400), ["hset"]),
    ],
)
async def test_what_happened_meanwhile_is_told(
    autojump_clock: MockClock, meanwhile: Callable[[FakeKernel], object], written: list[str]
) -> None:
    _, writes = await restarted(meanwhile)
    assert writes == {"Ethernet0": written, "Ethernet4": []}


async def test_flaps_are_counted_once_though_both_the_events_and_the_kernel_tell_them(
    autojump_clock: MockClock,
) -> None:
    def flap(kernel: FakeKernel) -> None:
        for up in (False, True, False, True):
            kernel.carrier("Ethernet0", up=up)

    switch, _ = await restarted(flap)
    assert flaps(switch) == 2
    assert switch.keeper._book.take(trio.current_time()) == {"Ethernet0": Flapped(2, 2)}


async def test_a_queue_that_overran_has_every_port_that_is_up_written_once(autojump_clock: MockClock) -> None:
    def storm(kernel: FakeKernel) -> None:
        for number in range(500):
            kernel.set("Ethernet4", mtu=1400 + number)

    switch, writes = await restarted(storm, buffer_bytes=1 << 16)
    assert writes == {"Ethernet0": ["hset"], "Ethernet4": ["hset"]}
    assert switch.reader.statistics().overruns == 1


async def test_a_socket_that_fails_before_the_first_read_ended_leaves_a_gap(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its queue would have told is lost: every port that is up is written once."""
    switch = KeepingSwitch()
    async with kept_running(switch):
        await switch.bring_up(PORTS)
    switch.begin_process()
    switch.reader._listened = True  # a source was open, and failed
    switch.enable_warm_restart()
    async with kept_running(switch):
        assert {name: switch.written(name) for name in PORTS} == {name: ["hset"] for name in PORTS}
