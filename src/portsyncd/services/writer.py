"""The writer: takes what the reader heard, asks ``model.sync`` what is to be done, and has Redis do it.

It holds one session with Redis at a time and outlives all of them: an error ends the session, a new one compares
everything anew. It never fails because of Redis.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import trio

from portsyncd.backends.base import Notices, OldLinksStore, Store
from portsyncd.errors import FileError, StoreError, StoreLoadingError, StoreRefusedError, StoreUnavailableError
from portsyncd.logs import Announcer, get_logger
from portsyncd.metrics import Histogram
from portsyncd.model.commands import (
    Answer,
    Command,
    ListPorts,
    OldLinks,
    PortsRead,
    Produce,
    Question,
    ReadLinks,
    ReadPorts,
    Remember,
    SetHash,
    SetLinksDown,
    Snapshot,
    WaitForPorts,
    WritePorts,
)
from portsyncd.model.mailbox import Taken
from portsyncd.model.reconcile import RECONCILE, Reconciliation
from portsyncd.model.retry import Backoff
from portsyncd.model.rounds import next_round
from portsyncd.model.sync import PortSync
from portsyncd.model.warm import Phase
from portsyncd.services.bulletin import Bulletin
from portsyncd.services.inbox import Inbox
from portsyncd.services.tally import Tally
from portsyncd.wire import schema

log = get_logger()

LOOK_SECONDS = 1.0
# While a CONFIG_DB that is being loaded keeps everything waiting.
_CONFIG_LOOK_SECONDS = 0.25
_RECENT = 1024
# Changes that are passed on before other tasks may run.
_CHANGES_PER_TURN = 1024
# Waiting ports are tried again so often, also where Redis sends notifications.
_POLL_SECONDS = 30.0
_DEFAULT_LOGGER_ROW = {"LOGLEVEL": "NOTICE", "LOGOUTPUT": "SYSLOG"}

START, OVERRUN, RECONNECT, GENERATION = "start", "overrun", "redis_reconnect", "generation"


class Kernel(Protocol):
    """What the writer asks of the reader."""

    def request_resync(self, reason: str, names: Collection[str] = ()) -> None:
        """Have all links read anew, and these names asked for."""

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """Clear IFF_UP of these links; returns those that the kernel left as they are."""


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """What the writer has done since the process began, and where it stands.

    connected: a session with Redis is open and its databases are usable; problem: why not, "" when connected. sessions:
    how many there have been. writes: port writes acknowledged; lost_writes: those whose outcome is unknown. round_trips:
    commands carried out. latencies: seconds from reading an event to Redis' acknowledgement, newest last, of events
    that came while a session was open. in_sync, initialized, generation, warm: see ``model.sync``. counts: ports by
    state.

    events_processed: events that were carried through to Redis, or meant nothing to it. events_failed: those that were
    being carried out when Redis failed; the next session makes up for them. events_in_flight: taken and neither yet.

    event_latency: of each name that was written, from reading its oldest event to Redis' acknowledgement; not what came
    while no session was open, nor what waited for an APPL_DB entry. redis_latency: each request that carries out a
    command, and each look. sync_duration: full reads, from their start until all they brought was written. Histograms in
    seconds.
    certified_sync_at: when Redis was last known to say what the kernel says.

    phase: of the initial sync, see ``model.warm``; warm_start: what it was settled as; began_at, eoiu_at, ended_at: when
    that was, when the end of the initial update came, and when it ended; differences: port writes that it took. All
    moments are monotonic seconds, None before.

    probed_at: when a probe of the present session was last answered; waiting_since: since when its oldest request has waited
    for a reply, None while none does. losses: sessions that ended because Redis had gone or was silent; last_loss: why, the
    last of them.
    """

    connected: bool
    problem: str
    sessions: int
    writes: int
    lost_writes: int
    round_trips: int
    latencies: tuple[float, ...]
    in_sync: bool
    initialized: bool
    generation: str
    warm: bool
    counts: Mapping[str, int]
    events_processed: int
    events_failed: int
    events_in_flight: int
    event_latency: Histogram
    redis_latency: Histogram
    sync_duration: Histogram
    certified_sync_at: float | None
    phase: Phase
    warm_start: bool
    began_at: float | None
    eoiu_at: float | None
    ended_at: float | None
    differences: int
    probed_at: float | None = None
    waiting_since: float | None = None
    losses: int = 0
    last_loss: str = ""


class Writer:
    """One writer for the life of the process; ``run`` is called anew after a failure and keeps what was known.

    first_sync: set once the first sync of the process is over. milestone: set when the initial sync has come further or
    a full sync is written, and replaced by a new one.
    """

    def __init__(
        self,
        make_store: Callable[[], Store],
        inbox: Inbox,
        sync: PortSync,
        kernel: Kernel,
        *,
        old_links: OldLinksStore,
        backoff: Backoff,
        jitter: Callable[[], float],
        fresh_id: Callable[[], str],
        set_log_level: Callable[[str], None],
    ) -> None:
        self._make_store = make_store
        self._inbox = inbox
        self.sync = sync
        self._kernel = kernel
        self._old_links = old_links
        self._backoff = backoff
        self._jitter = jitter
        self._fresh_id = fresh_id
        self._set_log_level = set_log_level
        self._log_level: str | None = None
        self._notices = Notices()
        self._failure: StoreError | None = None
        # The present session's, from before it is open; and why it was broken off, if it was.
        self._store: Store | None = None
        self._broken_off: StoreUnavailableError | None = None
        # Seconds that a probe which somebody asked for may take; None: nobody did.
        self._probe_timeout: float | None = None
        self._probed_at: float | None = None
        self._losses = 0
        self._last_loss = ""
        # The present session has outlived its first look: the next failure begins the backoff anew.
        self._proven = False
        self._connected = False
        # It was when the last session ended, and it was not Redis that ended it.
        self._was_usable = False
        self._problem = "not connected yet"
        # What CONFIG_DB_INITIALIZED was when the session's configuration was read.
        self._config_said: str | None = None
        # Redis had to be waited for: a CONFIG_DB that does not say that it is loaded may be empty for that reason.
        self._waited = False
        self._sessions = self._writes = self._lost_writes = self._round_trips = 0
        self._latencies: deque[float] = deque(maxlen=_RECENT)
        self._tally = Tally()
        self._poll_at = 0.0
        self._bulletin = Bulletin(sync)
        self._told = Announcer()
        self._told.changed("redis", "not connected yet")
        self.first_sync = trio.Event()
        self.milestone = trio.Event()
        self._idle = trio.Event()

    # ---- what others may ask

    def statistics(self) -> WriterStatistics:
        """A snapshot."""
        sync, tally, initial = self.sync, self._tally, self.sync.generation.initial
        return WriterStatistics(
            connected=self._connected,
            problem=self._problem,
            sessions=self._sessions,
            writes=self._writes,
            lost_writes=self._lost_writes,
            round_trips=self._round_trips,
            latencies=tuple(self._latencies),
            in_sync=sync.in_sync,
            initialized=sync.generation.initialized,
            generation=sync.generation.id,
            warm=sync.generation.warm,
            counts=sync.counts(),
            events_processed=tally.processed,
            events_failed=tally.failed,
            events_in_flight=tally.in_flight,
            event_latency=tally.event_latency.copy(),
            redis_latency=tally.redis_latency.copy(),
            sync_duration=tally.sync_duration.copy(),
            certified_sync_at=tally.certified_sync_at,
            phase=initial.phase,
            warm_start=initial.warm,
            began_at=initial.began,
            eoiu_at=initial.updated,
            ended_at=initial.ended,
            differences=initial.differences,
            probed_at=self._probed_at,
            waiting_since=None if self._store is None else self._store.waiting_since,
            losses=self._losses,
            last_loss=self._last_loss,
        )

    @property
    def certified_sync_at(self) -> float | None:
        """See ``WriterStatistics``."""
        return self._tally.certified_sync_at

    def release(self) -> None:
        """The operator says that PortInitDone shall wait no longer."""
        released = self.sync.release()
        log.warning("PortInitDone is released by the operator", ports=[awaited.name for awaited in released])
        self._inbox.poke()

    def request_probe(self, timeout: float) -> None:
        """Have every connection asked for a sign of life, as soon as there is a session and nothing else is under way. One
        that gives none within ``timeout`` seconds ends the session."""
        self._probe_timeout = timeout
        self._inbox.poke()

    def break_off(self, why: str) -> None:
        """Close the connections of the present session, open or being opened, so that what waits for them fails. After one that
        had lasted the next begins at once, else after a pause. Nothing happens where there is none."""
        if self._store is None:
            return
        self._broken_off = self._broken_off or StoreUnavailableError(why)
        # Who listens is told, too, and wakes the worker.
        self._store.close()

    def request_reconcile(self) -> bool:
        """Compare what Redis holds with what it ought to hold, and put right what differs; one that is under way will do.
        False: not possible now, because Redis is away or the ports have not been announced yet."""
        possible = self._connected and self.sync.reconcile()
        if possible:
            self._inbox.poke()
        return possible

    @property
    def reconciliation(self) -> Reconciliation:
        """What came of it so far."""
        return self.sync.reconciliation

    async def drained(self) -> None:
        """Wait until all that was in the mailbox is in Redis."""
        if self._idle.is_set():
            self._idle = trio.Event()
        self._inbox.poke()
        await self._idle.wait()

    # ---- sessions

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep Redis true until cancelled. ``started`` comes at once: to wait for Redis is no failure."""
        task_status.started()
        failures = 0
        while True:
            self._proven = False
            sessions = self._sessions
            try:
                await self._session()
            except StoreError as error:
                # What failed after it was broken off, failed for that.
                problem = self._broken_off or error
                failures = 1 if self._proven else failures + 1
                if isinstance(problem, StoreUnavailableError) and (self._broken_off or self._sessions > sessions):
                    self._losses += 1
                    self._last_loss = str(problem)
                self._explain(problem)
                refused = isinstance(problem, StoreRefusedError)
                await trio.sleep(self._backoff.delay(failures, self._jitter(), refused=refused))

    def _explain(self, problem: StoreError) -> None:
        """Say what is wrong, once while it stays the same."""
        self._was_usable = False
        self._waited = self._waited or not self._sessions or isinstance(problem, StoreLoadingError)
        self._problem = str(problem)
        if self._told.changed("redis", type(problem).__name__):
            log.error("Redis cannot be used: port states wait, and will be written when it can", problem=str(problem))
        else:
            log.debug("Redis still cannot be used", problem=str(problem))

    async def _session(self) -> None:
        """One life of the connections; ends by ``StoreError``."""
        self._failure = self._broken_off = None
        self._notices = Notices()
        store: Store | None = None
        try:
            self._store = store = self._make_store()
            await store.open()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, store)
                failure = await self._use(store)
                nursery.cancel_scope.cancel()
            raise failure
        finally:
            self._store = self._probed_at = None
            # Here too, since it may have been cancelled.
            self._was_usable, self._connected = self._connected, False
            self._problem = self._problem or "the session with Redis was ended, and begins anew"
            if store is not None:
                store.close()

    async def _use(self, store: Store) -> StoreError:
        """From where it is open until it fails; returns how."""
        try:
            await self._wait_for_config(store)
            await self._begin(store)
        except StoreError as problem:
            return problem
        if self._was_usable:
            self._connected, self._problem = True, ""
        return await self._work(store)

    async def _wait_for_config(self, store: Store) -> None:
        """CONFIG_DB must have been loaded: an unloaded one would mean "no ports". That takes as long as it takes, in which
        another server may come where this one was."""
        while True:
            # Whatever they told of is read afterwards; of a CONFIG_DB that is being loaded there are many.
            self._notices = Notices()
            value = await store.config_initialized()
            must_say_so = self._waited or (self._sessions > 0 and await store.config_is_empty())
            if value == "1" or (value is None and not must_say_so):
                self._told.changed("config", None)
                self._config_said = value
                return
            self._connected = False
            self._problem = f"CONFIG_DB is not loaded yet: {schema.CONFIG_DB_INITIALIZED} is {value or 'absent'}, not 1"
            if self._told.changed("config", self._problem):
                log.warning("waiting for CONFIG_DB to be loaded", key=schema.CONFIG_DB_INITIALIZED, value=value)
            if self._failure is not None:
                raise self._failure
            await self._probe(store)
            await trio.sleep(_CONFIG_LOOK_SECONDS)

    async def _begin(self, store: Store) -> None:
        """Compare everything: what the databases hold, what the links are."""
        snapshot = await store.snapshot()
        remembered = await self._old_links.load()
        first = not self._sessions
        anew = self.sync.begin(snapshot, fresh_id=self._fresh_id(), remembered=remembered, now=trio.current_time())
        self._sessions += 1
        self._waited = False
        if anew:
            self._bulletin.begin_generation(trio.current_time())
        await self._settle_log_level(store, snapshot)
        if not first:
            self._kernel.request_resync(GENERATION if anew else RECONNECT, self.sync.unproven())

    def _settle(self, store: Store) -> None:
        """All there was to do has been done. Only now is Redis called usable, since one that answers questions may still
        refuse to write; after a failure it has to last until the next look, too."""
        self._connected = True
        self._problem = ""
        if (self._proven or self._sessions == 1) and self._told.changed("redis", None):
            generation = self.sync.generation
            log.info(
                "connected to Redis",
                generation=generation.id,
                start="warm" if generation.warm else "cold",
                expected=len(self.sync.expected),
                notifications="on" if store.notifying else "off: polling once a second",
            )

    async def _settle_log_level(self, store: Store, snapshot: Snapshot) -> None:
        """Honour LOGGER's level; write the row where it is absent, since SONiC's tool lists only what is there."""
        level = snapshot.log_level
        if level is None:
            self._log_level = _DEFAULT_LOGGER_ROW["LOGLEVEL"]
            try:
                await store.set_hash(schema.CONFIG_DB, schema.LOGGER_KEY, _DEFAULT_LOGGER_ROW)
            except StoreRefusedError as problem:
                # A user who may only read CONFIG_DB; nothing but SONiC's own tool misses the row.
                if self._told.changed("logger row", str(problem)):
                    log.warning("the LOGGER row cannot be written", problem=str(problem))
        elif self._log_level is None and level == _DEFAULT_LOGGER_ROW["LOGLEVEL"]:
            # What every daemon writes by itself is nobody's wish; a change to it at run time is.
            self._log_level = level
        else:
            self._heed_log_level(level)

    def _heed_log_level(self, level: str | None) -> None:
        if level is not None and level != self._log_level:
            self._log_level = level
            self._set_log_level(level)

    async def _listen(self, store: Store) -> None:
        """Pass notifications on to the worker; its failure is the worker's to raise, outside of any nursery."""
        try:
            await store.watch(self._note)
        except StoreError as problem:
            self._failure = problem
            self._inbox.poke()

    def _note(self, notices: Notices) -> None:
        self._notices = self._notices.also(notices)
        self._inbox.poke()

    # ---- the work of a session

    async def _work(self, store: Store) -> StoreError:
        """Write until Redis fails; returns how."""
        began = trio.current_time()
        next_look = began + LOOK_SECONDS
        try:
            while self._failure is None:
                if trio.current_time() >= next_look:
                    next_look = next_round(trio.current_time(), LOOK_SECONDS)
                    await self._look(store)
                    self._proven = True
                await self._probe(store)
                taken = self._inbox.take()
                await self._accept(taken)
                if self._notices != Notices():
                    notices, self._notices = self._notices, Notices()
                    await self._heed(store, notices)
                await self._carry_out_all(store)
                self._settle(store)
                if self.sync.dumped:
                    self._latencies.extend(self._tally.done(taken, trio.current_time(), began))
                if not self._inbox:
                    self._idle.set()
                self._note_progress()
                with trio.move_on_at(next_look):
                    await self._inbox.wait()
        except StoreError as problem:
            return problem
        finally:
            if self.sync.dumped:
                self._tally.broke_off()
        return self._failure

    def _note_progress(self) -> None:
        """Tell whoever waits for it, and the operator, how far it is."""
        first = self.sync.in_sync and not self.first_sync.is_set()
        if first:
            self.first_sync.set()
        self._bulletin.tell(first=first)
        initial = self.sync.generation.initial
        reached = (initial.phase, initial.updated, self._tally.certified_sync_at, self.first_sync.is_set())
        if self._told.changed("milestone", reached):
            self.milestone.set()
            self.milestone = trio.Event()

    async def _probe(self, store: Store) -> None:
        """Where somebody asked for it, a round trip on every connection, within the time that it may take."""
        seconds, self._probe_timeout = self._probe_timeout, None
        if seconds is None:
            return
        try:
            with trio.fail_after(seconds):
                await store.probe()
        except trio.TooSlowError:
            raise StoreUnavailableError(f"a connection to Redis did not answer a probe within {seconds:g} s") from None
        self._probed_at = trio.current_time()

    async def _accept(self, taken: Taken) -> None:
        """Pass on to ``model.sync`` what came in; of a full read of many links so many at a time."""
        now = trio.current_time()
        self._tally.took(taken)
        changes = iter(taken.changes.items())
        while batch := dict(islice(changes, _CHANGES_PER_TURN)):
            self.sync.take(batch, now)
            if len(batch) == _CHANGES_PER_TURN:
                # Whoever cancels waits: what was taken is nowhere else.
                await trio.lowlevel.cancel_shielded_checkpoint()
        if taken.synced is not None:
            self.sync.synced(taken.synced, now)
            if START in taken.synced.reasons and (unproven := self.sync.unproven()):
                # What Redis had before this start, and the first dump lacked.
                self._kernel.request_resync(START, unproven)
        if taken.overflowed:
            # A removal may be among what was refused, of which the reader knows nothing any more.
            linked = [name for name, port in self.sync.ports.items() if port.link is not None or port.old]
            self._kernel.request_resync(OVERRUN, linked)

    async def _heed(self, store: Store, notices: Notices) -> None:
        """Notifications only wake what waits; the databases are the truth."""
        self.sync.woken(notices.ports)
        if notices.config_ports:
            await self._heed_config_ports(store)
        if notices.logger:
            self._heed_log_level(await store.log_level())

    async def _heed_config_ports(self, store: Store) -> None:
        """Ports deleted from CONFIG_DB are expected no longer; those of a CONFIG_DB that is being loaded anew are only
        not there yet."""
        names = await store.config_port_names()
        if await store.config_initialized() == self._config_said:
            self.sync.config_ports_are(names)

    async def _look(self, store: Store) -> None:
        """Once a second: are the databases still those of this generation, and what else only a look can tell."""
        now = trio.current_time()
        look = await store.look()
        self._tally.redis_latency.observe(trio.current_time() - now)
        if self.sync.looked(look):
            log.warning("the databases were flushed or replaced: comparing everything anew")
            await self._wait_for_config(store)
            await self._begin(store)
        if not store.notifying:
            if self._told.changed("notifications", "off"):
                log.warning("Redis sends no keyspace notifications: looking once a second instead")
            self.sync.poll_pending()
            await self._heed_config_ports(store)
            self._heed_log_level(await store.log_level())
        elif now >= self._poll_at:
            # A notification that never came would leave a port waiting for ever.
            self._poll_at = now + _POLL_SECONDS
            self.sync.poll_pending()
        self.sync.generation.out_of_time(now)
        self._bulletin.remind(now)

    async def _carry_out_all(self, store: Store) -> None:
        while (command := self.sync.next()) is not None:
            began = trio.current_time()
            try:
                answer = await self._carry_out(store, command)
            except BaseException:
                # Cancelled, too: whatever stopped it, nobody knows whether Redis did it.
                if isinstance(command, WritePorts):
                    self._lost_writes += len(command.writes)
                self.sync.lost(command)
                raise
            self._round_trips += 1
            now = trio.current_time()
            if not isinstance(command, (SetLinksDown, Remember, ListPorts, ReadLinks)):
                # All others are one request to Redis.
                self._tally.redis_latency.observe(now - began)
            self.sync.done(command, answer, now=now)
            if isinstance(command, Question):
                # What has come in meanwhile comes first.
                self._inbox.poke()
                return

    async def _carry_out(self, store: Store, command: Command) -> Answer:
        match command:
            case WritePorts(writes):
                answer = await store.write_ports(writes)
                self._writes += sum(answer)
                self._tally.wrote(writes, answer)
                return answer
            case Produce(rows):
                await store.produce(rows)
                log.debug("announced", rows=len(rows), last=rows[-1].key)
            case SetHash(db, key, fields):
                await store.set_hash(db, key, fields)
            case WaitForPorts(names):
                await store.wait_for_ports(names)
            case SetLinksDown(ifindexes):
                log.info("setting links from before this start down", links=len(ifindexes))
                refused = await self._kernel.set_down(ifindexes)
                if refused:
                    log.warning("the kernel did not set links down that are from before this start", ifindexes=refused)
            case Remember(old):
                await self._remember(old)
            case ListPorts():
                return await store.port_names()
            case ReadPorts(names):
                return PortsRead(await store.read_ports(names))
            case ReadLinks(names):
                self._kernel.request_resync(RECONCILE, names)
        return ()

    async def _remember(self, old: OldLinks) -> None:
        try:
            await self._old_links.save(old)
        except FileError as problem:
            if self._told.changed("old links", str(problem)):
                log.warning("a restart before PortInitDone would adopt old links", problem=str(problem))
