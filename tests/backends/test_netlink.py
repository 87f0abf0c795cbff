"""What is particular to the real netlink source: its sockets, whom it believes, and what it does when refused.

What it has in common with the fake is held by ``tests/contract/test_link_source.py``; its filter by ``test_filter``.
"""

import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import trio

from portsyncd.backends import netlink
from portsyncd.backends.netlink import NetlinkSource
from portsyncd.errors import LinkSourceError
from portsyncd.testing import burst, frames
from portsyncd.testing.burst import Burst
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.wire import netlink as wire
from portsyncd.wire.netlink import LinkMessage, decode, link_request
from tests.backends.capabilities import without_net_admin

pytestmark = pytest.mark.root

# asm-generic/socket.h
SO_LOCK_FILTER = 44
DEADLINE_SECONDS = 20.0
BUFFER_BYTES = 4 << 20
FORGED = LinkMessage(False, 0, 4711, 0, "Ethernet4711", 1500)


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    # Trio runs in this thread, and sockets belong to the namespace in which they are made.
    with NetworkNamespace() as namespace, namespace.enter():
        yield namespace


@pytest.fixture
def links(namespace: NetworkNamespace) -> Iterator[Links]:
    with Links(namespace) as links:
        yield links


@pytest.fixture
async def source(namespace: NetworkNamespace) -> AsyncIterator[NetlinkSource]:
    with closing(make()) as source:
        source.open()
        yield source


def make() -> NetlinkSource:
    return NetlinkSource(receive_buffer_bytes=BUFFER_BYTES, prefixes=("Ethernet", "PortChannel"))


def events(source: NetlinkSource) -> socket.socket:
    assert source._events is not None
    return source._events


@contextmanager
def no_descriptor_is_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def heard(source: NetlinkSource) -> list[str]:
    """The names of all link messages that wait."""
    return [link.name for datagram in source.receive(1000).datagrams for link in decode(datagram).links]


# ---- the event socket


async def test_an_event_longer_than_the_buffer_counts_as_lost(
    links: Links, namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "_LARGEST_EVENT", 512)
    with closing(make()) as source:
        source.open()
        links.add("Ethernet0", "ifb")
        received = source.receive(10)
    assert (received.datagrams, received.lost, received.drained) == ([], True, True)


async def test_only_the_kernel_is_believed_on_the_event_socket(links: Links, source: NetlinkSource) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as forger:
        port_id, _ = events(source).getsockname()
        assert forger.sendto(frames.link(FORGED), (port_id, 0)) > 0
        links.add("Ethernet0", "ifb")
        received = source.receive(10)
    assert [link.name for datagram in received.datagrams for link in decode(datagram).links] == ["Ethernet0"]
    assert not received.lost


async def test_only_the_kernel_is_believed_when_it_is_asked(namespace: NetworkNamespace) -> None:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as forger,
        netlink._socket() as question,
    ):
        question.bind((0, 0))
        forger.sendto(frames.link(FORGED, sequence=1), (question.getsockname()[0], 0))
        question.send(link_request(1, "lo"))
        (answer,) = decode(await netlink._receive(question)).links
    assert answer.name == "lo"


async def test_without_the_capability_the_buffer_is_what_the_system_grants(namespace: NetworkNamespace) -> None:
    wanted = 1 << 30
    source = NetlinkSource(receive_buffer_bytes=wanted, prefixes=("Ethernet",))
    with without_net_admin(), closing(source):
        source.open()
        with netlink._socket() as unprivileged:
            unprivileged.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
            granted = unprivileged.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert source.receive_buffer_bytes == granted < wanted
        # All else needs no privilege.
        assert not await source.dump(lambda _links: None)
        (answer,) = await source.ask(["lo"])
        assert answer is not None


async def test_a_filter_that_is_refused_leaves_everything_to_be_heard(links: Links, source: NetlinkSource) -> None:
    events(source).setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    source.listen_to(1, 0)
    assert not source.filtering
    links.add("noise", "ifb")
    links.add("Ethernet0", "ifb")
    assert heard(source) == ["noise", "Ethernet0"]


async def test_an_earlier_filter_goes_when_a_new_one_is_refused(
    links: Links, source: NetlinkSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.listen_to(1, 0)
    # A program that does not end in a return is none.
    monkeypatch.setattr(netlink, "link_filter", lambda *_args: bytes(8))
    source.listen_to(1, 2)
    assert not source.filtering
    links.add("noise", "ifb")
    assert heard(source) == ["noise"]


async def test_any_other_error_of_the_event_socket_is_ours(source: NetlinkSource) -> None:
    # A datagram that nobody takes comes back as ECONNREFUSED at the next read.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as broken:
        broken.setblocking(False)
        broken.connect(("127.0.0.1", 9))
        broken.send(b"x")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "_events", broken)
            with trio.fail_after(DEADLINE_SECONDS):
                await source.readable()
            with pytest.raises(LinkSourceError, match="event socket failed"):
                source.receive(1)


# ---- questions


async def test_a_dump_that_the_kernel_refuses_is_our_error(
    source: NetlinkSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No such message type; asked for a dump of it, the kernel answers EOPNOTSUPP.
    monkeypatch.setattr(wire, "dump_request", lambda number: frames.message(1000, flags=0x301, sequence=number))
    with pytest.raises(LinkSourceError, match=r"could not dump the links: .*refused the dump"):
        await source.dump(lambda _links: None)


async def test_a_question_that_the_kernel_refuses_is_our_error(
    source: NetlinkSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def request(number: int, _target: str | int) -> bytes:
        return frames.message(1000, flags=0x1, sequence=number)

    monkeypatch.setattr(wire, "link_request", request)
    monkeypatch.setattr(wire, "set_down_request", request)
    with pytest.raises(LinkSourceError, match="could not ask for single links"):
        await source.ask(["Ethernet0"])
    assert await source.set_down([1]) == [1]


async def test_an_answer_that_does_not_come_is_our_error(
    source: NetlinkSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    # NLMSG_NOOP: the kernel says nothing to that.
    monkeypatch.setattr(wire, "dump_request", lambda number: frames.message(1, flags=0x1, sequence=number))
    monkeypatch.setattr(netlink, "_ANSWER_SECONDS", 0.05)
    with pytest.raises(LinkSourceError, match="answer did not come"):
        await source.dump(lambda _links: None)


async def test_others_run_during_a_long_dump(source: NetlinkSource, namespace: NetworkNamespace) -> None:
    with Burst(namespace) as kernel:
        kernel.send(burst.add_port(f"Ethernet{number}") for number in range(400))
    turns, links = 0, 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    def count(some: object) -> None:
        nonlocal links
        assert isinstance(some, list)
        links += len(some)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await source.dump(count)
        nursery.cancel_scope.cancel()
    assert links == 801
    assert turns > 2


async def test_questions_leave_no_descriptor_behind(source: NetlinkSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def descriptors() -> set[str]:
        # Of sockets only: whatever else this process opens meanwhile is not ours.
        links = (os.path.realpath(entry.path) for entry in os.scandir("/proc/self/fd"))
        return {link for link in links if "socket:" in link}

    def refuse(_links: object) -> None:
        raise ZeroDivisionError

    before = descriptors()
    await source.dump(lambda _links: None)
    await source.ask(["lo", "Ethernet0", 1])
    await source.set_down([4711])
    assert descriptors() == before
    with pytest.raises(ZeroDivisionError):
        await source.dump(refuse)
    with trio.CancelScope() as scope:
        scope.cancel()
        await source.ask(["lo"])
    monkeypatch.setattr(wire, "dump_request", lambda number: frames.message(1000, flags=0x301, sequence=number))
    with pytest.raises(LinkSourceError):
        await source.dump(lambda _links: None)
    # Those on which an answer was given up are closed.
    assert descriptors() < before
    source.close()
    # Its event socket, its prober, and the one above.
    assert len(descriptors()) == len(before) - 3


async def test_one_question_can_be_asked_when_no_descriptor_is_left(source: NetlinkSource) -> None:
    def ask_meanwhile(_links: object) -> None:
        with source._question():
            pass

    with no_descriptor_is_left():
        for _ in range(3):
            assert [link.name for link in await source.ask([1]) if link] == ["lo"]
            await source.dump(lambda _links: None)
        # Two at a time, of which one has to wait until there is one.
        with pytest.raises(LinkSourceError, match="Too many open files"):
            await source.dump(ask_meanwhile)
    await source.dump(lambda _links: None)


async def test_an_answer_that_has_come_when_nobody_waits_any_more_is_read(
    source: NetlinkSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process was stopped; nothing is there before the wait, and all of it after the time is up.
    class Late:
        looks = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(events(source), name)

        def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
            self.looks += 1
            if self.looks == 1:
                raise BlockingIOError
            return b"answer", (0, 0)

    async def never_readable(_sock: object) -> None:
        await trio.sleep_forever()

    late: Any = Late()
    monkeypatch.setattr(netlink, "_ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(trio.lowlevel, "wait_readable", never_readable)
    assert await netlink._receive(late) == b"answer"


# ---- probes


class Prober:
    """A prober's socket that notes what is sent. before: called when something has been."""

    def __init__(self, real: socket.socket) -> None:
        self.sent: list[bytes] = []
        self.before: Callable[[], object] = lambda: None
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def send(self, request: bytes) -> int:
        self.sent.append(request)
        size = self._real.send(request)
        self.before()
        return size


@pytest.fixture
def prober(source: NetlinkSource, monkeypatch: pytest.MonkeyPatch) -> Prober:
    assert source._prober is not None
    prober = Prober(source._prober)
    monkeypatch.setattr(source, "_prober", prober)
    return prober


async def test_a_probe_asks_rtnetlink_for_nothing(source: NetlinkSource, prober: Prober) -> None:
    # Whatever is rtnetlink's own waits while somebody else holds its lock, and the event loop with it.
    await source.probe()
    ((kind, flags),) = [(sent[4], sent[6]) for sent in prober.sent]
    assert (kind, flags) == (1, 0x5)


async def test_a_probe_that_was_answered_is_not_lost_to_its_deadline(source: NetlinkSource, prober: Prober) -> None:
    with trio.CancelScope() as scope:
        prober.before = scope.cancel
        await source.probe()
    assert not scope.cancelled_caught


async def test_a_probe_is_possible_while_somebody_asks_and_no_descriptor_is_left(source: NetlinkSource) -> None:
    with source._question(), no_descriptor_is_left():
        await source.probe()


async def test_the_answer_to_an_earlier_probe_is_none_to_the_present(source: NetlinkSource, prober: Prober) -> None:
    prober.send(wire.noop_request(4711))
    await source.probe()
    with pytest.raises(BlockingIOError):
        prober.recv(1)


async def test_a_probe_that_the_kernel_refuses_fails(source: NetlinkSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "noop_request", lambda number: frames.message(1000, flags=0x5, sequence=number))
    with pytest.raises(LinkSourceError, match="refused a probe"):
        await source.probe()


# ---- several questions


async def test_a_question_within_another_has_a_socket_of_its_own(source: NetlinkSource) -> None:
    with source._question() as one, source._question() as other:
        assert one.fileno() != other.fileno()
    assert other.fileno() != -1
    assert one.fileno() == -1
