"""The full re-read, step by step: each step of its order has a test that fails without it."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from portsyncd.errors import LinkSourceError
from portsyncd.services.reader import BUDGET
from portsyncd.testing import frames
from tests.services.reading import Rig, reading

# A buffer that a handful of events overruns.
SMALL = 4096


def meddle(rig: Rig, action: Callable[[], object], *, dump: int, chunk: int = 1) -> None:
    """Do something before this chunk of this dump is read: dumps from 1, chunks of two links from 0."""
    before = rig.kernel.during_dump
    rig.planned.add((dump, chunk))

    def during_dump(this_dump: int, this_chunk: int) -> None:
        before(this_dump, this_chunk)
        if (this_dump, this_chunk) == (dump, chunk):
            rig.planned.discard((dump, chunk))
            action()

    rig.kernel.during_dump = during_dump


def flip(rig: Rig, name: str, times: int) -> None:
    """So many events of one link."""
    for number in range(times):
        rig.kernel.set(name, mtu=1400 + number % 2)


async def test_the_first_read_shows_what_is_there_and_is_certified(autojump_clock: MockClock) -> None:
    rig = Rig()
    ports = [rig.kernel.add_port(f"Ethernet{number}") for number in range(5)]
    noise = rig.kernel.add("noise", "ifb")
    async with reading(rig):
        (synced,) = rig.synced
    assert rig.state() == rig.truth() != {}
    assert synced.reasons == {"start"}
    assert (synced.certified, synced.lost) == (True, False)
    # Which of them are ports is for the model to say.
    assert {*ports, noise} <= synced.shown
    assert rig.sources[0].log[:3] == ["open", "receive", "dump"]
    assert rig.reader.statistics().certified_at == trio.current_time()


async def test_only_the_first_dump_tells_what_was_there(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    # Heard of during the first dump; shown by the second, which is made because the first was interrupted by it.
    meddle(rig, lambda: rig.kernel.add("Ethernet4", "ifb", index=99), dump=1, chunk=0)
    meddle(rig, lambda: rig.kernel.add("Ethernet8", "ifb", index=9), dump=1, chunk=2)
    async with reading(rig):
        rig.reader.request_resync("test")
        await rig.settle()
    first, second = rig.synced
    assert rig.kernel.index("Ethernet0") in first.shown
    assert 9 not in first.shown
    assert second.shown == frozenset()
    assert rig.state() == rig.truth()


async def test_the_socket_is_read_empty_before_the_dump_whatever_the_budget(autojump_clock: MockClock) -> None:
    rig = Rig(buffer_bytes=8_000_000)
    rig.kernel.add_port("Ethernet0")
    waiting: list[int] = []

    def note_what_waits(dump: int, chunk: int) -> None:
        if chunk == 0:
            waiting.append(len(rig.source.events))

    rig.kernel.during_dump = note_what_waits
    async with reading(rig):
        flip(rig, "Ethernet0", 20 * BUDGET)
        assert len(rig.source.events) > 2 * BUDGET
        assert rig.source.drops() > 0
        await rig.settle()
    assert waiting == [0, 0]
    assert rig.state() == rig.truth()
    assert rig.synced[-1].lost


async def test_what_changes_during_the_dump_wins_over_what_it_showed(autojump_clock: MockClock) -> None:
    rig = Rig()
    for number in range(5):
        rig.kernel.add_port(f"Ethernet{number}")
    async with reading(rig):
        # Shown already when it changes; changed before it is shown; gone after it was shown.
        meddle(rig, lambda: rig.kernel.set("Ethernet0", mtu=9000), dump=2, chunk=3)
        meddle(rig, lambda: rig.kernel.set("Ethernet4", mtu=9000), dump=2, chunk=3)
        meddle(rig, lambda: rig.kernel.delete("Ethernet1"), dump=2, chunk=5)
        rig.reader.request_resync("test")
        await rig.settle()
    assert rig.state() == rig.truth()


async def test_it_ends_when_what_came_meanwhile_is_in_the_mailbox(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def take_at_once() -> None:
            await rig.inbox.wait()
            assert rig.take().synced
            assert rig.state() == rig.truth()

        meddle(rig, lambda: rig.kernel.set("Ethernet0", mtu=9000), dump=2, chunk=2)
        rig.reader.request_resync("test")


async def test_what_is_lost_before_the_dump_is_made_good_by_it(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        rig.kernel.inject(b"short")
        rig.reader.request_resync("test")
        await rig.settle()
    assert rig.kernel.dumps == 2
    assert rig.synced[-1].lost


async def test_it_is_repeated_when_events_were_lost_meanwhile(autojump_clock: MockClock) -> None:
    rig = Rig(buffer_bytes=SMALL)
    for number in range(5):
        rig.kernel.add_port(f"Ethernet{number}")
    async with reading(rig):
        meddle(rig, lambda: flip(rig, "Ethernet0", 100), dump=2, chunk=3)
        rig.reader.request_resync("test")
        await rig.settle()
    assert rig.kernel.dumps == 3
    assert rig.state() == rig.truth()
    assert rig.synced[-1].reasons == {"test", "overrun"}
    assert (rig.synced[-1].certified, rig.synced[-1].lost) == (True, True)


async def test_drops_that_no_read_reports_repeat_it_too(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):

        def drop_silently() -> None:
            rig.source.events.drops += 1

        meddle(rig, drop_silently, dump=2)
        rig.reader.request_resync("test")
        await rig.settle()
    assert rig.kernel.dumps == 3
    assert rig.synced[-1].lost


async def test_a_link_lost_in_an_overrun_is_found(autojump_clock: MockClock) -> None:
    rig = Rig(buffer_bytes=SMALL)
    rig.kernel.add_port("Ethernet0")
    rig.kernel.add_port("Ethernet4")
    async with reading(rig):
        flip(rig, "Ethernet0", 100)
        rig.kernel.add_port("Ethernet8")
        rig.kernel.delete("Ethernet4")
        rig.kernel.rename("Ethernet0", "Ethernet12")
        await rig.settle()
    assert rig.state() == rig.truth()
    assert rig.links.keys() == {"Ethernet8", "Ethernet12"}
    assert rig.reader.statistics().overruns == 1


async def test_an_interrupted_dump_is_repeated_three_times_and_then_tried_again_later(
    autojump_clock: MockClock,
) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    interrupting = True
    dumped_at: list[float] = []

    def come_and_go(_dump: int, chunk: int) -> None:
        if chunk == 0:
            dumped_at.append(trio.current_time())
        elif interrupting:
            rig.kernel.add("noise", "ifb")
            rig.kernel.delete("noise")

    rig.kernel.during_dump = come_and_go
    start = trio.current_time()
    async with reading(rig):
        assert rig.kernel.dumps == 4
        assert not rig.synced[0].certified
        # Good for what it showed all the same.
        assert rig.state() == rig.truth()
        assert rig.reader.statistics().certified_at is None
        await trio.sleep(200)
        rig.take()
        tries = [round(at - start, 6) for at in dumped_at[::4]]
        # Doubling from a second, to a minute at most.
        assert tries == [0, 1, 3, 7, 15, 31, 63, 123, 183]
        interrupting = False
        await trio.sleep(60)
        rig.take()
        assert rig.synced[-1].certified
        assert rig.synced[-1].reasons == {"interrupted"}
        certified = len(dumped_at)
        await trio.sleep(200)
        assert len(dumped_at) == certified


async def test_what_a_dump_lacks_is_kept_if_the_kernel_knows_it(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    rig.kernel.add_port("Ethernet4")
    async with reading(rig):
        rig.kernel.link("Ethernet0").hidden = True
        rig.reader.request_resync("test")
        await rig.settle()
        assert rig.kernel.asked == ["Ethernet0"]
    assert rig.state() == rig.truth()
    assert rig.removed == []


async def test_what_a_dump_lacks_goes_only_when_the_kernel_says_so(autojump_clock: MockClock) -> None:
    rig = Rig()
    ifindex = rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        # Its removal goes unheard.
        del rig.kernel.links[ifindex]
        before: list[str] = []
        rig.kernel.before_ask = lambda _targets: before.extend(rig.take().changes)
        rig.reader.request_resync("test")
        taken = await rig.settle()
    assert "Ethernet0" not in before
    assert taken.changes["Ethernet0"].removed
    assert taken.changes["Ethernet0"].deleted == (ifindex,)


async def test_an_answer_under_another_name_is_no_answer(autojump_clock: MockClock) -> None:
    rig = Rig()
    ifindex = rig.kernel.add_port("Ethernet0")
    rig.kernel.add("spare", "ifb")
    async with reading(rig):
        del rig.kernel.links[ifindex]
        rig.kernel.altname("spare", "Ethernet0")
        rig.reader.request_resync("test")
        await rig.settle()
    assert rig.removed == ["Ethernet0"]
    assert rig.links == {}


async def test_names_that_only_redis_knows_are_asked_for(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        rig.kernel.add_port("Ethernet4")
        rig.kernel.asked.clear()
        rig.reader.request_resync("test", ["Ethernet0", "Ethernet4", "Ethernet8"])
        taken = await rig.settle()
        # What the dump shows needs no question.
        assert [asked for asked in rig.kernel.asked if isinstance(asked, str)] == ["Ethernet8"]
        assert taken.changes["Ethernet8"].link is None
        assert taken.changes["Ethernet8"].removed
        rig.reader.request_resync("test")
        assert "Ethernet8" not in (await rig.settle()).changes


async def test_a_name_is_asked_for_again_when_the_question_failed(autojump_clock: MockClock) -> None:
    rig = Rig()

    def fail(_targets: object) -> None:
        raise LinkSourceError("the kernel's answer did not come")

    async with trio.open_nursery() as nursery:
        rig.kernel.before_ask = fail
        rig.reader.request_resync("test", ["Ethernet8"])
        with pytest.raises(LinkSourceError):
            await rig.reader.run()
        rig.kernel.before_ask = lambda _targets: None
        await nursery.start(rig.reader.run)
        taken = await rig.settle()
        nursery.cancel_scope.cancel()
    assert taken.changes["Ethernet8"].removed


@pytest.mark.parametrize(
    "datagram",
    [b"short", frames.message(16, b"1234"), frames.refusal(22), frames.overrun(), b"\xff" * 100],
    ids=["short", "truncated link", "error", "overrun", "garbage"],
)
async def test_a_datagram_that_cannot_be_understood_leads_to_one(autojump_clock: MockClock, datagram: bytes) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        rig.kernel.set("Ethernet0", mtu=9100)
        rig.kernel.inject(datagram)
        rig.kernel.set("Ethernet0", up=True)
        await rig.settle()
    assert rig.kernel.dumps == 2
    assert rig.synced[-1].lost
    assert rig.state() == rig.truth()
    # Only of what the kernel said itself is it known that it dropped something.
    assert rig.reader.statistics().overruns == (datagram == frames.overrun())


async def test_an_unreadable_datagram_during_the_dump_repeats_it(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        meddle(rig, lambda: rig.kernel.inject(b"short"), dump=2)
        rig.reader.request_resync("test")
        await rig.settle()
    assert rig.kernel.dumps == 3


async def test_a_request_during_one_is_answered_by_another(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    async with reading(rig):
        meddle(rig, lambda: rig.reader.request_resync("second", ["Ethernet8"]), dump=2)
        rig.reader.request_resync("first")
        taken = await rig.settle()
    assert rig.kernel.dumps == 3
    assert taken.changes["Ethernet8"].removed
    assert rig.reader.statistics().resyncs == {"start": 1, "first": 1, "second": 1}


async def test_others_run_while_a_long_queue_is_read(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.kernel.add_port("Ethernet0")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with reading(rig):
        flip(rig, "Ethernet0", 10 * BUDGET)
        before = len(rig.source.log)
        rig.reader.request_resync("test")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            while not rig.inbox.take().synced:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert rig.source.log[before:].count("receive") >= 10
    assert turns > 10
