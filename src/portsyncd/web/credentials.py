"""Certificate, key and CA as they are in force, and how new ones take their place while connections go on."""

import ssl
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime

import trio

from portsyncd.errors import ConfigError
from portsyncd.logs import get_logger
from portsyncd.model.rounds import next_round
from portsyncd.tls.files import Files, Material
from portsyncd.tls.profile import server_context
from portsyncd.web.host import Host

log = get_logger()

APPLIED, REFUSED = "applied", "refused"
LOOK_SECONDS = 1.0


class Credentials:
    """What new connections are served with. Those under way keep what they began with.

    Made from what the files hold: raises ``ConfigError`` with all that is wrong with them. now: the time of day, for the
    dates in certificates. look_seconds: between two looks at the files.
    """

    def __init__(
        self, files: Files, now: Callable[[], datetime], host: Host, *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._files = files
        self._host = host
        self._now = now
        self._look_seconds = look_seconds
        # Before they are read: what changes meanwhile is noticed at the next look.
        self._seen: Hashable = host.signature(files)
        self._tried = self._seen
        self.material: Material = host.read(files)
        self.context: ssl.SSLContext = server_context(self.material)
        self._reloads: Counter[str] = Counter({APPLIED: 0, REFUSED: 0})
        # A set that is refused for its dates alone.
        self._early: Material | None = None
        self._wanted = trio.Event()
        # Set when the next reading of the files is over.
        self._read_again = trio.Event()

    @property
    def reloads(self) -> Mapping[str, int]:
        """How often new files were taken, and how often refused."""
        return self._reloads

    def date_problems(self) -> list[str]:
        """What is wrong with the certificates' dates now."""
        return self.material.date_problems(self._now())

    def request_reload(self) -> trio.Event:
        """Read the files again whether they have changed or not; for SIGHUP. Returns what is set once they have been taken,
        or refused; nobody reads them while the endpoint is closed."""
        self._tried = ()
        self._wanted.set()
        return self._read_again

    async def refresh(self) -> None:
        """Read the files if they have changed since they were last tried: for a server that begins to listen after a time
        in which nobody watched."""
        seen = await self._host.compute(self._host.signature, self._files)
        if seen != self._tried:
            self._seen = self._tried = seen
            await self._reload()
        await self._try_early()

    async def watch(self, on_new_ca: Callable[[], object]) -> None:
        """Follow the files for ever: a new set is taken once it has been left alone from one look to the next.

        on_new_ca: called when other CAs are trusted from now on.
        """
        while True:
            trusted = self.material.ca
            with trio.move_on_at(next_round(trio.current_time(), self._look_seconds)):
                await self._wanted.wait()
            forced, self._wanted = self._wanted.is_set(), trio.Event()
            seen = await self._host.compute(self._host.signature, self._files)
            settled, self._seen = seen == self._seen, seen
            if seen != self._tried and (settled or forced):
                self._tried = seen
                await self._reload()
            await self._try_early()
            if self.material.ca != trusted:
                on_new_ca()

    async def _reload(self) -> None:
        # Who asks from here on wants another reading.
        over, self._read_again = self._read_again, trio.Event()
        self._early = None
        try:
            material = await self._host.compute(self._host.read, self._files)
            problems = material.date_problems(self._now())
            if problems:
                # The clock may be what is wrong: NTP has not set it yet, or the set is for the next hour.
                self._early = material
                raise ConfigError([*problems, "they are taken when their time has come"])  # noqa: TRY301 - one way to refuse
            await self._take(material)
        except ConfigError as problem:
            self._reloads[REFUSED] += 1
            log.error("new certificates are refused, the old ones stay in force", problems=list(problem.problems))
        over.set()

    async def _try_early(self) -> None:
        """Take a set that was refused for its dates alone, once these are right."""
        early = self._early
        if early is not None and not early.date_problems(self._now()):
            self._early = None
            await self._take(early)

    async def _take(self, material: Material) -> None:
        context = await self._host.compute(server_context, material)
        self.material, self.context = material, context
        self._reloads[APPLIED] += 1
        log.info("new certificates are in force", subject=material.server[0].subject)
