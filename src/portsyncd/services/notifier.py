"""Tells the service manager how it stands with the daemon: ready, reloading, stopping, its state in one line, and that
systemd's watchdog need not bite. What is due is decided by ``model.service_state``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import trio

from portsyncd.backends.base import ServiceManager
from portsyncd.logs import get_logger
from portsyncd.model.service_state import Seen, Terms, Told, due

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
        wanted = manager.watchdog
        if feed_every is not None and wanted is not None:
            # What comes just in time comes too late on a machine that is busy.
            feed_every = min(feed_every, wanted / 2)
        self._manager = manager
        self._terms = Terms(feed_every, max_stall)
        self._look_seconds = min(LOOK_SECONDS, feed_every or LOOK_SECONDS)
        self._ready = ready
        self._stood = stood
        self._line = line
        self._told = Told()
        self._starves = self._stopping = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell what is due until cancelled."""
        if self._terms.feed_every is None and self._manager.watchdog is not None:
            self._manager.notify(WATCHDOG_USEC=0)
        task_status.started()
        while True:
            self._tell()
            with trio.move_on_after(self._look_seconds):
                await (trio.sleep_forever if self._ready.is_set() else self._ready.wait)()

    def _tell(self) -> None:
        if self._stopping:
            return
        seen = Seen(self._ready.is_set(), self._stood(), self._line())
        fields, told = due(self._terms, self._told, seen, trio.current_time())
        # What could not be sent is due again at the next look.
        if fields and self._manager.notify(**fields):
            self._told = told
        self._tell_operator(seen.stood)

    def _tell_operator(self, stood: float) -> None:
        starves = self._terms.feed_every is not None and stood >= self._terms.max_stall
        if starves and not self._starves:
            log.error("events do not move: systemd's watchdog is not fed any more", seconds=round(stood, 1))
        elif self._starves and not starves:
            log.warning("events move again: systemd's watchdog is fed")
        self._starves = starves

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """While this is open, the manager knows that the configuration is read again. Nothing is said before the first READY=1,
        and nothing more once the daemon stops."""
        if self._told.ready and not self._stopping:
            self._manager.notify(RELOADING=1, MONOTONIC_USEC=self._manager.monotonic_usec())
        try:
            yield
        finally:
            if self._told.ready and not self._stopping:
                # Where that cannot be sent, it is due at the next look.
                self._told = replace(self._told, ready=self._manager.notify(READY=1))

    def stop(self, why: str) -> None:
        """The daemon is about to end."""
        self._stopping = True
        self._manager.notify(STOPPING=1, STATUS=f"stopping: {why}")
