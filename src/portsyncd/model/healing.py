"""What self-healing did: which kinds there are, and the book that is kept of them. All moments are monotonic seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """A kind of healing; each can be switched off (``self_healing.heal_<kind>``).

    REDIS, NETLINK: a connection that was dead, half-open or stuck was given up, and a new one answered. RECONCILE: entries
    in Redis that were wrong have been put right. MEMORY: memory was given back. STALL: a reader or writer that did not
    move was begun anew. DISK: the history was held back so that the rest can be saved. CERTIFICATES: certificates that were
    about to expire were read again, and are valid for longer.
    """

    REDIS = "redis"
    NETLINK = "netlink"
    RECONCILE = "reconcile"
    MEMORY = "memory"
    STALL = "stall"
    DISK = "disk"
    CERTIFICATES = "certificates"


@dataclass(frozen=True, slots=True)
class Healed:
    """What was done of one kind. count: how often; at: when last, None before the first; what: the last one, in a sentence
    for the operator."""

    count: int = 0
    at: float | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Healings:
    """The book of all kinds."""

    by_kind: Mapping[Kind, Healed] = field(default_factory=lambda: MappingProxyType({kind: Healed() for kind in Kind}))

    def with_one(self, kind: Kind, at: float, what: str) -> "Healings":
        """One more."""
        healed = Healed(self.by_kind[kind].count + 1, at, what)
        return Healings(MappingProxyType({**self.by_kind, kind: healed}))
