"""What the guardian does about the machine it runs on: memory, disks, certificates, the clock on the wall.

As in ``services.healers``: ``check`` is called again and again, ``healed`` is told of what came right.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Final, Protocol

import trio

from portsyncd.analytics.growth import Growth
from portsyncd.errors import FileError, MemoryLimitError
from portsyncd.logs import get_logger
from portsyncd.model.disk import Space, hold_back
from portsyncd.model.healing import Kind
from portsyncd.model.health import EXPIRY_SECONDS
from portsyncd.model.memory import Ladder, Level, Limits, MemoryStatistics, Reading, megabytes, step
from portsyncd.services.healers import Healed, Look
from portsyncd.services.watches import Calendar

log = get_logger()

# What a process takes in its first minutes does not count as growth.
WARM_UP_SECONDS: Final = 600.0
RELOAD_SECONDS: Final = 3600.0
_DAY: Final = 86400.0


class Held(Protocol):
    """Who can write later; the recorder."""

    def hold_back(self, why: str) -> None:
        """Write nothing."""

    def go_on(self) -> None:
        """Write again."""


class MemoryKeeper:
    """Follows resident memory, and climbs the ladder of ``model.memory``.

    resident: bytes. trim: what gives memory back, called one after the other; empty: it is watched only. leave: ends the
    process, None where it may not end. now: when the process began (monotonic seconds).
    """

    def __init__(
        self,
        limits: Limits,
        resident: Callable[[], int],
        *,
        trim: Sequence[Callable[[], object]],
        leave: Callable[[MemoryLimitError], object] | None,
        healed: Healed,
        now: float,
    ) -> None:
        self._limits = limits
        self._resident = resident
        self._trim = trim
        self._leave = leave
        self._healed = healed
        self._counts_from = now + WARM_UP_SECONDS
        self._growth = Growth()
        self._ladder = Ladder()
        # Why memory was given back and how much there was then, until it is not too much any more.
        self._trimmed: tuple[str, int] | None = None
        self.statistics = MemoryStatistics(limit=limits.resident, growth_limit=limits.growth)

    async def check(self, look: Look) -> None:
        """Takes long where memory is given back, which is rare."""
        resident = self._resident()
        if look.now >= self._counts_from:
            self._growth.add(look.now, resident)
        level = self._ladder.level
        self._ladder, trims = step(
            self._ladder,
            Reading(resident, self._growth.per_hour, self._growth.base),
            self._limits,
            look.now,
            may_trim=bool(self._trim),
            may_leave=self._leave is not None,
        )
        self._note(resident)
        if self._ladder.level is not level:
            self._tell(resident)
        if trims:
            await self._give_back(resident)

    def _note(self, resident: int) -> None:
        self.statistics = MemoryStatistics(
            level=self._ladder.level,
            resident=resident,
            growth=self._growth.per_hour,
            limit=self._limits.resident,
            growth_limit=self._limits.growth,
            reason=self._ladder.reason,
        )

    def _tell(self, resident: int) -> None:
        """The level has changed."""
        reason = self._ladder.reason
        match self._ladder.level:
            case Level.FINE:
                log.info("memory is not too much any more", resident=megabytes(resident))
                if self._trimmed is not None:
                    why, before = self._trimmed
                    self._trimmed = None
                    self._healed(
                        Kind.MEMORY, f"memory given back, now {megabytes(resident)}; of {megabytes(before)}: {why}"
                    )
            case Level.TRIMMED:
                log.warning("memory is too much", reason=reason)
            case Level.HIGH:
                log.warning("memory is too much, and stays so", reason=reason)
            case Level.LEAVE if self._leave is not None:
                self._leave(MemoryLimitError(f"memory is beyond its limit, and nothing helped: {reason}"))

    async def _give_back(self, before: int) -> None:
        for trim in self._trim:
            try:
                trim()
            except Exception as problem:
                log.warning("memory could not be given back", exc_info=problem)
            await trio.lowlevel.checkpoint()
        after = self._resident()
        if self._trimmed is None:
            self._trimmed = (self._ladder.reason, before)
        log.warning(
            "gave memory back", before=megabytes(before), after=megabytes(after), limit=megabytes(self._limits.resident)
        )
        self._note(after)


class DiskKeeper:
    """Holds the history back where its disk is nearly full.

    look: the space on the disks, by what is kept there. recorder: None where nothing may be held back. timeout: seconds.
    free: bytes by what is kept there, as last seen. low: why the history is held back, "" while it is not.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Mapping[str, Space]]], recorder: Held | None, timeout: float, healed: Healed
    ) -> None:
        self._look = look
        self._recorder = recorder
        self._timeout = timeout
        self._healed = healed
        self.free: Mapping[str, int] = {}
        self.low = ""

    async def check(self) -> None:
        """Waits for the disks, within its deadline. Raises ``FileError`` where they do not answer."""
        with trio.move_on_after(self._timeout) as waiting:
            spaces = await self._look()
        if waiting.cancelled_caught:
            raise FileError(f"a disk has not said within {self._timeout:g} s how much is free")
        self.free = {what: space.free for what, space in spaces.items()}
        if self._recorder is None:
            return
        before, self.low = self.low, hold_back(spaces, self.low)
        if self.low and not before:
            self._recorder.hold_back(self.low)
            self._healed(Kind.DISK, self.low)
        elif before and not self.low:
            self._recorder.go_on()
            log.info("the history is written again", free=dict(self.free))


class CertificateKeeper:
    """Has certificates read again that are about to expire. expiries: Unix seconds by role. reload: asks for it."""

    def __init__(
        self,
        expiries: Callable[[], Mapping[str, float]],
        reload: Callable[[], object],
        calendar: Calendar,
        healed: Healed,
    ) -> None:
        self._expiries = expiries
        self._reload = reload
        self._calendar = calendar
        self._healed = healed
        # Those that were read again, with their expiry before; and when that may be done again.
        self._asked: dict[str, float] = {}
        self._again_at = -inf

    async def check(self, look: Look) -> None:
        """Where nothing has changed, they are read once in ``RELOAD_SECONDS``."""
        expiries, today = self._expiries(), self._calendar.unix(look.now)
        for role, before in list(self._asked.items()):
            after = expiries.get(role, before)
            if after > before:
                del self._asked[role]
                days = (after - before) / _DAY
                self._healed(
                    Kind.CERTIFICATES, f"the {role} certificate, about to expire, now lasts {days:.0f} days longer"
                )
        soon = {role: expiry for role, expiry in expiries.items() if expiry - today < EXPIRY_SECONDS}
        if soon and look.now >= self._again_at:
            self._again_at = look.now + RELOAD_SECONDS
            self._asked = soon
            log.info("certificates are about to expire: reading them again", roles=sorted(soon))
            self._reload()


class ClockKeeper:
    """Notices that the clock on the wall is set. Nothing follows from it: all else goes by the monotonic clock."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self.steps = 0
        self.last_step = 0.0

    async def check(self, _: Look) -> None:
        """Each step is told once."""
        step = self._calendar.follow()
        if step:
            self.steps += 1
            self.last_step = step
            log.notice("the clock on the wall was set", seconds=round(step, 3))
