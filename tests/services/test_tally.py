"""What reader and writer record: how each event ended, how long things took, when the databases were proven right."""

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from portsyncd.metrics import Histogram
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.mailbox import Synced, Taken
from portsyncd.model.warm import Phase
from portsyncd.services.tally import Tally
from portsyncd.testing import frames
from portsyncd.testing.fake_redis import OOM
from tests.services.books import balance
from tests.services.switch import FakeSwitch, running

PORTS = ["Ethernet0", "Ethernet4"]


def loaded(bound: int = 100) -> FakeSwitch:
    switch = FakeSwitch(policy=Policy(existing_links=ExistingLinks.ADOPT), bound=bound)
    switch.load_config(PORTS)
    return switch


def ended(switch: FakeSwitch) -> tuple[int, int, int]:
    """Events processed, failed, and neither yet."""
    books = balance(switch)
    return books.processed, books.failed, books.in_flight


def change(switch: FakeSwitch, times: int = 1) -> None:
    """Something happens to both ports, in turn."""
    for _ in range(times):
        for name in PORTS:
            switch.kernel.set(name, mtu=switch.kernel.link(name).mtu + 1)


def observed(histogram: Histogram) -> list[float]:
    """The upper bounds of the buckets in which the observations lie; they must be apart."""
    bounds = [*histogram.bounds, float("inf")]
    return [bound for bound, count in zip(bounds, histogram.counts, strict=True) for _ in range(count)]


def since(before: Histogram, after: Histogram) -> Histogram:
    """What has been observed between the two."""
    made = Histogram(after.bounds)
    made.counts = [later - earlier for later, earlier in zip(after.counts, before.counts, strict=True)]
    made.total = after.total - before.total
    return made


# ---- events


async def test_an_event_is_in_flight_until_redis_has_acknowledged_it(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        done, failed, _ = ended(switch)
        assert failed == 0
        switch.redis.latency = 0.2
        change(switch)
        await switch.settle()
        assert ended(switch) == (done, 0, 2)
        change(switch)
        await switch.settle()
        assert switch.inbox.statistics().events == 2
        assert ended(switch) == (done, 0, 4)
        await trio.sleep(0.25)
        assert ended(switch) == (done + 2, 0, 2)
        await trio.sleep(1)
        assert ended(switch) == (done + 4, 0, 0)


async def test_what_concerns_no_port_and_what_was_folded_is_processed(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        done, _, _ = ended(switch)
        folded, conflated = switch.reader.statistics().folded, switch.inbox.statistics().conflated
        switch.kernel.inject(frames.refusal(0))
        change(switch, 10)
        await switch.settle()
        assert ended(switch) == (done + 21, 0, 0)
        assert switch.reader.statistics().folded - folded == 18
        # While the writer is busy, the mailbox folds.
        switch.redis.latency = 0.2
        for _ in range(4):
            change(switch)
            await switch.settle()
        await trio.sleep(1)
        assert ended(switch) == (done + 29, 0, 0)
        assert switch.inbox.statistics().conflated - conflated == 4


async def test_an_event_that_cannot_be_decoded_has_failed(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        done, _, _ = ended(switch)
        switch.kernel.inject(b"\x00" * 7)
        change(switch)
        await trio.sleep(1)
        assert ended(switch) == (done + 2, 1, 0)
        assert switch.reader.statistics().failed == 1


async def test_events_that_a_full_mailbox_refuses_have_failed(autojump_clock: MockClock) -> None:
    switch = loaded(bound=2)
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.stop()
        await trio.sleep(1)
        done, failed, _ = ended(switch)
        change(switch)
        switch.kernel.add("PortChannel1", "ifb")
        await switch.settle()
        assert ended(switch) == (done, failed + 1, 2)
        switch.redis.start()
        await trio.sleep(10)
        assert ended(switch) == (done + 2, failed + 1, 0)


@pytest.mark.parametrize("refused", [True, False])
async def test_events_on_which_redis_fails_have_failed_though_the_next_session_writes_them(
    autojump_clock: MockClock, refused: bool
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        done, _, _ = ended(switch)
        if refused:
            switch.redis.refuses_writes = OOM
        else:
            switch.redis.lose_reply(carried_out=True)
        change(switch)
        await trio.sleep(0.1)
        switch.redis.refuses_writes = ""
        # What waits in the mailbox is nobody's failure.
        change(switch)
        await trio.sleep(12)
        assert ended(switch) == (done + 2, 2, 0)
        assert switch.states() == switch.expected_states()
        failures = [counters.failed for _, counters in switch.writer.sync.port_counters()]
        assert failures == [1, 1]


async def test_events_before_the_first_full_read_wait_for_it_over_sessions(autojump_clock: MockClock) -> None:
    switch = loaded()
    switch.add_ports(PORTS)
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.writer.run)
        await trio.sleep(1)
        # The reader is held up in its first read, and tells of an event before that ends.
        switch.inbox.count(1)
        switch.inbox.poke()
        await trio.sleep(1)
        switch.redis.stop()
        await trio.sleep(1)
        switch.redis.start()
        await trio.sleep(10)
        assert switch.writer.statistics().events_in_flight == 1
        await nursery.start(switch.reader.run)
        await trio.sleep(1)
        statistics = switch.writer.statistics()
        assert (statistics.events_processed, statistics.events_failed, statistics.events_in_flight) == (1, 0, 0)
        nursery.cancel_scope.cancel()


async def test_counts_survive_a_rebuilt_reader_and_writer(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        done, _, _ = ended(switch)
    assert not switch.reader.statistics().listening
    async with running(switch):
        assert switch.reader.statistics().listening
        change(switch)
        await trio.sleep(1)
        assert ended(switch) == (done + 2, 0, 0)


# ---- durations


async def test_the_latency_of_an_entry_is_that_of_its_oldest_event(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        before = switch.writer.statistics()
        switch.redis.latency = 0.03
        change(switch)
        await trio.sleep(0.02)
        # These wait for the write above, and for their own.
        switch.kernel.set("Ethernet0", mtu=2000)
        await trio.sleep(0.005)
        switch.kernel.set("Ethernet0", mtu=2001)
        await trio.sleep(0.5)
        after = switch.writer.statistics()
        latency = since(before.event_latency, after.event_latency)
        assert latency.total == pytest.approx(0.03 + 0.03 + 0.04)
        assert sum(latency.counts) == 3
        redis = since(before.redis_latency, after.redis_latency)
        assert observed(redis)[:2] == [0.05, 0.05]
        assert redis.total == pytest.approx(0.06)


async def test_what_is_put_off_or_needs_no_write_says_nothing_about_latency(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        before = switch.writer.statistics().event_latency
        # APPL_DB has no such port; and nothing that is published of this one changes.
        switch.add_ports(["Ethernet99"])
        switch.kernel.inject(frames.link(switch.kernel.link("Ethernet0").message()))
        await trio.sleep(1)
        assert sum(since(before, switch.writer.statistics().event_latency).counts) == 0
        # When orchagent takes it, that is no event.
        switch.appl_db.hset("PORT_TABLE:Ethernet99", {"admin_status": "up"})
        await trio.sleep(1)
        assert "Ethernet99" in switch.states()
        assert sum(since(before, switch.writer.statistics().event_latency).counts) == 0
        switch.kernel.set("Ethernet99", mtu=2000)
        await trio.sleep(1)
        assert sum(since(before, switch.writer.statistics().event_latency).counts) == 1


async def test_a_full_read_and_what_came_while_redis_was_away_say_nothing_about_latency(
    autojump_clock: MockClock,
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        before = switch.writer.statistics().event_latency
        switch.redis.stop()
        await trio.sleep(1)
        change(switch)
        await trio.sleep(1)
        switch.redis.start()
        await trio.sleep(10)
        switch.reader.request_resync("operator")
        await trio.sleep(1)
        assert since(before, switch.writer.statistics().event_latency).counts == [0] * 11


async def test_every_look_and_every_request_that_writes_is_a_round_trip(autojump_clock: MockClock) -> None:
    switch = FakeSwitch(policy=Policy(existing_links=ExistingLinks.RESET))
    switch.load_config(PORTS)
    switch.add_ports(PORTS)
    async with running(switch):
        started = switch.writer.statistics()
        # A file and the kernel were asked, too: what old links there are, and that they go down.
        assert started.round_trips - sum(started.redis_latency.counts) == 2
        await trio.sleep(10.5)
        looks = since(started.redis_latency, switch.writer.statistics().redis_latency)
        assert sum(looks.counts) == 10


def durations(switch: FakeSwitch) -> Histogram:
    return switch.writer.statistics().sync_duration


async def test_a_full_sync_lasts_until_all_it_brought_is_written(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        assert switch.writer.statistics().certified_sync_at == trio.current_time()
        before = durations(switch)
        switch.redis.latency = 0.2
        switch.kernel.set("Ethernet0", mtu=9000)
        began = trio.current_time()
        switch.reader.request_resync("operator")
        await trio.sleep(3)
        brought = since(before, durations(switch))
        assert sum(brought.counts) == 1
        assert brought.total == pytest.approx(0.2)
        assert switch.writer.statistics().certified_sync_at == pytest.approx(began + 0.2)


async def test_two_full_reads_that_redis_did_not_see_apart_are_one_from_the_start_of_the_first(
    autojump_clock: MockClock,
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        before = durations(switch)
        switch.redis.pause()
        change(switch)
        await trio.sleep(0.5)
        for _ in range(2):
            switch.reader.request_resync("operator")
            await trio.sleep(0.25)
        switch.redis.resume()
        await trio.sleep(0.1)
        brought = since(before, durations(switch))
        assert sum(brought.counts) == 1
        assert brought.total == pytest.approx(0.5)


async def test_a_sync_that_an_outage_interrupts_lasts_until_the_next_session_has_written_it(
    autojump_clock: MockClock,
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        before = switch.writer.statistics()
        switch.redis.pause()
        began = trio.current_time()
        change(switch)
        switch.reader.request_resync("operator")
        await trio.sleep(1)
        assert switch.writer.statistics().certified_sync_at == before.certified_sync_at
        await trio.sleep(2)
        switch.redis.resume()
        await trio.sleep(12)
        after = switch.writer.statistics()
        # The next session asked for a read of its own.
        assert after.sessions == 2
        assert since(before.sync_duration, after.sync_duration).total >= 2
        assert after.certified_sync_at is not None
        assert after.certified_sync_at > began + 2


@pytest.mark.parametrize(
    ("certified", "overflowed", "at"), [(True, False, 3.0), (False, False, None), (True, True, None)]
)
def test_only_a_certified_read_of_which_nothing_was_refused_proves_anything(
    certified: bool, overflowed: bool, at: float | None
) -> None:
    tally = Tally()
    taken = Taken(synced=Synced(frozenset({"start"}), certified=certified, started=1.0), overflowed=overflowed)
    tally.took(taken)
    assert tally.done(taken, 3.0, began=0.0) == []
    assert tally.certified_sync_at == at
    assert tally.sync_duration.total == 2.0
    # It is over.
    tally.done(Taken(), 4.0, began=0.0)
    assert tally.sync_duration.total == 2.0


def test_what_overflows_without_a_full_read_proves_nothing_either() -> None:
    tally = Tally()
    tally.took(Taken(overflowed=True))
    tally.done(Taken(overflowed=True), 3.0, began=0.0)
    assert tally.certified_sync_at is None
    assert sum(tally.sync_duration.counts) == 0


# ---- starts


async def test_a_cold_start_is_counted_once_however_often_redis_comes_and_goes(autojump_clock: MockClock) -> None:
    switch = loaded()
    assert starts(switch) == (0, 0, 0, 0)
    async with running(switch):
        assert starts(switch) == (1, 0, 1, 0)
        assert switch.writer.statistics().eoiu_at == trio.current_time()
        switch.redis.stop()
        await trio.sleep(1)
        switch.redis.start()
        await trio.sleep(10)
        switch.appl_db.flushdb()
        await trio.sleep(10)
        assert starts(switch) == (1, 0, 1, 0)


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_warm_restart_is_counted_with_how_its_initial_update_ended(
    autojump_clock: MockClock, in_time: bool
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
    switch.state_db.hset("WARM_RESTART_ENABLE_TABLE|swss", {"enable": "true"})
    switch.begin_process()
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        await nursery.start(switch.writer.run)
        await trio.sleep(1 if in_time else 20)
        assert starts(switch) == (0, 1, 0, 0 if in_time else 1)
        assert switch.writer.statistics().eoiu_at is None
        await nursery.start(switch.reader.run)
        await trio.sleep(20)
        assert starts(switch) == (0, 1, 1, 0 if in_time else 1)
        assert switch.writer.statistics().began_at == began
        nursery.cancel_scope.cancel()


def starts(switch: FakeSwitch) -> Sequence[int]:
    """Cold ones, warm ones, ends of the initial update that came, and that did not come in time."""
    now = switch.writer.statistics()
    begun, timed_out = now.began_at is not None, now.phase is Phase.TIMED_OUT
    return (begun and not now.warm_start, begun and now.warm_start, now.eoiu_at is not None, timed_out)
