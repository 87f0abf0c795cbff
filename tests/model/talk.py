"""Transcripts: a test tells ``PortSync`` one thing, and is told in words all that follows from it."""

from collections.abc import Iterable

from portsyncd.model.commands import Look, OldLinks, Op, Snapshot, WritePorts
from portsyncd.model.generation import Policy
from portsyncd.model.links import Link
from portsyncd.model.mailbox import Conflated, Synced
from portsyncd.model.ports import Fields, fields
from portsyncd.model.sync import PortSync
from portsyncd.wire import schema
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP
from tests.model.words import in_words, write_in_words

UP = fields(IFF_UP | IFF_RUNNING, 9100)
NO_CARRIER = fields(IFF_UP, 9100)
DOWN = fields(0, 9100)

ROW = "STATE_DB WARM_RESTART_TABLE|portsyncd: restore_count=0"
BEGIN_ANEW = "begin anew"


def key(generation: str = "g1") -> str:
    """Our key in APPL_DB is written."""
    return f"APPL_DB {schema.GENERATION_KEY}: id={generation}"


def ports(*names: str) -> dict[str, dict[str, str]]:
    """CONFIG_DB's PORT hashes."""
    return {name: {"lanes": "1"} for name in names}


def changed(
    state: Fields | None = UP, ifindex: int = 1, *, flaps: int = 0, removed: bool = False, dipped: bool = False
) -> Conflated:
    """What became of a name since the last take."""
    return Conflated(None if state is None else Link(ifindex, state, flaps), 0.0, removed=removed, dipped=dipped)


class Talk:
    """Every method but ``carry_out`` tells one thing and returns the commands that follow, all carried out at once.

    appl: the ports in APPL_DB's port table. unanswered: a command whose words begin so gets no answer, which ends the
    session. now: the time.
    """

    def __init__(self, policy: Policy | None = None, *, appl: Iterable[str] = ()) -> None:
        self.sync = PortSync(policy or Policy())
        self.appl = set(appl)
        self.unanswered = "-"
        self.now = 0.0

    def carry_out(self) -> list[str]:
        """Carry out what is to be done, until nothing is."""
        said: list[str] = []
        while (command := self.sync.next()) is not None:
            words = in_words(command)
            if words[0].startswith(self.unanswered):
                self.unanswered = "-"
                self.sync.lost(command)
                return [*said, *words, "no answer"]
            answer: list[bool] = []
            if isinstance(command, WritePorts):
                answer = [write.op is Op.DELETE or write.name in self.appl for write in command.writes]
                words = [
                    write_in_words(write) + ("" if done else ": no entry")
                    for write, done in zip(command.writes, answer, strict=True)
                ]
            said += words
            self.sync.done(command, answer, now=self.now)
        return said

    # ---- Redis

    def begin(
        self, snapshot: Snapshot | None = None, *, remembered: OldLinks | None = None, fresh_id: str = "g1"
    ) -> list[str]:
        self.sync.begin(snapshot or Snapshot(), fresh_id=fresh_id, remembered=remembered, now=self.now)
        return self.carry_out()

    def look(
        self, generation: str = "g1", *, config_done: bool = True, init_done: bool = True, own_row: bool = True
    ) -> list[str]:
        if self.sync.looked(Look(generation, config_done, init_done, own_row)):
            return [BEGIN_ANEW]
        return self.carry_out()

    def woken(self, *names: str) -> list[str]:
        self.sync.woken(names)
        return self.carry_out()

    def poll(self) -> list[str]:
        self.sync.poll_pending()
        return self.carry_out()

    def configured(self, *names: str) -> list[str]:
        """CONFIG_DB's ports are these now."""
        self.sync.config_ports_are(names)
        return self.carry_out()

    # ---- the kernel

    def take(self, **changes: Conflated) -> list[str]:
        """Links changed, by name."""
        self.sync.take(changes, self.now)
        return self.carry_out()

    def gone(self, name: str, ifindex: int = 0) -> list[str]:
        """The link was deleted; with ``ifindex``, it was one that the first dump showed."""
        return self.take(**{name: Conflated(None, 0.0, removed=True, deleted=(ifindex,) if ifindex else ())})

    def dumped(self, *shown: int, lost: bool = False, certified: bool = True) -> list[str]:
        """All links have been read. shown: by the first dump; lost: events were lost before."""
        self.sync.synced(Synced(frozenset(), certified=certified, lost=lost, shown=frozenset(shown)), self.now)
        return self.carry_out()

    # ---- the operator

    def released(self) -> list[str]:
        self.sync.release()
        return self.carry_out()


def running(*names: str, policy: Policy | None = None) -> Talk:
    """A talk in which these ports are up and published, with ifindexes from 1, and PortInitDone is out."""
    talk = Talk(policy, appl=names)
    talk.begin(Snapshot(config_ports=ports(*names)))
    talk.dumped()
    talk.take(**{name: changed(UP, ifindex) for ifindex, name in enumerate(names, 1)})
    assert talk.sync.generation.initialized
    return talk


def held(**state: Fields) -> Snapshot:
    """A further session of a running generation g1: these ports, with this in STATE_DB."""
    return Snapshot(
        config_ports=ports(*state),
        state=state,
        generation="g1",
        config_done=True,
        init_done=True,
        own_row=True,
    )
