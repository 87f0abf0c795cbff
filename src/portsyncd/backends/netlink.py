"""The kernel's links over rtnetlink: a ``LinkSource`` on real sockets.

Events come in on one socket, which is never asked anything; questions go over sockets of their own, and one on which an
answer was given up is closed, so that what is left of it can never be mistaken for part of the next.
"""

import ctypes
import errno
import itertools
import select
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import trio

from portsyncd.backends.base import DescriptorStore, Received
from portsyncd.backends.inherited import LINKS_ALONE, adopt, keep, memberships
from portsyncd.errors import LinkSourceError, NoPermissionError
from portsyncd.wire import netlink as wire
from portsyncd.wire.bpf import link_filter
from portsyncd.wire.netlink import Decoded, LinkMessage

T = TypeVar("T")

# asm-generic/socket.h; not in Python's socket module.
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_SK_MEMINFO_DROPS: Final = 8
_MEMINFO = struct.Struct("=9I")

# An event is 1 to 2 KiB; hundreds of virtual functions can make it tens. What is longer still counts as truncated.
_LARGEST_EVENT = 256 * 1024
# The kernel fills as much of a dump into one datagram as the reader's buffer takes, up to 32 KiB.
_ANSWER_BYTES = 64 * 1024
# Answers to so many questions fit into a default receive buffer.
_QUESTIONS_AT_ONCE = 32
# Other tasks run after so many datagrams of a dump (about 20 links each).
_DATAGRAMS_PER_TURN = 8
# The kernel answers a question before the sending call returns; waiting longer means that the answer was dropped.
_ANSWER_SECONDS = 2.0


class NetlinkSource:
    """See ``backends.base.LinkSource``. The sockets belong to the network namespace in which they are opened.

    store: has the event socket of the former process, if there was one, and keeps ours for the next.
    """

    def __init__(
        self, *, receive_buffer_bytes: int, prefixes: Sequence[str], store: DescriptorStore | None = None
    ) -> None:
        self._wanted_buffer = receive_buffer_bytes
        self._prefixes = tuple(prefixes)
        self._store = store
        self._buffer = bytearray(_LARGEST_EVENT)
        self._view = memoryview(self._buffer)
        self._events: socket.socket | None = None
        # For the next question, so that one can be asked when no descriptor is left.
        self._spare: socket.socket | None = None
        # For probes alone: one is possible while somebody else asks and no descriptor is left.
        self._prober: socket.socket | None = None
        self._sequence = itertools.count(1)
        self.receive_buffer_bytes = 0
        self.filtering = False
        self.adopted = False

    def open(self) -> None:
        """Join RTNLGRP_LINK, or go on with what the store has. Until ``listen_to`` is called, events of all links come in."""
        with _as_link_source_error("open the netlink event socket"):
            inherited = None if self._store is None else adopt(self._store)
            self.adopted = inherited is not None
            self._spare, self._prober = _socket(), _socket()
            self._events = inherited or _socket()
            self._enlarge_buffer(self._events)
            if not self.adopted:
                self._events.bind((0, 1 << (wire.RTNLGRP_LINK - 1)))
            if self._store is not None:
                keep(self._store, self._events, adopted=self.adopted)

    def _enlarge_buffer(self, events: socket.socket) -> None:
        try:
            # Past net.core.rmem_max; needs CAP_NET_ADMIN in the initial user namespace.
            events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, self._wanted_buffer)
        except PermissionError:
            events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._wanted_buffer)
        self.receive_buffer_bytes = events.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def close(self) -> None:
        """Close the event socket; a task that waits for it is told."""
        events, prober = self._events, self._prober
        mine = (events, prober, self._spare)
        self._events = self._prober = self._spare = None
        for one in filter(None, (events, prober)):
            trio.lowlevel.notify_closing(one)
        for one in filter(None, mine):
            # Its descriptor may be what went wrong: somebody closed it.
            with suppress(OSError):
                one.close()

    async def readable(self) -> None:
        """Wait until the event socket has something to read (an error counts)."""
        with _as_link_source_error("wait for the netlink event socket"):
            await trio.lowlevel.wait_readable(self._open_events())

    def receive(self, limit: int) -> Received:
        """Read at most ``limit`` datagrams without waiting."""
        datagrams: list[bytes] = []
        lost = False
        receive, view = self._open_events().recvfrom_into, self._view
        for _ in range(limit):
            try:
                # With MSG_TRUNC the size is that of the datagram, not of what fitted.
                size, sender = receive(view, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                return Received(datagrams, lost, drained=True)
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise LinkSourceError(f"the netlink event socket failed: {problem}") from problem
                lost = True
                continue
            # Any process may send to a netlink socket; the kernel alone has port id 0.
            if sender[0] != 0:
                continue
            if size > _LARGEST_EVENT:
                lost = True
                continue
            datagrams.append(bytes(view[:size]))
        return Received(datagrams, lost, drained=False)

    def drops(self) -> int:
        """How many events the kernel has dropped on the event socket so far."""
        with _as_link_source_error("read the netlink socket's drop counter"):
            info = self._open_events().getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        return int(_MEMINFO.unpack_from(info)[_SK_MEMINFO_DROPS])

    def listen_to(self, first: int, last: int) -> None:
        """Attach the filter: names with our prefixes, and the ifindexes from ``first`` to ``last`` under any name."""
        program = link_filter(self._prefixes, first, last)
        code = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog; the kernel copies the program.
        fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
        try:
            self._open_events().setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
        except OSError:
            # An earlier filter, which lets too little through by now, stays attached when a new one is refused.
            with suppress(OSError):
                self._open_events().setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            self.filtering = False
        else:
            self.filtering = True

    async def probe(self) -> None:
        """The event socket hears link events, and the kernel answers. SO_ERROR is not looked at: reading it takes the
        ENOBUFS away that ``receive`` has to see."""
        await trio.lowlevel.checkpoint_if_cancelled()
        with _as_link_source_error("probe the netlink event socket"):
            if not memberships(self._open_events()) & LINKS_ALONE:
                raise LinkSourceError("the netlink event socket is no longer a member of RTNLGRP_LINK")
            await self._be_answered()
        # The answer has come: that nobody waits for it any more says nothing against the kernel.
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _be_answered(self) -> None:
        if self._prober is None:
            raise LinkSourceError("the netlink event socket is closed")
        number, answer = next(self._sequence), wire.Decoded([])
        self._prober.send(wire.noop_request(number))
        # Those to probes that were given up come before it.
        while not answer.acknowledged:
            answer = wire.decode(await _receive(self._prober), sequence=number)
            if answer.errno:
                raise OSError(answer.errno, "the kernel refused a probe")

    def has_events(self) -> bool:
        """Whether there is something to read, be it an error; False where the event socket is closed."""
        if self._events is None:
            return False
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        return bool(poll.poll(0))

    async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
        """Ask for all links; True when the kernel says that the answer is inconsistent (NLM_F_DUMP_INTR)."""
        sequence = next(self._sequence)
        interrupted = False
        with _as_link_source_error("dump the links"), self._question() as question:
            question.send(wire.dump_request(sequence))
            for turn in itertools.count(1):
                answer = wire.decode(await _receive(question), sequence=sequence)
                interrupted = interrupted or answer.interrupted
                handle(answer.links)
                if answer.errno:
                    raise OSError(answer.errno, "the kernel refused the dump")
                if answer.done:
                    break
                if turn % _DATAGRAMS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        return interrupted

    async def ask(self, targets: Sequence[str | int]) -> list[LinkMessage | None]:
        """Ask for single links by name or by ifindex; None for each that does not exist."""
        answers: list[LinkMessage | None] = []
        for start in range(0, len(targets), _QUESTIONS_AT_ONCE):
            some = targets[start : start + _QUESTIONS_AT_ONCE]
            with _as_link_source_error("ask for single links"):
                requests = {number: wire.link_request(number, target) for number, target in self._number(some)}
                for answer in await self._converse(requests):
                    if answer.errno and not wire.is_absence(answer.errno):
                        raise OSError(answer.errno, "the kernel refused a question for a link")
                    answers.append(answer.links[0] if answer.links else None)
        return answers

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """Clear IFF_UP of these links; those that are gone are passed over, those that the kernel refuses returned."""
        refused: list[int] = []
        wanted = sorted(ifindexes)
        for start in range(0, len(wanted), _QUESTIONS_AT_ONCE):
            some = wanted[start : start + _QUESTIONS_AT_ONCE]
            with _as_link_source_error("set links down"):
                requests = {number: wire.set_down_request(number, ifindex) for number, ifindex in self._number(some)}
                for ifindex, answer in zip(some, await self._converse(requests), strict=True):
                    if answer.errno == errno.EPERM:
                        raise NoPermissionError(
                            "the kernel does not let this process set links down: start it with CAP_NET_ADMIN,"
                            ' or configure netlink.existing_links = "adopt"'
                        )
                    if answer.errno and not wire.is_absence(answer.errno):
                        refused.append(ifindex)
        return refused

    @contextmanager
    def _question(self) -> Iterator[socket.socket]:
        """A socket to ask on, which nobody else uses meanwhile, and of which no answer has been left unread."""
        question, self._spare = self._spare or _socket(), None
        try:
            yield question
        except BaseException:
            # Whatever stopped it, a cancellation too: an answer may still be on its way.
            question.close()
            raise
        if self._events is None or self._spare is not None:
            question.close()
        else:
            self._spare = question

    def _number(self, targets: Iterable[T]) -> Iterator[tuple[int, T]]:
        return ((next(self._sequence), target) for target in targets)

    async def _converse(self, requests: Mapping[int, bytes]) -> list[Decoded]:
        """Send several requests, keyed by sequence number, in one datagram; return their answers in that order."""
        answers: dict[int, Decoded] = {}
        with self._question() as question:
            question.send(b"".join(requests.values()))
            while len(answers) < len(requests):
                datagram = await _receive(question)
                number = wire.sequence_of(datagram)
                if number in requests:
                    answers[number] = wire.decode(datagram, sequence=number)
        await trio.lowlevel.checkpoint()
        return [answers[number] for number in requests]

    def _open_events(self) -> socket.socket:
        if self._events is None:
            raise LinkSourceError("the netlink event socket is closed")
        return self._events


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    made.setblocking(False)
    return made


async def _receive(question: socket.socket) -> bytes:
    """One datagram from the kernel."""
    late = False
    while True:
        try:
            datagram, sender = question.recvfrom(_ANSWER_BYTES)
        except BlockingIOError:
            if late:
                raise TimeoutError(errno.ETIMEDOUT, "the kernel's answer did not come") from None
            with trio.move_on_after(_ANSWER_SECONDS) as waiting:
                await trio.lowlevel.wait_readable(question)
            # It may have come all the same, where nobody ran for long.
            late = waiting.cancelled_caught
            continue
        if sender[0] == 0:
            return datagram


@contextmanager
def _as_link_source_error(action: str) -> Iterator[None]:
    """The edge: whatever the socket raises becomes one of our errors, with what was being done."""
    try:
        yield
    except (OSError, trio.ClosedResourceError) as problem:
        raise LinkSourceError(f"could not {action}: {problem}") from problem
