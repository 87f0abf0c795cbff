"""What one client, and all of them together, may use up."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the metrics endpoint; times in seconds.

    handshakes: connections whose TLS handshake is under way, or whose client is still being told why it failed; one
    more ends another (``handshake_to_go``). handshake_seconds: what a handshake may take. connections: authenticated
    ones; one more ends another (``first_to_go``). requests: per connection, then it is closed after the answer.
    request_seconds: from a request's first byte to its answer's last. idle_seconds: between requests; longer than any
    sensible scrape interval. age_seconds: of a connection, after which an answer is its last: who comes back shows a
    certificate that is still good. send_seconds: for one piece of an answer to leave. close_seconds: for a farewell to leave.
    header_bytes: a request's line and headers.
    """

    handshakes: int = 64
    handshake_seconds: float = 5.0
    connections: int = 64
    requests: int = 1000
    request_seconds: float = 10.0
    idle_seconds: float = 120.0
    age_seconds: float = 3600.0
    send_seconds: float = 10.0
    close_seconds: float = 1.0
    header_bytes: int = 16384


class Stage(Enum):
    """Where a handshake stands. SILENT: the client has not said anything yet. COMPUTING: it is our turn, or will be when
    those before have had theirs. WAITING: it is the client's again. REFUSED: it is being told why."""

    SILENT = auto()
    COMPUTING = auto()
    WAITING = auto()
    REFUSED = auto()


class Candidate(NamedTuple):
    """A connection that may have to go. owner: whose it is; useful_at: when it was opened or last answered."""

    owner: str
    useful_at: float


def first_to_go(candidates: Iterable[tuple[Key, Candidate]]) -> Key:
    """Which of several connections (at least one) makes room for a new one.

    The owner who has most of them gives one; of these, the one that has been of no use for longest. So a client that
    opens many harms itself, and one that scrapes over a single kept connection keeps it.
    """
    listed = list(candidates)
    shares: dict[str, int] = {}
    for _, candidate in listed:
        shares[candidate.owner] = shares.get(candidate.owner, 0) + 1
    return min(listed, key=lambda entry: (-shares[entry[1].owner], entry[1].useful_at))[0]


def handshake_to_go(handshakes: Iterable[tuple[Key, Stage, Candidate]]) -> Key | None:
    """Which of several handshakes makes room for a new one; None where each of them waits for us.

    First one that has been refused already. Else one of the stage that most are at, since a flood stays at one: of
    clients that say nothing, or do not go on. So one that does as it should passes them by. Ended is what waits for its
    client only, or a client that is quick and we are slow would be ended for our slowness.
    """
    stages: dict[Stage, list[tuple[Key, Candidate]]] = {}
    for key, stage, candidate in handshakes:
        if stage is not Stage.COMPUTING:
            stages.setdefault(stage, []).append((key, candidate))
    if not stages:
        return None
    least = max(stages, key=lambda stage: (stage is Stage.REFUSED, len(stages[stage]), stage is Stage.SILENT))
    return first_to_go(stages[least])
