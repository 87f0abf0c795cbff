"""The conflating mailbox between reader and writer: per name, everything that came since the last take in one entry.

It is bounded by the number of names, so that neither a storm nor a Redis outage costs memory or truth: whatever the
backlog, one write per port brings Redis up to date.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from portsyncd.model.links import Change, Link
from portsyncd.model.ports import admin_up


@dataclass(slots=True)
class Conflated:
    """What became of one name since the last take.

    link: the newest, None when the name has no link now. removed: the name lost a link on the way (to be told apart
    from a mere change: xcvrd acts on the removal). deleted: ifindexes deleted on the way. dipped: admin_status was seen
    down. arrived: when the first event of them was read, in monotonic seconds; infinity where only a full read of the
    links told of the name.
    """

    link: Link | None
    arrived: float
    removed: bool = False
    deleted: tuple[int, ...] = ()
    dipped: bool = False


@dataclass(frozen=True, slots=True)
class Synced:
    """A full read of the kernel's links ended; all it showed lies in the mailbox before this.

    reasons: why it was made. certified: nothing was lost from before the dump until the events after it were read, and
    the dump was consistent. lost: events had been lost before it, so that admin excursions may have gone unseen.
    shown: ifindexes of the ports that the dump showed (not those that events added since), for the first one only.
    started: when the reading began, in monotonic seconds.
    """

    reasons: frozenset[str]
    certified: bool
    lost: bool = False
    shown: frozenset[int] = frozenset()
    started: float = 0.0

    def then(self, later: "Synced") -> "Synced":
        """Both in one, which is as good as the later, and began with the earlier."""
        return Synced(
            reasons=self.reasons | later.reasons,
            certified=later.certified,
            lost=self.lost or later.lost,
            shown=self.shown or later.shown,
            started=min(self.started, later.started),
        )


@dataclass(slots=True)
class Taken:
    """All that one take gives.

    changes: the names that changed, oldest change first. synced: whether a full sync ended. overflowed: names were
    refused; what became of them must be read from the kernel again. events: how many came in for it, those that meant
    nothing to any port and those folded away among them, those refused not.
    """

    changes: dict[str, Conflated] = field(default_factory=dict)
    synced: Synced | None = None
    overflowed: bool = False
    events: int = 0


class Mailbox:
    """``put`` on the reader's side, ``take`` on the writer's. conflated: events folded into the entry of an earlier one."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._taken = Taken()
        self.conflated = 0

    def __len__(self) -> int:
        return len(self._taken.changes)

    def __bool__(self) -> bool:
        return bool(self._taken.changes) or self._taken.synced is not None

    @property
    def events(self) -> int:
        """Events that wait for the next take."""
        return self._taken.events

    def count(self, events: int) -> None:
        """So many events were read, and what they mean has been put; see ``Taken.events``."""
        self._taken.events += events

    def put(self, changes: Iterable[Change], now: float, *, reread: bool = False, event: bool = False) -> bool:
        """Fold changes in, in their order; False: some were refused. reread: they come of a full read of the links, which
        is never refused: it names no more than there are links, and must not end in the need for another. event: they
        are what one event means."""
        entries = self._taken.changes
        arrived = inf if reread else now
        accepted, folded = True, False
        for name, link, ifindex in changes:
            entry = entries.get(name)
            if entry is None:
                if len(entries) >= self._bound and not reread:
                    self._taken.overflowed = True
                    accepted = False
                    continue
                entry = entries[name] = Conflated(link, arrived)
            elif arrived < entry.arrived:
                entry.arrived = arrived
            else:
                folded = True
            entry.link = link
            if link is None:
                entry.removed = True
                if ifindex:
                    entry.deleted += (ifindex,)
            elif not admin_up(link.fields):
                entry.dipped = True
        self.conflated += event and folded
        return accepted

    def note_admin_down(self, name: str) -> None:
        """An admin-down of this name was folded away before decoding; its newest message has been put."""
        entry = self._taken.changes.get(name)
        if entry is not None:
            entry.dipped = True

    def put_synced(self, synced: Synced) -> None:
        """A full sync ended. Two that were not taken yet become one that is as good as the later."""
        earlier = self._taken.synced
        self._taken.synced = synced if earlier is None else earlier.then(synced)

    def take(self) -> Taken:
        """Everything since the last take; the mailbox is empty again."""
        taken, self._taken = self._taken, Taken()
        return taken
