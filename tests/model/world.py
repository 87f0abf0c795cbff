"""A switch with the real ``PortSync`` in it, moved one step at a time; every step is checked against the contract.

A step of the daemon is what the writer service does between two points where something else can happen: one command, or
one take of the mailbox. The rules that hold at any time are checked where a command is carried out, those that hold
when nothing is left to do in ``check_settled``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from portsyncd.model.commands import (
    Command,
    OldLinks,
    Op,
    PortWrite,
    Produce,
    Remember,
    SetHash,
    SetLinksDown,
    WaitForPorts,
    WritePorts,
)
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.sync import PortSync
from portsyncd.wire import schema
from tests.model.copies import clone
from tests.model.outside import NOW, PREFIXES, Age, Databases, Kernel, Orchagent, Reader, keys_of, require


class Move(NamedTuple):
    """One step of anybody. name: a method of ``World``; port: its argument, if it takes one."""

    name: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')} {self.port}".rstrip()


# What happens by itself sooner or later; all else needs leave.
FREE = frozenset({"read", "start_dump", "chunk", "end_dump", "re_read", "begin", "take", "command", "look", "pop"})

# The parts of a world that change, and those that a step changes, where it is not all.
PARTS = ("kernel", "databases", "sync", "reader", "daemon", "orchagent")
_TOUCHED: dict[str | type, tuple[str, ...]] = {
    **dict.fromkeys(("delete", "set_up", "set_down", "flip_carrier"), ("kernel", "reader")),
    **dict.fromkeys(("read", "start_dump", "chunk", "end_dump", "re_read"), ("kernel", "reader")),
    **dict.fromkeys(("begin", "take", "look"), ("sync", "reader", "daemon")),
    "create": ("kernel", "reader", "databases"),
    "overrun": ("kernel",),
    "request_lost": ("sync", "daemon"),
    "disconnect": ("daemon",),
    "pop": ("databases", "daemon", "orchagent"),
    "foreign_write": ("databases",),
    # The daemon's commands.
    WritePorts: ("databases", "sync", "daemon"),
    Produce: ("databases", "sync", "daemon", "orchagent"),
    SetHash: ("databases", "sync"),
    WaitForPorts: ("sync", "daemon"),
    SetLinksDown: ("kernel", "reader", "sync"),
    Remember: ("sync",),
}


@dataclass(slots=True)
class Daemon:
    """One life of the daemon, apart from its own objects.

    session: one with Redis is open. again: it is not the first. taken: how new the links are that PortSync was given.
    removed: names whose removal it was given, and no write of theirs acknowledged since. owes_delete: those of them that
    STATE_DB still held. configured: it has staged PortConfigDone. written: how new the link was of which a name's last
    write told. found_markers: the last snapshot showed a generation under way.
    """

    session: bool = False
    again: bool = False
    watched: frozenset[str] = frozenset()
    noticed: set[str] = field(default_factory=set)
    ports_noticed: bool = False
    look_due: bool = False
    taken: dict[str, Age] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    owes_delete: set[str] = field(default_factory=set)
    configured: bool = False
    written: dict[str, Age] = field(default_factory=dict)
    found_markers: bool = False


@dataclass(slots=True)
class World:
    """All of it. saved: what Redis may come back with. coarse: a full re-read of the links is one step, and events are read as they come."""

    policy: Policy
    kernel: Kernel
    databases: Databases
    sync: PortSync
    reader: Reader = field(default_factory=Reader)
    daemon: Daemon = field(default_factory=Daemon)
    orchagent: Orchagent = field(default_factory=Orchagent)
    file: OldLinks | None = None
    saved: Databases | None = None
    coarse: bool = False

    def child(self, move: Move) -> "World":
        """A world to take this step in; what the step does not touch is shared."""
        made = replace(self)
        step = type(self.sync.next()) if move.name == "command" else move.name
        for name in _TOUCHED.get(step, PARTS):
            setattr(made, name, clone(getattr(self, name)))
        return made

    # ---- which steps there are

    def free_moves(self) -> list[Move]:
        """The steps that wait to be taken; none when everything has settled."""
        return [Move(name) for name in self._free_names()]

    def _free_names(self) -> Iterator[str]:
        daemon, kernel, reader = self.daemon, self.kernel, self.reader
        if kernel.queue:
            yield "read"
        if reader.dump is not None:
            more = any(ifindex > reader.dump.reached for ifindex in kernel.links)
            yield "chunk" if more else "end_dump"
        elif reader.due or kernel.congested:
            yield "re_read" if self.coarse else "start_dump"
        if not daemon.session:
            yield "begin"
        elif self.sync.next() is not None:
            yield "command"
        else:
            if reader.mailbox or daemon.noticed or daemon.ports_noticed:
                yield "take"
            if daemon.look_due:
                yield "look"
        if self.databases.staged:
            yield "pop"

    def possible(self, move: Move) -> bool:
        """Whether this step, one that needs leave, can happen now."""
        ifindex = self.kernel.find(move.port) if move.port else None
        if move.name in ("delete", "set_up", "set_down", "flip_carrier"):
            up = ifindex is not None and self.kernel.links[ifindex].up
            return ifindex is not None and (move.name == "delete" or up is (move.name != "set_up"))
        if move.name == "create":
            return ifindex is None
        if move.name == "unconfigure":
            return move.port in self.databases.config
        if move.name == "flush":
            # That nobody flushes APPL_DB before it is read is what makes a warm restart one.
            return self.daemon.again or not self.databases.warm
        if move.name == "overrun":
            return bool(self.kernel.queue)
        if move.name in ("disconnect", "redis_empty", "redis_old"):
            return self.daemon.session
        if move.name in ("reply_lost", "request_lost"):
            return self.daemon.session and self.sync.next() is not None
        return True

    def do(self, move: Move) -> None:
        """Take one step. Raises ``BrokenRuleError``."""
        step = getattr(self, move.name)
        if move.port:
            step(move.port)
        else:
            step()
        if self.coarse:
            while self.kernel.queue:
                self.read()

    # ---- the kernel's steps

    def _index(self, name: str) -> int:
        ifindex = self.kernel.find(name)
        assert ifindex is not None
        return ifindex

    def create(self, name: str) -> None:
        ifindex = self.kernel.create(name)
        if self.databases.has(schema.PORT_CONFIG_DONE):
            self.databases.served.add(ifindex)

    def delete(self, name: str) -> None:
        self.kernel.delete(self._index(name))

    def set_up(self, name: str) -> None:
        self.kernel.set_up(self._index(name), True)

    def set_down(self, name: str) -> None:
        self.kernel.set_up(self._index(name), False)

    def flip_carrier(self, name: str) -> None:
        ifindex = self._index(name)
        self.kernel.set_carrier(ifindex, not self.kernel.links[ifindex].carrier)

    def overrun(self) -> None:
        self.kernel.overrun()

    # ---- the reader's steps

    def read(self) -> None:
        self.reader.read(self.kernel)

    def start_dump(self) -> None:
        self.reader.start_dump(self.kernel)

    def chunk(self) -> None:
        self.reader.show_next(self.kernel)

    def end_dump(self) -> None:
        self.reader.end_dump(self.kernel)

    def re_read(self) -> None:
        """A whole dump in one step."""
        self.start_dump()
        while self.reader.show_next(self.kernel):
            pass
        self.end_dump()

    # ---- orchagent's and Redis' steps

    def pop(self) -> None:
        self.daemon.noticed |= self.orchagent.pop(self.databases) & self.daemon.watched

    def foreign_write(self, name: str) -> None:
        self.databases.write_foreign(name)

    def unconfigure(self, name: str) -> None:
        """The operator deletes a port; orchagent has taken that in."""
        self.databases.unconfigure(name)
        self.orchagent.known.discard(name)
        self.daemon.ports_noticed = self.daemon.session

    def flush(self) -> None:
        """A cold start of swss under a running daemon: APPL_DB is flushed, orchagent begins anew."""
        self.databases.flush_appl()
        self.databases.warm = False
        self.orchagent.begin(self.databases)
        self.daemon.look_due = self.daemon.session

    def redis_empty(self) -> None:
        """Redis comes back without data; CONFIG_DB is loaded again."""
        self._replace_databases(
            Databases(self.databases.config, {name: {} for name in self.databases.entries}, warm=self.databases.warm)
        )

    def redis_old(self) -> None:
        """Redis comes back with old data."""
        assert self.saved is not None
        self._replace_databases(clone(self.saved))

    def _replace_databases(self, databases: Databases) -> None:
        self.databases = databases
        self.orchagent.excused = True
        self.disconnect()

    # ---- the daemon's steps

    def crash(self) -> None:
        """The daemon dies and is started again: it knows nothing, and its socket is a new one."""
        self.sync, self.reader, self.daemon = PortSync(self.policy), Reader(), Daemon()
        self.kernel.queue.clear()
        self.kernel.congested = False

    def swss_restart(self) -> None:
        """orchagent begins anew on an APPL_DB that nobody flushed, and the daemon with it."""
        self.orchagent.begin(self.databases)
        self.crash()

    def disconnect(self) -> None:
        daemon = self.daemon
        daemon.session, daemon.look_due = False, False
        daemon.watched = frozenset()
        daemon.noticed.clear()
        daemon.ports_noticed = False

    def begin(self) -> None:
        """A session begins, and what the reader has heard until now is taken at once."""
        self.daemon.session = True
        self._compare()
        self.take()

    def _compare(self) -> None:
        daemon, snapshot = self.daemon, self.databases.snapshot()
        daemon.found_markers = snapshot.marked
        used = {snapshot.generation, self.sync.generation.id, "" if self.file is None else self.file.generation}
        fresh_id = next(name for name in ("g1", "g2", "g3", "g4") if name not in used)
        self.sync.begin(snapshot, fresh_id=fresh_id, remembered=self.file, now=NOW)
        unproven = self.sync.unproven()
        if daemon.again or unproven:
            self.reader.due = True
            self.reader.asked |= unproven
        daemon.again = True
        daemon.look_due = False

    def take(self) -> None:
        daemon = self.daemon
        taken = self.reader.mailbox.take()
        for name, change in taken.changes.items():
            if change.removed:
                daemon.removed.add(name)
                if self.databases.held(name) is not None:
                    daemon.owes_delete.add(name)
            age = self.reader.heard.get(name)
            if age is not None:
                daemon.taken[name] = age
                # What happened to a link before this process saw it cannot be known.
                self.daemon.written.setdefault(name, age)
        self.sync.take(taken.changes, NOW)
        if taken.synced is not None:
            self.sync.synced(taken.synced, NOW)
        self.sync.woken(daemon.noticed)
        daemon.noticed.clear()
        if daemon.ports_noticed:
            daemon.ports_noticed = False
            self.sync.config_ports_are(self.databases.config)

    def look(self) -> None:
        self.daemon.look_due = False
        if self.sync.looked(self.databases.look()):
            self._compare()
            self.take()

    def command(self) -> None:
        command = self._next()
        answer = self._carry_out(command)
        self.sync.done(command, answer, now=NOW)
        if isinstance(command, WritePorts):
            for write, carried_out in zip(command.writes, answer, strict=True):
                if carried_out:
                    self.daemon.removed.discard(write.name)

    def reply_lost(self) -> None:
        command = self._next()
        self._carry_out(command)
        self.sync.lost(command)
        self.disconnect()

    def request_lost(self) -> None:
        self.sync.lost(self._next())
        self.disconnect()

    def _next(self) -> Command:
        command = self.sync.next()
        assert command is not None
        return command

    def _carry_out(self, command: Command) -> list[bool]:
        match command:
            case WritePorts(writes):
                return [self._write(write) for write in writes]
            case Produce(rows):
                self._produce(keys_of(rows))
            case SetHash(_, key, fields):
                self.databases.set_hash(key, fields)
            case WaitForPorts(names):
                self.daemon.watched = names
            case SetLinksDown(ifindexes):
                self._set_links_down(ifindexes)
            case Remember(old):
                self._check_old(old)
                self.file = old
        return []

    def _write(self, write: PortWrite) -> bool:
        daemon, databases = self.daemon, self.databases
        name, op, fields = write
        if op is not Op.SET:
            if databases.held(name) is not None:
                self._check_removal(name)
            daemon.owes_delete.discard(name)
        elif databases.held(name) is None:
            daemon.owes_delete.discard(name)
        else:
            require(name not in daemon.owes_delete, "the entry of a link that was removed goes before the next is set")
        carried_out = databases.write(write)
        if carried_out and fields is not None:
            self.daemon.written[name] = daemon.taken[name]
        return carried_out

    def _check_removal(self, name: str) -> None:
        ifindex = self.kernel.find(name)
        is_old = self.file is not None and ifindex in self.file.ifindexes
        require(
            ifindex is None or is_old or name in self.daemon.removed,
            "an entry, others' fields with it, goes only with its link",
        )

    def _produce(self, keys: list[str]) -> None:
        daemon, databases = self.daemon, self.databases
        cold = not self.sync.generation.warm
        # A flush that came after the last answer cannot be known yet; what matters is that all comes anew then.
        flushed = not databases.generation
        self.orchagent.excused = self.orchagent.excused or flushed
        for key in keys:
            if key == schema.PORT_CONFIG_DONE:
                require(cold, "a warm start stages no PortConfigDone")
                staged = all(map(databases.has, databases.config))
                require(staged or flushed, "every port is staged before PortConfigDone")
            elif key == schema.PORT_INIT_DONE:
                require(
                    flushed or not cold or (daemon.configured and databases.has(schema.PORT_CONFIG_DONE)),
                    "a process that starts cold stages PortConfigDone before PortInitDone",
                )
                self._check_published()
            else:
                require(cold, "a warm start stages no ports")
            databases.staged.add(key)
            daemon.configured = daemon.configured or key == schema.PORT_CONFIG_DONE
        daemon.look_due = True

    def _check_published(self) -> None:
        for name in self.databases.config:
            link = self.sync.ports[name].link
            require(
                link is not None and self.databases.held(name) == link.fields,
                "PortInitDone waits until every port is published",
            )

    def _check_old(self, old: OldLinks) -> None:
        require(old.ifindexes <= self.reader.shown, "only links that the first dump showed are old")
        # Explicit reset takes all links for old where it finds no decision of this generation.
        decided = self.file is not None and self.file.generation == self.databases.generation
        if decided or self.policy.existing_links is not ExistingLinks.RESET:
            served = self.databases.served
            require(not old.ifindexes & served, "a link made in this generation is not taken for an old one")

    def _set_links_down(self, ifindexes: frozenset[int]) -> None:
        daemon = self.daemon
        require(not self.sync.generation.warm, "no link is set down by a warm start")
        require(not daemon.found_markers, "no link is set down while a generation is under way")
        require(ifindexes <= self.reader.shown, "no link is set down that the first dump did not show")
        for ifindex in ifindexes & self.kernel.links.keys():
            self.kernel.set_up(ifindex, False)

    # ---- when nothing is left to do

    def settle(self) -> None:
        """Take every free step, the first that waits each time, until none is left. Raises ``BrokenRuleError``."""
        for _ in range(1000):
            moves = self.free_moves()
            if not moves:
                return
            self.do(moves[0])
        require(False, "it settles")

    def check_settled(self) -> None:
        """What must hold when no free step is left. Spends the world: it looks and re-reads once more."""
        self._check_entries()
        self._check_orchagent()
        sync = self.sync
        require(not sync.looked(self.databases.look()), "a further look finds nothing to begin anew for")
        require(sync.next() is None, "a further look finds nothing to write")
        self.reader.due = True
        while self.reader.due or self.reader.dump is not None:
            self.do(self.free_moves()[0])
        self.take()
        require(sync.next() is None, "a further re-read finds nothing to write")
        require(sync.in_sync, "it is in sync")

    def _check_entries(self) -> None:
        kernel, sync = self.kernel, self.sync
        for name in self.databases.entries:
            ifindex, held = kernel.find(name), self.databases.held(name)
            require(held is None or name not in self.daemon.owes_delete, f"no entry outlives its link: {name}")
            if ifindex is None or ifindex in sync.generation.old:
                require(held is None, f"no entry of ours is left of a link that is gone: {name}")
            elif name in self.databases.popped:
                require(held == kernel.fields(ifindex), f"STATE_DB says what the kernel says: {name}")
                written, age = self.daemon.written[name], kernel.age(ifindex)
                require(written.ifindex == ifindex, f"a link that was made anew is written once: {name}")
                if kernel.links[ifindex].up:
                    require(written == age, f"a port whose admin status went down and came back is written once: {name}")

    def _check_orchagent(self) -> None:
        databases, orchagent, sync = self.databases, self.orchagent, self.sync
        require(orchagent.known >= set(databases.config), "orchagent knows every port")
        require(orchagent.configured, "orchagent has heard PortConfigDone")
        require(databases.generation == sync.generation.id, "APPL_DB holds the generation's id")
        links = [self.kernel.find(name) for name in databases.config]
        if all(ifindex is not None and ifindex not in sync.generation.old for ifindex in links):
            require(databases.has(schema.PORT_INIT_DONE), "PortInitDone is out when every port's link exists")
            require(orchagent.initialized, "orchagent has heard PortInitDone")
        for name in databases.config:
            require(name in databases.popped, "orchagent took every port")
        if sync.generation.warm:
            require(databases.own_row.get("state") == "reconciled", "a warm start ends reconciled")


def switch(
    ports: tuple[str, ...],
    *,
    links: int = 0,
    warm: bool = False,
    existing_links: ExistingLinks = ExistingLinks.AUTO,
) -> World:
    """A switch whose daemon is about to start for the first time, with links for the first ``links`` ports."""
    kernel = Kernel()
    for name in ports[:links]:
        kernel.create(name)
    kernel.queue.clear()
    policy = Policy(prefixes=PREFIXES, existing_links=existing_links)
    return World(policy, kernel, Databases(ports, {name: {} for name in ports}), PortSync(policy))


def running(ports: tuple[str, ...], *, up: bool = True) -> World:
    """A switch on which everything has settled, with links."""
    world = switch(ports)
    world.settle()
    for name in ports:
        world.create(name)
        if up:
            world.set_up(name)
    world.settle()
    world.saved = clone(world.databases)
    return world
