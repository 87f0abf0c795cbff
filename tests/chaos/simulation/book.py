"""What an onlooker writes down: what happened, and what the daemon may therefore do. It never asks the daemon.

A port's write that changes nothing needs a reason, and each reason is good for one such write.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from portsyncd.wire import schema


@dataclass(slots=True)
class Announced:
    """What APPL_DB and STATE_DB have been told since APPL_DB was empty last.

    written: ports whose STATE_DB entry the daemon has set, and not deleted since; damaged ones count as set. epoch: of
    APPL_DB's contents.
    """

    epoch: int = 0
    written: set[str] = field(default_factory=set)


class Book:
    """One for a simulation. has_link: whether the kernel has a link of this name; config_ports: those of CONFIG_DB."""

    def __init__(self) -> None:
        self.has_link: Callable[[str], bool]
        self.config_ports: Callable[[], Collection[str]]
        self.names: set[str] = set()
        # Reasons for a write of what Redis holds already, and for a removal before it, by name.
        self.reasons: Counter[str] = Counter()
        self.removals: Counter[str] = Counter()
        self.announced = Announced()
        self._saved = Announced()
        self._epochs = 0
        self.expected: set[str] = set()
        self.released = False
        # Of this process: PortInitDone went out and Redis acknowledged it, in these epochs.
        self.completed: set[int] = set()
        self.writes = 0
        self.datagrams = 0
        self.losses = 0
        self.clock_steps = 0
        self.violations: list[str] = []
        # Names that lost their link since somebody cleared this.
        self.moved: set[str] = set()
        # Names whose entry has to be removed, or written anew, since that was last done; for who saw it happen.
        self.owed_removals: set[str] = set()
        self.owed_writes: set[str] = set()
        # How often others changed what the daemon had written, or may have.
        self.foreign = 0
        # How often something may have gone unseen.
        self.blind_spots = 0

    def violate(self, rule: str) -> None:
        """A rule was broken."""
        self.violations.append(rule)

    # ---- reasons to write

    def excuse(self, names: Iterable[str] | None = None) -> None:
        """One more reason for each of these, or for all."""
        self.reasons.update(self.names if names is None else names)

    def lost_link(self, name: str) -> None:
        """The name's link went, or is another one."""
        self.names.add(name)
        self.reasons[name] += 1
        self.removals[name] += 1
        self.moved.add(name)

    def blinded(self) -> None:
        """Something may have gone unseen, of any name."""
        self.blind_spots += 1
        self.excuse()

    def changed(self, name: str, *, deleted: bool) -> None:
        """The daemon changed an entry."""
        self.owed_removals.discard(name) if deleted else self.owed_writes.discard(name)
        (self.announced.written.discard if deleted else self.announced.written.add)(name)

    def forget_reasons(self) -> None:
        """All is quiet: whatever was due has been done."""
        self.reasons.clear()
        self.removals.clear()
        self.owed_removals.clear()
        self.owed_writes.clear()

    def spend(self, name: str, *, removal: bool, held: str) -> None:
        """The daemon wrote what was there already, or removed it before it set it anew."""
        ledger = self.removals if removal else self.reasons
        if not ledger[name]:
            self.violate(
                f"{name} was {'removed and set anew' if removal else 'written'} without a reason: Redis held {held}"
            )
        ledger[name] -= 1

    # ---- generations

    def emptied(self) -> None:
        """APPL_DB was."""
        self._epochs += 1
        self.owed_removals.clear()
        self.announced = Announced(self._epochs)
        self.excuse()

    def save(self) -> None:
        """As ``FakeRedis.save``."""
        self._saved = deepcopy(self.announced)

    def went_back(self) -> None:
        """As ``FakeRedis.restart`` with the data saved: another epoch, since nobody knows what was done in between."""
        self._epochs += 1
        self.owed_removals.clear()
        self.announced = Announced(self._epochs, set(self._saved.written))
        self.excuse()

    def lost_entries(self, left: Iterable[str]) -> None:
        """STATE_DB alone came back, with these entries."""
        self.announced.written.intersection_update(left)
        self.owed_removals.clear()
        self.excuse()

    def begin_process(self) -> None:
        """A daemon starts."""
        self.expected = set(self.config_ports())
        self.completed.clear()
        self.released = False
        self.writes = self.datagrams = self.losses = self.clock_steps = 0
        self.blinded()
        # What the last process owed when it saved it may have been done since.
        self.removals.update(self.names)

    def init_done(self) -> None:
        """PortInitDone was staged by the daemon."""
        early = (self.expected & set(self.config_ports())) - self.announced.written
        if early and not self.released:
            self.violate(
                f"PortInitDone came before {', '.join(sorted(early)[:5])} had been written ({len(early)} ports)"
            )
        if self.announced.epoch in self.completed:
            self.violate("PortInitDone came twice in one generation, although its first one was acknowledged")

    def produced(self, keys: Iterable[str]) -> None:
        """Redis' acknowledgement of these rows reached the daemon."""
        if schema.PORT_INIT_DONE in keys:
            self.completed.add(self.announced.epoch)
