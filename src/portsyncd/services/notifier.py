"""Tells the service manager how it stands with the daemon: ready, reloading, stopping, its state in one line, and that
systemd's watchdog need not bite. What is due is decided by ``model.service_state``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import trio

from portsyncd.backends.base import ServiceManager
from portsyncd.logs import Announcer, get_logger
from portsyncd.model.rounds import next_round
from portsyncd.model.service_state import Seen, Terms, Told, due
from portsyncd.model.words import cut

log = get_logger()

LOOK_SECONDS: Final = 1.0


class Notifier:
    """One for the life of the process; ``run`` is called anew after a failure, and what was told is not told again.

    feed_every: seconds from one WATCHDOG=1 to the next, and less where the manager wants more; None: the manager is asked
    to do without its watchdog. max_stall: as in ``model.service_state.Terms``. ready: set once the first sync is over.
    stood: for how many seconds events have not moved. line: the state of the daemon.
    """

    def __init__(
        self,
        manager: ServiceManager,
        *,
        feed_every: float | None,
        max_stall: float,
        ready: trio.Event,
        stood: Callable[[], float],
        line: Callable[[], str],
    ) -> None:
        if feed_every is not None and manager.watchdog is not None:
            # What comes just in time comes too late on a machine that is busy.
            feed_every = min(feed_every, manager.watchdog / 2)
        self._manager = manager
        self._terms = Terms(feed_every, min(LOOK_SECONDS, feed_every or LOOK_SECONDS), max_stall)
        # Nobody has to be told to do without what it does not have.
        self._told = Told(unwatched=manager.watchdog is None)
        self._ready = ready
        self._stood = stood
        self._line = line
        self._announced = Announcer()
        self._reloads = 0
        self._stopping = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell what is due until cancelled."""
        task_status.started()
        while True:
            self._tell()
            with trio.move_on_at(next_round(trio.current_time(), self._terms.look_every)):
                await (trio.sleep_forever if self._ready.is_set() else self._ready.wait)()

    def _tell(self) -> None:
        if self._stopping:
            return
        seen = Seen(self._ready.is_set(), self._stood(), self._state())
        fields, told = due(self._terms, self._told, seen, trio.current_time())
        # What could not be sent is due again at the next look.
        if fields and self._manager.notify(**fields):
            self._told = told
        starves = self._terms.feed_every is not None and seen.stood >= self._terms.max_stall
        if self._announced.changed("starves", starves or None):
            if starves:
                log.error("events do not move: systemd's watchdog is not fed any more", seconds=round(seen.stood, 1))
            else:
                log.warning("events move again: systemd's watchdog is fed")

    def _state(self) -> str:
        """Whatever is wrong with the line, the watchdog is fed."""
        try:
            line = self._line()
        except Exception as problem:
            if self._announced.changed("line", repr(problem)):
                log.error("the state of the daemon cannot be told to the service manager", exc_info=problem)
            return cut(f"state unknown: {problem!r}")
        self._announced.changed("line", None)
        return line

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """While this is open, the manager knows that the configuration is read again. Nothing is said before the first READY=1,
        and nothing more once the daemon stops."""
        self._reloads += 1
        if self._reloads == 1:
            self._tell_reload(RELOADING=1, MONOTONIC_USEC=self._manager.monotonic_usec())
        try:
            yield
        finally:
            self._reloads -= 1
            if not self._reloads and not self._tell_reload(READY=1):
                # It is due at the next look.
                self._told = replace(self._told, ready=False)

    def _tell_reload(self, **fields: int) -> bool:
        return not self._told.ready or self._stopping or self._manager.notify(**fields)

    def stop(self, why: str) -> None:
        """The daemon is about to end."""
        self._stopping = True
        self._manager.notify(STOPPING=1, STATUS=cut(f"stopping: {why}"))
