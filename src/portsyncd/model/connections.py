"""Connections: when one is given up, and when one that was lost counts as healed.

A peer that has gone without a word (its machine lost power, its packets are dropped) is told from one that has nothing to
say by asking: whoever looks after a connection probes it, and what waits too long for a reply is broken off. A busy
connection answers one request after another, and none of them waits for long.
"""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of a connection, or of a session that has several. All moments are monotonic seconds.

    connected: it is usable. waiting_since: since when its oldest request has waited for the reply, None: none does; also
    while it is being opened. probed_at: when a probe of the present one was last answered, None: not yet. losses: how
    many have been lost since the process began; last_loss: why, the last of them.
    """

    connected: bool
    waiting_since: float | None = None
    probed_at: float | None = None
    losses: int = 0
    last_loss: str = ""


class Break(NamedTuple):
    """Give the connection up. why: a sentence for the operator."""

    why: str


class Rebuilt(NamedTuple):
    """A connection was lost, and the one after it has answered a probe. why: the former was lost, the last of them if
    several were."""

    why: str


class ConnectionWatch:
    """The judge of one connection over all its lives. name: for the operator; timeout: seconds that a request may wait."""

    def __init__(self, name: str, timeout: float) -> None:
        self._name = name
        self._timeout = timeout
        self._losses = 0
        # Why the last one was lost, until its successor has answered a probe.
        self._lost: str | None = None

    def judge(self, seen: Connection, now: float) -> Break | Rebuilt | None:
        """What is to be done, or to be told, at ``now``; to be called again and again."""
        if seen.losses != self._losses:
            self._losses, self._lost = seen.losses, seen.last_loss
        if seen.waiting_since is not None and now - seen.waiting_since >= self._timeout:
            return Break(f"{self._name} has not answered for {now - seen.waiting_since:.1f} s")
        if self._lost is None or not seen.connected or seen.probed_at is None:
            return None
        why, self._lost = self._lost, None
        return Rebuilt(why)
