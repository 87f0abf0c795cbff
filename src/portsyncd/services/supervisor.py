"""Keeps services running: starts them, and starts each one that fails anew while the others go on.

What follows from a failure is decided by ``model.restart``; here it is carried out. A service has failed when it
raises, when it returns (it should run for ever), when it does not start in time, and when ``cancel_child`` ended it.
``trio.Cancelled`` is never a failure.
"""

import random as _random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Final, Protocol

import trio

from portsyncd.errors import EXIT_CONFIG, EXIT_NO_PERMISSION, BudgetExhaustedError, PortsyncdError
from portsyncd.logs import Logger, get_logger
from portsyncd.model.restart import Decision, Failure, GiveUp, History, PassOn, Restart, RestartPolicy, decide

_PERMANENT: Final = (EXIT_NO_PERMISSION, EXIT_CONFIG)


class Run(Protocol):
    """One life of a service: builds what it needs, calls ``task_status.started()`` once that is up, runs for ever."""

    async def __call__(self, *, task_status: trio.TaskStatus[None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Child:
    """A service to keep running.

    run: called anew for every incarnation, so that none inherits what the last one left.
    essential: without it there is no port sync. It gates ``Supervisor.run``'s ``started()``, and only it can end the
        daemon.
    start_deadline: seconds that a start-up may take, where the policy's do not fit: ``math.inf`` for a service whose
        start waits for something that may rightly be away.
    """

    name: str
    run: Run
    essential: bool
    start_deadline: float | None = None


class ChildState(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildStatistics:
    """What is known of one child.

    name: as in ``Child``.
    essential: as in ``Child``.
    state: starting (called, has not said that it is up), running, waiting (for its next start), stopped (before and
        after the supervisor's run).
    since: when it came into this state, in seconds of ``trio.current_time()``; 0 before the first start.
    restarts: how often it has been started again.
    last_failure: why its last incarnation ended, in one line; None if none ever did.
    next_start: when the next start is due, on the clock of ``since``; None unless it is waiting.
    unhealthy: it failed beyond its budget and has not run long enough since to be trusted again.
    """

    name: str
    essential: bool
    state: ChildState = ChildState.STOPPED
    since: float = 0.0
    restarts: int = 0
    last_failure: str | None = None
    next_start: float | None = None
    unhealthy: bool = False


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """What is known of all children.

    children: one entry each, in the order of their start.
    """

    children: tuple[ChildStatistics, ...]


class _EndedError(PortsyncdError):
    """An incarnation ended for a reason that it did not raise itself. Leaves this module as a cause only."""


class _Record:
    """A child, what is known of it, and its present incarnation."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.known = ChildStatistics(child.name, child.essential)
        self.begun = trio.Event()
        self.started = trio.Event()
        self.scope: trio.CancelScope | None = None
        self.cancel_reason: str | None = None
        self.started_at = inf

    def begin(self) -> None:
        """Enter a new incarnation."""
        self.cancel_reason = None
        self.started_at = inf
        self.enter(ChildState.STARTING)

    def enter(self, state: ChildState, next_start: float | None = None) -> None:
        self.known = replace(self.known, state=state, since=trio.current_time(), next_start=next_start)


class Supervisor:
    """Runs ``children`` by ``policy``; see ``run``.

    exit_to_restart: whether a service that is beyond its budget ends the daemon.
    random: returns a float in [0, 1), for the jitter.

    Raises ``ValueError`` if two children share a name.
    """

    def __init__(
        self,
        children: Sequence[Child],
        policy: RestartPolicy,
        *,
        exit_to_restart: bool,
        random: Callable[[], float] = _random.random,
        log: Logger | None = None,
    ) -> None:
        self._records = {child.name: _Record(child) for child in children}
        if len(self._records) != len(children):
            raise ValueError("two children share a name")
        self._policy = policy
        self._exit_to_restart = exit_to_restart
        self._random = random
        self._log = log or get_logger()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all children until cancelled; to be called once.

        They begin in their order: each has run as far as its first wait when the next one is called. ``started()`` is
        called once, when every essential child has said for the first time that it is up.

        Raises, within an exception group as every nursery does: ``BudgetExhaustedError`` when an essential child is
        beyond its budget and ``exit_to_restart`` is set; an essential child's error that only the operator can mend
        (``ConfigError``, ``NoPermissionError``); and whatever is not an ``Exception``.
        """
        async with trio.open_nursery() as nursery:
            for record in self._records.values():
                nursery.start_soon(self._keep, record, name=f"supervisor of {record.child.name}")
                await record.begun.wait()
            for record in self._records.values():
                if record.child.essential:
                    await record.started.wait()
            task_status.started()

    def cancel_child(self, name: str, reason: str) -> bool:
        """End a child's present incarnation; what follows is the same as after a failure with this reason.

        Returns False where there was nothing to end, since the child waits for its next start or has been stopped. Of
        several reasons given to one incarnation the first counts. Raises ``KeyError`` for an unknown name.
        """
        record = self._records[name]
        if record.scope is None:
            return False
        if record.cancel_reason is None:
            record.cancel_reason = reason
        record.scope.cancel(reason)
        return True

    def statistics(self) -> SupervisorStatistics:
        """The present state of every child."""
        return SupervisorStatistics(tuple(record.known for record in self._records.values()))

    async def _keep(self, record: _Record) -> None:
        """Run one child, incarnation after incarnation."""
        child = record.child
        history = History()
        try:
            while True:
                cause = await self._run_once(record)
                now = trio.current_time()
                permanent = [error for error in _leaves(cause) if _is_permanent(error)]
                # What never started has started_at == inf.
                failure = Failure(_describe(cause), bool(permanent), ran_for=max(0.0, now - record.started_at))
                decision = decide(
                    self._policy,
                    history,
                    failure,
                    now,
                    self._random(),
                    essential=child.essential,
                    exit_to_restart=self._exit_to_restart,
                )
                self._report(record, failure, decision, cause)
                record.known = replace(record.known, last_failure=failure.text)
                match decision:
                    case Restart(after, history, spent):
                        record.known = replace(record.known, unhealthy=spent)
                        record.enter(ChildState.WAITING, next_start=now + after)
                        await trio.sleep(after)
                        record.known = replace(record.known, restarts=record.known.restarts + 1)
                    case GiveUp(reason):
                        raise BudgetExhaustedError(f"{child.name} {reason}") from cause
                    case PassOn():
                        raise permanent[0]
        finally:
            record.enter(ChildState.STOPPED)

    async def _run_once(self, record: _Record) -> ExceptionGroup[Exception]:
        """Run one incarnation and return why it ended. Outer cancellation, and what is no ``Exception``, go up."""
        child = record.child
        record.begin()
        deadline = self._policy.start_deadline if child.start_deadline is None else child.start_deadline
        start_up = trio.move_on_after(deadline)
        raised: ExceptionGroup[Exception] | None = None
        try:
            with trio.CancelScope() as record.scope:
                try:
                    async with trio.open_nursery() as nursery:
                        with start_up:
                            await nursery.start(_run_for_ever, record, name=child.name)
                            self._note_started(record, nursery)
                except BaseExceptionGroup as group:
                    raised, rest = group.split(Exception)
                    if rest is not None:
                        raise rest from None
            # A nursery drops Cancelled where another exception was raised beside it.
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:  # Not to handle it: it goes up, and what the child raised beside it would be lost.
            if raised is not None:
                self._log.warning(
                    "service failed while it was stopped",
                    service=child.name,
                    error=_describe(raised),
                    exc_info=raised,
                )
            raise
        finally:
            record.scope = None
        causes: list[Exception] = []
        if record.cancel_reason is not None:
            causes.append(_EndedError(record.cancel_reason))
        elif start_up.cancel_called:
            causes.append(_EndedError(f"did not start within {deadline:g} s"))
        if raised is not None:
            causes.append(raised)
        return ExceptionGroup(f"why {child.name} ended", causes)

    def _note_started(self, record: _Record, nursery: trio.Nursery) -> None:
        record.enter(ChildState.RUNNING)
        record.started_at = record.known.since
        record.started.set()
        if record.known.unhealthy:
            nursery.start_soon(self._watch_recovery, record)
        elif record.known.restarts:
            self._report_recovery(record)

    async def _watch_recovery(self, record: _Record) -> None:
        """Believe in a child that was beyond its budget only after a while: it may be up for a second each time."""
        await trio.sleep(self._policy.healthy_after)
        record.known = replace(record.known, unhealthy=False)
        self._report_recovery(record)

    def _report_recovery(self, record: _Record) -> None:
        self._log.info("service runs again", service=record.child.name, restarts=record.known.restarts)

    def _report(self, record: _Record, failure: Failure, decision: Decision, cause: ExceptionGroup[Exception]) -> None:
        """Log a failure and what happens next; of a child that is known to fail again and again, only what is new."""
        match decision:
            case Restart(after, spent=False):
                log, follows = self._log.warning, f"starts again in {after:.2f} s"
            case Restart(after):
                old_news = record.known.unhealthy and failure.text == record.known.last_failure
                log = self._log.debug if old_news else self._log.error
                follows = f"unhealthy: beyond its restart budget, tried every {after:g} s"
            case _:
                log, follows = self._log.error, "the daemon ends"
        log("service failed", service=record.child.name, error=failure.text, follows=follows, exc_info=cause)


async def _run_for_ever(record: _Record, *, task_status: trio.TaskStatus[None]) -> None:
    record.begun.set()
    await record.child.run(task_status=task_status)
    raise _EndedError("returned although it should run for ever")


def _leaves(error: Exception) -> Iterator[Exception]:
    """The exceptions within a group, those within its groups too; else the exception itself."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_permanent(error: Exception) -> bool:
    return isinstance(error, PortsyncdError) and error.exit_code in _PERMANENT


def _describe(error: Exception) -> str:
    """One line for the operator. Our own errors are messages for the operator; of others the type says most."""
    phrases = []
    for leaf in _leaves(error):
        text = "; ".join(str(leaf).splitlines())
        if not isinstance(leaf, PortsyncdError):
            text = f"{type(leaf).__name__}: {text}" if text else type(leaf).__name__
        phrases.append(text)
    return "; ".join(phrases)
