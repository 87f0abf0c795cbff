"""A switch with the real ``PortSync`` in it, and what the contract demands of it in whatever order things happen."""

from dataclasses import dataclass, field

from portsyncd.model.commands import Command, OldLinks, Op, PortWrite
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.sync import PortSync
from portsyncd.wire import schema
from tests.model.databases import Databases, Orchagent, require
from tests.model.kernel import Age, Kernel, Reader


@dataclass(slots=True)
class Daemon:
    """One life of the daemon, apart from its own objects.

    session: one with Redis is open. again: it is not the first. under_way: a command of the last one that Redis has yet
    to carry out. watched: APPL_DB entries that it waits for. noticed: those of them that appeared; ports_noticed:
    CONFIG_DB's ports changed. look_due: something happened that a look may find; flushed: namely that APPL_DB
    lost what it held. taken: how new the links are that
    PortSync was given. removed: names whose removal it was given, with no write of theirs acknowledged since;
    owes_delete: those of them that STATE_DB still held. written: how new the link was of which a name's last write told.
    expected: the ports that PortInitDone waits for. configured: it has staged PortConfigDone. found_markers: the last
    snapshot showed a generation that is under way.
    """

    session: bool = False
    again: bool = False
    watched: frozenset[str] = frozenset()
    noticed: set[str] = field(default_factory=set)
    ports_noticed: bool = False
    look_due: bool = False
    flushed: bool = False
    taken: dict[str, Age] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    owes_delete: set[str] = field(default_factory=set)
    written: dict[str, Age] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)
    configured: bool = False
    found_markers: bool = False
    under_way: Command | None = None


# The parts of a switch that change in place.
PARTS = ("kernel", "databases", "sync", "reader", "daemon", "orchagent")


@dataclass(slots=True)
class Switch:
    """All of it. file: where old links are kept. saved: what Redis may come back with."""

    policy: Policy
    kernel: Kernel
    databases: Databases
    sync: PortSync
    reader: Reader = field(default_factory=Reader)
    daemon: Daemon = field(default_factory=Daemon)
    orchagent: Orchagent = field(default_factory=Orchagent)
    file: OldLinks | None = None
    saved: Databases | None = None

    # ---- at any time: before a command is carried out

    def check_write(self, write: PortWrite) -> None:
        name, databases, daemon = write.name, self.databases, self.daemon
        require(not self.reader.first, "nothing is written before the first dump has ended")
        held = databases.held(name) is not None
        link = self.sync.ports[name].link
        require(link is None or link.ifindex not in databases.aside, f"an old link is not published: {name}")
        if write.op is Op.SET:
            require(not held or name not in daemon.owes_delete, f"a removed link's entry goes before a new one: {name}")
        elif held:
            gone = self.kernel.find(name) is None or name in daemon.removed or self.sync.ports[name].old
            require(gone, f"an entry, others' fields with it, goes only with its link: {name}")

    def check_produce(self, keys: list[str]) -> None:
        """The markers are complete and in order. What went after the last look cannot be known yet; then all that matters
        is that everything comes anew."""
        databases = self.databases
        require(not self.reader.first, "nothing is staged before the first dump has ended")
        flushed = self.daemon.flushed
        self.orchagent.excused = self.orchagent.excused or flushed
        warm = self.sync.generation.warm
        require(not warm or keys == [schema.PORT_INIT_DONE], "a warm start stages nothing but PortInitDone")
        if schema.PORT_CONFIG_DONE in keys:
            ports = databases.announced()
            staged = ports <= databases.staged | databases.popped | set(keys[: keys.index(schema.PORT_CONFIG_DONE)])
            require(staged or flushed, "every port is staged before PortConfigDone")
        if schema.PORT_INIT_DONE in keys:
            configured = self.daemon.configured and databases.has(schema.PORT_CONFIG_DONE)
            require(configured or flushed or warm, "a cold start stages PortConfigDone before PortInitDone")
            for name in self.daemon.expected:
                port = self.sync.ports.get(name)
                published = port is not None and port.link is not None and port.link.fields == databases.held(name)
                require(published or databases.damaged, f"PortInitDone waits until every port is published: {name}")

    def check_old(self, old: OldLinks) -> None:
        require(old.ifindexes <= self.reader.shown, "only links that the first dump showed are old")
        # Explicit reset takes all links for old where it finds no decision of this generation.
        decided = self.file is not None and self.file.generation == self.databases.generation
        if decided or self.policy.existing_links is not ExistingLinks.RESET:
            known = self.file.ifindexes if self.file is not None else frozenset[int]()
            made_since = (old.ifindexes - known) & self.databases.served
            require(not made_since, "a link made in this generation is not taken for an old one")

    def check_set_down(self, ifindexes: frozenset[int]) -> None:
        require(not self.sync.generation.warm, "no link is set down by a warm start")
        require(not self.daemon.found_markers, "no link is set down while a generation is under way")
        require(ifindexes <= self.reader.shown, "no link is set down that the first dump did not show")

    # ---- when nothing is left to do

    def check_settled(self) -> None:
        for name in self.databases.entries:
            self._check_entry(name)
        self._check_generation()
        sync = self.sync
        require(not sync.looked(self.databases.look()), "a further look finds nothing to begin anew for")
        require(sync.next() is None, "a further look finds nothing to write")
        require(sync.in_sync, "it is in sync")

    def _check_entry(self, name: str) -> None:
        kernel, daemon, databases = self.kernel, self.daemon, self.databases
        ifindex, held = kernel.find(name), databases.held(name)
        require(held is None or name not in daemon.owes_delete, f"no entry outlives its link: {name}")
        if ifindex is None or ifindex in self.sync.generation.old:
            require(held is None, f"no entry of ours is left of a link that is gone: {name}")
        elif name in databases.popped:
            require(held == kernel.fields(ifindex), f"STATE_DB says what the kernel says: {name}")
            written = daemon.written[name]
            require(written.ifindex == ifindex, f"a link that was made anew is written once: {name}")
            seen = written == kernel.age(ifindex) or not kernel.links[ifindex].up
            require(seen, f"a port that went admin down and came back is written once: {name}")

    def _check_generation(self) -> None:
        databases, orchagent, generation = self.databases, self.orchagent, self.sync.generation
        require(databases.generation == generation.id, "APPL_DB holds the generation's id")
        if self.file is not None and self.file.generation == generation.id:
            require(self.file.ifindexes == generation.old, "which links are old is remembered")
        require(orchagent.known >= set(databases.config), "orchagent knows every port")
        require(databases.popped >= set(databases.config), "orchagent took every port")
        require(orchagent.configured, "orchagent has heard PortConfigDone")
        links = [self.kernel.find(name) for name in databases.config]
        if None not in links and generation.old.isdisjoint(links):
            require(databases.has(schema.PORT_INIT_DONE), "PortInitDone is out when every port's link exists")
            require(orchagent.initialized, "orchagent has heard PortInitDone")
        if generation.warm:
            require(databases.own_row.get("state") == "reconciled", "a warm start ends reconciled")
