"""When a failed service is started again, how long that waits, and when the daemon gives up instead.

The rules, in the order in which ``decide`` asks them:

1. A failure that only the operator can mend (no permission, wrong configuration) of an essential service is passed
   on: starting again cannot help. A service that is not essential is tried again all the same, since the operator may
   mend it while the daemon runs.
2. The budget is ``budget`` restarts within any ``window`` seconds. A failure beyond it ends the daemon only if the
   service is essential and a manager restarts this daemon alone (``exit_to_restart``): in SONiC's container any exit
   restarts everything. Otherwise the service is started again at the longest delay, ``delay_cap``, and counts as
   unhealthy (``Restart.spent``).
3. Within the budget the delay is exponential with full jitter: anything from 0 up to a bound that begins at
   ``first_delay`` and grows by ``factor`` per failure as far as ``delay_cap``. A service that had been up for
   ``healthy_after`` seconds begins anew; the budget forgets by its window only.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How patient the supervisor is. All but ``factor`` and ``budget`` are seconds.

    The defaults use up the budget even for a service that hangs in every start: 10 start-ups of 15 s and their longest
    delays (27 s together) fit into the window.

    Raises ``ValueError`` for values that contradict each other; they are the programmer's, not the operator's.
    """

    first_delay: float = 0.1
    factor: float = 2.0
    delay_cap: float = 5.0
    budget: int = 10
    window: float = 300.0
    healthy_after: float = 30.0
    start_deadline: float = 15.0

    def __post_init__(self) -> None:
        delays_hold = 0 < self.first_delay <= self.delay_cap < inf and self.factor >= 1
        spans_hold = min(self.window, self.healthy_after, self.start_deadline) > 0
        if not (delays_hold and spans_hold and self.budget >= 1):
            raise ValueError(f"contradictory restart policy: {self}")


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of one service's failures.

    bound: the longest that the last delay could have been, in seconds; 0 before the first failure.
    restarts: when the last restarts were decided, oldest first, at most ``RestartPolicy.budget`` of them.
    """

    bound: float = 0.0
    restarts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """How an incarnation ended.

    text: one line for the operator.
    permanent: only the operator can mend it.
    ran_for: seconds from when it said that it had started; 0 if it never did.
    """

    text: str
    permanent: bool = False
    ran_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the service again ``after`` seconds; hand ``history`` in at its next failure.

    spent: the budget is used up; the service counts as unhealthy until it has run for ``healthy_after`` seconds.
    """

    after: float
    history: History
    spent: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the daemon, so that its manager starts it anew. ``reason`` goes after the service's name."""

    reason: str


@dataclass(frozen=True, slots=True)
class PassOn:
    """End the daemon with the failure's own error, which says what the operator does."""


Decision = Restart | GiveUp | PassOn


def decide(
    policy: RestartPolicy,
    history: History,
    failure: Failure,
    now: float,
    jitter: float,
    *,
    essential: bool,
    exit_to_restart: bool,
) -> Decision:
    """What follows from ``failure`` at ``now`` (seconds on any clock that never goes back); ``jitter`` is in [0, 1)."""
    if failure.permanent and essential:
        return PassOn()
    recent = tuple(at for at in history.restarts if now - at < policy.window)
    spent = len(recent) >= policy.budget
    if spent and essential and exit_to_restart:
        return GiveUp(f"failed {len(recent) + 1} times within {policy.window:g} s, the last time: {failure.text}")
    previous = 0.0 if failure.ran_for >= policy.healthy_after else history.bound
    bound = min(policy.delay_cap, max(policy.first_delay, previous * policy.factor))
    return Restart(
        after=policy.delay_cap if spent else jitter * bound,
        history=History(bound, (*recent, now)[-policy.budget :]),
        spent=spent,
    )
