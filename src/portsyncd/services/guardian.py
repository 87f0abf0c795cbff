"""The guardian: looks after everything else, and heals what it can.

It looks, has pure code decide (``model.connections``, ``model.memory``, ``model.disk``), and acts through what the services
offer for that; what it must wait for has a task of its own, so that a disk that hangs delays no other check. A check that
fails is told and tried again: the guardian does not die of what it guards against.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Final, Protocol

import trio

from portsyncd.errors import MemoryLimitError
from portsyncd.logs import Announcer, get_logger
from portsyncd.model.disk import Space
from portsyncd.model.healing import Healings, Kind
from portsyncd.model.memory import Limits, MemoryStatistics
from portsyncd.model.rounds import next_round
from portsyncd.services.healers import LATE_SECONDS, Look, NetlinkHealer, ReconcileHealer, RedisHealer, StallHealer
from portsyncd.services.inbox import Inbox
from portsyncd.services.loop_watch import BEAT_SECONDS, LoopWatch
from portsyncd.services.reader import Reader
from portsyncd.services.upkeep import CertificateKeeper, ClockKeeper, DiskKeeper, Held, MemoryKeeper
from portsyncd.services.watches import Calendar
from portsyncd.services.writer import Writer

log = get_logger()

# The margin that is kept lasts longer than that, whatever this process writes.
DISK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the guardian may do, and when. Seconds, but for memory_limit (bytes) and memory_growth (bytes per hour).

    enabled: False: it only looks, and compares on demand. kinds: those that are switched on. max_stall: as the verdict of
    /health has it.
    """

    enabled: bool = True
    check_interval: float = 2.0
    probe_timeout: float = 1.5
    reconcile_interval: float = 300.0
    memory_limit: int = 512 << 20
    memory_growth: float = 16 << 20
    max_stall: float = 10.0
    kinds: frozenset[Kind] = frozenset(Kind)

    def heals(self, kind: Kind) -> bool:
        """Whether anything may be done of this kind."""
        return self.enabled and kind in self.kinds


@dataclass(frozen=True, slots=True)
class GuardianStatistics:
    """What the guardian has found and done. All moments are monotonic seconds.

    checks: how often it has looked. healings: what it did. memory: see there. free_bytes: of the disks, by what is kept there
    (port_state, history); low_disk: why the history is held back, "" while it is not. clock_steps: how often the clock on
    the wall was set; last_clock_step: by how many seconds, last. blocks: how often the event loop did not turn for long;
    longest_block: seconds.
    """

    checks: int = 0
    healings: Healings = field(default_factory=Healings)
    memory: MemoryStatistics = field(default_factory=MemoryStatistics)
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    low_disk: str = ""
    clock_steps: int = 0
    last_clock_step: float = 0.0
    blocks: int = 0
    longest_block: float = 0.0


class Check(Protocol):
    """One kind of healing that waits for nobody; see ``services.healers`` and ``services.upkeep``."""

    async def check(self, look: Look) -> None:
        """Look, decide and act, once."""


class Guardian:
    """One guardian for the life of the process; ``run`` is called anew after a failure and keeps the book.

    cancel_child: the supervisor's. resident: memory of this process, in bytes; trim: what gives some of it back; leave: ends
    the process in good order, None where it may not end. disks: the space on the disks, by what is kept there; recorder:
    what is held back where that is short. expiries: of certificates, Unix seconds by role; reload: has them read again.
    wall: Unix seconds. loop_watch: the thread's side of the watch over the event loop. What is None is not looked after.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        inbox: Inbox,
        cancel_child: Callable[[str, str], object],
        *,
        settings: Settings,
        resident: Callable[[], int],
        wall: Callable[[], float],
        trim: Sequence[Callable[[], object]] = (),
        leave: Callable[[MemoryLimitError], object] | None = None,
        disks: Callable[[], Awaitable[Mapping[str, Space]]] | None = None,
        recorder: Held | None = None,
        expiries: Callable[[], Mapping[str, float]] | None = None,
        reload: Callable[[], object] | None = None,
        loop_watch: LoopWatch | None = None,
    ) -> None:
        now, heals = trio.current_time(), settings.heals
        calendar = Calendar(trio.current_time, wall)
        self._reader = reader
        self._writer = writer
        self._inbox = inbox
        self._settings = settings
        self._loop_watch = loop_watch
        self._healings = Healings()
        self._checks = 0
        self._told = Announcer()
        self._clock = ClockKeeper(calendar)
        self._memory = MemoryKeeper(
            Limits(settings.memory_limit, settings.memory_growth),
            resident,
            trim=trim if heals(Kind.MEMORY) else (),
            leave=leave,
            healed=self._healed,
            now=now,
        )
        interval = settings.reconcile_interval if heals(Kind.RECONCILE) else inf
        self._reconciler = ReconcileHealer(writer, interval, self._healed, now)
        self._disk = (
            None
            if disks is None
            else DiskKeeper(disks, recorder if heals(Kind.DISK) else None, settings.probe_timeout, self._healed)
        )
        self._quick: list[Check] = []
        if heals(Kind.REDIS):
            self._quick.append(RedisHealer(writer, settings.probe_timeout, self._healed))
        if heals(Kind.STALL):
            self._quick.append(StallHealer(reader, writer, cancel_child, settings.max_stall, self._healed))
        self._quick += [self._reconciler, self._clock, self._memory]
        if expiries is not None and reload is not None and heals(Kind.CERTIFICATES):
            self._quick.append(CertificateKeeper(expiries, reload, calendar, self._healed))
        self._netlink = NetlinkHealer(reader, settings.probe_timeout, self._healed) if heals(Kind.NETLINK) else None

    # ---- what others may ask

    def request_reconcile(self) -> None:
        """Compare everything as soon as that is possible, and put right what is wrong; also where that kind of healing is
        switched off, since somebody asks for it."""
        self._reconciler.request()

    def statistics(self) -> GuardianStatistics:
        """A snapshot."""
        disk, watch = self._disk, self._loop_watch
        return GuardianStatistics(
            checks=self._checks,
            healings=self._healings,
            memory=self._memory.statistics,
            free_bytes={} if disk is None else disk.free,
            low_disk="" if disk is None else disk.low,
            clock_steps=self._clock.steps,
            last_clock_step=self._clock.last_step,
            blocks=0 if watch is None else watch.blocks,
            longest_block=0.0 if watch is None else watch.longest,
        )

    # ---- the loop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after everything until cancelled."""
        watch, interval = self._loop_watch, self._settings.check_interval
        with nullcontext() if watch is None else watch.watching():
            async with trio.open_nursery() as nursery:
                if watch is not None:
                    nursery.start_soon(self._beat, watch)
                if self._netlink is not None:
                    nursery.start_soon(self._repeat, partial(self._wait_for, self._netlink), interval)
                if self._disk is not None:
                    nursery.start_soon(self._repeat, partial(self._wait_for, self._disk), DISK_SECONDS)
                nursery.start_soon(self._repeat, self._carry_out, interval)
                task_status.started()

    async def _beat(self, watch: LoopWatch) -> None:
        while True:
            watch.beat()
            await trio.sleep_until(next_round(trio.current_time(), BEAT_SECONDS))

    async def _repeat(self, act: Callable[[], Awaitable[None]], interval: float) -> None:
        due = trio.current_time()
        left_out = False
        while True:
            # Much too late, nobody ran: the process was stopped, or the loop blocked. What seems to be stuck may have moved on.
            # One round, no more: a loop that always blocks is looked after, too.
            left_out = trio.current_time() - due >= LATE_SECONDS and not left_out
            if not left_out:
                # What came in meanwhile is read first.
                await trio.lowlevel.checkpoint()
                await act()
            now = trio.current_time()
            # After a round that was left out the others have all of an interval.
            due = now + interval if left_out else next_round(now, interval)
            await trio.sleep_until(due)

    async def _carry_out(self) -> None:
        with self._telling("looking"):
            look = self._look()
            self._checks += 1
            for check in self._quick:
                with self._telling(type(check).__name__):
                    await check.check(look)

    async def _wait_for(self, check: NetlinkHealer | DiskKeeper) -> None:
        with self._telling(type(check).__name__):
            await check.check()

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Whatever is wrong with what is looked at, the others go on."""
        try:
            yield
        except Exception as problem:
            if self._told.changed(what, repr(problem)):
                log.error("a check of the guardian fails, and is tried again", check=what, exc_info=problem)
        else:
            self._told.changed(what, None)

    def _look(self) -> Look:
        return Look(
            trio.current_time(),
            self._reader.statistics(),
            self._writer.statistics(),
            self._inbox.statistics(),
            self._writer.first_sync.is_set(),
        )

    def _healed(self, kind: Kind, what: str) -> None:
        self._healings = self._healings.with_one(kind, trio.current_time(), what)
        log.notice("healed", kind=kind.value, what=what)
