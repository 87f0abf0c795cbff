"""The reader: the kernel's link events into the mailbox, and a full re-read of the links whenever something was lost."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import NoReturn

import trio

from portsyncd.backends.base import LinkSource
from portsyncd.errors import DecodeError, LinkSourceError
from portsyncd.logs import get_logger
from portsyncd.model.links import Change, LinkView
from portsyncd.model.mailbox import Synced
from portsyncd.model.pacing import Pacer
from portsyncd.model.storm import WINDOW_SECONDS, Storm, StormMeter
from portsyncd.services.inbox import Inbox
from portsyncd.wire.netlink import AF_UNSPEC, Folder, LinkMessage, decode

log = get_logger()

# Datagrams read before other tasks may run, and how often in a row before what was read is applied.
BUDGET = 1024
TURNS = 8
# A dump that the kernel interrupts is repeated so often, then taken as it is and tried again after a while.
_INTERRUPTED_REPEATS = 3
# Links asked for before that counts as progress; some hundred milliseconds.
_QUESTIONS_AT_ONCE = 4096
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0

START, OVERRUN, INTERRUPTED, RECONCILE, STALL = "start", "overrun", "interrupted", "reconcile", "stall"


@dataclass(frozen=True, slots=True)
class ReaderStatistics:
    """What the reader has done since the process began.

    events: link messages read, those folded away before decoding among them. folded: those. failed: those that could not
    be decoded, or that a full mailbox refused; a full re-read makes up for them. ports: links that are ports by their
    names. overruns: times that the kernel dropped events or cut one short. resyncs: full re-reads by reason. certified_at:
    when the links were last proven complete (monotonic seconds), None before. resyncing: a full re-read is under way.
    listening: the event socket is open. receive_buffer_bytes, filtering: see ``LinkSource``; 0 and False while it is
    not.

    progress: moves with every read of the event socket, chunk of a dump, and answer to questions. has_events: the event
    socket has something to read now. probed_at: when a probe of the present socket was last answered (monotonic seconds),
    None before. losses: how often listening ended by an error; last_loss: why, the last time.
    """

    events: int
    folded: int
    failed: int
    ports: int
    overruns: int
    resyncs: Mapping[str, int]
    certified_at: float | None
    resyncing: bool
    listening: bool
    receive_buffer_bytes: int
    filtering: bool
    progress: int = 0
    has_events: bool = False
    probed_at: float | None = None
    losses: int = 0
    last_loss: str = ""

    @property
    def must_move(self) -> bool:
        """There is something to do for it, so that ``progress`` has to move: events to read, or a full re-read."""
        return self.has_events or (self.listening and self.resyncing)


class Reader:
    """One reader for the life of the process; ``run`` is called anew after a failure and keeps what was known."""

    def __init__(self, make_source: Callable[[], LinkSource], inbox: Inbox, prefixes: Sequence[str]) -> None:
        self._make_source = make_source
        self._inbox = inbox
        self._view = LinkView(prefixes)
        self._storm = StormMeter()
        self._pacer = Pacer()
        # Seconds to wait before the next read, in a lasting stream of events; else 0.
        self._pause = 0.0
        self._source: LinkSource | None = None
        # Ifindexes whose events pass the socket's filter, first and last; None while it has none.
        self._range: tuple[int, int] | None = None
        # Why a full re-read is due, and names to be asked for that the view may not have.
        self._due: set[str] = set()
        self._asked: set[str] = set()
        self._retry_at = inf
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._waiting = trio.CancelScope()
        # The first full read of this process has not ended yet.
        self._first = True
        # Ifindexes that the first dump showed, until they are deleted.
        self._originals: set[int] = set()
        self._left: Mapping[int, str] = {}
        # Somebody has listened; nobody did for a while, so that events may have been missed.
        self._listened = self._gap = False
        self._told_at = -inf
        self._resyncing = False
        self._events = self._folded = self._failed = self._overruns = 0
        self._resyncs: Counter[str] = Counter()
        self._certified_at: float | None = None
        self._progress = 0
        # Of the present socket: what ends listening to it, and why somebody did.
        self._listening = trio.CancelScope()
        self._broken_off = ""
        self._probed_at: float | None = None
        self._losses = 0
        self._last_loss = ""

    # ---- what others may ask

    def request_resync(self, reason: str, names: Iterable[str] = ()) -> None:
        """Have all links read anew; ``names`` are asked for by name where the dump lacks them."""
        self._due.add(reason)
        self._asked.update(names)
        self._waiting.cancel()

    def restore(self, names: Mapping[int, str]) -> None:
        """What the last process knew: its ports by ifindex, for the events of a socket that it left."""
        self._left = names

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """Clear IFF_UP of these links; returns those that the kernel left as they are. Raises ``NoPermissionError``
        and ``LinkSourceError``."""
        source = self._source if self._source is not None else self._make_source()
        return await source.set_down(ifindexes)

    def statistics(self) -> ReaderStatistics:
        """A snapshot."""
        source = self._source
        return ReaderStatistics(
            events=self._events,
            folded=self._folded,
            failed=self._failed,
            ports=len(self._view),
            overruns=self._overruns,
            resyncs=dict(self._resyncs),
            certified_at=self._certified_at,
            resyncing=self._resyncing,
            listening=source is not None,
            receive_buffer_bytes=0 if source is None else source.receive_buffer_bytes,
            filtering=source is not None and source.filtering,
            progress=self._progress,
            has_events=source is not None and source.has_events(),
            probed_at=self._probed_at,
            losses=self._losses,
            last_loss=self._last_loss,
        )

    async def probe(self) -> None:
        """Make sure that events are heard and that the kernel answers. Raises ``LinkSourceError``, also where nobody
        listens."""
        source = self._source
        if source is None:
            raise LinkSourceError("nobody listens to the kernel's link events")
        await source.probe()
        if self._source is source:
            self._probed_at = trio.current_time()

    def break_off(self, why: str) -> None:
        """Stop listening, whatever is under way: ``run`` raises ``LinkSourceError`` with why. Nothing happens where nobody
        listens."""
        if self._source is not None:
            self._broken_off = self._broken_off or why
            self._listening.cancel()

    # ---- the loop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled. ``started`` comes when the kernel keeps events for us. Raises ``LinkSourceError``."""
        with closing(self._make_source()) as source:
            source.open()
            self._source = source
            self._range = None
            self._gap, self._listened = self._listened, True
            if source.adopted:
                # Its first events are of links that only the former process has seen.
                self._view.restore(self._left)
            self._left = {}
            self._due.add(START)
            log.debug("listening to the kernel", receive_buffer_bytes=source.receive_buffer_bytes)
            self._broken_off = ""
            task_status.started()
            try:
                await self._listen(source)
            except LinkSourceError as problem:
                self._losses += 1
                self._last_loss = str(problem)
                raise
            finally:
                self._source = self._probed_at = None

    async def _listen(self, source: LinkSource) -> NoReturn:
        with trio.CancelScope() as self._listening:
            while True:
                if trio.current_time() >= self._retry_at:
                    self._due.add(INTERRUPTED)
                self._report(self._storm.flush(trio.current_time()))
                if self._due:
                    await self._resync(source)
                elif await self._is_readable(source):
                    await self._read(source)
        raise LinkSourceError(self._broken_off)

    async def _is_readable(self, source: LinkSource) -> bool:
        """Wait for events; False when something else has become due meanwhile.

        In a lasting stream of events there will be some after the pause, or else the next wait is a real one.
        """
        with trio.CancelScope(deadline=min(self._retry_at, self._storm.closes_at)) as self._waiting:
            if self._pause:
                await trio.sleep(self._pause)
            else:
                await source.readable()
        return not self._waiting.cancelled_caught

    async def _read(self, source: LinkSource) -> None:
        """One wake-up: read what is there, up to the budget; what is left wakes us again, after others have run."""
        before = self._events
        lost, drained = await self._gather(source, TURNS)
        if lost:
            self._overrun()
        in_stream = drained and self._events > before
        self._pause = self._pacer.pause(trio.current_time()) if in_stream else 0.0
        await self._follow_up(source)
        self._inbox.poke()

    async def _gather(self, source: LinkSource, turns: float) -> tuple[bool, bool]:
        """Read the event socket in turns, between which other tasks run, until it is empty or the turns are used up.

        What was read is folded as a whole and applied at the end. Returns whether events were lost, and whether the
        socket was empty.
        """
        folder = Folder()
        lost = drained = False
        try:
            while not drained:
                received = source.receive(BUDGET)
                self._progress += 1
                for datagram in received.datagrams:
                    folder.add(datagram)
                lost, drained = lost or received.lost, received.drained
                turns -= 1
                if turns <= 0:
                    break
                if not drained:
                    await trio.lowlevel.checkpoint()
        finally:
            # Also when cancelled meanwhile: nobody else will get what was read.
            self._apply(folder)
        return lost, drained

    def _overrun(self) -> None:
        self._overruns += 1
        self._due.add(OVERRUN)

    def _apply(self, folder: Folder) -> None:
        """Apply what was read to the view, and put what it changed into the mailbox."""
        now = trio.current_time()
        kept = folder.take()
        names: set[str] = set()
        failed = 0
        for datagram in kept:
            try:
                decoded = decode(datagram)
            except DecodeError as problem:
                # What it said is not known: all is read anew, as if the kernel had dropped it.
                log.debug("undecodable event", problem=str(problem))
                self._due.add(OVERRUN)
                failed += 1
                continue
            if decoded.overrun:
                self._overrun()
            elif decoded.errno:
                self._due.add(OVERRUN)
            accepted = True
            for message in decoded.links:
                changes = self._view.apply(message)
                accepted = self._put(changes, now, event=True) and accepted
                names.update(change.name for change in changes)
            failed += not accepted
        self._events += folder.count
        self._folded += folder.count - len(kept)
        self._failed += failed
        self._inbox.count(folder.count - failed)
        for ifindex in folder.admin_downs:
            name = self._view.name_of(ifindex)
            if name is not None:
                self._inbox.note_admin_down(name)
        self._report(self._storm.feed(now, folder.count, names))

    def _put(self, changes: Sequence[Change], now: float, *, reread: bool = False, event: bool = False) -> bool:
        """Into the mailbox. Only a link that the first dump showed can be an old one, so of all that are deleted only
        theirs are told: each once, which bounds the mailbox whatever comes and goes while Redis is away."""
        told = []
        for change in changes:
            if change.ifindex in self._originals:
                self._originals.discard(change.ifindex)
            elif change.ifindex:
                change = change._replace(ifindex=0)  # noqa: PLW2901 - the same change, less what nobody needs
            told.append(change)
        return self._inbox.put(told, now, reread=reread, event=event)

    async def _follow_up(self, source: LinkSource) -> None:
        """Ask for what the events left open: links whose message was incomplete, and links that came into the range of
        the filter, whose later events it may have kept out before."""
        span, before = self._view.span, self._range
        gained: list[int] = []
        if span != before:
            source.listen_to(*span)
            self._range = span
            if before is not None:
                gained = self._view.outside(*before)
            elif not source.filtering:
                log.warning(
                    "the kernel refused the socket filter: noise of other links will cost time, and nothing else"
                )
        open_questions = sorted(self._view.incomplete.union(gained))
        self._view.incomplete.clear()
        if open_questions:
            now = trio.current_time()
            answers = await self._ask(source, open_questions)
            for ifindex, answer in zip(open_questions, answers, strict=True):
                # Gone: its removal, or its renaming before that, was kept out.
                message = answer or LinkMessage(removed=True, family=AF_UNSPEC, ifindex=ifindex, flags=0, name="")
                self._put(self._view.apply(message), now)

    # ---- the full re-read

    async def _resync(self, source: LinkSource) -> None:
        """Read all links; the order of the steps is what makes it sound (see docs/architecture.md)."""
        self._resyncing = True
        started = trio.current_time()
        reasons, lost, interrupted = set[str](), False, 0
        shown: frozenset[int] | None = None
        while True:
            reasons |= self._due
            self._due.clear()
            # 1. After an overrun the kernel drops everything until the queue has been empty once.
            before = self._events
            lost = await self._drain(source) or lost
            if self._first and shown is None and source.adopted:
                log.info("read what happened while no process listened", events=self._events - before, lost=lost)
            drops = source.drops()
            # 2. and 3. The kernel keeps the events that come during the dump; they are applied after it.
            seen: set[int] = set()
            interrupted_now = await source.dump(partial(self._take_dumped, seen))
            if shown is None:
                # What only a repeated dump shows has been made meanwhile.
                shown = frozenset(seen) if self._first else frozenset()
                self._originals.update(shown)
            lost_now = await self._drain(source)
            # 4. Anything lost meanwhile: once more.
            if lost_now or source.drops() != drops:
                lost = True
                reasons.add(OVERRUN)
                continue
            interrupted += interrupted_now
            if not interrupted_now or interrupted > _INTERRUPTED_REPEATS:
                break
        # 5. What the dump lacks is gone only if the kernel says so of each name.
        await self._ask_for_absent(source, seen)
        await self._follow_up(source)
        synced = Synced(
            reasons=frozenset(reasons),
            certified=not interrupted_now,
            lost=lost or self._gap or OVERRUN in reasons,
            # Only the first full read of the process tells which links are old.
            shown=shown,
            started=started,
        )
        self._finish(synced)

    async def _drain(self, source: LinkSource) -> bool:
        """Read the event socket until it is empty, whatever the budget. Returns whether events were lost."""
        lost, _ = await self._gather(source, inf)
        self._overruns += lost
        # What a datagram here asked for is what is being done.
        lost = lost or OVERRUN in self._due
        self._due.discard(OVERRUN)
        return lost

    def _take_dumped(self, seen: set[int], links: Sequence[LinkMessage]) -> None:
        self._progress += 1
        now = trio.current_time()
        for message in links:
            seen.add(message.ifindex)
            self._put(self._view.apply(message), now, reread=True)

    async def _ask_for_absent(self, source: LinkSource, seen: set[int]) -> None:
        asked = frozenset(self._asked)
        names = self._view.lacking(seen) + [name for name in asked if not self._view.has(name)]
        answers = await self._ask(source, names)
        # Only now: where the question failed, the next re-read asks it again.
        self._asked -= asked
        now = trio.current_time()
        for name, message in zip(names, answers, strict=True):
            self._put(self._view.answer(name, message), now, reread=True)

    async def _ask(self, source: LinkSource, targets: Sequence[str | int]) -> list[LinkMessage | None]:
        """Of many links, it moves all along."""
        answers: list[LinkMessage | None] = []
        for start in range(0, len(targets), _QUESTIONS_AT_ONCE):
            answers += await source.ask(targets[start : start + _QUESTIONS_AT_ONCE])
            self._progress += 1
        return answers

    def _finish(self, synced: Synced) -> None:
        now = trio.current_time()
        self._resyncing = self._first = self._gap = False
        self._resyncs.update(synced.reasons)
        if synced.certified:
            self._certified_at = now
            self._retry_at, self._retry_seconds = inf, _FIRST_RETRY_SECONDS
        else:
            self._retry_at = now + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _LONGEST_RETRY_SECONDS)
        # A storm may make many of them a second.
        often = synced.reasons == {OVERRUN} and now - self._told_at < WINDOW_SECONDS
        self._told_at = self._told_at if often else now
        (log.debug if often else log.info)(
            "read all links",
            reasons=",".join(sorted(synced.reasons)),
            ports=len(self._view),
            certified=synced.certified,
            milliseconds=round(1000 * (now - synced.started), 1),
        )
        self._inbox.put_synced(synced)

    def _report(self, storm: Storm | None) -> None:
        if storm is not None:
            log.info(str(storm))
