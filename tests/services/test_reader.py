"""The reader between its full re-reads: events, their pace, the filter, and its lives. Full re-reads: see
``test_reader_resync``."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portsyncd.errors import LinkSourceError, NoPermissionError
from portsyncd.services.reader import BUDGET
from portsyncd.testing import frames
from portsyncd.wire.netlink import LinkMessage
from tests.services.reading import Rig, reading


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


# ---- events


async def test_what_happens_to_a_port_reaches_the_mailbox(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with reading(rig):
        for change in (
            lambda: rig.kernel.add_port("Ethernet0"),
            lambda: rig.kernel.set("Ethernet0", up=True),
            lambda: rig.kernel.carrier("Ethernet0", up=True),
            lambda: rig.kernel.set("Ethernet0", mtu=9100),
            lambda: rig.kernel.rename("Ethernet0", "Ethernet4"),
            lambda: rig.kernel.delete("Ethernet4"),
        ):
            change()
            assert (await rig.settle()).changes
            assert rig.state() == rig.truth()
    assert rig.removed == ["Ethernet0", "Ethernet4"]
    assert rig.kernel.dumps == 1


async def test_who_waits_for_the_mailbox_is_woken_once_the_batch_is_complete(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with reading(rig), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def expect_all() -> None:
            await rig.inbox.wait()
            assert rig.take().changes.keys() == {"Ethernet0", "Ethernet4"}

        await wait_all_tasks_blocked()
        rig.kernel.add_port("Ethernet0")
        rig.kernel.add_port("Ethernet4")


async def test_an_admin_excursion_within_one_read_is_remembered(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    rig.kernel.set("Ethernet0", up=True)
    async with reading(rig):
        rig.kernel.set("Ethernet0", mtu=9100)
        await rig.settle()
        assert rig.dipped == []
        rig.kernel.set("Ethernet0", up=False)
        rig.kernel.set("Ethernet0", up=True)
        await rig.settle()
    assert rig.dipped == ["Ethernet0"]
    assert rig.state() == rig.truth()


async def test_of_deleted_links_only_those_that_the_first_dump_showed_are_told(autojump_clock: MockClock) -> None:
    rig = Rig()
    old = rig.kernel.add("Ethernet0", "ifb")
    async with reading(rig):
        for _ in range(100):
            rig.kernel.delete("Ethernet0")
            rig.kernel.add("Ethernet0", "ifb")
            await wait_all_tasks_blocked()
        taken = rig.take()
    # So the mailbox stays small, whatever comes and goes while nobody takes.
    assert taken.changes["Ethernet0"].deleted == (old,)
    assert taken.changes["Ethernet0"].removed


async def test_what_was_read_is_not_lost_when_it_is_cancelled_between_two_turns(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        for number in range(5 * BUDGET):
            rig.kernel.set("Ethernet0", mtu=1400 + number)
        while len(rig.source.events) == 5 * BUDGET:
            await trio.lowlevel.checkpoint()
        left = len(rig.source.events)
        assert left > 0
    assert rig.reader.statistics().events == 5 * BUDGET - left
    assert rig.take().changes["Ethernet0"].link is not None


async def test_a_link_whose_message_is_incomplete_is_asked_for(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with reading(rig):
        ifindex = rig.kernel.add("Ethernet0", "ifb")
        await rig.settle()
        rig.kernel.link("Ethernet0").mtu = 9100
        rig.kernel.multicast(LinkMessage(False, 0, ifindex, 0, "", -1))
        await rig.settle()
        assert rig.state() == rig.truth()
        # One that is gone by then changes nothing.
        rig.kernel.multicast(LinkMessage(False, 0, 999, 0, "Ethernet4", -1))
        await rig.settle()
    # The first question is for what the filter's range gained; each of the others was asked once.
    assert rig.kernel.asked == [ifindex, ifindex, 999]
    assert rig.kernel.dumps == 1
    assert rig.state() == rig.truth()


async def test_a_read_ends_at_the_budget_and_others_run_before_the_next(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    left: list[int] = []
    async with reading(rig):
        for number in range(10 * BUDGET):
            rig.kernel.set("Ethernet0", mtu=1400 + number % 2)
        while rig.source.events.readable:
            left.append(len(rig.source.events))
            await trio.lowlevel.checkpoint()
        await rig.settle()
    # Trio lets each of two tasks run once in a round, in any order.
    assert all(before - after <= 2 * BUDGET for before, after in pairwise(left))
    assert left[0] == 10 * BUDGET
    assert rig.state() == rig.truth()
    assert rig.kernel.dumps == 1


# ---- the filter


async def test_the_filter_comes_with_the_first_ports_and_its_range_grows(autojump_clock: MockClock) -> None:
    rig = Rig()
    first = rig.kernel.add("Ethernet0", "ifb", index=10)
    async with reading(rig):
        assert rig.source.filtering
        assert rig.source.range == (first, first)
        last = rig.kernel.add("Ethernet4", "ifb", index=20)
        await rig.settle()
        assert rig.source.range == (first, last)
        rig.kernel.add("Ethernet2", "ifb", index=15)
        await rig.settle()
        assert rig.source.log.count("listen_to") == 2
    # What the range gained was asked for, once.
    assert rig.kernel.asked == [last]


async def test_a_rename_away_is_heard_within_the_range_and_asked_for_beyond_it(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add("Ethernet0", "ifb", index=10)
    rig.kernel.add("other", "ifb", index=20)
    async with reading(rig):
        rig.kernel.rename("Ethernet0", "away")
        await rig.settle()
        assert rig.state() == rig.truth() == {}
        # A port for a moment: the filter, whose range it is not in yet, keeps its leaving out.
        rig.kernel.rename("other", "Ethernet4")
        rig.kernel.rename("Ethernet4", "other")
        await rig.settle()
    assert rig.state() == rig.truth() == {}
    assert rig.removed == ["Ethernet0", "Ethernet4"]
    assert rig.kernel.dumps == 1


async def test_a_port_for_a_moment_that_was_deleted_unheard_is_gone(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add("Ethernet0", "ifb", index=10)
    rig.kernel.add("other", "ifb", index=20)
    async with reading(rig):
        rig.kernel.rename("other", "Ethernet4")
        rig.kernel.rename("Ethernet4", "other")
        rig.kernel.delete("other")
        await rig.settle()
    assert rig.state() == rig.truth()
    assert rig.removed == ["Ethernet4"]
    assert rig.kernel.dumps == 1


async def test_noise_of_other_links_is_kept_out_and_costs_nothing(autojump_clock: MockClock) -> None:
    rig = Rig(buffer_bytes=8192)
    rig.kernel.add("Ethernet0", "ifb")
    rig.kernel.add("noise", "ifb")
    async with reading(rig):
        before = list(rig.source.log)
        for number in range(10_000):
            rig.kernel.set("noise", mtu=1400 + number % 2)
        await rig.settle()
        assert rig.source.log == before
    assert rig.reader.statistics().events == 0


async def test_where_the_kernel_refuses_the_filter_it_goes_on_and_says_so_once(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    rig = Rig()
    rig.kernel.takes_filters = False
    rig.kernel.add("Ethernet0", "ifb")
    async with reading(rig):
        for number in range(1, 5):
            rig.kernel.add(f"Ethernet{number}", "ifb")
            rig.kernel.add(f"noise{number}", "ifb")
            await rig.settle()
        assert not rig.reader.statistics().filtering
    assert rig.state() == rig.truth()
    warnings = [line["event"] for line in log if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "filter" in warnings[0]


# ---- lives


class Starting:
    """A task status that notes what the source had been asked for when ``started`` was called."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.log: list[str] = []

    def started(self, _value: object = None) -> None:
        self.log = list(self._rig.source.log)


async def test_it_has_started_when_the_kernel_keeps_events_and_before_the_dump(autojump_clock: MockClock) -> None:
    rig = Rig()
    starting = Starting(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: rig.reader.run(task_status=starting))
        await rig.settle()
        nursery.cancel_scope.cancel()
    assert starting.log == ["open"]
    assert rig.source.log[-1] == "close"
    assert rig.kernel.sockets == []


async def test_a_socket_that_fails_ends_it_and_the_next_life_finds_what_went_meanwhile(
    autojump_clock: MockClock,
) -> None:
    rig = Rig()
    for name in ("Ethernet0", "Ethernet4", "Ethernet8"):
        rig.kernel.add_port(name)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def fail() -> None:
            with pytest.raises(LinkSourceError):
                await rig.reader.run()

        await rig.settle()
        rig.source.close()
    statistics = rig.reader.statistics()
    assert (statistics.receive_buffer_bytes, statistics.filtering) == (0, False)
    rig.kernel.delete("Ethernet0")
    rig.kernel.set("Ethernet4", mtu=9100)
    old = rig.kernel.index("Ethernet8")
    rig.kernel.delete("Ethernet8")
    rig.kernel.add_port("Ethernet8")
    async with reading(rig):
        assert rig.state() == rig.truth()
        assert rig.links["Ethernet8"].ifindex != old
        # Events may have been missed; and which links are old is told once a process.
        assert rig.synced[-1].lost
        assert (rig.synced[-1].reasons, rig.synced[-1].shown) == (frozenset({"start"}), frozenset())
    async with reading(rig):
        # Nothing has changed, and the new socket has its filter.
        assert rig.source.filtering
    assert rig.removed == ["Ethernet0"]
    assert len(rig.sources) == 3


async def test_a_request_between_two_lives_is_answered_by_the_next(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.reader.request_resync("test", ["Ethernet0"])
    async with reading(rig):
        assert rig.synced[0].reasons == {"start", "test"}
        assert rig.removed == ["Ethernet0"]


async def test_links_are_set_down_with_a_socket_or_without(autojump_clock: MockClock) -> None:
    rig = Rig()
    ports = [rig.kernel.add_port(f"Ethernet{number}") for number in range(2)]
    rig.kernel.set("Ethernet0", up=True)
    rig.kernel.set("Ethernet1", up=True)
    await rig.reader.set_down(ports[:1])
    async with reading(rig):
        await rig.reader.set_down(ports[1:])
        assert len(rig.sources) == 2
        rig.kernel.permits = False
        with pytest.raises(NoPermissionError):
            await rig.reader.set_down(ports)
    assert [link.up for link in rig.kernel.links.values() if link.ifindex in ports] == [False, False]


async def test_its_statistics(autojump_clock: MockClock) -> None:
    rig = Rig(buffer_bytes=1 << 20)
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        for number in range(10):
            rig.kernel.set("Ethernet0", mtu=1400 + number)
        rig.kernel.inject(frames.overrun())
        await trio.sleep(5)
        statistics = rig.reader.statistics()
    assert (statistics.events, statistics.folded, statistics.ports) == (11, 9, 1)
    assert (statistics.overruns, statistics.resyncs) == (1, {"start": 1, "overrun": 1})
    assert statistics.certified_at == trio.current_time() - 5
    assert (statistics.resyncing, statistics.receive_buffer_bytes, statistics.filtering) == (False, 1 << 20, True)
    assert (statistics.listening, statistics.failed) == (True, 0)
