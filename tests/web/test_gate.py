"""What the gate tells the operator of those whom it does not let in."""

import errno
import os
import ssl

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from portsyncd.tls.failures import Reason, failure
from portsyncd.web.gate import Door, Gate
from portsyncd.web.host import RealHost
from portsyncd.web.limits import Limits


def gate() -> Gate:
    return Gate(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), (), Limits(), RealHost())


async def test_a_client_is_told_of_once_a_minute_for_each_reason(autojump_clock: MockClock) -> None:
    subject = gate()
    with capture_logs() as said:
        for client in ("::1", "::2", "::1", "::1"):
            subject._refuse(client, failure(Reason.NO_CERTIFICATE))
            subject._refuse(client, failure(Reason.EXPIRED))
        await trio.sleep(60)
        subject._refuse("::1", failure(Reason.EXPIRED))
    assert [line["client"] for line in said if line["log_level"] == "warning"] == ["::1", "::1", "::2", "::2", "::1"]
    assert subject.failed["no_certificate"] == 4


async def test_who_was_told_of_is_remembered_within_bounds(autojump_clock: MockClock) -> None:
    subject = gate()
    for number in range(1000):
        subject._refuse(f"2001:db8::{number:x}", failure(Reason.NOT_TLS))
    assert len(subject._told_at) == 64
    assert subject.failed["not_tls"] == 1000


class Starved(trio.abc.Listener[trio.SocketStream]):
    """Has no descriptor for who knocks, so many times; then raises the last error."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.tries: list[float] = []

    async def accept(self) -> trio.SocketStream:
        self.tries.append(trio.current_time())
        number = self.errors.pop(0)
        raise OSError(number, os.strerror(number))

    async def aclose(self) -> None:
        pass


async def test_with_no_descriptor_left_it_waits_and_says_so_once(autojump_clock: MockClock) -> None:
    listener = Starved(errno.EMFILE, errno.EMFILE, errno.EMFILE, errno.EBADF)
    with capture_logs() as said, pytest.raises(OSError, match="Bad file descriptor"):
        await Door(listener, trio.lowlevel.checkpoint).accept()
    assert [line["problem"] for line in said] == ["[Errno 24] Too many open files"]
    assert listener.tries == pytest.approx([listener.tries[0] + pause for pause in (0, 0.5, 1, 1.5)])


async def test_when_there_is_one_again_it_lets_in() -> None:
    async def knock() -> None:
        await (await trio.testing.open_stream_to_socket_listener(listener)).aclose()

    (listener,) = await trio.open_tcp_listeners(0, host="::1")
    door = Door(listener, trio.lowlevel.checkpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(knock)
        await (await door.accept()).aclose()
    await door.aclose()
