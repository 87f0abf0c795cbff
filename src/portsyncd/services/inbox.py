"""The mailbox between reader and writer, with the waiting that the pure one cannot do."""

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from portsyncd.model.links import Change
from portsyncd.model.mailbox import Mailbox, Synced, Taken


@dataclass(frozen=True, slots=True)
class InboxStatistics:
    """What lies in the mailbox, and what was folded in it since the process began.

    depth: names that changed since the last take. bound: how many names it holds at most. events: those that wait for
    the next take. conflated: events folded into the entry of an earlier one.
    """

    depth: int
    bound: int
    events: int
    conflated: int


class Inbox:
    """The reader puts, the writer waits and takes; anybody may poke the writer to look around."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._mailbox = Mailbox(bound)
        self._arrived = trio.Event()

    def __len__(self) -> int:
        return len(self._mailbox)

    def statistics(self) -> InboxStatistics:
        """A snapshot."""
        mailbox = self._mailbox
        return InboxStatistics(depth=len(mailbox), bound=self.bound, events=mailbox.events, conflated=mailbox.conflated)

    def put(self, changes: Iterable[Change], now: float, *, reread: bool = False, event: bool = False) -> bool:
        """Fold changes in, see ``Mailbox.put``; ``poke`` follows when the batch is complete."""
        return self._mailbox.put(changes, now, reread=reread, event=event)

    def count(self, events: int) -> None:
        """So many events were read, see ``Mailbox.count``."""
        self._mailbox.count(events)

    def note_admin_down(self, name: str) -> None:
        """See ``Mailbox.note_admin_down``."""
        self._mailbox.note_admin_down(name)

    def put_synced(self, synced: Synced) -> None:
        """A full sync ended."""
        self._mailbox.put_synced(synced)
        self.poke()

    def poke(self) -> None:
        """Wake whoever waits."""
        self._arrived.set()

    async def wait(self) -> None:
        """Wait until something came in, or was poked, since the last ``take``."""
        await self._arrived.wait()

    def take(self) -> Taken:
        """Everything since the last take."""
        self._arrived = trio.Event()
        return self._mailbox.take()
