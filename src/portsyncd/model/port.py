"""One port: what is known of its name, what it owes Redis, and what is counted for it."""

from typing import NamedTuple, Protocol

from portsyncd.model.commands import Op
from portsyncd.model.links import Link
from portsyncd.model.ports import UNKNOWN, Fields, oper_up
from portsyncd.model.saved import SavedPort


class PortCounters(NamedTuple):
    """What is counted for one name since the daemon knows it.

    flaps: carrier losses, by the kernel's own counter. ups, downs: oper transitions; a link that goes away goes down.
    written: writes that Redis acknowledged. failed: writes that Redis refused, or whose outcome is not known; one that
    was put off because APPL_DB has no such port is neither.
    """

    flaps: int
    ups: int
    downs: int
    written: int
    failed: int


class Flapped(NamedTuple):
    """Carrier losses of a port. new: since somebody last took them; total: its count, see ``PortCounters.flaps``."""

    new: int
    total: int


class Counted(Protocol):
    """Whatever carries the counts of ``PortCounters``: a sample of them, or the port itself, whose counts move on."""

    @property
    def flaps(self) -> int:
        """Carrier losses."""

    @property
    def ups(self) -> int:
        """Transitions to oper up."""

    @property
    def downs(self) -> int:
        """Transitions to oper down."""

    @property
    def written(self) -> int:
        """Writes that Redis acknowledged."""

    @property
    def failed(self) -> int:
        """Writes that Redis refused, or whose outcome is not known."""


class Port:
    """What is known of one name.

    link: the link to publish; None when there is none, or only an old one. old: its link is from before the generation.
    held: what STATE_DB holds of ours; None when it has no entry of ours. recreated: the entry goes before the next
    write. rewrite: the next write goes out even if nothing differs. since: when ``link`` last appeared or went;
    changed: when its state last changed; written_at: when Redis last acknowledged a write, None before (all monotonic
    seconds). flaps, ups, downs, written, failed: see ``PortCounters``.
    """

    __slots__ = (
        "changed",
        "downs",
        "failed",
        "flaps",
        "held",
        "link",
        "old",
        "recreated",
        "rewrite",
        "since",
        "ups",
        "written",
        "written_at",
    )

    def __init__(self, now: float) -> None:
        self.link: Link | None = None
        self.old = False
        self.held: Fields | None = None
        self.recreated = False
        self.rewrite = False
        self.since = now
        self.changed = now
        self.written_at: float | None = None
        self.flaps = self.ups = self.downs = 0
        self.written = self.failed = 0

    @property
    def published(self) -> bool:
        """Redis acknowledged a state of the present link."""
        return self.link is not None and self.held is not None and self.held is not UNKNOWN

    def owed(self) -> Op | None:
        """The kind of write that brings Redis up to date; None when it is."""
        if self.link is None:
            return None if self.held is None else Op.DELETE
        if self.recreated and self.held is not None:
            return Op.REPLACE
        return Op.SET if self.rewrite or self.held != self.link.fields else None

    def saved(self, penalty: float) -> SavedPort:
        """What the next process has to know of it. penalty: of its flaps."""
        counts = (self.flaps, self.ups, self.downs, penalty)
        link = self.link
        if link is None:
            return SavedPort(UNKNOWN, 0, 0, *counts)
        owed = Op.REPLACE if self.recreated else Op.SET if self.rewrite else None
        return SavedPort(link.fields, link.ifindex, link.flaps, *counts, "" if owed is None else owed.value)

    def recall(self, saved: SavedPort) -> None:
        """What the last process counted, and what it was about to write."""
        self.flaps, self.ups, self.downs = saved.flaps, saved.ups, saved.downs
        self.recreated = saved.owed == Op.REPLACE.value
        self.rewrite = bool(saved.owed)

    def set_aside(self, now: float) -> None:
        """The link turned out to be an old one."""
        self.count(self.link, None)
        self.old, self.link, self.rewrite, self.since = True, None, False, now

    def count(self, before: Link | None, after: Link | None, *, anew: bool = False) -> None:
        """Count what lies between two states of the link. anew: the one is gone, and the other was made after it.

        The kernel counts carrier losses even where their events were folded away or lost. Before each loss but the first
        the link must have come up again, and after the last one it may have: the difference tells.
        """
        losses = 0
        if before is not None and after is not None and not anew:
            # The kernel's counter has 32 bits, and begins again at 0.
            losses = max(after.flaps - before.flaps, 0)
            if not losses and before.fields[1] == after.fields[1]:
                return
            self.flaps += losses
        was_up = before is not None and oper_up(before.fields)
        is_up = after is not None and oper_up(after.fields)
        downs = max(losses, was_up and (anew or not is_up))
        self.downs += downs
        self.ups += downs + is_up - was_up
