"""The mailbox's waiting; what it folds is ``model.mailbox``'s."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portsyncd.model.links import Change, Link
from portsyncd.model.mailbox import Synced
from portsyncd.services.inbox import Inbox, InboxStatistics

LINK = Link(5, ("ok", "up", "up", "9100"), 0)
SYNCED = Synced(frozenset({"start"}), certified=True)


async def is_awake(inbox: Inbox) -> bool:
    """Whether a wait would end at once."""
    with trio.move_on_after(1) as scope:
        await inbox.wait()
    return not scope.cancelled_caught


async def test_what_is_put_wakes_nobody_before_the_batch_is_complete(autojump_clock: MockClock) -> None:
    inbox = Inbox(10)
    inbox.put([Change("Ethernet0", LINK)], now=1.0)
    assert len(inbox) == 1
    assert not await is_awake(inbox)
    inbox.poke()
    assert await is_awake(inbox)


async def test_a_take_empties_it_and_puts_it_to_sleep(autojump_clock: MockClock) -> None:
    inbox = Inbox(10)
    inbox.put([Change("Ethernet0", LINK), Change("Ethernet4", None, 7)], now=1.0)
    inbox.note_admin_down("Ethernet0")
    inbox.put_synced(SYNCED)
    assert await is_awake(inbox)
    taken = inbox.take()
    assert taken.changes["Ethernet0"].link == LINK
    assert taken.changes["Ethernet0"].dipped
    assert taken.changes["Ethernet0"].arrived == 1.0
    assert taken.changes["Ethernet4"].deleted == (7,)
    assert (taken.synced, taken.overflowed) == (SYNCED, False)
    assert len(inbox) == 0
    assert not await is_awake(inbox)
    assert inbox.take().changes == {}


async def test_a_poke_while_one_waits_wakes_it(autojump_clock: MockClock) -> None:
    inbox = Inbox(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.wait)
        await wait_all_tasks_blocked()
        inbox.poke()


async def test_a_poke_between_two_takes_is_not_lost(autojump_clock: MockClock) -> None:
    inbox = Inbox(10)
    inbox.take()
    inbox.poke()
    inbox.put([Change("Ethernet0", LINK)], now=1.0)
    assert await is_awake(inbox)


async def test_beyond_its_bound_it_says_that_names_were_refused() -> None:
    inbox = Inbox(2)
    inbox.put([Change(f"Ethernet{number}", LINK) for number in range(3)], now=1.0)
    # What is in there already can still change.
    inbox.put([Change("Ethernet0", None, 5)], now=2.0)
    taken = inbox.take()
    assert taken.overflowed
    assert taken.changes.keys() == {"Ethernet0", "Ethernet1"}
    assert taken.changes["Ethernet0"].removed
    assert not inbox.take().overflowed


async def test_its_statistics() -> None:
    inbox = Inbox(10)
    for number in (0, 0, 4):
        assert inbox.put([Change(f"Ethernet{number}", LINK)], now=1.0, event=True)
    inbox.count(5)
    assert inbox.statistics() == InboxStatistics(depth=2, bound=10, events=5, conflated=1)
    assert inbox.take().events == 5
    assert inbox.statistics() == InboxStatistics(depth=0, bound=10, events=0, conflated=1)
