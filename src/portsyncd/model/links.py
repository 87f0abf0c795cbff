"""The reader's view of the kernel's links: keyed by ifindex; who owns a name is decided when a message arrives.

A name can move between links (rename, name swap, re-creation under a new ifindex), and messages about its former owner
may come after it moved. So a removal counts only for the ifindex that owns the name, and a name that an unseen change
gave to another ifindex simply has a new owner.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from portsyncd.model.ports import Fields, Verdict, flap_count, judge, published_fields
from portsyncd.wire.netlink import LinkMessage


class Link(NamedTuple):
    """One link as it is to be published. flaps: carrier losses since the link was made."""

    ifindex: int
    fields: Fields
    flaps: int


class Change(NamedTuple):
    """What became of a name. link: None when no link has it now; ifindex: of the link that had it, when it was deleted,
    0 when it lives on under another name or nothing is known of it."""

    name: str
    link: Link | None
    ifindex: int = 0


class LinkView:
    """All links that are ports by their names."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._prefixes = tuple(prefixes)
        self._names: dict[int, str] = {}
        self._owners: dict[str, int] = {}
        # Links whose message lacked something: to be asked for, and taken out by who asks.
        self.incomplete: set[int] = set()
        # The range of ifindexes that ports have had so far; empty (1, 0) before the first.
        self.span = (1, 0)

    def __len__(self) -> int:
        return len(self._owners)

    def restore(self, names: Mapping[int, str]) -> None:
        """Begin with these ports, by ifindex: what a former process knew when the events began that come now."""
        self._names, self._owners = dict(names), {name: ifindex for ifindex, name in names.items()}

    def name_of(self, ifindex: int) -> str | None:
        """The name under which this ifindex is a port."""
        return self._names.get(ifindex)

    def has(self, name: str) -> bool:
        """Whether a link has this name."""
        return name in self._owners

    def outside(self, first: int, last: int) -> list[int]:
        """The ifindexes of ports that do not lie in this range."""
        return [ifindex for ifindex in self._names if not first <= ifindex <= last]

    def apply(self, message: LinkMessage) -> list[Change]:
        """Take one message and say what became of which names; most often one change, or none."""
        verdict = judge(message, self._prefixes)
        ifindex = message.ifindex
        if verdict is Verdict.PUBLISH:
            known = self._names.get(ifindex)
            changes = [] if known == message.name else self._own(ifindex, message.name)
            # What goes on is the name and the number that are kept here already, not an equal one that others would keep.
            name = self._names[ifindex]
            ifindex = self._owners[name]
            self._widen(ifindex)
            changes.append(Change(name, Link(ifindex, published_fields(message), flap_count(message))))
            return changes
        if verdict is Verdict.REMOVE:
            return self._leave(ifindex, deleted=True)
        if verdict is Verdict.IGNORE_NAME or verdict is Verdict.IGNORE_TEAM:
            return self._leave(ifindex)
        if verdict is Verdict.IGNORE_INCOMPLETE:
            self.incomplete.add(ifindex)
        return []

    def _own(self, ifindex: int, name: str) -> list[Change]:
        """The link of this ifindex has this name from now on, whatever it was called and whoever had that name before."""
        changes = self._leave(ifindex)
        former = self._owners.get(name)
        if former is not None:
            del self._names[former]
        self._names[ifindex] = name
        self._owners[name] = ifindex
        return changes

    def _widen(self, ifindex: int) -> None:
        first, last = self.span
        if first > last:
            self.span = (ifindex, ifindex)
        elif not first <= ifindex <= last:
            self.span = (min(first, ifindex), max(last, ifindex))

    def _leave(self, ifindex: int, *, deleted: bool = False) -> list[Change]:
        """The link of this ifindex has its name no longer."""
        name = self._names.pop(ifindex, None)
        if name is None:
            return []
        del self._owners[name]
        return [Change(name, None, ifindex if deleted else 0)]

    def lacking(self, seen: set[int]) -> list[str]:
        """The names whose links a dump that showed the ifindexes ``seen`` did not show."""
        return [name for name, ifindex in self._owners.items() if ifindex not in seen]

    def answer(self, name: str, message: LinkMessage | None) -> list[Change]:
        """Take the kernel's answer to a question for ``name``: None when it knows no such link.

        The kernel finds a link by its altname too; an answer with another name means that no link has this one. So does
        one about a link that is no port.
        """
        changes = [] if message is None else self.apply(message)
        owner = self._owners.get(name)
        if message is not None and owner == message.ifindex:
            return changes
        gone = [Change(name, None)] if owner is None else self._leave(owner, deleted=True)
        return changes + gone
