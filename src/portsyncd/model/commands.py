"""What a decision reads from the databases, and what it asks to be done: plain data between ``model`` and the services."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
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
class PortNames:
    """Where to look for differences. state: STATE_DB's PORT_TABLE keys of whatever type; config: CONFIG_DB's PORT keys."""

    state: Collection[str]
    config: AbstractSet[str]
    look: Look


class PortRead(NamedTuple):
    """What the databases say of a name. held: our four fields in STATE_DB, None where the entry does not carry
    ``state``, or is no hash; published: APPL_DB has the port."""

    name: str
    held: Fields | None
    published: bool


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


@dataclass(frozen=True, slots=True)
class ListPorts:
    """Say which ports the databases hold; the answer is ``PortNames``."""


@dataclass(frozen=True, slots=True)
class ReadPorts:
    """Say what the databases hold of these ports; the answer is ``PortsRead``."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PortsRead:
    """One a name, in the order of the question."""

    ports: Sequence[PortRead]


@dataclass(frozen=True, slots=True)
class ReadLinks:
    """Have all links read anew, and ask the kernel for these names, where the dump lacks them."""

    names: frozenset[str]


# What reconciliation asks for; see ``model.reconcile``.
Question = ListPorts | ReadPorts | ReadLinks
Command = SetHash | Produce | WritePorts | WaitForPorts | SetLinksDown | Remember | Question
Answer = Collection[bool] | PortNames | PortsRead
