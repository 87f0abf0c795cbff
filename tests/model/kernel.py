"""The kernel's links and the reader, small enough to try every order of events."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from portsyncd.model.links import Change, LinkView
from portsyncd.model.mailbox import Mailbox, Synced
from portsyncd.model.ports import Fields, published_fields
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP, LinkMessage

PREFIXES = ("Ethernet", "PortChannel")
MTU = 9100
NOW = 0.0


class Age(NamedTuple):
    """How new the knowledge of a name is. made: grows with every link that is made and every name that is given. dips:
    how often the link's admin status has gone down since then."""

    made: int
    dips: int
    ifindex: int


@dataclass(slots=True)
class KernelLink:
    """One link; see ``Age``."""

    name: str
    made: int
    up: bool = False
    carrier: bool = True
    dips: int = 0


@dataclass(slots=True)
class Kernel:
    """Links by ifindex, and the events that the daemon's socket holds. congested: the kernel had to drop events, and
    drops all that come until the socket has been drained."""

    links: dict[int, KernelLink] = field(default_factory=dict)
    made: int = 0
    queue: list[tuple[LinkMessage, Age]] = field(default_factory=list)
    congested: bool = False

    def find(self, name: str) -> int | None:
        """The ifindex of the link of this name."""
        return next((ifindex for ifindex, link in self.links.items() if link.name == name), None)

    def message(self, ifindex: int, *, removed: bool = False) -> LinkMessage:
        link = self.links[ifindex]
        flags = IFF_UP * link.up | IFF_RUNNING * (link.up and link.carrier)
        return LinkMessage(removed=removed, family=0, ifindex=ifindex, flags=flags, name=link.name, mtu=MTU)

    def fields(self, ifindex: int) -> Fields:
        """What STATE_DB should say of this link."""
        return published_fields(self.message(ifindex))

    def age(self, ifindex: int) -> Age:
        link = self.links[ifindex]
        return Age(link.made, link.dips, ifindex)

    def _tell(self, ifindex: int, *, removed: bool = False) -> None:
        if not self.congested:
            self.queue.append((self.message(ifindex, removed=removed), self.age(ifindex)))

    def create(self, name: str) -> int:
        """Make a link as orchagent does: admin down, with carrier. Returns its ifindex."""
        self.made += 1
        self.links[self.made] = KernelLink(name, self.made)
        self._tell(self.made)
        return self.made

    def delete(self, ifindex: int) -> None:
        self._tell(ifindex, removed=True)
        del self.links[ifindex]

    def set_up(self, ifindex: int, up: bool) -> None:
        link = self.links[ifindex]
        link.dips += link.up and not up
        link.up = up
        self._tell(ifindex)

    def flip_carrier(self, ifindex: int) -> None:
        self.links[ifindex].carrier = not self.links[ifindex].carrier
        self._tell(ifindex)

    def rename(self, ifindex: int, name: str) -> None:
        self.made += 1
        self.links[ifindex] = replace(self.links[ifindex], name=name, made=self.made, dips=0)
        self._tell(ifindex)

    def overrun(self) -> None:
        """The socket's buffer was too small for what it holds."""
        self.queue.clear()
        self.congested = True


@dataclass(slots=True)
class Dump:
    """A full re-read that is under way. reached: the last ifindex it showed."""

    lost: bool
    reached: int = 0
    seen: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Reader:
    """The real link view and mailbox, driven as the reader service drives them; the steps of a re-read are apart.

    heard: how new the daemon's knowledge of each name is. shown: what the first dump of this process showed; originals:
    those of them that were not deleted since.
    """

    view: LinkView = field(default_factory=lambda: LinkView(PREFIXES))
    mailbox: Mailbox = field(default_factory=lambda: Mailbox(100))
    heard: dict[str, Age] = field(default_factory=dict)
    due: bool = True
    asked: set[str] = field(default_factory=set)
    first: bool = True
    dump: Dump | None = None
    shown: frozenset[int] = frozenset()
    originals: set[int] = field(default_factory=set)

    def _apply(self, message: LinkMessage, age: Age) -> None:
        self._put(self.view.apply(message))
        if not message.removed:
            self._hear(message.name, age)

    def _put(self, changes: list[Change]) -> None:
        """Of the links that are deleted, only those that the first dump showed are told."""
        for change in changes:
            self.mailbox.put([change._replace(ifindex=change.ifindex if change.ifindex in self.originals else 0)], NOW)
            self.originals.discard(change.ifindex)

    def _hear(self, name: str, age: Age) -> None:
        self.heard[name] = max(age, self.heard.get(name, age))

    def read(self, kernel: Kernel) -> None:
        """Read one event."""
        self._apply(*kernel.queue.pop(0))

    def _drain(self, kernel: Kernel) -> bool:
        while kernel.queue:
            self.read(kernel)
        lost, kernel.congested = kernel.congested, False
        return lost

    def start_dump(self, kernel: Kernel) -> None:
        self.due = False
        self.dump = Dump(self._drain(kernel))

    def show_next(self, kernel: Kernel) -> bool:
        """One chunk of the dump: the next link. False: there is none."""
        assert self.dump is not None
        ifindex = min((number for number in kernel.links if number > self.dump.reached), default=0)
        if ifindex:
            self._apply(kernel.message(ifindex), kernel.age(ifindex))
            self.dump.reached = ifindex
            self.dump.seen.add(ifindex)
        return bool(ifindex)

    def end_dump(self, kernel: Kernel) -> None:
        """Read what came meanwhile, ask for what the dump lacks; or begin again, if something was lost."""
        assert self.dump is not None
        dump, self.dump = self.dump, None
        if self.first:
            self.originals = set(dump.seen)
        if self._drain(kernel):
            self.dump = Dump(lost=True)
            return
        for name in self.view.lacking(dump.seen) + sorted(name for name in self.asked if not self.view.has(name)):
            ifindex = kernel.find(name)
            if ifindex is None:
                self._put(self.view.answer(name, None))
            else:
                self._put(self.view.answer(name, kernel.message(ifindex)))
                self._hear(name, kernel.age(ifindex))
        self.asked.clear()
        if self.first:
            self.shown = frozenset(dump.seen)
        shown = self.shown if self.first else frozenset()
        self.mailbox.put_synced(Synced(frozenset(), certified=True, lost=dump.lost, shown=shown))
        self.first = False
