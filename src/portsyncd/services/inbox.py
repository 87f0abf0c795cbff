"""The mailbox between reader and writer, with the waiting that the pure one cannot do."""

from collections.abc import Iterable

import trio

from portsyncd.model.links import Change
from portsyncd.model.mailbox import Mailbox, Synced, Taken


class Inbox:
    """The reader puts, the writer waits and takes; anybody may poke the writer to look around."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._mailbox = Mailbox(bound)
        self._arrived = trio.Event()

    def __len__(self) -> int:
        return len(self._mailbox)

    def put(self, changes: Iterable[Change], now: float, *, reread: bool = False) -> None:
        """Fold changes in, see ``Mailbox.put``; ``poke`` follows when the batch is complete."""
        self._mailbox.put(changes, now, reread=reread)

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
