"""A generation: one life of APPL_DB's contents, how far its start has come, and which links are older than it.

Its id is a key of ours in APPL_DB, which a flush takes along. A generation begins with all CONFIG_DB ports and
PortConfigDone staged, and PortInitDone ends its start. A process that starts cold stages all of that again, whatever
APPL_DB holds: it cannot know which orchagent listens, and a cold orchagent knows a port, and a marker, only from a pop.
A warm start stages neither ports nor PortConfigDone, and PortInitDone only where APPL_DB lacks it.
"""

from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice

from portsyncd.model.commands import Command, Look, OldLinks, Produce, Remember, SetHash, SetLinksDown, Snapshot
from portsyncd.model.warm import InitialSync, Phase, Start, WarmState, settle, timer_seconds
from portsyncd.wire import schema
from portsyncd.wire.producer import set_row

# Rows per script call: Redis serves nobody else meanwhile.
ROWS_PER_COMMAND = 256
_RECONCILED_ROW = SetHash(schema.STATE_DB, schema.WARM_KEY, {"state": WarmState.RECONCILED})


class ExistingLinks(Enum):
    """What a cold start does with the links it finds: follow them, or set them down and wait for new ones."""

    AUTO = "auto"
    ADOPT = "adopt"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Policy:
    """The configuration that decisions depend on. eoiu_timeout: seconds."""

    prefixes: tuple[str, ...] = ("Ethernet", "PortChannel")
    existing_links: ExistingLinks = ExistingLinks.AUTO
    warm_allowed: bool = True
    eoiu_timeout: float = 10.0


class Generation:
    """The generation that this process serves."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.id = ""
        # Warm or cold, settled once per process and generation.
        self._start: Start | None = None
        # Everything that this generation owes APPL_DB before its ports may be written has been acknowledged.
        self.announced = False
        self.initialized = False
        # The marker was sent and no answer came: the next snapshot tells whether it arrived.
        self._maybe_announced = False
        self._maybe_initialized = False
        # The key, which is written first, was seen after PortConfigDone went out: no flush came in between.
        self._confirmed = False
        self._established = False
        # The last one, less what it says of single ports.
        self._snapshot = Snapshot()
        # CONFIG_DB's ports, until they are announced: with very many, most of what the process would hold.
        self._unannounced: dict[str, Mapping[str, str]] = {}
        # How many of them have been staged in this session; None: not even the generation's key.
        self._staged: int | None = None
        self._rows: deque[Command] = deque()
        self._remembered: OldLinks | None = None
        # Ifindexes of links that are from before this generation.
        self.old: set[int] = set()
        self._old_decided = False
        self._remember_due = False
        self._down_due = False
        self.initial = InitialSync()
        # A warm start ends with the row's state "reconciled".
        self._reconciled_due = False

    @property
    def warm(self) -> bool:
        """Whether this generation was met by a warm start."""
        return self._start is not None and self._start.warm

    @property
    def remark(self) -> str:
        """What the operator should know about how warm or cold was settled."""
        return "" if self._start is None else self._start.remark

    # ---- sessions

    def begin(self, snapshot: Snapshot, *, fresh_id: str, remembered: OldLinks | None, now: float) -> bool:
        """A session with Redis begins. True: so does a generation, for this process."""
        before, self._snapshot = self._snapshot, replace(snapshot, config_ports={}, state={})
        self._rows.clear()
        anew = self._begin(before, snapshot, fresh_id=fresh_id, remembered=remembered, now=now)
        self._unannounced = {} if self.announced else dict(snapshot.config_ports)
        self._staged = None
        return anew

    def _begin(
        self, before: Snapshot, snapshot: Snapshot, *, fresh_id: str, remembered: OldLinks | None, now: float
    ) -> bool:
        # What a warm start relies on is gone: flushed, or wiped by orchagent.
        bereft = self.warm and before.config_done and not snapshot.config_done
        if self._established and self._is_same(snapshot) and not bereft:
            # The markers may be gone, or may have arrived although no answer did.
            arrived = self.announced or self._maybe_announced
            self.announced = arrived and (self.warm or snapshot.config_done)
            self.initialized = (self.initialized or self._maybe_initialized) and self.announced and snapshot.init_done
            self._maybe_announced = self._maybe_initialized = False
            if not snapshot.generation:
                self._rows.append(self._id_row())
            if not snapshot.own_row:
                self._rows.append(SetHash(schema.STATE_DB, schema.WARM_KEY, {"restore_count": "0"}))
            return False
        self._maybe_announced = self._maybe_initialized = False
        self._remembered = remembered
        if self._established or bereft:
            start = self._restart(snapshot, fresh_id, now)
        else:
            self.id = snapshot.generation or self.id or fresh_id
            start = self._start or self._settle(snapshot, now)
        self._owe_start_rows(start)
        return True

    def _is_same(self, snapshot: Snapshot) -> bool:
        if snapshot.generation:
            return snapshot.generation == self.id
        return snapshot.config_done and self._confirmed

    def _restart(self, snapshot: Snapshot, fresh_id: str, now: float) -> Start:
        """Another generation under a running process: what a warm start relies on is gone, and the links that have been
        followed are kept, none is set down."""
        self.id = snapshot.generation or fresh_id
        self._established = self.announced = self.initialized = False
        self.initial.flushed(now)
        self._reconciled_due = False
        self.old.clear()
        self._old_decided = self._remember_due = True
        self._down_due = False
        self._start = settle(enabled=False, restore_count=None)
        return self._start

    def _settle(self, snapshot: Snapshot, now: float) -> Start:
        self._start = settle(
            enabled=snapshot.warm_enabled,
            restore_count=snapshot.restore_count,
            allowed=self._policy.warm_allowed,
        )
        if self._start.warm:
            self.announced = self._confirmed = True
            self.initialized = snapshot.init_done
        seconds = timer_seconds(snapshot.warm_timer, self._policy.eoiu_timeout)
        self.initial.settle(warm=self._start.warm, now=now, seconds=seconds)
        return self._start

    def _owe_start_rows(self, start: Start) -> None:
        self._rows.append(SetHash(schema.STATE_DB, schema.WARM_KEY, start.fields))
        if start.warm:
            self._rows.append(SetHash(schema.STATE_DB, schema.WARM_KEY, {"state": WarmState.RESTORED}))
            self._rows.append(self._id_row())

    def _id_row(self) -> SetHash:
        return SetHash(schema.APPL_DB, schema.GENERATION_KEY, {schema.GENERATION_FIELD: self.id})

    # ---- old links

    def decide_old(self, shown: AbstractSet[int]) -> AbstractSet[int]:
        """The first full read ended; its dump showed these front-panel links. Returns those that are old, once.

        Only a cold start without a generation under way takes links for old by itself; what was decided for this very
        generation is kept, so that a crash does not take the links that orchagent has made meanwhile for old ones.
        """
        if self._old_decided:
            return frozenset()
        self._old_decided = True
        mode, kept, snapshot = self._policy.existing_links, self._remembered, self._snapshot
        if mode is ExistingLinks.ADOPT:
            return frozenset()
        if kept is not None and kept.generation == snapshot.generation != "":
            self.old = set(shown & kept.ifindexes)
        elif not self.warm and (mode is ExistingLinks.RESET or not (snapshot.switch_type == "dpu" or snapshot.marked)):
            self.old = set(shown)
        self._remember_due = True
        self._down_due = bool(self.old) and not (self.warm or snapshot.config_done)
        return frozenset(self.old)

    def forget_old(self, ifindexes: AbstractSet[int]) -> None:
        """These links were deleted: the kernel may give their ifindexes to new ones."""
        if self.old & ifindexes:
            self.old -= ifindexes
            self._remember_due = True

    # ---- what to do

    def preparation(self) -> Command | None:
        """What comes before everything else in this session."""
        if self._rows:
            return self._rows[0]
        # Out of time, perhaps before the first dump, which the rest waits for.
        return _RECONCILED_ROW if self._reconciled_due and self.initial.phase is Phase.TIMED_OUT else None

    def announcement(self) -> Command | None:
        """What comes before the first port write of this generation; asked for once the first full read is in."""
        if self._remember_due:
            return Remember(OldLinks(self.id, frozenset(self.old)))
        if self._down_due:
            return SetLinksDown(frozenset(self.old))
        if not self.announced:
            self._announce()
            return self._rows[0]
        return None

    def _announce(self) -> None:
        """Owe the next part of the announcement: the key, ports, and the marker with the last of these."""
        if self._staged is None:
            self._staged = 0
            self._rows.append(self._id_row())
            return
        names = list(islice(self._unannounced, ROWS_PER_COMMAND))
        rows = [set_row(name, self._unannounced.pop(name)) for name in names]
        self._staged += len(rows)
        if len(rows) < ROWS_PER_COMMAND:
            rows.append(set_row(schema.PORT_CONFIG_DONE, {"count": str(self._staged)}))
            # One that was emptied keeps its room.
            self._unannounced = {}
        self._rows.append(Produce(tuple(rows)))

    def completion(self, *, ready: bool) -> Command | None:
        """What comes when no port owes Redis a write. ready: every expected port is published."""
        if ready and not self.initialized:
            return Produce((set_row(schema.PORT_INIT_DONE, {"lanes": "0"}),))
        return _RECONCILED_ROW if self._reconciled_due else None

    def written(self, now: float) -> None:
        """No port owes Redis a write."""
        self._reconciled_due |= self.initial.written(now) and self.warm

    # ---- what was answered

    def done(self, command: Command) -> None:
        """One of the commands above was carried out."""
        if self._rows and command is self._rows[0]:
            self._rows.popleft()
        match command:
            case Produce(rows) if rows[-1].key == schema.PORT_CONFIG_DONE:
                self.announced = self._established = True
                self._confirmed = False
            case Produce(rows) if rows[-1].key == schema.PORT_INIT_DONE:
                self.initialized = True
            case Remember():
                self._remember_due = False
            case SetLinksDown():
                self._down_due = False
            case SetHash(key=schema.GENERATION_KEY) if self.warm:
                self._established = True
            case SetHash() if command is _RECONCILED_ROW:
                self._reconciled_due = False
            case _:
                pass

    def lost(self, command: Command) -> None:
        """No answer came; the command may have been carried out."""
        if isinstance(command, Produce):
            last = command.rows[-1].key
            # Where the marker was there before, the next snapshot tells nothing: it goes out again.
            self._maybe_announced = last == schema.PORT_CONFIG_DONE and not self._snapshot.config_done
            self._maybe_initialized = last == schema.PORT_INIT_DONE and not self._snapshot.init_done
            if self._maybe_announced:
                self._established, self._confirmed = True, False

    def looked(self, look: Look) -> bool:
        """Take the once-a-second look. True: the session must begin anew, with a fresh snapshot."""
        if not self._established:
            return False
        if not look.own_row or look.generation not in ("", self.id):
            return True
        if not look.config_done:
            # Flushed, or wiped by orchagent; a warm start may never have seen the marker.
            return not (self.warm and look.generation and not self._snapshot.config_done)
        if look.generation:
            self._confirmed = True
            return False
        if self._confirmed:
            self._rows.append(self._id_row())
        # Else a flush came between the key and PortConfigDone, and part of what was staged went with it.
        return not self._confirmed

    def out_of_time(self, now: float) -> bool:
        """Whether the initial sync just ran out of time; it is completed then."""
        if not self.initial.out_of_time(now):
            return False
        self._reconciled_due = self.warm
        return True
