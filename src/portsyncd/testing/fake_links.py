"""A ``LinkSource`` on a ``FakeKernel``: no threads, so that Trio's test clock can jump."""

import errno
from collections.abc import Callable, Collection, Sequence
from typing import Final

import trio

from portsyncd.backends.base import Received
from portsyncd.errors import LinkSourceError, NoPermissionError
from portsyncd.testing.fake_kernel import EventSocket, FakeKernel
from portsyncd.wire.netlink import LinkMessage

# What the kernel's filter compares of a name (see ``wire.bpf``).
_COMPARED_BYTES: Final = 4


class FakeLinkSource:
    """See ``backends.base.LinkSource``. log: what was called, in order: open, receive, dump, ask, set_down, listen_to,
    close."""

    def __init__(self, kernel: FakeKernel, *, receive_buffer_bytes: int, prefixes: Sequence[str]) -> None:
        self.log: list[str] = []
        self.receive_buffer_bytes = 0
        self.filtering = False
        self.range: tuple[int, int] | None = None
        self._kernel = kernel
        self._wanted_buffer = receive_buffer_bytes
        self._prefixes = tuple(prefix.encode("utf-8", "surrogateescape")[:_COMPARED_BYTES] for prefix in prefixes)
        self._events: EventSocket | None = None
        self._changed = trio.Event()

    def open(self) -> None:
        """Listen: events of all links come in until ``listen_to`` is called."""
        self.log.append("open")
        # The kernel doubles what is asked.
        self.receive_buffer_bytes = 2 * self._wanted_buffer
        self._events = EventSocket(self.receive_buffer_bytes, self._wake)
        self._kernel.sockets.append(self._events)

    def close(self) -> None:
        """Stop listening; a task that waits is told."""
        self.log.append("close")
        if self._events is not None:
            self._kernel.sockets.remove(self._events)
            self._events = None
            self._wake()

    def _wake(self) -> None:
        self._changed.set()

    @property
    def events(self) -> EventSocket:
        """The kernel's side of the event socket. Raises ``LinkSourceError``."""
        if self._events is None:
            raise LinkSourceError("the netlink event socket is closed")
        return self._events

    async def readable(self) -> None:
        """Wait until there is something to read."""
        await trio.lowlevel.checkpoint()
        while not self.events.readable:
            self._changed = trio.Event()
            await self._changed.wait()

    def receive(self, limit: int) -> Received:
        """Read at most ``limit`` datagrams without waiting."""
        self.log.append("receive")
        datagrams: list[bytes] = []
        lost = False
        for _ in range(limit):
            try:
                datagrams.append(self.events.read())
            except BlockingIOError:
                return Received(datagrams, lost, drained=True)
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise
                lost = True
        return Received(datagrams, lost, drained=False)

    def drops(self) -> int:
        """How many events have been dropped so far."""
        return self.events.drops

    async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
        """Pass all links on in chunks; other tasks run between them. True: links came or went meanwhile."""
        self.log.append("dump")
        interrupted = False
        for links, moved in self._kernel.dump():
            interrupted = interrupted or moved
            handle(links)
            await trio.lowlevel.checkpoint()
        return interrupted

    async def ask(self, targets: Sequence[str | int]) -> list[LinkMessage | None]:
        """Ask for single links; None for each that does not exist."""
        if targets:
            self.log.append("ask")
        self._kernel.before_ask(targets)
        answers = [self._kernel.ask(target) for target in targets]
        await trio.lowlevel.checkpoint()
        return answers

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """Clear IFF_UP of these links, if the kernel permits it; returns those that stay up."""
        self.log.append("set_down")
        await trio.lowlevel.checkpoint()
        if ifindexes and not self._kernel.permits:
            raise NoPermissionError("the fake kernel does not permit it")
        there = [self._kernel.links[ifindex] for ifindex in sorted(ifindexes) if ifindex in self._kernel.links]
        for link in there:
            if not link.stubborn:
                self._kernel.set(link.name, up=False)
        return [link.ifindex for link in there if link.stubborn]

    def listen_to(self, first: int, last: int) -> None:
        """From now on let through our prefixes, and these ifindexes under any name."""
        self.log.append("listen_to")
        self.range = (first, last)
        self.filtering = self._kernel.takes_filters
        if self.filtering:
            self.events.accepts = self._accepts

    def _accepts(self, said: LinkMessage) -> bool:
        name = said.name.encode("utf-8", "surrogateescape")
        first, last = self.range or (1, 0)
        return not name or name.startswith(self._prefixes) or first <= said.ifindex <= last
