"""A ``LinkSource`` on a ``FakeKernel``: no threads, so that Trio's test clock can jump."""

import errno
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

import trio

from portsyncd.backends.base import DescriptorStore, Received
from portsyncd.errors import LinkSourceError, NoPermissionError
from portsyncd.testing.fake_kernel import EventSocket, FakeKernel
from portsyncd.wire.netlink import LinkMessage

# What the kernel's filter compares of a name (see ``wire.bpf``).
_COMPARED_BYTES: Final = 4


# After so many seconds a question that the kernel does not answer is given up (see ``backends.netlink``).
_ANSWER_SECONDS: Final = 2.0

# What ``backends.inherited.socket_name`` is on a fake kernel.
SOCKET_NAME: Final = "links-fake"


class Descriptors(Protocol):
    """What a ``FakeDescriptorStore`` does with descriptors: those of a ``FakeKernel``, or real ones."""

    def duplicate(self, descriptor: int) -> int:
        """As ``dup``."""

    def close(self, descriptor: int) -> None:
        """As ``close``."""

    def same(self, one: int, other: int) -> bool:
        """Whether both refer to one file."""


class FakeDescriptorStore:
    """See ``backends.base.DescriptorStore``. kept: name and descriptor, oldest first. A file is kept once under a name, as
    systemd does."""

    def __init__(self, descriptors: Descriptors) -> None:
        self.kept: list[tuple[str, int]] = []
        self._descriptors = descriptors
        self._passed: list[tuple[str, int]] = []

    def keep(self, descriptor: int, name: str) -> bool:
        """Keep a duplicate."""
        if not any(named == name and self._descriptors.same(descriptor, other) for named, other in self.kept):
            self.kept.append((name, self._descriptors.duplicate(descriptor)))
        return True

    def forget(self, name: str) -> None:
        """Close all of this name."""
        for kept in [kept for kept in self.kept if kept[0] == name]:
            self.kept.remove(kept)
            self._descriptors.close(kept[1])

    def take(self) -> Sequence[tuple[str, int]]:
        """What was passed to this process, once."""
        taken, self._passed = self._passed, []
        return taken

    def restart(self) -> None:
        """A new process begins, and is passed duplicates of all that is kept."""
        self._passed = [(name, self._descriptors.duplicate(descriptor)) for name, descriptor in self.kept]

    def close(self) -> None:
        """Close all: the service was stopped for good."""
        for name, _ in list(self.kept):
            self.forget(name)


class FakeLinkSource:
    """See ``backends.base.LinkSource``. log: what was called, in order: open, receive, dump, ask, set_down, listen_to,
    close."""

    def __init__(
        self,
        kernel: FakeKernel,
        *,
        receive_buffer_bytes: int,
        prefixes: Sequence[str],
        store: DescriptorStore | None = None,
    ) -> None:
        self.log: list[str] = []
        self.receive_buffer_bytes = 0
        self.filtering = False
        self.adopted = False
        self.range: tuple[int, int] | None = None
        self._kernel = kernel
        self._wanted_buffer = receive_buffer_bytes
        self._prefixes = tuple(prefix.encode("utf-8", "surrogateescape")[:_COMPARED_BYTES] for prefix in prefixes)
        self._store = store
        self._descriptor: int | None = None
        self._changed = trio.Event()

    def open(self) -> None:
        """Listen, or go on with what the store has: events of all links come in until ``listen_to`` is called."""
        self.log.append("open")
        # The kernel doubles what is asked.
        self.receive_buffer_bytes = 2 * self._wanted_buffer
        inherited = None if self._store is None else self._inherit(self._store)
        self.adopted = inherited is not None
        if inherited is None:
            self._descriptor = self._kernel.listen(EventSocket(self.receive_buffer_bytes, self._wake))
        else:
            self._descriptor = inherited
            self.events.buffer_bytes = self.receive_buffer_bytes
            self.events.changed = self._wake
            self.events.accepts = None
        if self._store is not None:
            if not self.adopted:
                self._store.forget(SOCKET_NAME)
            self._store.keep(self._descriptor, SOCKET_NAME)

    def _inherit(self, store: DescriptorStore) -> int | None:
        inherited: int | None = None
        for name, descriptor in store.take():
            if inherited is None and name == SOCKET_NAME:
                inherited = descriptor
            else:
                store.forget(name)
                self._kernel.close(descriptor)
        return inherited

    def close(self) -> None:
        """Stop listening; a task that waits is told."""
        self.log.append("close")
        if self._descriptor is not None:
            self._kernel.close(self._descriptor)
            self._descriptor = None
            self._wake()

    def _wake(self) -> None:
        self._changed.set()

    @property
    def events(self) -> EventSocket:
        """The kernel's side of the event socket. Raises ``LinkSourceError``."""
        events = None if self._descriptor is None else self._kernel.descriptors.get(self._descriptor)
        if events is None:
            raise LinkSourceError("the netlink event socket is closed")
        return events

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
        await self._expect_answer()
        for links, moved in self._kernel.dump():
            interrupted = interrupted or moved
            handle(links)
            await trio.lowlevel.checkpoint()
        return interrupted

    async def ask(self, targets: Sequence[str | int]) -> list[LinkMessage | None]:
        """Ask for single links; None for each that does not exist."""
        if targets:
            self.log.append("ask")
            await self._expect_answer()
        self._kernel.before_ask(targets)
        answers = [self._kernel.ask(target) for target in targets]
        await trio.lowlevel.checkpoint()
        return answers

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """Clear IFF_UP of these links, if the kernel permits it; returns those that stay up."""
        self.log.append("set_down")
        await self._expect_answer()
        await trio.lowlevel.checkpoint()
        if ifindexes and not self._kernel.permits:
            raise NoPermissionError("the fake kernel does not permit it")
        there = [self._kernel.links[ifindex] for ifindex in sorted(ifindexes) if ifindex in self._kernel.links]
        for link in there:
            if not link.stubborn:
                self._kernel.set(link.name, up=False)
        return [link.ifindex for link in there if link.stubborn]

    async def _expect_answer(self) -> None:
        if not self._kernel.answers:
            await trio.sleep(_ANSWER_SECONDS)
            raise LinkSourceError("could not ask: the kernel's answer did not come")

    async def probe(self) -> None:
        """The event socket is one of those that hear link events, and the kernel answers."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.events not in self._kernel.sockets:
            raise LinkSourceError("the netlink event socket is no longer a member of RTNLGRP_LINK")
        await self._expect_answer()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def has_events(self) -> bool:
        """Whether there is something to read, be it an error."""
        if self._descriptor is None:
            return False
        return self._descriptor not in self._kernel.descriptors or self.events.readable

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
