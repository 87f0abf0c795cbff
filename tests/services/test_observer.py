"""What the observer says of a whole fake switch: at rest, in every kind of trouble, and after it."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd.analytics.analysis import Analysis
from portsyncd.analytics.history import Outcome, Restored
from portsyncd.metrics import Chronicle, HealingFacts, Metrics, WebFacts
from portsyncd.model.commands import PortWrite
from portsyncd.model.healing import Healings, Kind
from portsyncd.model.health import AWAITED_SECONDS, PENDING_SECONDS, UNCERTIFIED_SECONDS
from portsyncd.model.memory import Level, MemoryStatistics
from portsyncd.model.report import NAMED_PORTS, RECENT_SECONDS, SLOW_SECONDS
from portsyncd.services.guardian import GuardianStatistics
from portsyncd.services.supervisor import Child
from portsyncd.testing.fake_links import FakeLinkSource
from portsyncd.testing.fake_redis import READONLY
from portsyncd.testing.fake_store import FakeStore
from portsyncd.wire.netlink import LinkMessage
from tests.services.switch import TIMEOUT
from tests.services.watching import NEW_YEAR, NOTHING_KEPT, NOTHING_RECORDED, PORTS, ObservedSwitch, Web, observed


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


class Hanging:
    """Makes stores that answer everything but writes while ``now`` is set. deadline: whether they give up."""

    def __init__(self, switch: ObservedSwitch, *, deadline: float) -> None:
        self.now = False
        self.freed = trio.Event()
        switch.writer._make_store = lambda: _HangingStore(self, switch, deadline)


class _HangingStore(FakeStore):
    def __init__(self, hanging: Hanging, switch: ObservedSwitch, deadline: float) -> None:
        super().__init__(switch.redis, timeout=deadline)
        self._hanging = hanging
        self._deadline = deadline

    async def write_ports(self, writes: Sequence[PortWrite]) -> list[bool]:
        if self._hanging.now and self._deadline == inf:
            # Not in a request: of those Redis has yet to answer.
            await self._hanging.freed.wait()
        elif self._hanging.now:
            state: Any = self._state
            with state._edge(self._deadline):
                await state._wait(self._hanging.freed.wait)
        return await super().write_ports(writes)


def names(ports: Collection[dict[str, Any]]) -> list[str]:
    return [port["port"] for port in ports]


# ---- at rest


async def test_a_start_is_degraded_until_the_first_sync_and_an_idle_switch_is_healthy(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = ObservedSwitch()
    switch.redis.stop()
    async with observed(switch, brought_up=False) as observer:
        await trio.sleep(100)
        assert switch.failing() == {"redis", "sync"}
        assert observer.health().status == "degraded"
        switch.redis.start()
        assert await switch.statuses(10) == ["degraded", "healthy"]
        await switch.bring_up(PORTS)
        assert await switch.statuses(600) == ["healthy"]
        document = observer.document(observer.health())
        assert document["since"].startswith("2026-01-01T00:01:")
        assert document["checks"]["port_sync"]["details"]["publishable"] == len(PORTS)
    assert [line["status"] for line in log if line["event"] == "health changed"] == ["healthy"]


async def test_the_document_is_json_and_says_what_is_asked_for(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch, web=Web) as observer:
        await trio.sleep(60)
        document = json.loads(json.dumps(observer.document(observer.health()), allow_nan=False))
    assert document.keys() == {
        "status",
        "since",
        "version",
        "checks",
        "awaited_ports",
        "awaited_ports_total",
        "pending_ports",
        "pending_ports_total",
        "analytics",
    }
    assert (document["status"], document["version"], document["since"]) == ("healthy", "1.2.3", "2026-01-01T00:00:01Z")
    assert document["checks"]["redis"] == {
        "status": "healthy",
        "reason": "",
        "details": {"connected": True, "away_seconds": 0.0},
    }


# ---- Redis


async def test_a_redis_that_is_away_degrades_for_as_long_as_it_is(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        await trio.sleep(99.5)
        switch.redis.stop()
        # Nobody asks for an hour.
        for _ in range(3600):
            switch.change()
            await trio.sleep(1)
        health = observer.health()
        assert health.status == "degraded"
        assert "unusable for 60 min" in health.checks["redis"].reason
        assert observer.document(health)["since"] == "2026-01-01T00:01:40Z"
        assert await switch.statuses(60, switch.change) == ["degraded"]
        switch.redis.start()
        assert await switch.statuses(120) == ["degraded", "healthy"]
    said = [line for line in log if line["event"] == "health changed"]
    assert [(line["status"], line["log_level"]) for line in said[1:]] == [("degraded", "warning"), ("healthy", "info")]


async def test_a_redis_that_stops_answering_degrades_and_one_lost_batch_is_no_rate(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    ports = [f"Ethernet{number}" for number in range(20)]
    switch.load_config(ports)
    async with observed(switch, ports=ports) as observer:
        # Between two looks, so that it is a write that hangs.
        await trio.sleep(100.5)
        switch.redis.pause()
        for name in ports:
            switch.kernel.set(name, mtu=1400)
        assert await switch.statuses(30) == ["healthy", "degraded"]
        switch.redis.resume()
        assert await switch.statuses(30) == ["degraded", "healthy"]
        assert observer.health().checks["writes"].details["recent_failures"] == 20


async def test_several_replies_lost_within_a_second_are_no_rate_yet(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        await trio.sleep(10.5)
        for _ in range(5):
            switch.redis.lose_reply(carried_out=False)
        switch.change()
        assert await switch.statuses(10, step=0.05) == ["healthy", "degraded", "healthy"]
        assert observer.health().checks["writes"].details["recent_failures"] == 5 * len(PORTS)


async def test_replies_that_are_lost_again_and_again_are_a_failure_rate(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch):
        for _ in range(10):
            switch.redis.lose_reply(carried_out=True)
            switch.change()
            await trio.sleep(3)
        assert switch.failing() == {"writes"}
        assert switch.observer.health().status == "unhealthy"
        # A minute later it is history.
        assert await switch.statuses(100) == ["unhealthy", "healthy"]


async def test_a_redis_that_refuses_writes_is_unhealthy(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch):
        switch.redis.refuses_writes = READONLY
        assert await switch.statuses(60, switch.change) == ["healthy", "degraded", "unhealthy"]
        assert switch.failing() == {"redis", "writes"}
        switch.redis.refuses_writes = ""
        assert await switch.statuses(120) == ["unhealthy", "healthy"]


async def test_a_flushed_redis_is_made_good_for_without_alarm(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch):
        await trio.sleep(100)
        for number in (0, 6):
            switch.redis.flush(number)
        assert await switch.statuses(30) == ["healthy"]
        assert switch.redis.pop()
        assert await switch.statuses(30) == ["healthy"]
        assert switch.states() == switch.expected_states() != {}


# ---- stall


async def test_writes_that_hang_for_ever_are_a_stall_whether_anybody_asks_or_not(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    hanging = Hanging(switch, deadline=inf)
    async with observed(switch) as observer:
        await trio.sleep(3600)
        hanging.now = True
        switch.change()
        await trio.sleep(9)
        assert observer.health().status == "healthy"
        await trio.sleep(3)
        health = observer.health()
        assert health.status == "unhealthy"
        assert "for 11 s although Redis answers; 2 changes wait" in health.checks["stall"].reason
        assert "0 of 2 ports" in health.checks["port_sync"].reason
        hanging.freed.set()
        await trio.sleep(1)
        assert observer.health().status == "healthy"


async def test_what_waits_in_the_mailbox_stalls_too(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    hanging = Hanging(switch, deadline=inf)
    async with observed(switch):
        hanging.now = True
        switch.change()
        await trio.sleep(2)
        switch.change()
        assert await switch.statuses(30) == ["healthy", "unhealthy"]
        assert "stall" in switch.failing()
        assert switch.observer.health().checks["mailbox"].details["depth"] == len(PORTS)


async def test_a_request_that_redis_has_yet_to_answer_is_no_stall_however_long_it_may_take(
    autojump_clock: MockClock,
) -> None:
    switch = ObservedSwitch()
    async with observed(switch):
        switch.writer._make_store = lambda: FakeStore(switch.redis, timeout=60.0)
        switch.redis.restart(empty=True)
        switch.redis.start()
        switch.load_config(PORTS)
        await trio.sleep(5)
        assert switch.redis.pop()
        await trio.sleep(5)
        # The next look is not answered.
        switch.redis.pause()
        await trio.sleep(2)
        switch.change()
        assert await switch.statuses(50) == ["healthy", "degraded"]
        assert switch.failing() == {"redis"}
        assert "it has not answered for 5" in switch.observer.health().checks["redis"].reason
        assert not switch.observer.facts().redis_connected
        switch.redis.resume()
        assert await switch.statuses(30) == ["degraded", "healthy"]


async def test_writes_that_hang_until_their_deadline_are_failures(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    hanging = Hanging(switch, deadline=TIMEOUT)
    async with observed(switch):
        hanging.now = True
        switch.change()
        assert await switch.statuses(60) == ["healthy", "degraded", "unhealthy"]
        assert switch.failing() == {"redis", "writes"}
        hanging.now = False
        assert await switch.statuses(120) == ["unhealthy", "healthy"]


async def test_a_storm_that_never_ends_is_no_stall(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        switch.redis.latency = 0.05
        switch.change()
        await trio.sleep(0.01)
        for _ in range(1500):
            switch.change()
            checks = observer.health().checks
            assert checks["stall"].details["waiting"] > 0
            assert [checks[name].status for name in ("stall", "port_sync", "sync")] == ["healthy"] * 3
            await trio.sleep(0.01)


async def test_events_that_nobody_reads_are_a_stall(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        source, freed = switch.reader._source, trio.Event()
        assert isinstance(source, FakeLinkSource)
        dump = source.dump

        async def hang(handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
            await freed.wait()
            return await dump(handle)

        monkeypatch.setattr(source, "dump", hang)
        switch.reader.request_resync("test")
        await trio.sleep(1)
        switch.change()
        await trio.sleep(5)
        # Nothing is known of a time in which nobody looked.
        autojump_clock.jump(60)
        await trio.sleep(6)
        assert observer.health().status == "healthy"
        assert await switch.statuses(30) == ["healthy", "unhealthy"]
        assert switch.failing() == {"stall"}
        freed.set()
        await trio.sleep(1)
        assert observer.health().status == "healthy"


async def test_a_write_that_no_event_asked_for_stalls_too(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    hanging = Hanging(switch, deadline=inf)
    async with observed(switch):
        switch.add_ports(["Ethernet99"])
        await trio.sleep(5.5)
        hanging.now = True
        # orchagent takes it.
        switch.appl_db.hset("PORT_TABLE:Ethernet99", {"admin_status": "up"})
        await trio.sleep(12)
        assert switch.failing() == {"stall"}


async def test_a_first_sync_that_does_not_end_is_unhealthy(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()

    class Endless(FakeLinkSource):
        async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
            handle(())
            await trio.sleep(inf)
            return False

    switch.reader._make_source = lambda: Endless(switch.kernel, receive_buffer_bytes=1 << 20, prefixes=("Ethernet",))
    async with observed(switch, brought_up=False):
        assert await switch.statuses(100) == ["degraded", "unhealthy"]
        assert switch.failing() == {"sync", "stall"}


async def test_slow_events_degrade_when_they_last(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        switch.redis.latency = 0.05
        assert await switch.statuses(SLOW_SECONDS - 10, switch.change) == ["healthy"]
        assert await switch.statuses(90, switch.change) == ["healthy", "degraded"]
        assert switch.failing() == {"latency"}
        # For minutes the recent ones are below the limit again and again, and never for a minute.
        for step in range(600):
            switch.redis.latency = 0.05 if step % 200 > 196 else 0.0
            switch.change()
            await trio.sleep(0.5)
            assert observer.health().status == "degraded"
        switch.redis.latency = 0.0
        # What was slow is recent for a minute, and has to be over for another.
        assert await switch.statuses(2 * RECENT_SECONDS + 10, switch.change) == ["degraded", "healthy"]
        assert observer.health().checks["latency"].details == {"recent_events": 240, "p99_us": 0, "slow_seconds": 0.0}
    told = [line["status"] for line in log if line["event"] == "health changed"]
    assert told[1:] == ["degraded", "healthy"]


async def test_one_burst_is_no_latency_to_speak_of(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()
    ports = [f"Ethernet{number}" for number in range(200)]
    switch.load_config(ports)
    async with observed(switch, ports=ports) as observer:
        for _ in range(2):
            switch.redis.latency = 0.02
            for name in ports:
                switch.kernel.set(name, mtu=switch.kernel.link(name).mtu + 1)
            await trio.sleep(2)
            details = observer.health().checks["latency"].details
            assert details["recent_events"] >= 200
            assert details["p99_us"] >= 20_000
            switch.redis.latency = 0.0
            assert await switch.statuses(80) == ["healthy"]
    assert [line for line in log if line["log_level"] == "warning"] == []


# ---- ports that wait


async def test_awaited_and_pending_ports_are_named_and_degrade_after_a_while(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch, brought_up=False) as observer:
        await switch.settle()
        switch.redis.pop()
        switch.add_ports(["Ethernet0"])
        await trio.sleep(10)
        health = observer.health()
        document = observer.document(health)
        assert document["awaited_ports"] == [
            {"port": "Ethernet4", "reason": "no link of this name", "for_seconds": 10.0}
        ]
        assert (health.status, document["pending_ports"]) == ("healthy", [])
        await trio.sleep(AWAITED_SECONDS)
        assert switch.failing() == {"awaited_ports"}
        # It comes; and with it one that orchagent does not know.
        switch.add_ports(["Ethernet4", "Ethernet99"])
        await switch.settle()
        document = observer.document(observer.health())
        assert (document["status"], document["awaited_ports"]) == ("healthy", [])
        assert names(document["pending_ports"]) == ["Ethernet99"]
        await trio.sleep(PENDING_SECONDS + 1)
        assert switch.failing() == {"pending_ports"}
        assert switch.observer.health().status == "degraded"
        switch.kernel.delete("Ethernet99")
        await switch.settle()
        assert switch.failing() == set()


async def test_a_port_that_orchagent_does_not_take_is_pending_and_not_awaited(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch, brought_up=False) as observer:
        await switch.settle()
        switch.add_ports(PORTS)
        await switch.settle()
        document = observer.document(observer.health())
        assert (document["awaited_ports"], names(document["pending_ports"])) == ([], list(PORTS))


async def test_vlan_sub_interfaces_wait_for_nothing(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        before = observer.facts().ports
        switch.add_ports(["Ethernet0.10", "PortChannel1.10"])
        assert await switch.statuses(2 * PENDING_SECONDS) == ["healthy"]
        assert observer.facts().ports == before
        document = observer.document(observer.health())
        assert (document["pending_ports"], document["pending_ports_total"]) == ([], 0)
        assert document["checks"]["port_sync"]["details"]["publishable"] == len(PORTS)


async def test_of_many_ports_those_that_wait_longest_are_named(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    ports = [f"Ethernet{number}" for number in range(NAMED_PORTS + 10)]
    switch.load_config(ports)
    async with observed(switch, ports=ports) as observer:
        for name in ports:
            switch.kernel.delete(name)
            await trio.sleep(0.1)
        document = observer.document(observer.health())
        assert names(document["awaited_ports"]) == ports[:NAMED_PORTS]
        assert document["awaited_ports_total"] == len(ports)


@pytest.mark.unmeasured
async def test_links_that_come_and_go_all_the_time_leave_the_sync_uncertified(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()

    def come_and_go(_dump: int, chunk: int) -> None:
        if chunk:
            switch.kernel.add("noise", "ifb")
            switch.kernel.delete("noise")

    async with observed(switch) as observer:
        await trio.sleep(3600)
        assert observer.facts().last_certified_sync == pytest.approx(NEW_YEAR, abs=1)
        switch.kernel.during_dump = come_and_go
        switch.reader.request_resync("operator")
        await trio.sleep(UNCERTIFIED_SECONDS - 2)
        assert observer.health().status == "healthy"
        await trio.sleep(4)
        assert switch.failing() == {"sync"}
        switch.kernel.during_dump = lambda _dump, _chunk: None
        assert await switch.statuses(120) == ["degraded", "healthy"]


# ---- services and the endpoint


async def test_an_essential_service_that_keeps_failing_is_unhealthy(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()

    def broken(*_: object) -> Any:
        raise RuntimeError("no socket to be had")

    async with observed(switch) as observer:
        switch.reader._make_source = broken
        switch.supervisor.cancel_child("reader", "told to")
        assert await switch.statuses(60) == ["healthy", "degraded", "unhealthy"]
        health = observer.health()
        assert switch.failing() == {"netlink", "services"}
        assert "no socket to be had" in health.checks["services"].reason
        assert observer.facts().restarts["reader"] > 10
        switch.reader._make_source = switch._make_source
        assert await switch.statuses(400) == ["unhealthy", "degraded", "healthy"]


async def test_a_service_without_which_the_sync_goes_on_degrades(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()
    taken = True

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        if taken:
            raise OSError("address in use")
        task_status.started()
        await trio.sleep_forever()

    web = Web(listening=None, problem="address in use", certificate_expiries={"ca": NEW_YEAR + 60})
    async with observed(switch, Child("metrics", serve, essential=False), web=lambda: web) as observer:
        await trio.sleep(11)
        assert switch.failing() == {"services", "metrics_endpoint", "certificates"}
        assert observer.health().status == "degraded"
        assert "expires in 49 s" in observer.health().checks["certificates"].reason
        taken, web.listening, web.certificate_expiries = False, "https://[::1]:9090", {"ca": NEW_YEAR + 1e8}
        await trio.sleep(400)
        assert switch.failing() == set()


# ---- facts


async def test_the_facts_are_those_of_the_services(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    web = Web()
    async with observed(switch, web=lambda: web) as observer:
        switch.change()
        await trio.sleep(60)
        facts, writer, reader = observer.facts(), switch.writer.statistics(), switch.reader.statistics()
        assert (facts.uptime, facts.memory_bytes, facts.health) == (60, 1 << 26, "healthy")
        assert (facts.redis_connected, facts.netlink_connected) == (True, True)
        assert facts.events_processed == writer.events_processed == reader.events > 0
        assert (facts.ports, facts.queue_depth, facts.queue_bound) == (writer.counts, 0, 100_000)
        assert facts.event_latency.counts == writer.event_latency.counts
        assert facts.resyncs == {"start": 1}
        assert facts.restarts == {"writer": 0, "reader": 0}
        assert {name for name, _ in facts.port_counters} == set(PORTS)
        assert facts.last_certified_sync == NEW_YEAR
        assert facts.web == WebFacts(web.handshake_failures, web.reloads, web.certificate_expiries, web.tls_profile)


async def test_what_is_kept_is_what_keeper_and_recorder_say(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    chronicle = Chronicle(warm_restarts=4, last_corruption=NEW_YEAR - 1)
    kept = replace(NOTHING_KEPT, chronicle=chronicle, set_aside={"corrupt": 1})
    recorded = replace(NOTHING_RECORDED, analysis=Analysis(NEW_YEAR, 0.0), penalties={"Ethernet0": 1000.0})
    async with observed(switch, keeper=lambda: kept, recorder=lambda: recorded) as observer:
        facts = observer.facts()
        assert (facts.chronicle, facts.set_aside) == (chronicle, {"corrupt": 1})
        assert (facts.analysis, facts.flap_penalties) == (recorded.analysis, {"Ethernet0": 1000.0})
        assert facts.storage == {"port_state": True, "history": True}
    async with observed(ObservedSwitch()) as observer:
        facts = observer.facts()
        assert (facts.analysis, facts.flap_penalties, facts.storage) == (None, {}, {"port_state": True})


async def test_the_history_gets_what_the_services_say_of_this_life(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    kept = replace(NOTHING_KEPT, restored=Restored.BACKUP, damaged=2)
    async with observed(switch, keeper=lambda: kept) as observer:
        await trio.sleep(60)
        seen, writer = observer.observation(), switch.writer.statistics()
        assert (seen.outcome, seen.warm, seen.restored, seen.damaged) == (Outcome.EOIU, False, Restored.BACKUP, 2)
        assert writer.began_at is not None
        assert writer.eoiu_at is not None
        assert writer.ended_at is not None
        assert seen.eoiu_seconds == writer.eoiu_at - writer.began_at
        assert seen.sync_seconds == writer.ended_at - writer.began_at
        assert (seen.ports, seen.differences) == (len(PORTS), writer.differences)
        assert (seen.events, seen.resyncs, seen.queue_depth) == (writer.events_processed, 1, 0)
        assert (seen.memory_bytes, seen.event_latency.counts) == (1 << 26, writer.event_latency.counts)


async def test_a_start_whose_initial_sync_goes_on_is_open(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    switch.redis.stop()
    async with observed(switch, brought_up=False) as observer:
        await trio.sleep(10)
        seen = observer.observation()
        assert (seen.outcome, seen.eoiu_seconds, seen.sync_seconds, seen.healthy) == (Outcome.OPEN, None, None, False)


async def test_the_history_gets_the_worst_health_since_it_asked_last(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        await trio.sleep(60)
        observer.observation()
        await trio.sleep(60)
        assert (observer.observation().health, observer.observation().healthy) == (1.0, True)
        switch.redis.stop()
        await trio.sleep(3)
        switch.redis.start()
        await trio.sleep(60)
        assert [observer.observation().health for _ in range(2)] == [0.5, 1.0]
        switch.redis.stop()
        await trio.sleep(3)
        assert [observer.observation().health for _ in range(2)] == [0.5, 0.5]
        assert not observer.observation().healthy


async def test_a_disk_that_cannot_be_written_degrades_until_it_can(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()
    kept, recorded = NOTHING_KEPT, NOTHING_RECORDED
    async with observed(switch, keeper=lambda: kept, recorder=lambda: recorded) as observer:
        assert await switch.statuses(10) == ["healthy"]
        recorded = replace(recorded, problem="No space left on device")
        await trio.sleep(1)
        assert switch.failing() == {"storage"}
        assert observer.facts().storage == {"port_state": True, "history": False}
        kept = replace(kept, problem="Read-only file system")
        health = observer.health()
        assert health.status == "degraded"
        assert "Read-only file system" in health.checks["storage"].reason
        assert observer.facts().storage == {"port_state": False, "history": False}
        kept, recorded = NOTHING_KEPT, NOTHING_RECORDED
        assert await switch.statuses(10) == ["healthy"]
    assert [line["status"] for line in log if line["event"] == "health changed"][-2:] == ["degraded", "healthy"]


async def test_what_failed_and_what_was_folded_is_counted_wherever_it_was(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        switch.redis.lose_reply(carried_out=False)
        for _ in range(3):
            switch.change()
        await trio.sleep(5)
        facts, reader, writer = observer.facts(), switch.reader.statistics(), switch.writer.statistics()
        assert facts.events_failed == reader.failed + writer.events_failed > 0
        assert facts.events_conflated == reader.folded + switch.inbox.statistics().conflated > 0
        assert facts.web == WebFacts()


async def test_the_metric_and_the_endpoint_always_agree(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    hanging = Hanging(switch, deadline=inf)
    seen = set()

    async with observed(switch, brought_up=False) as observer:
        metrics = Metrics(observer.facts, version="1.2.3", process=False)

        def agree() -> None:
            text = "".join(metrics.render(openmetrics=False))
            health = observer.health()
            seen.add(health.status)
            assert f"portsyncd_health_status {health.status.score}\n" in text.replace(
                "_status 1\n", "_status 1.0\n"
            ).replace("_status 0\n", "_status 0.0\n")
            for status in ("healthy", "degraded", "unhealthy"):
                said = text.partition(f'portsyncd_health_state{{status="{status}"}} ')[2].partition("\n")[0]
                assert float(said) == (status == health.status)

        agree()
        await switch.bring_up(PORTS)
        for trouble in (switch.redis.stop, switch.redis.start, switch.change):
            trouble()
            hanging.now = trouble == switch.change
            for _ in range(150):
                agree()
                await trio.sleep(0.1)
    assert len(seen) == 3


# ---- self-healing


async def test_without_a_guardian_nothing_is_healed_and_nothing_wrong(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        facts = observer.facts().healing
        assert (set(facts.counts), set(facts.counts.values()), facts.last) == ({*Kind}, {0}, {})
        assert (facts.memory_limit, facts.reconcile_interval) == (None, None)
        assert switch.failing() == set()


async def test_what_the_guardian_did_is_told_with_when_and_what(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    known = GuardianStatistics(memory=MemoryStatistics(limit=512 << 20))
    async with observed(switch, guardian=lambda: known, reconcile_interval=300.0) as observer:
        await trio.sleep(100)
        healings = Healings().with_one(Kind.REDIS, trio.current_time(), "it was dead")
        known = replace(known, healings=healings, clock_steps=2, last_clock_step=3600.0, blocks=3, longest_block=12.0)
        await trio.sleep(1000)
        facts, document = observer.facts().healing, observer.document(observer.health())
        assert facts == HealingFacts(
            counts=dict.fromkeys(Kind, 0) | {"redis": 1},
            last={"redis": NEW_YEAR + 100},
            differences={"missing": 0, "stale": 0, "orphan": 0},
            clock_steps=2,
            loop_blocks=3,
            memory_limit=512 << 20,
            reconcile_interval=300.0,
        )
        check = document["checks"]["healing"]
        assert check["status"] == "healthy"
        assert check["details"]["kinds"]["redis"] == {"count": 1, "last": "2026-01-01T00:01:40Z", "what": "it was dead"}
        assert check["details"]["kinds"]["stall"] == {"count": 0, "last": None, "what": None}
        assert (check["details"]["clock_steps"], check["details"]["loop_blocks"]) == (2, 3)
        # It follows when the clock is set.
        switch.wall.offset = NEW_YEAR + 86400
        kinds = observer.document(observer.health())["checks"]["healing"]["details"]["kinds"]
        assert kinds["redis"]["last"] == "2026-01-02T00:01:40Z"


async def test_what_the_guardian_cannot_heal_degrades(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()
    known = GuardianStatistics()
    async with observed(switch, guardian=lambda: known) as observer:
        known = replace(known, memory=MemoryStatistics(Level.HIGH, reason="600 MB are too many"))
        assert switch.failing() == {"memory"}
        known = replace(known, low_disk="1 MB is free", free_bytes={"history": 1 << 20})
        assert switch.failing() == {"memory", "storage"}
        assert observer.document(observer.health())["checks"]["storage"]["details"]["free_bytes"] == {
            "history": 1 << 20
        }
        known = GuardianStatistics()
        assert switch.failing() == set()


async def test_what_reconciliation_found_is_told(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        for number in range(3):
            switch.redis.client(6).hset("PORT_TABLE|Ethernet0", {"netdev_oper_status": "wrong"})
            assert switch.writer.request_reconcile()
            await trio.sleep(100)
            assert observer.facts().healing.differences["stale"] == number + 1
        assert observer.facts().healing.contested_ports == 1
        assert switch.failing() == {"reconciliation"}
        details = observer.health().checks["reconciliation"].details
        assert (details["runs"], details["contested"][0]["port"]) == (3, "Ethernet0")
        assert details["recent"][0]["seconds_ago"] == pytest.approx(100, abs=2)
        # The history is not told of what is due at intervals.
        assert observer.facts().resyncs["reconcile"] == 3
        assert observer.observation().resyncs == 1


async def test_many_ports_that_wait_are_counted_without_being_looked_at(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    ports = [f"Ethernet{number}" for number in range(1000)]
    switch.load_config(ports)
    async with observed(switch, brought_up=False) as observer:
        await switch.settle()
        health = observer.health()
        assert (len(health.awaited_ports.longest), health.awaited_ports.total) == (NAMED_PORTS, 1000)
        document = observer.document(health)
        assert len({*names(document["awaited_ports"])} & {*ports}) == NAMED_PORTS
        assert (document["awaited_ports_total"], observer.facts().ports["awaited"]) == (1000, 1000)


# ---- the clock on the wall


@pytest.mark.unmeasured
async def test_timestamps_stand_still_and_follow_only_a_clock_that_was_set(autojump_clock: MockClock) -> None:
    switch = ObservedSwitch()
    async with observed(switch) as observer:
        certified = observer.facts().last_certified_sync
        assert certified == NEW_YEAR
        for drift in (0.1, -0.3, 0.5):
            switch.wall.offset = NEW_YEAR + drift
            await trio.sleep(1000)
            assert observer.facts().last_certified_sync == certified
        # NTP comes: what is told moves, and nothing happens.
        switch.wall.offset = NEW_YEAR + 86400
        assert await switch.statuses(60) == ["healthy"]
        facts = observer.facts()
        assert facts.last_certified_sync == NEW_YEAR + 86400
        assert facts.uptime == pytest.approx(3060)
        assert observer.document(observer.health())["since"] == "2026-01-02T00:00:00Z"
