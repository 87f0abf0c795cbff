"""Deadlines of a connection, and a stream that keeps them, under the test clock."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from portsyncd.web.connection import Connection, ConnectionStream
from portsyncd.web.limits import Limits

LIMITS = Limits(request_seconds=10, idle_seconds=100, age_seconds=3600, send_seconds=7, close_seconds=1)


class Client:
    subject = "CN=client"
    fingerprint = "01:02"


def connection() -> Connection:
    return Connection(Client(), LIMITS)


async def seconds_until_cancelled(subject: Connection, steps: Any) -> float:
    begun = trio.current_time()
    with subject.scope:
        await steps()
        await trio.sleep_forever()
    return trio.current_time() - begun


async def test_an_idle_connection_ends(autojump_clock: MockClock) -> None:
    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    assert await seconds_until_cancelled(connection(), nothing) == pytest.approx(100)


async def test_a_request_has_its_time_from_its_first_byte_on(autojump_clock: MockClock) -> None:
    subject = connection()

    async def a_byte_a_second() -> None:
        await trio.sleep(5)
        for _ in range(20):
            subject.asked()
            await trio.sleep(1)

    assert await seconds_until_cancelled(subject, a_byte_a_second) == pytest.approx(15)


async def test_an_answer_begins_the_idle_time_anew(autojump_clock: MockClock) -> None:
    subject = connection()

    async def one_request() -> None:
        subject.asked()
        await trio.sleep(9)
        subject.answered()

    assert await seconds_until_cancelled(subject, one_request) == pytest.approx(109)
    assert subject.candidate.owner == "01:02"
    assert subject.candidate.useful_at == pytest.approx(trio.current_time() - 100)


async def test_an_old_connection_ends_with_its_answer(autojump_clock: MockClock) -> None:
    subject = connection()

    async def a_request_a_minute() -> None:
        while True:
            subject.asked()
            subject.answered()
            await trio.sleep(60)

    assert await seconds_until_cancelled(subject, a_request_a_minute) == pytest.approx(3600)


async def test_a_retired_connection_ends_now_or_with_its_answer(autojump_clock: MockClock) -> None:
    idle, busy = connection(), connection()
    busy.asked()
    idle.retire()
    busy.retire()
    assert idle.scope.cancel_called
    assert not busy.scope.cancel_called

    async def answer() -> None:
        await trio.sleep(2)
        busy.answered()

    assert await seconds_until_cancelled(busy, answer) == pytest.approx(2)


class Tls(trio.abc.Stream):
    """A TLS stream as far as ``ConnectionStream`` looks at one: the other end is ``peer``, which may not read."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.sent: list[int] = []
        self.end, self.peer = memory_stream_pair()
        self.stuck = stuck

    async def send_all(self, data: Any) -> None:
        if self.stuck:
            await trio.sleep_forever()
        self.sent.append(len(data))
        await self.end.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.end.receive_some(max_bytes))

    async def wait_send_all_might_not_block(self) -> None:
        await self.end.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        if self.stuck:
            await trio.sleep_forever()
        await self.end.aclose()


def stream(tls: Tls, subject: Connection) -> ConnectionStream:
    return ConnectionStream(tls, subject)  # type: ignore[arg-type]  # all that it uses of one


async def test_bytes_that_arrive_are_a_request(autojump_clock: MockClock) -> None:
    tls, subject = Tls(), connection()
    await tls.peer.send_all(b"G")
    assert await stream(tls, subject).receive_some(10) == b"G"
    assert subject.scope.deadline == trio.current_time() + 10
    await tls.peer.aclose()
    subject.answered()
    assert await stream(tls, subject).receive_some(10) == b""
    assert subject.scope.deadline == trio.current_time() + 100


async def test_a_long_answer_leaves_in_pieces(autojump_clock: MockClock) -> None:
    tls = Tls()
    await stream(tls, connection()).send_all(bytes(70000))
    await stream(tls, connection()).wait_send_all_might_not_block()
    assert tls.sent == [32768, 32768, 4464]


async def test_who_does_not_read_loses_the_connection_though_hypercorn_shields(autojump_clock: MockClock) -> None:
    subject = connection()
    with subject.scope, trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
        await stream(Tls(stuck=True), subject).send_all(b"x")
    assert trio.current_time() == pytest.approx(7)
    assert subject.scope.cancel_called


async def test_given_up_is_given_up_though_hypercorn_shields(autojump_clock: MockClock) -> None:
    subject = connection()
    subject.give_up()
    assert subject.scope.cancel_called
    subject = connection()
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with subject.scope, trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
                await stream(Tls(stuck=True), subject).send_all(b"x")

        nursery.start_soon(send)
        await trio.sleep(1)
        subject.give_up()
    assert trio.current_time() == pytest.approx(1)
    # Nor does it wait with the next piece.
    with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
        await stream(Tls(stuck=True), subject).send_all(b"x")
    assert trio.current_time() == pytest.approx(1)


async def test_a_reset_ends_whatever_is_at_work(autojump_clock: MockClock) -> None:
    tls, subject = Tls(), connection()
    await tls.peer.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await stream(tls, subject).send_all(b"x")
    assert subject.scope.cancel_called


async def test_a_farewell_has_its_time(autojump_clock: MockClock) -> None:
    await stream(Tls(stuck=True), connection()).aclose()
    assert trio.current_time() == pytest.approx(1)
