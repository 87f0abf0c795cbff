"""An ``OldLinksStore`` and a ``KeptDocument`` in memory."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import trio

from portsyncd.backends.base import Kept, Loaded
from portsyncd.errors import FileError
from portsyncd.model.commands import OldLinks
from portsyncd.wire.statefile import Envelope, Flaw, FlawedError, age_flaw, decode, encode

_FULL: Final = "could not write: No space left on the fake device"
_KIND: Final = "fake"
_VERSION: Final = 1


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
            raise FileError(_FULL)
        self.kept = old
        self.saves += 1


class FakeKept:
    """See ``backends.base.KeptDocument``; uses no threads.

    current, backups: the bytes of the newest version and of earlier ones, oldest first; a test may damage them. saves:
    how often it was replaced; broken: cannot write. boot_id: of the boot that goes on while this is used.
    """

    def __init__(
        self, *, max_backups: int = 0, max_age: float = math.inf, wall: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.current: bytes | None = None
        self.backups: list[bytes] = []
        self.saves = 0
        self.broken = False
        self.boot_id = "this boot"
        self._max_backups = max_backups
        self._max_age = max_age
        self._wall = wall

    async def load(self) -> Loaded:
        """The newest version that can be trusted; what cannot be is dropped."""
        await trio.lowlevel.checkpoint()
        flaws: list[Flaw] = []
        if self.current is not None:
            judged = self._judge(self.current)
            if isinstance(judged, Envelope):
                return self._loaded(judged)
            self.current = None
            flaws.append(judged)
        while self.backups:
            judged = self._judge(self.backups[-1])
            if isinstance(judged, Envelope):
                return replace(self._loaded(judged), backup=True, set_aside=tuple(flaws))
            self.backups.pop()
            flaws.append(judged)
        return Loaded(set_aside=tuple(flaws))

    def _judge(self, raw: bytes) -> Envelope | Flaw:
        try:
            envelope = decode(raw, _KIND, _VERSION)
        except FlawedError as problem:
            return problem.flaw
        return age_flaw(envelope, self._wall(), self._max_age) or envelope

    def _loaded(self, envelope: Envelope) -> Loaded:
        return Loaded(envelope.content, envelope.saved_at, trusted=envelope.boot_id == self.boot_id)

    async def save(self, content: Mapping[str, Any]) -> Kept:
        """Replace it as a whole. Raises ``FileError`` where ``broken``."""
        await trio.lowlevel.checkpoint()
        return self.keep(content)

    def keep(self, content: Mapping[str, Any]) -> Kept:
        """What ``save`` does, at once: for a test that prepares what an earlier process left."""
        raw = encode(_KIND, _VERSION, Envelope(self._wall(), self.boot_id, 1, content))
        if self.broken:
            raise FileError(_FULL)
        created = int(self.current is not None and self._max_backups > 0)
        if self.current is not None and created:
            self.backups.append(self.current)
        cleaned = max(len(self.backups) - self._max_backups, 0)
        del self.backups[:cleaned]
        self.current = raw
        self.saves += 1
        return Kept(created, cleaned, len(raw))

    @property
    def content(self) -> Mapping[str, Any]:
        """Of the newest version; empty where there is none."""
        return {} if self.current is None else decode(self.current, _KIND, _VERSION).content
