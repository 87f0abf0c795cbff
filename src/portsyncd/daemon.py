"""The life of a daemon: from start to end, signals, exit codes.

::

    Daemon.serve
    ├── signals     TERM, INT: drain and leave; HUP: read configuration and certificates again; USR1: release PortInitDone;
    │               USR2: compare Redis with the kernel
    └── supervisor  of the services, see ``assembly``
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext
from math import inf
from pathlib import Path

import trio

from portsyncd import __version__, logs
from portsyncd.analytics.history import History
from portsyncd.assembly import Services, feed_every
from portsyncd.backends.base import ServiceManager
from portsyncd.backends.inherited import give_up
from portsyncd.backends.systemd import Systemd
from portsyncd.config import Config
from portsyncd.errors import EXIT_OK, ConfigError, PortsyncdError
from portsyncd.services.notifier import Notifier
from portsyncd.world import Machine, World

log = logs.get_logger()

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_DRAIN_SECONDS = 1.0
# Certificates are read in far less; nobody reads them while the endpoint is closed.
_RELOAD_SECONDS = 2.0
_FINISH_SECONDS = 1.0
_SWITCH_SECONDS = 0.0002
# Why it stops, as the service manager hears it.
_TOLD = "told to"


class Daemon:
    """One daemon with its services, on a world."""

    def __init__(self, config: Config, world: World) -> None:
        self.services = Services(config, world, self.leave if config.daemon.exit_to_restart else None)
        # Why it ends by itself, and what waits for somebody to end it.
        self._reason: PortsyncdError | None = None
        self._told_to_stop = False
        self._listening = trio.CancelScope()

    # ---- from start to end

    async def serve(self, signals: AsyncIterator[int], reload: Callable[[], Config]) -> None:
        """Run until one of the signals, or ``leave``, ends it. Raises what ended it, if that is an error."""
        await self.services.keeper.restore()
        try:
            await self._serve(signals, reload)
        except BaseExceptionGroup as group:
            # A cancellation may be in it beside the errors, and alone is nothing to tell.
            errors = group.subgroup(Exception)
            if errors is not None:
                self._tell_of_the_end(str(_first(errors)))
            raise
        if self._reason is not None:
            raise self._reason
        log.info("stopped")

    async def _serve(self, signals: AsyncIterator[int], reload: Callable[[], Config]) -> None:
        async with trio.open_nursery() as nursery:
            heeded: dict[signal.Signals, Callable[[], object]] = {
                signal.SIGHUP: lambda: nursery.start_soon(self.reload, reload),
                signal.SIGUSR1: self.services.writer.release,
                signal.SIGUSR2: self.services.guardian.request_reconcile,
            }
            nursery.start_soon(self.services.supervisor.run)
            with self._listening:
                number = await _wait_for(_STOPPING, signals, heeded)
                self._told_to_stop = True
                log.info("stopping", signal=signal.Signals(number).name)
            self._tell_of_the_end(_TOLD if self._reason is None else str(self._reason))
            async with trio.open_nursery() as stopping:
                stopping.start_soon(self._hurry_on, signals, stopping.cancel_scope)
                await self.drain()
                await self.finish()
                stopping.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    def _tell_of_the_end(self, why: str) -> None:
        if self.services.notifier is not None:
            self.services.notifier.stop(why)

    async def reload(self, read: Callable[[], Config]) -> None:
        """Read the configuration and the certificates again, and wait within bounds until these are in force. read: the
        configuration."""
        with nullcontext() if self.services.notifier is None else self.services.notifier.reloading():
            over = None if self.services.web is None else self.services.web.credentials.request_reload()
            _read_again(read)
            if over is not None:
                with trio.move_on_after(_RELOAD_SECONDS):
                    await over.wait()

    def leave(self, reason: PortsyncdError) -> None:
        """End in good order, so that the service manager starts the daemon anew. Who is being stopped goes on stopping."""
        if self._told_to_stop:
            return
        log.error("the daemon ends", reason=str(reason))
        self._reason = reason
        self._listening.cancel()

    async def _hurry_on(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        """Leave at once when told to stop for the second time."""
        while True:
            await _wait_for(_STOPPING, signals, {})
            if self._told_to_stop:
                log.warning("told to stop twice: leaving at once")
                scope.cancel()
            self._told_to_stop = True

    async def drain(self) -> None:
        """Let what has been heard reach Redis, within bounds; then it is safe to cancel everything."""
        if not self.services.writer.statistics().connected:
            return
        with trio.move_on_after(_DRAIN_SECONDS) as draining:
            await self.services.writer.drained()
        if draining.cancelled_caught:
            log.warning("left before everything was written; the next start compares everything")

    async def finish(self) -> None:
        """Leave the next process what it has to know, within bounds."""
        with trio.move_on_after(_FINISH_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.services.keeper.finish)
                if self.services.recorder is not None:
                    nursery.start_soon(self.services.recorder.finish)


async def serve(config: Config, reload: Callable[[], Config], manager: ServiceManager | None = None) -> None:
    """Run until told to stop; returns then. reload: reads the configuration anew, for SIGHUP. manager: of the service."""
    with trio.open_signal_receiver(*_STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2) as signals:
        log.info("portsyncd starts", version=__version__)
        if not config.daemon.enabled:
            await _idle(config, signals, reload, manager)
            return
        await Daemon(config, Machine(config, manager)).serve(signals, reload)


async def _idle(
    config: Config, signals: AsyncIterator[int], reload: Callable[[], Config], manager: ServiceManager | None
) -> None:
    """Do nothing until told to stop, as a service that is well."""
    log.warning("daemon.enabled is false: idle until told to stop")
    if manager is not None:
        give_up(manager)
    if manager is None or not manager.listens:
        await _wait_for(_STOPPING, signals, {signal.SIGHUP: lambda: _read_again(reload)})
        return
    ready = trio.Event()
    ready.set()
    notifier = Notifier(
        manager,
        feed_every=feed_every(config),
        max_stall=inf,
        ready=ready,
        stood=lambda: 0.0,
        line=lambda: "idle: daemon.enabled is false",
    )

    def read() -> None:
        with notifier.reloading():
            _read_again(reload)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.run)
        await _wait_for(_STOPPING, signals, {signal.SIGHUP: read})
        notifier.stop(_TOLD)
        nursery.cancel_scope.cancel()


async def _wait_for(
    wanted: tuple[signal.Signals, ...],
    signals: AsyncIterator[int],
    heeded: Mapping[signal.Signals, Callable[[], object]],
) -> int:
    """Wait for one of these signals, heeding the others."""
    async for number in signals:
        if number in wanted:
            return number
        action = heeded.get(signal.Signals(number))
        if action is not None:
            action()
    raise AssertionError("a signal receiver does not end")


def _read_again(read: Callable[[], Config]) -> None:
    """What can change of the configuration at run time is the log's level; what is wrong changes nothing."""
    try:
        config = read()
    except ConfigError as problem:
        log.error("the configuration is wrong, the old one stays in force", problems=list(problem.problems))
        return
    except Exception as problem:  # A reload must not end what works, whatever it was.
        log.error("the configuration cannot be read, the old one stays in force", exc_info=problem)
        return
    logs.set_level(config.daemon.log_level)
    log.info("configuration read again", log_level=config.daemon.log_level)


def read_history(folder: Path, since: float, until: float) -> History:
    """What a daemon has kept in ``folder`` (metrics.storage_path) of the time from ``since`` to ``until`` (Unix seconds),
    whether or not one runs. Raises ``FileError``."""
    from portsyncd.backends import history

    return history.read_history(folder, since, until)


def main(config: Config, *, reload: Callable[[], Config]) -> int:
    """Run the daemon to its end; returns the exit code. Raises ``PortsyncdError``, each with its exit code."""
    # A worker thread that computes (imports, certificates) gives the interpreter back after this long when the event
    # loop wants it; Python's own 5 ms would be paid at each system call of a link event's way.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Before Trio opens descriptors of its own, should the numbers that were passed be wrong.
    manager = Systemd.from_environment(os.environ, os.getpid())
    try:
        trio.run(serve, config, reload, manager, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    return EXIT_OK


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that stands for a group: one of ours where there is one, since it says what to do."""
    ours = group.subgroup(PortsyncdError)
    leaf: BaseException = ours or group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
