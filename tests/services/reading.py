"""A reader on a fake kernel, and what it has put into the mailbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from portsyncd.model.links import Link
from portsyncd.model.mailbox import Synced, Taken
from portsyncd.model.ports import Fields, published_fields
from portsyncd.services.inbox import Inbox
from portsyncd.services.reader import Reader
from portsyncd.testing.fake_kernel import FakeKernel
from portsyncd.testing.fake_links import FakeLinkSource

PREFIXES = ("Ethernet", "PortChannel")


class Rig:
    """buffer_bytes: of the event sockets. sources: those that the reader has made, newest last. synced: the full reads
    that have ended. removed: the names that lost a link on the way, in order; dipped: those seen admin-down. planned:
    what a test means to do during a dump and has not done yet."""

    def __init__(self, *, buffer_bytes: int = 1 << 24, bound: int = 100_000) -> None:
        self.buffer_bytes = buffer_bytes
        self.kernel = FakeKernel()
        self.inbox = Inbox(bound)
        self.sources: list[FakeLinkSource] = []
        self.reader = Reader(self._make_source, self.inbox, PREFIXES)
        self.links: dict[str, Link] = {}
        self.synced: list[Synced] = []
        self.removed: list[str] = []
        self.dipped: list[str] = []
        self.planned: set[tuple[int, int]] = set()

    def _make_source(self) -> FakeLinkSource:
        made = FakeLinkSource(self.kernel, receive_buffer_bytes=self.buffer_bytes // 2, prefixes=PREFIXES)
        self.sources.append(made)
        return made

    @property
    def source(self) -> FakeLinkSource:
        return self.sources[-1]

    def take(self) -> Taken:
        """Take what is in the mailbox and keep the books."""
        taken = self.inbox.take()
        for name, change in taken.changes.items():
            if change.removed:
                self.removed.append(name)
            if change.dipped:
                self.dipped.append(name)
            if change.link is None:
                self.links.pop(name, None)
            else:
                self.links[name] = change.link
        if taken.synced is not None:
            self.synced.append(taken.synced)
        return taken

    async def settle(self) -> Taken:
        """Let the reader do all that it can do now; then take."""
        await wait_all_tasks_blocked()
        return self.take()

    def state(self) -> dict[str, tuple[int, Fields]]:
        """What the mailbox has said of every name that has a link."""
        return {name: (link.ifindex, link.fields) for name, link in self.links.items()}

    def truth(self) -> dict[str, tuple[int, Fields]]:
        """What the kernel says."""
        return {
            link.name: (link.ifindex, published_fields(link.message()))
            for link in self.kernel.links.values()
            if link.name.startswith(PREFIXES)
        }


@asynccontextmanager
async def reading(rig: Rig) -> AsyncIterator[None]:
    """The reader runs, and has made its first full read."""
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.reader.run)
        await rig.settle()
        yield
        nursery.cancel_scope.cancel()
    assert not rig.planned
