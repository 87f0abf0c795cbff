"""SONiC's databases and orchagent, small enough to try every order of events; as strict as a rule needs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from portsyncd.model.commands import Look, Op, PortWrite, Snapshot
from portsyncd.model.ports import Fields, fields
from portsyncd.wire import schema
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP
from tests.model.kernel import MTU

FOREIGN = {"host_tx_ready": "true"}


class BrokenRuleError(AssertionError):
    """The code under test did what the contract forbids, or did not do what it demands."""


def require(condition: object, rule: str) -> None:
    if not condition:
        raise BrokenRuleError(rule)


@dataclass(slots=True)
class Databases:
    """What Redis holds.

    config: CONFIG_DB's ports; added: those of them that came at run time. entries: STATE_DB's port table, empty where a
    port has no entry; own_row: our warm-restart row there. staged, popped: APPL_DB's keys; generation: ours there; served:
    ifindexes of links made while APPL_DB held PortConfigDone; aside: of those that were old by then. warm: warm restart
    is enabled. damaged: somebody else has written what is not theirs, and no reconciliation has begun since;
    foreign: entries of which the daemon has not written since.
    """

    config: tuple[str, ...]
    entries: dict[str, dict[str, str]]
    added: set[str] = field(default_factory=set)
    own_row: dict[str, str] = field(default_factory=dict)
    staged: set[str] = field(default_factory=set)
    popped: set[str] = field(default_factory=set)
    generation: str = ""
    served: set[int] = field(default_factory=set)
    aside: set[int] = field(default_factory=set)
    warm: bool = False
    damaged: bool = False
    foreign: set[str] = field(default_factory=set)

    def has(self, key: str) -> bool:
        """APPL_DB holds this key, staged or popped."""
        return key in self.staged or key in self.popped

    def held(self, name: str) -> Fields | None:
        """Our four fields of this entry; None if it does not carry ``state``."""
        entry = self.entries[name]
        if "state" not in entry:
            return None
        state, oper, admin, mtu = (entry[name] for name in schema.STATE_FIELDS)
        return (state, oper, admin, mtu)

    def announced(self) -> set[str]:
        """The ports that an announcement must hold: at run time, ports are portmgrd's to stage."""
        return set(self.config) - self.added

    def look(self) -> Look:
        return Look(
            generation=self.generation,
            config_done=self.has(schema.PORT_CONFIG_DONE),
            init_done=self.has(schema.PORT_INIT_DONE),
            own_row=bool(self.own_row),
        )

    def snapshot(self) -> Snapshot:
        look = self.look()
        return Snapshot(
            config_ports={name: {"lanes": "1"} for name in self.config},
            state={name: held for name in self.entries if (held := self.held(name)) is not None},
            generation=look.generation,
            config_done=look.config_done,
            init_done=look.init_done,
            warm_enabled=self.warm,
            own_row=look.own_row,
            restore_count=self.own_row.get("restore_count"),
        )

    # ---- the daemon's writes

    def write(self, write: PortWrite) -> bool:
        """What the Lua script does."""
        self.foreign.discard(write.name)
        if write.op is not Op.SET and "state" in self.entries[write.name]:
            self.entries[write.name] = {}
        if write.op is Op.DELETE:
            return True
        if write.name in self.popped and write.fields is not None:
            self._put(write.name, dict(zip(schema.STATE_FIELDS, write.fields, strict=True)))
            return True
        return False

    def set_hash(self, key: str, values: Mapping[str, str]) -> None:
        if key == schema.GENERATION_KEY:
            self.generation = values[schema.GENERATION_FIELD]
        else:
            assert key == schema.WARM_KEY
            self.own_row = dict(sorted({**self.own_row, **values}.items()))

    def _put(self, name: str, values: Mapping[str, str]) -> None:
        # In one order always, so that equal entries make equal states.
        self.entries[name] = dict(sorted({**self.entries[name], **values}.items()))

    # ---- what others do

    def write_foreign(self, name: str) -> None:
        """Another writer of STATE_DB's port table."""
        self._put(name, FOREIGN)

    def damage(self, how: str, name: str = "") -> None:
        """Another client removes or changes an entry of ours, makes one, or removes PortInitDone."""
        self.damaged = True
        match how:
            case "remove":
                self.entries[name] = {}
            case "change":
                self.foreign.add(name)
                self._put(name, dict(zip(schema.STATE_FIELDS, fields(0, 68), strict=True)))
            case _:
                self.staged.discard(schema.PORT_INIT_DONE)
                self.popped.discard(schema.PORT_INIT_DONE)

    def leave_entry(self, name: str) -> None:
        """An earlier life of the daemon has published this port, and orchagent has added to its entry."""
        self._put(name, dict(zip(schema.STATE_FIELDS, fields(IFF_UP | IFF_RUNNING, MTU), strict=True)))
        self.write_foreign(name)

    def configure(self, name: str) -> None:
        """The operator adds a port: portmgrd stages it."""
        self.config += (name,)
        self.added.add(name)
        self.staged.add(name)

    def unconfigure(self, name: str) -> None:
        """The operator deletes a port, and orchagent has taken that in."""
        self.config = tuple(port for port in self.config if port != name)
        self.added.discard(name)
        self.staged.discard(name)
        self.popped.discard(name)

    def wipe_ports(self) -> None:
        """orchagent begins anew, since the port table that it should take over is not whole; our key is not its own."""
        self.staged.clear()
        self.popped.clear()
        self.served.clear()
        self.aside.clear()

    def flush_appl(self) -> None:
        self.wipe_ports()
        self.generation = ""


@dataclass(slots=True)
class Orchagent:
    """One life of it after the other: what it has learnt from pops in this one. excused: a marker was staged before this
    life, or in the moment of a flush, when nobody could have held it back."""

    known: set[str] = field(default_factory=set)
    configured: bool = False
    initialized: bool = False
    excused: bool = False

    def begin(self, databases: Databases) -> None:
        """A cold life begins."""
        self.known.clear()
        self.configured = self.initialized = False
        self.excused = not databases.staged.isdisjoint(schema.MARKERS)

    def pop(self, databases: Databases) -> set[str]:
        """Take all that is staged, in the order of its queue, which is sorted by key. Returns the ports."""
        keys = sorted(databases.staged)
        for key in keys:
            if key == schema.PORT_CONFIG_DONE:
                complete = self.known >= databases.announced()
                require(complete or self.excused, "every port is popped before PortConfigDone")
                self.configured = complete
            elif key == schema.PORT_INIT_DONE:
                require(self.configured or self.excused, "PortInitDone follows PortConfigDone in orchagent's own life")
                self.initialized = self.configured
            else:
                self.known.add(key)
                databases.write_foreign(key)
        databases.popped |= databases.staged
        databases.staged.clear()
        return {key for key in keys if key not in schema.MARKERS}
