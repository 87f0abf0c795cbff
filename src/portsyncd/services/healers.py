"""What the guardian does about services and connections: one class a kind, each of which looks, decides and acts.

``check`` is called again and again, with what was seen unless it has to wait for an answer; ``healed`` is told of what came
right, in a sentence.
"""

from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple

import trio

from portsyncd.errors import LinkSourceError
from portsyncd.logs import get_logger
from portsyncd.model.connections import Break, Connection, ConnectionWatch, Rebuilt
from portsyncd.model.healing import Kind
from portsyncd.model.reconcile import Kind as Difference
from portsyncd.services.inbox import InboxStatistics
from portsyncd.services.reader import STALL, Reader, ReaderStatistics
from portsyncd.services.watches import Standstill, Stretch
from portsyncd.services.writer import Writer, WriterStatistics
from portsyncd.wire import schema

log = get_logger()

Healed = Callable[[Kind, str], None]

_NAMES_IN_A_LINE: Final = 8
# What is so much later than it was due says nothing: the event loop did not turn, because the process was stopped or something
# blocked it. A loop that is busy is late by a tenth of that; what a probe waits for is a multiple.
LATE_SECONDS: Final = 0.5
# One that stands still again and again is begun anew after a pause that doubles this often.
_DOUBLINGS: Final = 4


class Look(NamedTuple):
    """What was seen at one moment (monotonic seconds). synced: the first sync of the process has ended."""

    now: float
    reader: ReaderStatistics
    writer: WriterStatistics
    inbox: InboxStatistics
    synced: bool


class RedisHealer:
    """Probes the session with Redis, and ends one that is silent; the writer makes a new one by itself."""

    def __init__(self, writer: Writer, timeout: float, healed: Healed) -> None:
        self._writer = writer
        self._timeout = timeout
        self._healed = healed
        self._watch = ConnectionWatch("Redis", timeout)

    async def check(self, look: Look) -> None:
        """The probe is the writer's to carry out, so that this does not wait."""
        seen = look.writer
        connection = Connection(seen.connected, seen.waiting_since, seen.probed_at, seen.losses, seen.last_loss)
        match self._watch.judge(connection, look.now):
            case Break(why):
                self._writer.break_off(why)
            case Rebuilt(why):
                self._healed(Kind.REDIS, f"connected to Redis anew, which answers; the former session was lost: {why}")
        self._writer.request_probe(self._timeout)


class NetlinkHealer:
    """Probes the netlink sockets, and ends a reader whose sockets are of no use; the supervisor makes a new one."""

    def __init__(self, reader: Reader, timeout: float, healed: Healed) -> None:
        self._reader = reader
        self._timeout = timeout
        self._healed = healed
        self._watch = ConnectionWatch("the kernel", timeout)

    async def check(self) -> None:
        """Waits for the kernel's answer, within its deadline."""
        if self._reader.statistics().listening and (problem := await self._problem()):
            self._reader.break_off(problem)
        seen = self._reader.statistics()
        connection = Connection(seen.listening, None, seen.probed_at, seen.losses, seen.last_loss)
        match self._watch.judge(connection, trio.current_time()):
            case Rebuilt(why):
                self._healed(Kind.NETLINK, f"listening to the kernel anew, which answers; before that: {why}")

    async def _problem(self) -> str:
        """What a probe found, "" where all is well."""
        try:
            with trio.move_on_after(self._timeout) as waiting:
                await self._reader.probe()
        except LinkSourceError as problem:
            return str(problem)
        if not waiting.cancelled_caught or trio.current_time() - waiting.deadline >= LATE_SECONDS:
            return ""
        return f"the kernel has not answered a probe for {self._timeout:g} s"


class ReconcileHealer:
    """Has the writer compare everything at intervals and on demand; says what that put right.

    interval: seconds; infinity: on demand only. now: monotonic seconds.
    """

    def __init__(self, writer: Writer, interval: float, healed: Healed, now: float) -> None:
        self._writer = writer
        self._interval = interval
        self._healed = healed
        self._due = now + interval
        self._seen = writer.reconciliation

    def request(self) -> None:
        """Do it as soon as it is possible."""
        self._due = -inf
        self._try(trio.current_time())

    async def check(self, look: Look) -> None:
        """Where it is not possible now, it is tried again at the next check."""
        self._tell()
        self._try(look.now)

    def _try(self, now: float) -> None:
        if now >= self._due and self._writer.request_reconcile():
            self._due = now + self._interval

    def _tell(self) -> None:
        """Say what the last run put right; contested entries stay as they are."""
        before, seen = self._seen, self._writer.reconciliation
        if seen.runs == before.runs:
            return
        self._seen = seen
        found = sum(seen.counts.values()) - sum(before.counts.values())
        newest = seen.recent[max(len(seen.recent) - found, 0) :]
        righted = {kind: count - before.righted[kind] for kind, count in seen.righted.items()}
        left = {each.port for each in seen.contested}
        if not self._writer.statistics().initialized and any(each.port == schema.PORT_INIT_DONE for each in newest):
            # It waits for a port whose link has gone since.
            left.add(schema.PORT_INIT_DONE)
            righted[Difference.MISSING] -= 1
        counts = ", ".join(f"{count} {kind}" for kind, count in righted.items() if count > 0)
        if counts:
            names = list(dict.fromkeys(each.port for each in newest if each.port not in left))
            more = ", ..." if len(names) > _NAMES_IN_A_LINE else ""
            said = ", ".join(names[:_NAMES_IN_A_LINE])
            self._healed(Kind.RECONCILE, f"entries in Redis put right: {counts}{': ' if said else ''}{said}{more}")


class StallHealer:
    """Begins a reader or a writer anew that does not move. cancel_child: the supervisor's. max_stall: seconds."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        cancel_child: Callable[[str, str], object],
        max_stall: float,
        healed: Healed,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._cancel_child = cancel_child
        self._standstill, self._unread = Standstill(), Stretch()
        self._pace_writer = _Pace("writer", max_stall, healed)
        self._pace_reader = _Pace("reader", max_stall, healed)

    async def check(self, look: Look) -> None:
        """The same measure of the writer as in /health."""
        now, reader, writer = look.now, look.reader, look.writer
        waiting, stalled = self._standstill.seconds(now, writer, look.inbox, synced=look.synced)
        why = f"{waiting} changes wait, and none has moved for {stalled:.0f} s although Redis answers"
        idle = writer.connected and not waiting
        progress = (writer.round_trips, writer.events_processed)
        if self._pace_writer.must_act(now, stalled, progress, why, idle=idle):
            self._writer.break_off(why)
            self._begin_anew("writer", why)
        unread = self._unread.seconds(now, reader.must_move, reader.progress)
        what = "the kernel has events, and none has been read" if reader.has_events else "the links are not read on"
        why = f"{what} for {unread:.0f} s"
        if self._pace_reader.must_act(now, unread, reader.progress, why):
            self._reader.break_off(why)
            self._begin_anew("reader", why)

    def _begin_anew(self, name: str, why: str) -> None:
        self._cancel_child(name, why)
        self._reader.request_resync(STALL)


class _Pace:
    """When to act on a standstill of one service: not before it has had as long again to come right, and then twice as
    long. A standstill that stays is told once."""

    def __init__(self, name: str, max_stall: float, healed: Healed) -> None:
        self._name = name
        self._max_stall = max_stall
        self._healed = healed
        self._not_before = -inf
        self._acted = 0
        self._progress: object = None
        self._why = ""

    def must_act(self, now: float, seconds: float, progress: object, why: str, *, idle: bool = False) -> bool:
        """seconds: for how long it has stood still; progress: changes when it moves; idle: there is nothing to move."""
        if self._acted and (idle or progress != self._progress):
            self._healed(Kind.STALL, f"the {self._name} was begun anew, and moves: {self._why}")
            self._acted = 0
        if seconds < self._max_stall or now < self._not_before:
            return False
        (log.debug if self._acted else log.warning)(
            "a service stands still: it is begun anew", service=self._name, reason=why
        )
        self._not_before = now + self._max_stall * 2.0 ** min(self._acted, _DOUBLINGS)
        self._acted += 1
        self._progress, self._why = progress, why
        return True
