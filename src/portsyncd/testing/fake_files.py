"""An ``OldLinksStore`` in memory."""

import trio

from portsyncd.errors import FileError
from portsyncd.model.commands import OldLinks


class FakeOldLinks:
    """See ``backends.base.OldLinksStore``. kept: what it holds; saves: how often it was replaced; broken: cannot write."""

    def __init__(self, kept: OldLinks | None = None) -> None:
        self.kept = kept
        self.saves = 0
        self.broken = False

    async def load(self) -> OldLinks | None:
        """What was kept."""
        await trio.lowlevel.checkpoint()
        return self.kept

    async def save(self, old: OldLinks) -> None:
        """Keep this instead. Raises ``FileError`` where ``broken``."""
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise FileError("could not write: no space left on the fake device")
        self.kept = old
        self.saves += 1
