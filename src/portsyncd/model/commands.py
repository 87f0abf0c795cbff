"""What a decision reads from the databases, and what it asks to be done: plain data between ``model`` and the services."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from portsyncd.model.ports import Fields
from portsyncd.wire.producer import Row


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the databases held when a session began.

    config_ports: CONFIG_DB PORT hashes. state: STATE_DB PORT_TABLE entries that carry ``state``. generation: "" when the
    key is absent. config_done, init_done: whether the marker is in APPL_DB, staged or popped. own_row: the warm-restart
    row exists. restore_count, warm_timer, log_level: None when the field is absent.
    """

    config_ports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    state: Mapping[str, Fields] = field(default_factory=dict)
    generation: str = ""
    config_done: bool = False
    init_done: bool = False
    switch_type: str = "switch"
    warm_enabled: bool = False
    own_row: bool = False
    restore_count: str | None = None
    warm_timer: str | None = None
    log_level: str | None = None

    @property
    def marked(self) -> bool:
        """A generation is under way: APPL_DB holds one of its markers."""
        return self.config_done or self.init_done


@dataclass(frozen=True, slots=True)
class Look:
    """The small look that is taken once a second; its fields are the snapshot's."""

    generation: str
    config_done: bool
    init_done: bool
    own_row: bool


@dataclass(frozen=True, slots=True)
class OldLinks:
    """The links that are from before a generation, by ifindex; kept over restarts of the daemon."""

    generation: str
    ifindexes: frozenset[int]


class Op(Enum):
    """SET: our four fields, if APPL_DB holds the port. DELETE: the whole hash, if it carries ``state``.
    REPLACE: DELETE, then SET."""

    SET = "set"
    DELETE = "delete"
    REPLACE = "replace"


class PortWrite(NamedTuple):
    """One port's write to STATE_DB. fields is None for DELETE alone."""

    name: str
    op: Op
    fields: Fields | None


@dataclass(frozen=True, slots=True)
class SetHash:
    """One HSET. db: the SONiC name of the database."""

    db: str
    key: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Produce:
    """ProducerStateTable sets on APPL_DB PORT_TABLE, in order."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class WritePorts:
    """Port writes, in order; the answer is one bool each: False when APPL_DB has no such port."""

    writes: tuple[PortWrite, ...]


@dataclass(frozen=True, slots=True)
class WaitForPorts:
    """Hear of these APPL_DB entries from now on, and of no others."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class SetLinksDown:
    """Clear IFF_UP of these links."""

    ifindexes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep this over restarts of the daemon."""

    old: OldLinks


Command = SetHash | Produce | WritePorts | WaitForPorts | SetLinksDown | Remember
