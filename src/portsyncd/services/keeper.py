"""The keeper: what the next process has to know of the ports, and the counters that go on over restarts, on disk in time.

Nothing waits for it: a disk that is full or read-only degrades health, and the port sync goes on. What is kept is only
read once, by ``restore``, before anything else begins.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from math import inf
from typing import Any, Final

import trio

from portsyncd.analytics.history import Restored
from portsyncd.backends.base import KeptDocument, Loaded
from portsyncd.errors import DecodeError, FileError
from portsyncd.logs import get_logger
from portsyncd.metrics import Chronicle
from portsyncd.model.saved import SavedPort, from_content, to_content
from portsyncd.model.warm import InitialSync, Phase
from portsyncd.services.flapbook import FlapBook
from portsyncd.services.reader import Reader
from portsyncd.services.watches import Calendar
from portsyncd.services.writer import Writer
from portsyncd.wire.statefile import Flaw

log = get_logger()

# After a full sync the state is saved at once, but under a storm of them not each time.
_SYNC_PAUSE_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 10.0
# Ports that are looked at before other tasks may run; a tenth of a millisecond or two.
_PORTS_IN_A_SLICE: Final = 256
# A disk that hangs must not keep the daemon from starting, nor be thought to work.
_LOAD_SECONDS: Final = 5.0
_SAVE_SECONDS: Final = 10.0
_NO_ANSWER: Final = "the disk does not answer"
# What does not change is saved anew so often all the same: a state has an age, beyond which it is not trusted.
_DAY_SECONDS: Final = 86400.0


@dataclass(frozen=True, slots=True)
class KeeperStatistics:
    """What is kept, and whether it can be.

    chronicle: counters over all lives. set_aside: files that could not be trusted, by reason, in this life. restored:
    where this life's saved state came from; damaged: damaged files among those set aside. problem: why the state or
    the counters cannot be saved, "" if they can.
    """

    chronicle: Chronicle
    set_aside: Mapping[str, int]
    restored: Restored
    damaged: int
    problem: str


class Keeper:
    """One for the life of the process.

    state, counters: where the ports and the chronicle are kept; None: nowhere. state_interval: seconds between two
    saves of the state; counters_interval: until the counters are looked at, if nothing happens before. max_age: seconds
    after which a saved state is not trusted.
    """

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        book: FlapBook,
        *,
        state: KeptDocument | None,
        counters: KeptDocument | None,
        state_interval: float,
        counters_interval: float,
        max_age: float,
        calendar: Calendar,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._book = book
        self._calendar = calendar
        self._state = _Copy("the state of the ports", state, state_interval)
        self._counters = _Copy("the counters", counters, counters_interval)
        self._refresh = min(_DAY_SECONDS, max_age / 4)
        # What was before this life, and what this life's files came to.
        self._before = self._counters.mark = Chronicle()
        self._files = Chronicle()
        self._set_aside: Counter[str] = Counter()
        self._damaged = 0
        self._restored = Restored.NONE
        # The last full sync that has been seen, and the last one after which the state was saved.
        self._synced_at: float | None = None

    def statistics(self) -> KeeperStatistics:
        """A snapshot."""
        return KeeperStatistics(
            chronicle=self.chronicle(),
            set_aside=dict(self._set_aside),
            restored=self._restored,
            damaged=self._damaged,
            problem="; ".join(filter(None, (self._state.problem, self._counters.problem))),
        )

    def chronicle(self) -> Chronicle:
        """The counters up to now."""
        return self._before.then(self._files).then(_of_this_life(self._writer.sync.generation.initial, self._calendar))

    def count_damage(self, files: int, flaw: Flaw = Flaw.CORRUPT) -> None:
        """So many damaged files were found and set aside."""
        if files:
            self._set_aside[str(flaw)] += files
            at = self._calendar.unix(trio.current_time())
            self._files = self._files.then(Chronicle(corruptions_detected=files, last_corruption=at))

    # ---- before anything else

    async def restore(self) -> None:
        """Read what the last process left, and tell the others. Nothing that is wrong with it is an error."""
        self._calendar.follow()
        with trio.move_on_after(_LOAD_SECONDS) as loading:
            await self._restore_counters()
            await self._restore_state()
        if loading.cancelled_caught:
            log.warning("what the last process has left could not be read in time: going on without it")
            if not self._counters.loaded:
                # They would be saved as if they had been 0.
                self._counters.kept, self._counters.problem = None, _NO_ANSWER

    async def _restore_counters(self) -> None:
        loaded = await self._load(self._counters)
        if loaded.content is not None:
            try:
                self._before = Chronicle.of(loaded.content)
            except DecodeError as problem:
                log.warning("the saved counters mean nothing to this version: counting from 0", problem=str(problem))
        self._counters.mark = self._before

    async def _restore_state(self) -> None:
        now = trio.current_time()
        loaded = await self._load(self._state)
        self._damaged = sum(flaw.damage for flaw in loaded.set_aside)
        if loaded.content is None:
            return
        age = max(0.0, self._calendar.unix(now) - loaded.saved_at)
        try:
            saved = from_content(loaded.content, age=age, trusted=loaded.trusted)
        except DecodeError as problem:
            log.warning("the saved state means nothing to this version: going on without it", problem=str(problem))
            return
        self._restored = Restored.BACKUP if loaded.backup else Restored.FILE
        if loaded.backup:
            self._files = self._files.then(Chronicle(state_recoveries=1, last_state_recovery=self._calendar.unix(now)))
        self._writer.sync.restore(saved)
        if saved.trusted:
            self._reader.restore({port.ifindex: name for name, port in saved.ports.items() if port.ifindex})
        self._book.restore({name: port.penalty for name, port in saved.ports.items() if port.penalty}, age, now)
        log.info(
            "restored the state of the ports",
            source=str(self._restored),
            ports=len(saved.ports),
            age_seconds=round(age, 1),
            same_boot=saved.trusted,
        )

    async def _load(self, copy: "_Copy") -> Loaded:
        loaded = Loaded() if copy.kept is None else await copy.kept.load()
        copy.loaded = True
        self._set_aside.update(str(flaw) for flaw in loaded.set_aside if not flaw.damage)
        for flaw in loaded.set_aside:
            if flaw.damage:
                self.count_damage(1, flaw)
        return loaded

    # ---- from then on

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Save what has changed, in time, until cancelled."""
        task_status.started()
        while True:
            milestone = self._writer.milestone
            await self._save_if_due()
            with trio.move_on_at(min(self._state.wake_at, self._counters.wake_at)):
                await milestone.wait()

    async def finish(self) -> None:
        """The daemon was told to stop, and everything is written: save it all, changed or not."""
        for copy in (self._state, self._counters):
            copy.attempted_at, copy.mark = -inf, None
        await self._save_if_due()

    async def _save_if_due(self) -> None:
        self._calendar.follow()
        # Before the first sync there is nothing better to keep than what there was.
        if self._writer.first_sync.is_set():
            synced_at = self._writer.certified_sync_at
            pause = _SYNC_PAUSE_SECONDS if synced_at != self._synced_at else None
            if await self._save(self._state, self._mark(), self._collect, pause):
                self._synced_at = synced_at
        # They rarely change, and a crash may follow what changes them.
        await self._save(self._counters, self.chronicle(), self._collect_chronicle, 0.0)

    def _mark(self) -> object:
        """Stands for what there is to save: as long as it is the same, so is that."""
        # The moment of saving is part of it, and is another one when the clock on the wall was set.
        day = trio.current_time() // self._refresh
        return self._writer.sync.revision, self._book.revision, day, self._calendar.unix(0.0)

    async def _save(
        self, copy: "_Copy", mark: object, collect: Callable[[], Awaitable[Mapping[str, Any]]], pause: float | None
    ) -> bool:
        """Save it if that is due. mark: stands for what there is to save. pause: seconds since the last time, if not the
        usual ones. False: it was not saved."""
        now = trio.current_time()
        if copy.kept is None or mark == copy.mark or now < copy.due_at(pause):
            copy.wait(now, pause, changed=mark != copy.mark)
            return False
        copy.attempted_at = now
        try:
            with trio.fail_after(_SAVE_SECONDS):
                kept = await copy.kept.save(await collect())
        except (FileError, trio.TooSlowError) as error:
            problem = str(error) or _NO_ANSWER
            if copy.problem != problem:
                log.warning("cannot be saved; a restart will know less", what=copy.name, problem=problem)
            copy.problem = problem
        else:
            if copy.problem:
                log.info("can be saved again", what=copy.name)
            copy.problem, copy.mark = "", mark
            if copy is self._state:
                made = Chronicle(backups_created=kept.backups_created, backups_cleaned=kept.backups_cleaned)
                self._files = self._files.then(made)
            took = round(1000 * (trio.current_time() - now), 1)
            log.debug("saved", what=copy.name, bytes=kept.size, milliseconds=took)
        copy.wake_at = copy.due_at(None)
        return not copy.problem

    async def _collect(self) -> Mapping[str, Any]:
        """The state of the ports; each as of one moment, though not all of the same."""
        sync = self._writer.sync
        penalties = {name: round(left, 3) for name, left in self._book.penalties(trio.current_time()).items()}
        saved: dict[str, SavedPort] = {}
        rows = sync.save(penalties)
        while some := dict(islice(rows, _PORTS_IN_A_SLICE)):
            saved |= some
            await trio.lowlevel.checkpoint()
        now = trio.current_time()
        return to_content(saved, {port.name: now - port.since for port in sync.awaited()})

    async def _collect_chronicle(self) -> Mapping[str, Any]:
        return asdict(self.chronicle())


class _Copy:
    """One kept document and when it is saved.

    mark: stands for what was saved last. loaded: what there was has been read. problem: why it cannot be saved, "" if it
    can. attempted_at, wake_at: when it was last tried, and when it is looked at again (monotonic seconds).
    """

    def __init__(self, name: str, kept: KeptDocument | None, interval: float) -> None:
        self.name = name
        self.kept = kept
        self.mark: Any = None
        self.loaded = False
        self.problem = ""
        self.attempted_at = -inf
        self.wake_at = inf
        self._interval = interval

    def due_at(self, pause: float | None) -> float:
        """When it may be tried again. pause: seconds since the last time, if not the usual ones."""
        usual = self._interval if pause is None else pause
        return self.attempted_at + (_RETRY_SECONDS if self.problem else usual)

    def wait(self, now: float, pause: float | None, *, changed: bool) -> None:
        """Nothing is to be saved now."""
        if self.kept is not None:
            self.wake_at = self.due_at(pause) if changed else now + self._interval


def _of_this_life(initial: InitialSync, calendar: Calendar) -> Chronicle:
    """What this process' start came to."""
    began, eoiu = initial.began, initial.updated
    return Chronicle(
        warm_restarts=int(began is not None and initial.warm),
        cold_starts=int(began is not None and not initial.warm),
        eoiu_detected=int(eoiu is not None),
        eoiu_timeouts=int(initial.phase is Phase.TIMED_OUT),
        last_warm_restart=calendar.unix(began) if began is not None and initial.warm else None,
        last_eoiu=None if eoiu is None else calendar.unix(eoiu),
    )
