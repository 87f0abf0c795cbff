"""Reconciliation as reader and writer carry it out together, on a fake kernel and a fake Redis."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd.errors import StoreUnavailableError
from portsyncd.model import reconcile
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.reconcile import NAMED, Kind
from portsyncd.services import writer
from portsyncd.testing.fake_store import FakeStore
from tests.services.switch import FakeSwitch, running

PORTS = ["Ethernet0", "Ethernet4", "Ethernet8"]
UP = ("ok", "up", "up", "1500")


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def said(log: list[Any], text: str) -> list[Any]:
    """The lines of the log whose event begins so."""
    return [line for line in log if line["event"].startswith(text)]


def loaded(ports: list[str] = PORTS) -> FakeSwitch:
    switch = FakeSwitch(policy=Policy(existing_links=ExistingLinks.ADOPT))
    switch.load_config(ports)
    return switch


def counted(switch: FakeSwitch) -> dict[Kind, int]:
    return {kind: count for kind, count in switch.writer.reconciliation.counts.items() if count}


async def run_once(switch: FakeSwitch) -> None:
    assert switch.writer.request_reconcile()
    await switch.settle()


async def test_what_others_did_is_put_right_and_told_once(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(10)
        switch.state_db.delete("PORT_TABLE|Ethernet0")
        switch.state_db.hset("PORT_TABLE|Ethernet4", {"mtu": "1"})
        switch.state_db.hset("PORT_TABLE|Ethernet12", {"state": "ok"})
        switch.state_db.hset("PORT_TABLE|Ethernet16", {"speed": "1"})
        switch.appl_db.delete("PORT_TABLE:PortInitDone")
        await run_once(switch)
        assert switch.states() == switch.expected_states()
        assert switch.state_db.exists("PORT_TABLE|Ethernet16")
        assert switch.has_marker("PortInitDone")
        assert counted(switch) == {Kind.MISSING: 2, Kind.STALE: 1, Kind.ORPHAN: 1}
        assert len(switch.redis.writes) == 4
        assert switch.resyncs[-1] == ("reconcile", frozenset(("Ethernet12",)))
        lines = said(log, "Redis differed")
        assert {line["port"] for line in lines} == {"Ethernet0", "Ethernet4", "Ethernet12", "PortInitDone"}
        assert said(log, "Redis compared with the kernel")[-1]["differences"] == 4
        switch.redis.writes.clear()
        await run_once(switch)
        assert switch.redis.writes == []
        assert len(said(log, "Redis differed")) == 4
        assert switch.writer.reconciliation.runs == 2
        assert switch.writer.reconciliation.finished_at == trio.current_time()


async def test_of_what_others_wrote_a_line_of_the_log_shows_the_beginning(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch, endless = loaded(), "x" * 100_000
    async with running(switch):
        await switch.bring_up(PORTS)
        for _ in range(3):
            switch.state_db.hset("PORT_TABLE|Ethernet0", {"mtu": endless})
            switch.state_db.hset(f"PORT_TABLE|Ethernet{endless}", {"state": endless})
            await run_once(switch)
        await trio.sleep(60)
        switch.state_db.delete(f"PORT_TABLE|Ethernet{endless}")
        switch.kernel.set("Ethernet0", mtu=1400)
        await run_once(switch)
        lines = [
            *said(log, "Redis differed"),
            *said(log, "an entry comes back wrong"),
            *said(log, "no longer contested"),
        ]
        assert len(lines) == 9
        assert max(len(str(line)) for line in lines) < 1500


async def test_a_key_of_another_type_is_replaced(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.state_db.delete("PORT_TABLE|Ethernet0")
        switch.state_db.set("PORT_TABLE|Ethernet0", "not a hash")
        await run_once(switch)
        assert switch.states() == switch.expected_states()
        assert counted(switch) == {Kind.MISSING: 1}


async def test_it_is_not_possible_before_the_first_sync_nor_without_redis(autojump_clock: MockClock) -> None:
    switch = loaded()
    assert not switch.writer.request_reconcile()
    switch.redis.stop()
    async with running(switch):
        assert not switch.writer.request_reconcile()
        switch.redis.start()
        await switch.until(switch.writer.request_reconcile, 10)
        await switch.settle()
        switch.redis.stop()
        await switch.settle()
        assert not switch.writer.request_reconcile()


async def test_a_new_session_ends_it(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.latency = 0.1
        switch.state_db.delete("PORT_TABLE|Ethernet0")
        assert switch.writer.request_reconcile()
        # The ports have been listed (0.4 s) and read (0.3 s, with a script that Redis did not know); what differs is being
        # written.
        await trio.sleep(0.75)
        session = switch.writer.statistics().sessions
        assert switch.writer.reconciliation.finished_at is None
        switch.redis.save()
        switch.redis.restart(empty=False)
        await switch.until(lambda: switch.writer.statistics().sessions > session, 10)
        assert not switch.writer.reconciliation.running
        switch.redis.pop()
        await trio.sleep(10)
        assert switch.writer.reconciliation.runs == 0
        assert said(log, "Redis compared in part")


async def test_a_request_that_joins_makes_no_second_run(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        switch.redis.latency = 0.1
        for _ in range(10):
            assert switch.writer.request_reconcile()
            await trio.sleep(0.01)
        await trio.sleep(5)
        assert switch.writer.reconciliation.runs == 1


async def test_events_do_not_wait_for_it(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "PORTS_PER_QUESTION", 1)
    names = [f"Ethernet{number}" for number in range(50)]
    switch = loaded(names)
    async with running(switch):
        await switch.bring_up(names)
        switch.redis.latency = 0.1
        assert switch.writer.request_reconcile()
        # Some of its questions have been answered by now, each of which takes two requests.
        await trio.sleep(2)
        switch.kernel.set("Ethernet0", mtu=9000)
        waited = await switch.until(lambda: switch.states()["Ethernet0"]["mtu"] == "9000", 5)
        assert waited < 0.6
        assert switch.writer.reconciliation.running
        await trio.sleep(20)
        assert switch.writer.reconciliation.runs == 1
        assert counted(switch) == {}


async def test_of_its_questions_those_count_as_a_request_that_are_one(autojump_clock: MockClock) -> None:
    # To list the ports takes many, to have the links read none.
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        await trio.sleep(10.1)
        before = sum(switch.writer.statistics().redis_latency.counts)
        await run_once(switch)
        assert sum(switch.writer.statistics().redis_latency.counts) == before + 1
        assert switch.writer.reconciliation.runs == 1


async def test_a_lost_event_is_found(autojump_clock: MockClock) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        # Changed behind the event socket's back.
        switch.kernel.link("Ethernet0").mtu = 1234
        await trio.sleep(100)
        assert switch.states() != switch.expected_states()
        await run_once(switch)
        assert switch.states() == switch.expected_states()
        (difference,) = switch.writer.reconciliation.recent
        assert difference[:4] == ("Ethernet0", Kind.STALE, UP, (*UP[:3], "1234"))
        assert difference.cause == "no event told of what became of the link"


async def test_who_comes_back_again_and_again_is_contested(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        for _ in range(5):
            switch.state_db.hset("PORT_TABLE|Ethernet0", {"mtu": "1"})
            await run_once(switch)
            await trio.sleep(300)
        assert switch.written("Ethernet0") == ["hset"] * 2
        assert [entry.port for entry in switch.writer.reconciliation.contested] == ["Ethernet0"]
        assert len(said(log, "an entry comes back wrong")) == 1
        switch.kernel.set("Ethernet0", mtu=9000)
        await switch.settle()
        assert switch.states() == switch.expected_states()
        await run_once(switch)
        assert switch.writer.reconciliation.contested == ()
        assert said(log, "no longer contested") == [
            {"event": "no longer contested", "log_level": "info", "ports": ("Ethernet0",)}
        ]


async def test_of_many_differences_the_first_are_told(autojump_clock: MockClock, log: list[Any]) -> None:
    names = [f"Ethernet{number}" for number in range(NAMED + 10)]
    switch = loaded(names)
    async with running(switch):
        await switch.bring_up(names)
        for name in names:
            switch.state_db.delete(f"PORT_TABLE|{name}")
        await run_once(switch)
        assert switch.states() == switch.expected_states()
        assert len(said(log, "Redis differed")) == NAMED
        assert said(log, "Redis compared with the kernel")[-1]["differences"] == NAMED + 10


async def test_a_question_that_fails_ends_the_session_like_any_other(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)

        async def fail(_self: FakeStore, _names: object) -> list[Any]:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailableError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(FakeStore, "read_ports", fail)
            await run_once(switch)
        assert switch.writer.statistics().sessions == 2
        assert not switch.writer.reconciliation.running
        await trio.sleep(10)
        await run_once(switch)
        assert switch.writer.reconciliation.runs == 1


async def test_a_full_read_of_many_links_is_passed_on_in_slices(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_CHANGES_PER_TURN", 2)
    switch = loaded()
    async with running(switch):
        await switch.bring_up(PORTS)
        await run_once(switch)
        switch.kernel.set("Ethernet8", mtu=9000)
        await switch.settle()
        assert switch.states() == switch.expected_states()
