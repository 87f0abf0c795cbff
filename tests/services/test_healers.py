"""What is done about a silent Redis and a service that stands still, in which order, and when it has come right again."""

from dataclasses import replace
from typing import Any

from portsyncd.model.healing import Kind
from portsyncd.services.guardian import Check
from portsyncd.services.healers import Look, RedisHealer, StallHealer
from tests.services.switch import FakeSwitch

MAX_STALL = 10.0
PROBE_TIMEOUT = 1.5
PROBE = "a probe has 1.5 s"


class Looks:
    """A healer over the statistics of a switch that is in sync and idle, but for what a look names. done: what it did, in
    order."""

    def __init__(self) -> None:
        switch = self._switch = FakeSwitch()
        self.done: list[str] = []
        switch.writer.break_off = lambda why: self.done.append("the writer's connections are closed")  # type: ignore[method-assign]  # noqa: ARG005
        switch.reader.break_off = lambda why: self.done.append("the reader's sockets are closed")  # type: ignore[method-assign]  # noqa: ARG005
        switch.reader.request_resync = lambda *_: self.done.append("all links are to be read")  # type: ignore[method-assign]
        switch.writer.request_probe = lambda timeout: self.done.append(f"a probe has {timeout} s")  # type: ignore[method-assign]
        self._healer = self._make(switch)

    def _make(self, switch: FakeSwitch) -> Check:
        return RedisHealer(switch.writer, PROBE_TIMEOUT, self._healed)

    def _healed(self, _kind: Kind, _what: str) -> None:
        self.done.append("healed")

    async def look(self, now: float, **seen: dict[str, Any]) -> list[str]:
        """What it did at this look."""
        switch = self._switch
        writer = replace(switch.writer.statistics(), **{"connected": True, "in_sync": True, **seen.get("writer", {})})
        reader = replace(switch.reader.statistics(), **seen.get("reader", {}))
        inbox = replace(switch.inbox.statistics(), **seen.get("inbox", {}))
        self.done.clear()
        await self._healer.check(Look(now, reader, writer, inbox, synced=True))
        return list(self.done)


class Stall(Looks):
    """``StallHealer``."""

    def _make(self, switch: FakeSwitch) -> Check:
        return StallHealer(switch.reader, switch.writer, self._end, MAX_STALL, self._healed)

    def _end(self, name: str, _why: str) -> None:
        self.done.append(f"the {name} is ended")

    async def writer_begun_anew(self) -> None:
        await self.look(0.0, inbox={"depth": 1})
        assert "the writer is ended" in await self.look(MAX_STALL, inbox={"depth": 1})


# ---- Redis


async def test_a_request_that_waits_too_long_ends_the_session_whatever_its_own_deadline_is() -> None:
    looks = Looks()
    assert await looks.look(100.0, writer={"waiting_since": 99.0}) == [PROBE]
    assert await looks.look(102.0, writer={"waiting_since": 99.0}) == ["the writer's connections are closed", PROBE]


async def test_a_session_that_answers_probes_and_is_of_no_use_yet_is_not_healed() -> None:
    looks = Looks()
    assert await looks.look(100.0, writer={"connected": False, "losses": 1, "probed_at": 99.0}) == [PROBE]
    assert await looks.look(102.0, writer={"losses": 1, "probed_at": 99.0}) == ["healed", PROBE]


# ---- a service that stands still


async def test_connections_are_closed_before_the_service_is_ended() -> None:
    # What waits for them need not wait for the scope: it may be a thread.
    stall = Stall()
    assert await stall.look(0.0, inbox={"depth": 1}) == []
    assert await stall.look(MAX_STALL, inbox={"depth": 1}) == [
        "the writer's connections are closed",
        "the writer is ended",
        "all links are to be read",
    ]
    stall = Stall()
    assert await stall.look(0.0, reader={"has_events": True}) == []
    assert await stall.look(MAX_STALL, reader={"has_events": True}) == [
        "the reader's sockets are closed",
        "the reader is ended",
        "all links are to be read",
    ]


async def test_a_writer_that_has_nothing_left_to_do_has_come_right() -> None:
    stall = Stall()
    await stall.writer_begun_anew()
    assert await stall.look(12.0) == ["healed"]
    assert await stall.look(14.0) == []


async def test_a_writer_without_a_session_has_not_come_right_yet() -> None:
    stall = Stall()
    await stall.writer_begun_anew()
    assert await stall.look(12.0, writer={"connected": False}) == []
    assert await stall.look(14.0) == ["healed"]


async def test_a_new_session_alone_is_no_sign_that_it_moves() -> None:
    stall = Stall()
    await stall.writer_begun_anew()
    assert await stall.look(12.0, inbox={"depth": 1}, writer={"sessions": 7}) == []
    assert await stall.look(14.0, inbox={"depth": 1}, writer={"sessions": 7, "round_trips": 1}) == ["healed"]
