"""What can happen on a switch, one step at a time.

A step of the daemon is what the writer service does between two points where something else can happen: one command, or
one take of the mailbox.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

from portsyncd.model.commands import (
    Answer,
    Command,
    ListPorts,
    PortNames,
    PortRead,
    PortsRead,
    PortWrite,
    Produce,
    ReadLinks,
    ReadPorts,
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
from tests.model.databases import Databases, require
from tests.model.kernel import NOW, PREFIXES, Kernel, Reader
from tests.model.rules import PARTS, Daemon, Switch
from tests.model.words import in_words


class Move(NamedTuple):
    """One step of anybody. name: a method of ``World``; port: its argument, if it takes one."""

    name: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')} {self.port}".rstrip()


# The parts of a switch that a step changes, where it is not all. A command's step goes by the command.
_TOUCHED: dict[str | type, tuple[str, ...]] = {
    **dict.fromkeys(("delete", "set_up", "set_down", "flip_carrier"), ("kernel", "reader")),
    **dict.fromkeys(("read", "start_dump", "chunk", "end_dump", "re_read"), ("kernel", "reader")),
    **dict.fromkeys(("take", "look"), ("sync", "reader", "daemon")),
    **dict.fromkeys(("create", "rename"), ("kernel", "reader", "databases")),
    "overrun": ("kernel",),
    "request_lost": ("sync", "daemon"),
    "reply_late": ("sync", "daemon"),
    "disconnect": ("daemon",),
    "pop": ("databases", "daemon", "orchagent"),
    **dict.fromkeys(("foreign_write", "foreign_remove", "foreign_change", "lose_marker"), ("databases",)),
    "reconcile": ("databases", "sync"),
    WritePorts: ("databases", "sync", "daemon"),
    Produce: ("databases", "sync", "daemon", "orchagent"),
    SetHash: ("databases", "sync"),
    WaitForPorts: ("sync", "daemon"),
    SetLinksDown: ("kernel", "reader", "sync"),
    **dict.fromkeys((Remember, ListPorts, ReadPorts), ("sync",)),
    ReadLinks: ("reader", "sync"),
}


@dataclass(slots=True)
class World(Switch):
    """A switch that moves. coarse: a full re-read of the links is one step, and events are read as they come. notifying:
    Redis tells when an entry appears; else the daemon polls."""

    coarse: bool = False
    notifying: bool = True

    def child(self, move: Move) -> Self:
        """A world to take this step in; what the step does not touch is shared."""
        made = object.__new__(type(self))
        for name in _ATTRIBUTES:
            setattr(made, name, getattr(self, name))
        for name in self.touched(move):
            setattr(made, name, clone(getattr(self, name)))
        return made

    def touched(self, move: Move) -> tuple[str, ...]:
        """The parts that this step changes, if it is taken now."""
        return _TOUCHED.get(type(self.sync.next()) if move.name == "command" else move.name, PARTS)

    def describe(self, move: Move) -> str:
        """The step in words, as it would be taken now."""
        command = self.sync.next() if move.name in ("command", "reply_lost", "reply_late", "request_lost") else None
        return str(move) if command is None else f"{move}: {'; '.join(in_words(command))}"

    # ---- which steps there are

    def free_moves(self) -> list[Move]:
        """The steps that come by themselves sooner or later; none when everything has settled."""
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
            if self.databases.damaged and self._can_reconcile():
                yield "reconcile"
        if self.databases.staged:
            yield "pop"

    def _can_reconcile(self) -> bool:
        sync = self.sync
        return self.daemon.session and sync.dumped and sync.generation.announced and not sync.reconciliation.running

    def possible(self, move: Move) -> bool:
        """Whether a step that does not come by itself can happen now."""
        name, port = move
        match name:
            case "delete" | "flip_carrier":
                return self.kernel.find(port) is not None
            case "set_up" | "set_down":
                ifindex = self.kernel.find(port)
                return ifindex is not None and self.kernel.links[ifindex].up is (name == "set_down")
            case "create":
                return self.kernel.find(port) is None
            case "rename":
                before, after = port.split()
                return self.kernel.find(before) is not None and self.kernel.find(after) is None
            case "configure" | "unconfigure":
                return (port in self.databases.config) is (name == "unconfigure")
            case "overrun":
                return bool(self.kernel.queue)
            case "flush" | "wipe":
                # That nobody does so before it is read is what makes a warm restart one.
                return self.daemon.again or not self.databases.warm
            case "redis_old":
                return self.daemon.session and self.daemon.configured and self.saved is not None
            case "reconcile":
                return self._can_reconcile()
            case "disconnect" | "redis_empty" | "take" | "time_out":
                return self.daemon.session
            case "reply_lost" | "reply_late" | "request_lost":
                return self.daemon.session and self.sync.next() is not None
            case _:
                return True

    def do(self, move: Move) -> None:
        """Take one step. Raises ``BrokenRuleError``."""
        step = getattr(self, move.name)
        if move.port:
            step(move.port)
        else:
            step()
        while self.coarse and self.kernel.queue:
            self.read()

    def settle(self) -> None:
        """Take every free step, the first that waits each time, until none is left. Raises ``BrokenRuleError``."""
        for _ in range(1000):
            moves = self.free_moves()
            if not moves:
                return
            self.do(moves[0])
        require(False, "it settles")

    def check_at_rest(self) -> None:
        """What must hold when no free step is left; one more re-read of the links must find nothing."""
        self.check_settled()
        self.start_dump()
        while self.reader.show_next(self.kernel):
            pass
        self.end_dump()
        self.take()
        require(self.sync.next() is None, "a further re-read finds nothing to write")

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
        self.kernel.flip_carrier(self._index(name))

    def rename(self, names: str) -> None:
        before, after = names.split()
        # One that had no port's name when a daemon started is none that it set aside.
        self.databases.aside.discard(self._index(before))
        self.kernel.rename(self._index(before), after)

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

    # ---- others' steps in Redis

    def pop(self) -> None:
        popped = self.orchagent.pop(self.databases)
        if self.notifying:
            self.daemon.noticed |= popped & self.daemon.watched
        else:
            self.daemon.look_due = self.daemon.session

    def foreign_write(self, name: str) -> None:
        self.databases.write_foreign(name)

    def foreign_remove(self, name: str) -> None:
        self.databases.damage("remove", name)

    def foreign_change(self, name: str) -> None:
        self.databases.damage("change", name)

    def lose_marker(self) -> None:
        self.databases.damage("lose the marker")

    def configure(self, name: str) -> None:
        self.databases.configure(name)
        self._notice_ports()

    def unconfigure(self, name: str) -> None:
        self.databases.unconfigure(name)
        self.orchagent.known.discard(name)
        self._notice_ports()

    def _notice_ports(self) -> None:
        if self.notifying:
            self.daemon.ports_noticed = self.daemon.session
        else:
            self.daemon.look_due = self.daemon.session

    def flush(self) -> None:
        """A cold start of swss under a running daemon: APPL_DB is flushed, orchagent begins anew."""
        self.databases.flush_appl()
        self._lose_ports()

    def wipe(self) -> None:
        """A warm start of orchagent fails."""
        self.databases.wipe_ports()
        self._lose_ports()

    def _lose_ports(self) -> None:
        self._begin_swss()
        self.daemon.look_due, self.daemon.flushed = self.daemon.session, True

    def _begin_swss(self) -> None:
        self.databases.warm = False
        self.orchagent.begin(self.databases)
        # portmgrd stages what came to CONFIG_DB at run time.
        self.databases.staged |= self.databases.added

    def redis_empty(self) -> None:
        """Redis comes back without data; CONFIG_DB is loaded again."""
        ports = self.databases
        self._come_back(Databases(ports.config, {name: {} for name in ports.entries}, ports.added))

    def redis_old(self) -> None:
        """Redis comes back with old data, once."""
        self._come_back(clone(self.saved))
        self.saved = None

    def _come_back(self, databases: Databases) -> None:
        self.databases = databases
        self.orchagent.excused = True
        # Whoever heard of the last writes begins anew, too.
        self.daemon.written.clear()
        self.daemon.owes_delete.clear()
        self.disconnect()
        self.daemon.under_way = None

    # ---- the daemon's steps

    def crash(self) -> None:
        """The daemon dies and is started again: it knows nothing, and its socket is a new one."""
        self.sync, self.reader, self.daemon = PortSync(self.policy), Reader(), Daemon()
        self.kernel.queue.clear()
        self.kernel.congested = False

    def swss_restart(self) -> None:
        """orchagent begins anew, cold, on an APPL_DB that nobody flushed, and the daemon with it."""
        self._begin_swss()
        self.crash()

    def disconnect(self) -> None:
        daemon = self.daemon
        daemon.session = daemon.look_due = daemon.ports_noticed = False
        daemon.watched = frozenset()
        daemon.noticed.clear()

    def begin(self) -> None:
        """A session begins, and what the reader has heard until now is taken at once."""
        self.daemon.session = True
        self._compare()
        self.take()

    def _compare(self) -> None:
        daemon, snapshot = self.daemon, self.databases.snapshot()
        daemon.found_markers = snapshot.config_done
        used = {snapshot.generation, self.sync.generation.id, "" if self.file is None else self.file.generation}
        fresh_id = next(name for name in ("g1", "g2", "g3", "g4") if name not in used)
        anew = self.sync.begin(snapshot, fresh_id=fresh_id, remembered=self.file, now=NOW)
        match daemon.under_way:
            case WritePorts(writes):
                for write in writes:
                    self._write(write)
            case None:
                pass
            case command:
                self._carry_out(command)
        daemon.under_way = None
        daemon.look_due = daemon.flushed = False
        ports = set(self.databases.config)
        daemon.expected = ports if anew else daemon.expected & ports
        unproven = self.sync.unproven()
        if daemon.again or unproven:
            self.reader.due = True
            self.reader.asked |= unproven
        daemon.again = True

    def take(self) -> None:
        daemon, databases, taken = self.daemon, self.databases, self.reader.mailbox.take()
        for name, change in taken.changes.items():
            if change.removed:
                daemon.removed.add(name)
                if databases.held(name) is not None and name not in databases.foreign:
                    daemon.owes_delete.add(name)
            age = self.reader.heard.get(name)
            if age is not None:
                daemon.taken[name] = age
                # What happened to a link before this process saw it cannot be known.
                daemon.written.setdefault(name, age)
        self.sync.take(taken.changes, NOW)
        if taken.synced is not None:
            self.sync.synced(taken.synced, NOW)
        self.sync.woken(daemon.noticed)
        daemon.noticed.clear()
        if daemon.ports_noticed:
            daemon.ports_noticed = False
            self._tell_ports()

    def _tell_ports(self) -> None:
        self.daemon.expected.intersection_update(self.databases.config)
        self.sync.config_ports_are(self.databases.config)

    def look(self) -> None:
        self.daemon.look_due = self.daemon.flushed = False
        if self.sync.looked(self.databases.look()):
            self._compare()
            self.take()
        if not self.notifying:
            self.sync.poll_pending()
            self._tell_ports()

    def reconcile(self) -> None:
        require(self.sync.reconcile(), "a running switch can be reconciled")
        self.databases.damaged = False

    def time_out(self) -> None:
        """A warm start's first sync takes too long."""
        self.sync.generation.out_of_time(float("inf"))

    def command(self) -> None:
        command = self._next()
        answer = self._carry_out(command)
        self.sync.done(command, answer, now=NOW)
        self.sync.take_findings()
        if isinstance(command, WritePorts) and isinstance(answer, list):
            carried_out = {write.name for write, done in zip(command.writes, answer, strict=True) if done}
            self.daemon.removed -= carried_out

    def reply_lost(self) -> None:
        command = self._next()
        self._carry_out(command)
        self.sync.lost(command)
        self.disconnect()

    def reply_late(self) -> None:
        """Redis carries the command out only when the next session has read its snapshot."""
        command = self._next()
        for write in command.writes if isinstance(command, WritePorts) else ():
            self.check_write(write)
        self.request_lost()
        self.daemon.under_way = command

    def request_lost(self) -> None:
        self.sync.lost(self._next())
        self.disconnect()

    def _next(self) -> Command:
        command = self.sync.next()
        assert command is not None
        return command

    def _carry_out(self, command: Command) -> Answer:
        match command:
            case WritePorts(writes):
                for write in writes:
                    self.check_write(write)
                return [self._write(write) for write in writes]
            case Produce(rows):
                self._produce([row.key for row in rows])
            case SetHash(_, key, values):
                self.databases.set_hash(key, values)
            case WaitForPorts(names):
                self.daemon.watched = names
            case SetLinksDown(ifindexes):
                self.check_set_down(ifindexes)
                for ifindex in sorted(ifindexes & self.kernel.links.keys()):
                    self.kernel.set_up(ifindex, False)
            case Remember(old):
                self.check_old(old)
                self.file = old
            case ListPorts():
                databases = self.databases
                return PortNames(tuple(databases.entries), frozenset(databases.config), databases.look())
            case ReadPorts(names):
                popped = self.databases.popped
                return PortsRead([PortRead(name, self.databases.held(name), name in popped) for name in names])
            case ReadLinks(names):
                self.reader.due = True
                self.reader.asked |= names
        return []

    def _write(self, write: PortWrite) -> bool:
        carried_out = self.databases.write(write)
        # Deleted just now, or set where nothing was.
        self.daemon.owes_delete.discard(write.name)
        if carried_out and write.fields is not None:
            self.daemon.written[write.name] = self.daemon.taken[write.name]
        return carried_out

    def _produce(self, keys: list[str]) -> None:
        self.check_produce(keys)
        self.databases.staged.update(keys)
        self.daemon.look_due = True
        if schema.PORT_CONFIG_DONE in keys:
            self.databases.aside = set(self.sync.generation.old)
            self.daemon.configured = True
            self.databases.added.difference_update(keys)


_ATTRIBUTES = tuple(field.name for field in fields(World))


def switch(
    ports: tuple[str, ...],
    *,
    links: int = 0,
    spare: tuple[str, ...] = (),
    left: bool = False,
    existing_links: ExistingLinks = ExistingLinks.AUTO,
) -> World:
    """A switch whose daemon is about to start for the first time, with links for the first ``links`` ports. spare: names
    that CONFIG_DB does not have yet. left: STATE_DB has entries of an earlier life for all ports."""
    kernel = Kernel()
    for name in ports[:links]:
        kernel.create(name)
    kernel.queue.clear()
    policy = Policy(prefixes=PREFIXES, existing_links=existing_links)
    databases = Databases(ports, {name: {} for name in ports + spare})
    for name in ports if left else ():
        databases.leave_entry(name)
    return World(policy, kernel, databases, PortSync(policy))


def running(ports: tuple[str, ...], *, links: int | None = None, spare: tuple[str, ...] = ()) -> World:
    """A switch on which everything has settled, with links (up) for the first ``links`` ports, or all."""
    world = switch(ports, spare=spare)
    world.settle()
    for name in ports[:links]:
        world.create(name)
        world.set_up(name)
    world.settle()
    world.saved = clone(world.databases)
    return world


def warm(
    ports: tuple[str, ...],
    *,
    links: int | None = None,
    spare: tuple[str, ...] = (),
    rebooted: bool = False,
    existing_links: ExistingLinks = ExistingLinks.AUTO,
) -> World:
    """A running switch whose daemon is about to start warm. rebooted: STATE_DB's entries are others' alone, and what was kept
    under /run is gone."""
    world = running(ports, links=links, spare=spare)
    world.policy = replace(world.policy, existing_links=existing_links)
    world.crash()
    world.databases.warm = True
    if rebooted:
        world.file = None
        for name in ports:
            world.databases.entries[name] = {}
            world.databases.write_foreign(name)
    return world
