"""The conflating mailbox between reader and writer: per name, everything that came since the last take in one entry.

It is bounded by the number of names, so that neither a storm nor a Redis outage costs memory or truth: whatever the
backlog, one write per port brings Redis up to date.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from portsyncd.model.links import Change, Link
from portsyncd.model.ports import admin_up


@dataclass(slots=True)
class Conflated:
    """What became of one name since the last take.

    link: the newest, None when the name has no link now. removed: the name lost a link on the way (to be told apart
    from a mere change: xcvrd acts on the removal). deleted: ifindexes deleted on the way. dipped: admin_status was seen
    down. arrived: when the first of them was read, in monotonic seconds.
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
    """

    reasons: frozenset[str]
    certified: bool
    lost: bool = False
    shown: frozenset[int] = frozenset()


@dataclass(slots=True)
class Taken:
    """All that one take gives.

    changes: the names that changed, oldest change first. synced: whether a full sync ended. overflowed: names were
    refused; what became of them must be read from the kernel again.
    """

    changes: dict[str, Conflated] = field(default_factory=dict)
    synced: Synced | None = None
    overflowed: bool = False


class Mailbox:
    """``put`` on the reader's side, ``take`` on the writer's."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._taken = Taken()

    def __len__(self) -> int:
        return len(self._taken.changes)

    def __bool__(self) -> bool:
        return bool(self._taken.changes) or self._taken.synced is not None

    def put(self, changes: Iterable[Change], now: float, *, reread: bool = False) -> None:
        """Fold changes in, in their order. reread: they come of a full read of the links, which is never refused: it
        names no more than there are links, and must not end in the need for another."""
        entries = self._taken.changes
        for name, link, ifindex in changes:
            entry = entries.get(name)
            if entry is None:
                if len(entries) >= self._bound and not reread:
                    self._taken.overflowed = True
                    continue
                entry = entries[name] = Conflated(link, now)
            entry.link = link
            if link is None:
                entry.removed = True
                if ifindex:
                    entry.deleted += (ifindex,)
            elif not admin_up(link.fields):
                entry.dipped = True

    def note_admin_down(self, name: str) -> None:
        """An admin-down of this name was folded away before decoding; its newest message has been put."""
        entry = self._taken.changes.get(name)
        if entry is not None:
            entry.dipped = True

    def put_synced(self, synced: Synced) -> None:
        """A full sync ended. Two that were not taken yet become one that is as good as the later."""
        earlier = self._taken.synced
        if earlier is not None:
            synced = Synced(
                reasons=earlier.reasons | synced.reasons,
                certified=synced.certified,
                lost=earlier.lost or synced.lost,
                shown=earlier.shown or synced.shown,
            )
        self._taken.synced = synced

    def take(self) -> Taken:
        """Everything since the last take; the mailbox is empty again."""
        taken, self._taken = self._taken, Taken()
        return taken
