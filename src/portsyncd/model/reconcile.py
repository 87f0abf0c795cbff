"""Reconciliation: what Redis holds is compared with what it ought to hold, and what differs is put right, only that.

It is a sequence of questions, each of which is asked when nothing is left to be written: which ports there are, what
the databases say of them, so many at a time, and at last what the links are. Only the writer speaks to Redis, one
command at a time; so in the moment of an answer Redis ought to hold just what Redis acknowledged last, and whatever else
it holds is somebody else's doing. Who puts it right is ``PortSync``, by the same writes as ever.

An entry of which no link is known is removed only once the kernel, asked for that name, knows none. The links are read
anew last, so that an event that got lost without a trace is found, too: it is a difference like the others.

Whoever else writes the same entry will do so again. Found wrong for the third time in a row it is *contested*, and from
then on put right once an hour at most. In a row means that it was not found right in between, a minute after it had
been found wrong or later: that somebody asks for one reconciliation after the other changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from math import inf
from types import MappingProxyType
from typing import Final, NamedTuple

from portsyncd.model.commands import ListPorts, PortNames, PortRead, Question, ReadLinks, ReadPorts
from portsyncd.model.links import Link
from portsyncd.model.mailbox import Conflated, Synced
from portsyncd.model.port import Port
from portsyncd.model.ports import UNKNOWN, Fields, is_front_panel
from portsyncd.wire import schema

# The reason of the full read of the links.
RECONCILE: Final = "reconcile"
# Ports per question: Redis serves nobody else meanwhile, nor does the event loop (about 3 us a port).
PORTS_PER_QUESTION: Final = 512
# Found wrong so often in a row, an entry is contested.
CONTESTED_AFTER: Final = 3
# It is right again when it is found so after so many seconds; before, whoever contests it may only not have come to it.
QUIET_SECONDS: Final = 60.0
# A contested entry is put right again after so many seconds: who contested it may be gone.
RETRY_SECONDS: Final = 3600.0
# Differences that are kept, and that are named of one run.
NAMED: Final = 16


class Kind(StrEnum):
    """MISSING: an entry that ought to be there is not. STALE: it says something else than the kernel. ORPHAN: it is of a link
    that there is not."""

    MISSING = "missing"
    STALE = "stale"
    ORPHAN = "orphan"


class Difference(NamedTuple):
    """One entry that was wrong. held: what Redis held, wanted: what it ought to (None: no entry; both are None for
    PortInitDone, which is no port). cause: a sentence, as far as it is known. at: when it was found (monotonic seconds)."""

    port: str
    kind: Kind
    held: Fields | None
    wanted: Fields | None
    cause: str
    at: float


class Contested(NamedTuple):
    """An entry that comes back wrong again and again: it is left as it is until the kernel has news of the port, or an hour
    has passed. times: how often it was found wrong in a row; since: when first (monotonic seconds)."""

    port: str
    kind: Kind
    times: int
    since: float


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What came of it so far. runs: how often it went through all entries; finished_at: when last (monotonic seconds), None
    before; running: it is under way. counts: differences found, contested ones no more often than until they were; righted:
    those of all that were found which were to be put right. recent: the last of those that are counted, newest last.
    contested: those that are so now. unpublished: ports of CONFIG_DB (the first few) without an APPL_DB entry, which is
    portmgrd's and orchagent's to make; unpublished_total: how many."""

    runs: int = 0
    finished_at: float | None = None
    running: bool = False
    counts: Mapping[Kind, int] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(Kind, 0)))
    recent: tuple[Difference, ...] = ()
    contested: tuple[Contested, ...] = ()
    unpublished: tuple[str, ...] = ()
    unpublished_total: int = 0
    righted: Mapping[Kind, int] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(Kind, 0)))


class Findings(NamedTuple):
    """What one run has to tell. found: differences; first: the first few of them. contested: entries that are from now on,
    calmed: those that are no longer, the first few of each. complete: it went through all entries."""

    found: int = 0
    first: tuple[Difference, ...] = ()
    contested: tuple[Contested, ...] = ()
    calmed: tuple[str, ...] = ()
    complete: bool = False


class Verdict(Enum):
    """What a look at one entry means. LEAVE: nothing. HELD: Redis holds what was read, and not what was thought. WAKE: the
    port waits for its APPL_DB entry, which is there. ASK: as HELD, but the kernel decides whether it stays."""

    LEAVE = "leave"
    HELD = "held"
    WAKE = "wake"
    ASK = "ask"


class _Phase(Enum):
    """What comes next. WAIT: the links are being read."""

    IDLE = "idle"
    LIST = "list the ports"
    READ = "read the ports"
    ASK = "ask for the links"
    WAIT = "wait for the links"


class _Streak(NamedTuple):
    """How an entry has been wrong in a row. since, last: when first and last; righted: when it was last put right."""

    kind: Kind
    times: int
    since: float
    last: float
    righted: float


class Reconciler:
    """How far a reconciliation has come, and what came of all of them.

    What it keeps is bounded by the entries that the databases hold.
    """

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._phase = _Phase.IDLE
        self._runs = 0
        self._finished_at: float | None = None
        self._counts, self._righted = dict.fromkeys(Kind, 0), dict.fromkeys(Kind, 0)
        self._recent: tuple[Difference, ...] = ()
        self._streaks: dict[str, _Streak] = {}
        self._unpublished: tuple[str, ...] = ()
        self._unpublished_total = 0
        self._findings = Findings()
        self._told: Findings | None = None
        self._asked_at = 0.0
        self._reset()

    def _reset(self) -> None:
        self._phase = _Phase.IDLE
        # Names that are to be read yet, the next one last, some more than once; those that have been.
        self._left: list[str] = []
        self._seen = {schema.PORT_INIT_DONE}
        self._config: AbstractSet[str] = frozenset()
        self._lacking: list[str] = []
        self._lacking_total = 0
        # Ports of APPL_DB without a link, so that it is a difference if there is one.
        self._vacant: set[str] = set()
        # Entries that are orphans if the kernel says so.
        self._suspects: dict[str, Difference] = {}
        # What only the full read of the links has told so far.
        self._missed: dict[str, Difference] = {}
        # APPL_DB has PortConfigDone; whether it has PortInitDone. None: it is not known, or has been judged.
        self._marked: bool | None = None

    # ---- the sequence

    @property
    def running(self) -> bool:
        """It is under way."""
        return self._phase is not _Phase.IDLE

    @property
    def waiting(self) -> bool:
        """The links are being read for it: ``heard`` is to be told of all changes."""
        return self._phase is _Phase.WAIT

    def request(self) -> None:
        """Begin, or let the one under way do."""
        if self._phase is _Phase.IDLE:
            self._phase = _Phase.LIST
        elif self._phase is _Phase.WAIT:
            # Should the answer never come, the next request asks once more.
            self._phase = _Phase.ASK

    def cancel(self) -> None:
        """The session is over; the next one compares everything itself."""
        if self.running:
            self._end(complete=False)

    def next(self, unproven: Iterable[str]) -> Question | None:
        """The next question, None when there is none now. unproven: names to ask the kernel for."""
        if self._phase is _Phase.LIST:
            return ListPorts()
        if self._phase is _Phase.READ:
            names = self._left[: -PORTS_PER_QUESTION - 1 : -1]
            return ReadPorts(tuple(dict.fromkeys(name for name in names if name not in self._seen)))
        return ReadLinks(frozenset(unproven)) if self._phase is _Phase.ASK else None

    def listed(self, names: PortNames, known: Iterable[str], *, initialized: bool) -> None:
        """``ListPorts`` was answered. known: names that this process knows; initialized: PortInitDone had gone out by then."""
        # Under another prefix they are somebody else's, whatever they say.
        ours = [name for name in names.state if name.startswith(self._prefixes)]
        self._left = [*known, *ours, *names.config, *self._streaks]
        self._left.reverse()
        if names.look.config_done and initialized:
            self._marked = names.look.init_done
        self._config = names.config
        self.was_read(())

    def was_read(self, names: Collection[str]) -> None:
        """``ReadPorts`` was answered, and ``judge`` told of these ports."""
        self._seen.update(names)
        # Most names come two or three times. Not all at once: there may be many.
        for _ in range(16 * PORTS_PER_QUESTION):
            if not self._left or self._left[-1] not in self._seen:
                break
            self._left.pop()
        self._phase = _Phase.READ if self._left else _Phase.ASK

    def asked(self, now: float) -> bool:
        """``ReadLinks`` was carried out. True: PortInitDone is to be sent again, now that every entry has been put right."""
        self._phase, self._asked_at = _Phase.WAIT, now
        marked, self._marked = self._marked, None
        if marked is None:
            return False
        if marked:
            self.right(schema.PORT_INIT_DONE, now)
            return False
        cause = "another client removed it"
        return self.wrong(Difference(schema.PORT_INIT_DONE, Kind.MISSING, None, None, cause, now))

    def synced(self, synced: Synced, now: float) -> None:
        """All links have been read, for whatever reason; ``heard`` was told before what they are."""
        if not self.waiting or not (RECONCILE in synced.reasons or synced.started >= self._asked_at):
            return
        if synced.reasons == {RECONCILE} and not synced.lost:
            # Else it is known that events were lost.
            for difference in self._missed.values():
                self._count(difference)
                self._righted[difference.kind] += 1
        self._runs += 1
        self._finished_at = now
        self._unpublished, self._unpublished_total = tuple(self._lacking), self._lacking_total
        self._end(complete=True)

    def _end(self, *, complete: bool) -> None:
        self._told = self._findings._replace(complete=complete)
        self._findings = Findings()
        self._reset()

    # ---- what is wrong

    def judge(self, read: PortRead, port: Port | None, now: float) -> Verdict:
        """Compare one entry. port: what this process knows of the name; no write of it is under way or owed, unless it waits
        for its APPL_DB entry, or is to be asked for."""
        link, held = (None, None) if port is None else (port.link, port.held)
        name, actual, published = read
        if name in self._config and not published and is_front_panel(name, self._prefixes):
            self._lacking_total += 1
            if len(self._lacking) < NAMED:
                self._lacking.append(name)
        if link is None and published:
            self._vacant.add(name)
        if held is UNKNOWN:
            # It is written again anyway.
            return Verdict.LEAVE
        wanted = None if link is None else link.fields
        if actual == wanted:
            self.right(name, now)
            return Verdict.LEAVE if actual == held else Verdict.HELD
        if actual == held:
            # It is known, and waits.
            return Verdict.WAKE if link is not None and published else Verdict.LEAVE
        if link is not None and not published:
            # What is not a port to orchagent may have no entry.
            return Verdict.HELD
        return self._judge_wrong(name, port, actual, wanted, now)

    def _judge_wrong(
        self, name: str, port: Port | None, actual: Fields | None, wanted: Fields | None, now: float
    ) -> Verdict:
        kind = Kind.ORPHAN if wanted is None else Kind.MISSING if actual is None else Kind.STALE
        difference = Difference(name, kind, actual, wanted, _cause(kind, port, now), now)
        if kind is Kind.ORPHAN and self._may_put_right(name, now):
            self._suspects[name] = difference
            return Verdict.ASK
        return Verdict.HELD if self.wrong(difference) else Verdict.LEAVE

    def heard(
        self, name: str, change: Conflated, before: Link | None, port: Port, *, pending: bool, now: float
    ) -> None:
        """A link changed while all are being read. before: what it was, port: what is known since; pending: the port waits for
        its APPL_DB entry."""
        after = port.link
        suspect = self._suspects.pop(name, None)
        if suspect is not None and after is None:
            self.wrong(suspect)
        elif change.arrived < inf:
            # An event told of it, only later than the read.
            self._missed.pop(name, None)
        elif not pending and port.held is not UNKNOWN:
            was, wanted = (None if link is None else link.fields for link in (before, after))
            if wanted in (was, port.held) or (port.held is None and name not in self._vacant):
                return
            kind = Kind.ORPHAN if wanted is None else Kind.MISSING if port.held is None else Kind.STALE
            cause = "no event told of what became of the link"
            self._missed[name] = Difference(name, kind, port.held, wanted, cause, now)

    def wrong(self, difference: Difference) -> bool:
        """An entry is not what this process wrote. True: it is to be put right."""
        name, kind, *_, now = difference
        streak = self._streaks.get(name, _Streak(kind, 0, now, now, now))
        may_put_right = self._may_put_right(name, now)
        times = streak.times + 1
        self._streaks[name] = _Streak(kind, times, streak.since, now, now if may_put_right else streak.righted)
        self._righted[kind] += may_put_right
        if times <= CONTESTED_AFTER:
            self._count(difference)
        if times == CONTESTED_AFTER and len(self._findings.contested) < NAMED:
            contested = (*self._findings.contested, Contested(name, kind, times, streak.since))
            self._findings = self._findings._replace(contested=contested)
        return may_put_right

    def _may_put_right(self, name: str, now: float) -> bool:
        """Whether an entry that is wrong once more is to be put right."""
        streak = self._streaks.get(name)
        return streak is None or streak.times + 1 < CONTESTED_AFTER or now - streak.righted >= RETRY_SECONDS

    def right(self, name: str, now: float) -> None:
        """An entry is what it ought to be."""
        streak = self._streaks.get(name)
        if streak is None or now - streak.last < QUIET_SECONDS:
            return
        del self._streaks[name]
        if streak.times >= CONTESTED_AFTER and len(self._findings.calmed) < NAMED:
            self._findings = self._findings._replace(calmed=(*self._findings.calmed, name))

    def _count(self, difference: Difference) -> None:
        self._counts[difference.kind] += 1
        self._recent = (*self._recent, difference)[-NAMED:]
        found, first, *_ = self._findings
        if found < NAMED:
            first = (*first, difference)
        self._findings = self._findings._replace(found=found + 1, first=first)

    # ---- what others may ask

    def take_findings(self) -> Findings | None:
        """What the last run has to tell, once; None: nothing has ended since."""
        findings, self._told = self._told, None
        return findings

    def statistics(self) -> Reconciliation:
        """A snapshot."""
        return Reconciliation(
            runs=self._runs,
            finished_at=self._finished_at,
            running=self.running,
            counts=dict(self._counts),
            righted=dict(self._righted),
            recent=self._recent,
            contested=tuple(
                Contested(name, streak.kind, streak.times, streak.since)
                for name, streak in self._streaks.items()
                if streak.times >= CONTESTED_AFTER
            ),
            unpublished=self._unpublished,
            unpublished_total=self._unpublished_total,
        )


def _cause(kind: Kind, port: Port | None, now: float) -> str:
    """Who made an entry wrong that Redis had acknowledged."""
    what = {Kind.MISSING: "removed", Kind.STALE: "changed", Kind.ORPHAN: "wrote"}[kind]
    if port is None or port.written_at is None:
        return f"another client {what} it; this process has never written it"
    return f"another client {what} it; portsyncd wrote it last {now - port.written_at:.1f} s before this was found"
