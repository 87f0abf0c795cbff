"""What surrounds ``PortSync`` on a switch, small enough to try every order of events: kernel, reader, Redis, orchagent.

Each is as strict as the real one where a rule depends on it, and nothing more. Whoever breaks a rule: ``BrokenRuleError``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from portsyncd.model.commands import Look, Op, PortWrite, Snapshot
from portsyncd.model.links import Change, LinkView
from portsyncd.model.mailbox import Mailbox, Synced
from portsyncd.model.ports import Fields, published_fields
from portsyncd.wire import schema
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP, LinkMessage
from portsyncd.wire.producer import Row

PREFIXES = ("Ethernet", "PortChannel")
MTU = 9100
FOREIGN = {"host_tx_ready": "true"}
NOW = 0.0


class BrokenRuleError(AssertionError):
    """The code under test, or the whole of it, did what the contract forbids."""


def require(condition: object, rule: str) -> None:
    if not condition:
        raise BrokenRuleError(rule)


# ---- the kernel


@dataclass(slots=True)
class KernelLink:
    """made: grows with every link that is made and every name that is given. dips: how often its admin status went down
    since then."""

    name: str
    made: int
    up: bool = False
    carrier: bool = True
    dips: int = 0


class Age(NamedTuple):
    """How new the knowledge of a name is."""

    made: int
    dips: int
    ifindex: int


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
        """Make a link as orchagent does: admin down, with carrier."""
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

    def set_carrier(self, ifindex: int, carrier: bool) -> None:
        self.links[ifindex].carrier = carrier
        self._tell(ifindex)

    def rename(self, ifindex: int, name: str) -> None:
        self.made += 1
        self.links[ifindex] = replace(self.links[ifindex], name=name, made=self.made, dips=0)
        self._tell(ifindex)

    def overrun(self) -> None:
        """The socket's buffer was too small for what it holds."""
        self.queue.clear()
        self.congested = True


# ---- the reader


@dataclass(slots=True)
class Dump:
    """A full re-read that is under way. reached: the last ifindex it showed."""

    lost: bool
    reached: int = 0
    seen: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Reader:
    """The real link view and mailbox, driven as the reader service drives them; the steps of a re-read are apart."""

    view: LinkView = field(default_factory=lambda: LinkView(PREFIXES))
    mailbox: Mailbox = field(default_factory=lambda: Mailbox(100))
    heard: dict[str, Age] = field(default_factory=dict)
    due: bool = True
    asked: set[str] = field(default_factory=set)
    first: bool = True
    originals: set[int] = field(default_factory=set)
    dump: Dump | None = None
    # What the first dump of this process showed.
    shown: frozenset[int] = frozenset()

    def _apply(self, message: LinkMessage, age: Age) -> None:
        self._put(self.view.apply(message))
        if not message.removed:
            self._hear(message.name, age)

    def _put(self, changes: list[Change]) -> None:
        """Of the links that are deleted, only those that the first dump showed are told."""
        self.mailbox.put([change._replace(ifindex=change.ifindex * (change.ifindex in self.originals)) for change in changes], NOW)
        self.originals.difference_update(change.ifindex for change in changes)

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
        dump = self.dump
        assert dump is not None
        ifindex = min((number for number in kernel.links if number > dump.reached), default=0)
        if ifindex:
            self._apply(kernel.message(ifindex), kernel.age(ifindex))
            dump.reached = ifindex
            dump.seen.add(ifindex)
        return bool(ifindex)

    def end_dump(self, kernel: Kernel) -> None:
        dump = self.dump
        assert dump is not None
        if self.first:
            self.originals = set(dump.seen)
        if self._drain(kernel):
            self.dump = Dump(lost=True)
            return
        names = self.view.lacking(dump.seen) + sorted(name for name in self.asked if not self.view.has(name))
        self.asked.clear()
        for name in names:
            ifindex = kernel.find(name)
            if ifindex is None:
                self._put(self.view.answer(name, None))
            else:
                self._put(self.view.answer(name, kernel.message(ifindex)))
                self._hear(name, kernel.age(ifindex))
        if self.first:
            self.shown = frozenset(dump.seen)
        self.mailbox.put_synced(
            Synced(frozenset(), certified=True, lost=dump.lost, shown=self.shown if self.first else frozenset())
        )
        self.first = False
        self.dump = None


# ---- Redis


@dataclass(slots=True)
class Databases:
    """APPL_DB: the keys staged and popped, and our generation key. STATE_DB: port entries (empty: absent), our row.
    CONFIG_DB: its ports. served: ifindexes of links made while APPL_DB held PortConfigDone."""

    config: tuple[str, ...]
    entries: dict[str, dict[str, str]]
    staged: set[str] = field(default_factory=set)
    popped: set[str] = field(default_factory=set)
    generation: str = ""
    own_row: dict[str, str] = field(default_factory=dict)
    warm: bool = False
    served: set[int] = field(default_factory=set)

    def has(self, key: str) -> bool:
        return key in self.staged or key in self.popped

    def look(self) -> Look:
        return Look(
            self.generation, self.has(schema.PORT_CONFIG_DONE), self.has(schema.PORT_INIT_DONE), bool(self.own_row)
        )

    def snapshot(self) -> Snapshot:
        look = self.look()
        return Snapshot(
            config_ports={name: {"lanes": "1"} for name in self.config},
            state={name: held for name in self.entries if (held := self.held(name)) is not None},
            generation=look.generation,
            config_done=look.config_done,
            init_done=look.init_done,
            warm_enabled=self.warm,
            own_row=look.own_row,
            restore_count=self.own_row.get("restore_count"),
        )

    def held(self, name: str) -> Fields | None:
        """Our four fields of this entry; None if it does not carry ``state``."""
        entry = self.entries[name]
        if "state" not in entry:
            return None
        state, oper, admin, mtu = (entry[name] for name in schema.STATE_FIELDS)
        return (state, oper, admin, mtu)

    def write(self, write: PortWrite) -> bool:
        """What the Lua script does."""
        if write.op is not Op.SET and "state" in self.entries[write.name]:
            self.entries[write.name] = {}
        if write.op is Op.DELETE:
            return True
        if write.name in self.popped and write.fields is not None:
            self._put(write.name, dict(zip(schema.STATE_FIELDS, write.fields, strict=True)))
            return True
        return False

    def _put(self, name: str, fields: Mapping[str, str]) -> None:
        # In one order always, so that equal entries make equal states.
        self.entries[name] = dict(sorted({**self.entries[name], **fields}.items()))

    def write_foreign(self, name: str) -> None:
        """Another writer of STATE_DB's port table."""
        self._put(name, FOREIGN)

    def set_hash(self, key: str, fields: Mapping[str, str]) -> None:
        if key == schema.GENERATION_KEY:
            self.generation = fields[schema.GENERATION_FIELD]
        elif key == schema.WARM_KEY:
            self.own_row = {**self.own_row, **fields}

    def unconfigure(self, name: str) -> None:
        """CONFIG_DB's port goes, and APPL_DB's with it."""
        self.config = tuple(port for port in self.config if port != name)
        self.staged.discard(name)
        self.popped.discard(name)

    def flush_appl(self) -> None:
        self.staged.clear()
        self.popped.clear()
        self.generation = ""
        self.served.clear()


# ---- orchagent


@dataclass(slots=True)
class Orchagent:
    """One life of it after the other: what it has learnt from pops in this one. excused: something was staged
    before this life, or in the moment of a flush; nobody could have held it back."""

    known: set[str] = field(default_factory=set)
    configured: bool = False
    initialized: bool = False
    excused: bool = False

    def begin(self, databases: Databases) -> None:
        """A cold life begins."""
        self.known.clear()
        self.configured = self.initialized = False
        self.excused = not databases.staged.isdisjoint(schema.MARKERS)

    def pop(self, databases: Databases) -> set[str]:
        """Take all that is staged, in the order of its queue, which is sorted by key. Returns the ports."""
        keys = sorted(databases.staged)
        ports = {key for key in keys if key not in schema.MARKERS}
        for key in keys:
            if key == schema.PORT_CONFIG_DONE:
                complete = self.known >= set(databases.config)
                require(complete or self.excused, "every port is popped before PortConfigDone")
                self.configured = complete
            elif key == schema.PORT_INIT_DONE:
                require(self.configured or self.excused, "PortInitDone follows PortConfigDone in orchagent's own life")
                self.initialized = self.configured
            else:
                self.known.add(key)
                databases.write_foreign(key)
        databases.popped |= databases.staged
        databases.staged.clear()
        return ports


def keys_of(rows: tuple[Row, ...]) -> list[str]:
    return [row.key for row in rows]
