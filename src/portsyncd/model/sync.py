"""PortSync: what came in and what Redis answered go in, commands come out. No I/O, no clock of its own.

One object lives as long as the process. A *session* is one life of the Redis connections: it begins with a snapshot of
what the databases hold (``begin``) and ends at the first error; the next one compares everything anew.

The caller carries out one command at a time: ``next`` says which, ``done`` takes its answer, and nothing else comes in
between. A command whose answer did not come is named to ``lost``; the session is over then.

Rules, in their order of precedence in ``next``:

1. The warm-restart row is written first; then nothing until the first full read of the links has come in.
2. Old links are decided once per generation, remembered, and set down, before anything is staged in APPL_DB.
3. A generation's key is written, then every CONFIG_DB port, then PortConfigDone.
4. Ports: one write each, only when Redis does not hold it already, or the link was made anew, or admin_status went down
   and came back (intfmgrd re-adds IPv6 link-local addresses on a write with admin_status=up).
5. A port without an APPL_DB entry waits; it is tried again when told that its entry may have appeared.
6. PortInitDone when every expected port has been acknowledged.
7. What a reconciliation asks for, one question at a time: see ``reconcile``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter

from portsyncd.model.commands import (
    Answer,
    Command,
    Look,
    OldLinks,
    Op,
    PortNames,
    PortRead,
    PortsRead,
    PortWrite,
    ReadLinks,
    Snapshot,
    WaitForPorts,
    WritePorts,
)
from portsyncd.model.generation import Generation, Policy
from portsyncd.model.links import Link
from portsyncd.model.mailbox import Conflated, Synced
from portsyncd.model.port import Counted, Flapped, Port
from portsyncd.model.ports import SUB_INTERFACE_SEPARATOR, UNKNOWN, Fields, admin_up, is_front_panel, oper_up
from portsyncd.model.reconcile import Findings, Reconciler, Reconciliation, Verdict
from portsyncd.model.saved import Saved, SavedPort

# Ports per script call: Redis serves nobody else meanwhile (about 9 us a port).
WRITES_PER_COMMAND = 512


@dataclass(frozen=True, slots=True)
class Awaited:
    """An expected port that PortInitDone waits for. since: monotonic seconds."""

    name: str
    since: float
    reason: str


class PortSync:
    """See the module's docstring."""

    def __init__(self, policy: Policy) -> None:
        self._prefixes = policy.prefixes
        self.generation = Generation(policy)
        self._reconciler = Reconciler(policy.prefixes)
        self.ports: dict[str, Port] = {}
        # Names that owe Redis a write, oldest first; a dict for its order.
        self._dirty: dict[str, None] = {}
        # Names that owe a write and have no APPL_DB entry; since when (monotonic seconds).
        self.pending: dict[str, float] = {}
        self._waited_for: frozenset[str] = frozenset()
        # Names of which Redis holds something and the kernel has not been asked yet whether they exist.
        self._unproven: set[str] = set()
        # Expected ports and since when; and those of them that are not published.
        self._expected: dict[str, float] = {}
        self._unready: set[str] = set()
        # And those without a link, since when; who waits longest comes first.
        self._linkless: dict[str, float] = {}
        # How many ports have a link, and how many of these are oper up; no VLAN sub-interfaces.
        self._linked = self._up = 0
        self._dumped = False
        self._released = False
        # Moves on when there is something new to be saved.
        self.revision = 0
        # What the last process knew, of names that this one has not heard of yet; see ``Saved``.
        self._saved: dict[str, SavedPort] = {}
        # Who has flapped since somebody asked.
        self._flaps: dict[str, Flapped] = {}
        self._awaited_for: dict[str, float] = {}

    # ---- what came in

    def restore(self, saved: Saved) -> None:
        """What the last process knew; before anything else comes in."""
        self._saved = dict(saved.ports) if saved.trusted else _counts_alone(saved.ports)
        self._awaited_for = {name: seconds + saved.age for name, seconds in saved.awaited.items()}

    def _recall(self, port: Port, name: str) -> Link | None:
        """The first that this process hears of a name: its link as the last one knew it, whose counts go on."""
        saved = self._saved.pop(name, None)
        if saved is None:
            return None
        port.recall(saved)
        return Link(saved.ifindex, saved.fields, saved.carrier_losses) if saved.ifindex else None

    def save(self, penalties: Mapping[str, float]) -> Iterator[tuple[str, SavedPort]]:
        """What the next process has to know, name by name. penalties: of flaps, 0 where there is none."""
        for name, port in list(self.ports.items()):
            yield name, port.saved(penalties.get(name, 0.0))
        # Not heard of yet; after those of which Redis alone has been heard.
        for name, saved in list(self._saved.items()):
            yield name, saved._replace(penalty=penalties.get(name, 0.0))

    def take_flaps(self) -> Mapping[str, Flapped]:
        """Who has lost its carrier since the last call, this process' start at first, and how often."""
        flaps, self._flaps = self._flaps, {}
        return flaps

    def begin(self, snapshot: Snapshot, *, fresh_id: str, remembered: OldLinks | None, now: float) -> bool:
        """A session begins; True: so does a generation. fresh_id: its id, should APPL_DB have none; remembered: what
        was kept about old links."""
        anew = self.generation.begin(snapshot, fresh_id=fresh_id, remembered=remembered, now=now)
        # Its entries may be those of the generation before: APPL_DB was flushed, and nobody has said since that all are new.
        untrusted = anew and not (snapshot.init_done or self.generation.warm)
        self._waited_for = frozenset()
        self._reconciler.cancel()
        self.pending.clear()
        for name in snapshot.state.keys() - self.ports.keys():
            # Under another prefix it is somebody else's, whatever it says.
            if name.startswith(self._prefixes):
                self.ports[name] = Port(now)
        # Few of many rows differ, and Redis tells each anew: what is equal is kept once.
        rows: dict[Fields, Fields] = {}
        for name, port in list(self.ports.items()):
            # In another generation nothing is old; what has that link is read anew.
            port.old = port.old and bool(self.generation.old)
            if port.held is not UNKNOWN:
                held = snapshot.state.get(name)
                port.held = held and (UNKNOWN if untrusted else rows.setdefault(held, held))
            if port.link is None and port.held is not None and not port.old:
                self._unproven.add(name)
                self._dirty.pop(name, None)
            else:
                self._consider(name, port)
        if anew:
            self._released = False
            names: Iterable[str] = (n for n in snapshot.config_ports if is_front_panel(n, self._prefixes))
        else:
            names = self._expected.keys() & snapshot.config_ports.keys()
        awaited = {name: now - seconds for name, seconds in self._awaited_for.items()}
        before = self._expected
        self._expected = {name: before.get(name, awaited.get(name, now)) for name in names}
        self._awaited_for.clear()
        for name in before.keys() - self._expected.keys():
            self._forget(name)
        self._unready = {name for name in self._expected if not self._is_ready(name)}
        linkless = ((name, since) for name in self._expected if (since := self._linkless_since(name)) is not None)
        self._linkless = dict(sorted(linkless, key=itemgetter(1)))
        return anew

    def unproven(self) -> frozenset[str]:
        """Names to ask the kernel for: Redis holds an entry of ours, and no link is known."""
        return frozenset(self._unproven)

    def take(self, changes: Mapping[str, Conflated], now: float) -> None:
        """Links changed."""
        self.revision += bool(changes)
        reconciler = self._reconciler if self._reconciler.waiting else None
        for name, change in changes.items():
            if change.deleted:
                self.generation.forget_old(set(change.deleted))
            self._unproven.discard(name)
            port = self.ports.get(name)
            if port is None:
                if change.link is None:
                    continue
                port = self.ports[name] = Port(now)
            before = port.link
            self._change(name, port, change, now)
            if reconciler is not None:
                reconciler.heard(name, change, before, port, pending=name in self.pending, now=now)
            self._consider(name, port)
            self._recount(name)
        self._settle(now)

    def _change(self, name: str, port: Port, change: Conflated, now: float) -> None:
        link, before = change.link, port.link or self._recall(port, name)
        port.old = link is not None and link.ifindex in self.generation.old
        if port.old:
            link = None
        if (link is None) != (before is None):
            port.since = now
        if before is None or link is None or link.fields != before.fields:
            port.changed = now
        port.recreated = port.recreated or change.removed
        recalled = before is not port.link
        anew = (
            before is not None
            and link is not None
            # A count that went back is another link's, to which the kernel gave the same ifindex.
            and (change.removed or link.ifindex != before.ifindex or (recalled and link.flaps < before.flaps))
        )
        self._count_link(name, port.link, link)
        port.link = link
        if link is None:
            port.rewrite = False
        elif anew:
            # Written once even if it looks the same.
            port.rewrite = True
        if before is not None or self._dumped:
            # What the first full read finds has come about before.
            counted = port.flaps
            port.count(before, link, anew=anew)
            if port.flaps != counted:
                earlier = self._flaps.get(name)
                new = port.flaps - counted + (0 if earlier is None else earlier.new)
                self._flaps[name] = Flapped(new, port.flaps)
        if link is not None and admin_up(link.fields):
            came_up = before is not None and not admin_up(before.fields)
            # Redis may still hold what the link was before it went down. A link that lost its carrier while no process
            # looked may have been set down and up meanwhile.
            unseen = recalled and before is not None and link.flaps > before.flaps
            port.rewrite = port.rewrite or change.dipped or came_up or unseen

    def synced(self, synced: Synced, now: float) -> None:
        """All links have been read; what they are came in by ``take`` before."""
        self._dumped = True
        self._reconciler.synced(synced, now)
        # Most full reads are not the first, and nothing was lost: there may be many ports, to which they mean nothing.
        shown = synced.shown and {
            port.link.ifindex
            for name, port in self.ports.items()
            if port.link is not None and port.link.ifindex in synced.shown and is_front_panel(name, self._prefixes)
        }
        old = self.generation.decide_old(shown)
        for name, port in list(self.ports.items()) if old or synced.lost else ():
            if port.link is None:
                continue
            if port.link.ifindex in old:
                self._count_link(name, port.link, None)
                port.set_aside(now)
                self._consider(name, port)
                self._recount(name)
            elif synced.lost and admin_up(port.link.fields):
                # An admin excursion may have gone unseen.
                port.rewrite = True
                self._consider(name, port)
        if synced.certified:
            self.generation.initial.received(now)
            # What is still expected may come, and is another link then.
            self._saved = _counts_alone(
                {name: self._saved[name] for name in self._saved.keys() & self._expected.keys()}
            )
        self._settle(now)

    def woken(self, names: Iterable[str]) -> None:
        """The APPL_DB entries of these names may have appeared."""
        self._dirty.update(dict.fromkeys(name for name in names if name in self.pending))

    def poll_pending(self) -> None:
        """Try every pending port again; for where Redis sends no notifications."""
        self._dirty.update(dict.fromkeys(self.pending))

    def config_ports_are(self, names: Collection[str]) -> None:
        """CONFIG_DB's PORT keys as they are now: what was deleted is expected no longer."""
        self.revision += 1
        for name in self._expected.keys() - set(names):
            del self._expected[name]
            self._unready.discard(name)
            self._linkless.pop(name, None)
            self._forget(name)

    def release(self) -> list[Awaited]:
        """The operator says that PortInitDone shall wait no longer. Returns what it waited for."""
        self._released = True
        return self.awaited()

    def looked(self, look: Look) -> bool:
        """Take the once-a-second look. True: the session must begin anew, with a fresh snapshot."""
        return self.generation.looked(look)

    # ---- what to do

    def next(self) -> Command | None:
        """The next command, or None when there is nothing to do until something comes in."""
        command = self.generation.preparation()
        if command is not None or not self._dumped:
            return command
        command = self.generation.announcement()
        if command is not None:
            return command
        if self._dirty:
            return WritePorts(tuple(map(self._write, islice(self._dirty, WRITES_PER_COMMAND))))
        command = self.generation.completion(ready=self._released or not self._unready)
        if command is not None:
            return command
        waiting = frozenset(self.pending)
        if waiting != self._waited_for:
            return WaitForPorts(waiting)
        return self._reconciler.next(self._unproven) if self._reconciler.running else None

    def _write(self, name: str) -> PortWrite:
        port = self.ports[name]
        op = port.owed() or Op.SET
        return PortWrite(name, op, None if port.link is None else port.link.fields)

    # ---- what was answered

    def done(self, command: Command, answer: Answer = (), *, now: float) -> None:
        """The command was carried out. answer: what the command asks for; for WritePorts, one bool a write."""
        if isinstance(answer, PortNames):
            self._listed(answer)
        elif isinstance(answer, PortsRead):
            self._compare(answer.ports, now)
        elif isinstance(command, ReadLinks):
            if self._reconciler.asked(now):
                self.generation.initialized = False
        elif isinstance(command, WritePorts):
            for write, carried_out in zip(command.writes, answer, strict=True):
                self._acknowledge(write, carried_out=carried_out, now=now)
        elif isinstance(command, WaitForPorts):
            # An entry may have appeared between the write that missed it and this.
            self._dirty.update(dict.fromkeys(self.pending.keys() & (command.names - self._waited_for)))
            self._waited_for = command.names
        else:
            self.generation.done(command)
        self._settle(now)

    def _acknowledge(self, write: PortWrite, *, carried_out: bool, now: float) -> None:
        name, op, fields = write
        port = self.ports[name]
        del self._dirty[name]
        if op is not Op.SET:
            port.held = None
        if carried_out:
            port.written += 1
            port.written_at = now
            # That it is owed no longer is worth to be known.
            self.revision += port.rewrite or port.recreated
            self.generation.initial.wrote(1)
            port.held = fields
            port.recreated = port.rewrite = False
            self.pending.pop(name, None)
            self._consider(name, port)
        else:
            self.pending.setdefault(name, now)
        self._recount(name)

    def lost(self, command: Command) -> None:
        """No complete answer came: whether the command was carried out is not known. The session is over."""
        if isinstance(command, WritePorts):
            for write in command.writes:
                port = self.ports[write.name]
                port.failed += 1
                port.held = UNKNOWN
                self._recount(write.name)
        else:
            self.generation.lost(command)

    # ---- reconciliation

    def reconcile(self) -> bool:
        """Compare what Redis holds with what it ought to hold, and put right what differs; one that is under way will do.
        False: not before the ports are announced."""
        possible = self._dumped and self.generation.announced
        if possible:
            self._reconciler.request()
        return possible

    @property
    def reconciliation(self) -> Reconciliation:
        """What came of it so far."""
        return self._reconciler.statistics()

    def take_findings(self) -> Findings | None:
        """What the last reconciliation has to tell, once."""
        return self._reconciler.take_findings()

    def _listed(self, names: PortNames) -> None:
        if self.generation.looked(names.look):
            # The next look begins the session anew.
            self._reconciler.cancel()
        else:
            self._reconciler.listed(names, self.ports, initialized=self.generation.initialized)

    def _compare(self, read: Collection[PortRead], now: float) -> None:
        for one in read:
            verdict = self._reconciler.judge(one, self.ports.get(one.name), now)
            if verdict is Verdict.WAKE:
                self._dirty[one.name] = None
            elif verdict is not Verdict.LEAVE:
                self._hold(one.name, one.held, now, ask=verdict is Verdict.ASK)
        self._reconciler.was_read([one.name for one in read])

    def _hold(self, name: str, held: Fields | None, now: float, *, ask: bool) -> None:
        """Redis holds this of a name. ask: the kernel is to be asked whether there is such a link."""
        port = self.ports.get(name)
        if port is None:
            # It may have been awaited before.
            port = self.ports[name] = Port(self._linkless.get(name, now))
        port.held = held
        if ask:
            self._unproven.add(name)
            return
        self._unproven.discard(name)
        self._consider(name, port)
        self._recount(name)

    # ---- book-keeping

    def _consider(self, name: str, port: Port) -> None:
        """Note whether the port owes Redis a write; forget a name of which nothing is left."""
        op = port.owed()
        if op is not None:
            # What only waits to be set needs no second try; a removal waits for nothing.
            if op is not Op.SET or name not in self.pending:
                self._dirty[name] = None
            return
        self._dirty.pop(name, None)
        self.pending.pop(name, None)
        port.recreated = False
        if port.link is None and not port.old and name not in self._expected:
            del self.ports[name]

    def _forget(self, name: str) -> None:
        """It is expected no longer: perhaps it was known for that alone."""
        port = self.ports.get(name)
        if port is not None and port.owed() is None:
            self._consider(name, port)

    def _settle(self, now: float) -> None:
        # What Redis has and the dump lacked is removed as soon as the kernel says that it is gone.
        if self.generation.initial.running and self.in_sync and not self._unproven:
            self.generation.written(now)

    def _count_link(self, name: str, before: Link | None, after: Link | None) -> None:
        """The link of this name is another one, or looks otherwise."""
        if SUB_INTERFACE_SEPARATOR not in name:
            self._linked += (after is not None) - (before is not None)
            self._up += (after is not None and oper_up(after.fields)) - (before is not None and oper_up(before.fields))

    def _is_ready(self, name: str) -> bool:
        port = self.ports.get(name)
        return port is not None and port.published and name not in self.pending

    def _recount(self, name: str) -> None:
        if name in self._expected:
            (self._unready.discard if self._is_ready(name) else self._unready.add)(name)
            since = self._linkless_since(name)
            if since != self._linkless.get(name):
                self._linkless.pop(name, None)
                if since is not None:
                    self._linkless[name] = since

    def _linkless_since(self, name: str) -> float | None:
        """Since when an expected port has had no link; None: it has one."""
        port = self.ports.get(name)
        if port is None:
            return self._expected[name]
        return port.since if port.link is None else None

    # ---- what others may ask

    @property
    def dumped(self) -> bool:
        """The first full read of the links came in; before it, no port is written."""
        return self._dumped

    @property
    def in_sync(self) -> bool:
        """The first full read came in, the ports are announced, and every publishable port is written."""
        generation = self.generation
        return self._dumped and generation.announced and not self._dirty and generation.preparation() is None

    @property
    def expected(self) -> Collection[str]:
        """The ports that PortInitDone waits for, or waited for."""
        return self._expected.keys()

    def port_counters(self) -> list[tuple[str, Counted]]:
        """All names with their counts, which move on; who forgets a name and learns it anew begins at 0."""
        return list(self.ports.items())

    def awaited(self) -> list[Awaited]:
        """The expected ports that are not published, and why."""
        return [self._explain(name) for name in self._expected if name in self._unready]

    def _explain(self, name: str) -> Awaited:
        port = self.ports.get(name)
        if port is not None and port.old:
            return Awaited(name, port.since, "its link is from before this start and has not been made anew")
        if port is None or port.link is None:
            return Awaited(name, self._expected[name] if port is None else port.since, "no link of this name")
        if name in self.pending:
            return Awaited(name, self.pending[name], "orchagent has not taken it: no APPL_DB entry")
        return Awaited(name, port.since, "its first write is under way")

    def longest_awaited(self, count: int) -> list[Awaited]:
        """Of the expected ports without a link (``counts`` has their number) so many that have waited longest, these first.
        Asked every second: what it takes does not grow with the ports."""
        return [self._explain(name) for name in islice(self._linkless, count)]

    def longest_pending(self, count: int) -> list[tuple[str, float]]:
        """Of ``pending_ports`` so many that have waited longest, these first."""
        # In the order of ``pending``, who began to wait earlier stands earlier.
        return list(islice(((n, t) for n, t in self.pending.items() if SUB_INTERFACE_SEPARATOR not in n), count))

    def pending_ports(self) -> list[tuple[str, float]]:
        """Ports that have a link and no APPL_DB entry, and since when; no VLAN sub-interfaces, which get none."""
        return [(name, since) for name, since in self.pending.items() if SUB_INTERFACE_SEPARATOR not in name]

    def counts(self) -> Mapping[str, int]:
        """Ports by state: up, down, awaited (expected, no link), pending (link, no APPL_DB entry); no VLAN sub-interfaces.

        Asked several times a second: what it takes grows with those that wait for APPL_DB alone.
        """
        pending = sum(SUB_INTERFACE_SEPARATOR not in name for name in self.pending)
        return {"up": self._up, "down": self._linked - self._up, "awaited": len(self._linkless), "pending": pending}


def _counts_alone(ports: Mapping[str, SavedPort]) -> dict[str, SavedPort]:
    """Without what means something for the link that they had."""
    return {name: saved._replace(ifindex=0, owed="") for name, saved in ports.items()}
