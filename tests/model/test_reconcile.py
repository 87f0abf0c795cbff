"""Reconciliation: whatever others did to Redis is put right, only that; what comes back wrong again and again is left."""

from collections.abc import Collection, Iterable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model import reconcile
from portsyncd.model.commands import (
    Answer,
    Command,
    ListPorts,
    Look,
    Op,
    PortNames,
    PortRead,
    PortsRead,
    PortWrite,
    Produce,
    ReadLinks,
    ReadPorts,
    Snapshot,
    WritePorts,
)
from portsyncd.model.generation import ExistingLinks, Policy
from portsyncd.model.links import Link
from portsyncd.model.mailbox import Conflated, Synced
from portsyncd.model.ports import UNKNOWN, Fields
from portsyncd.model.reconcile import (
    CONTESTED_AFTER,
    NAMED,
    QUIET_SECONDS,
    RECONCILE,
    RETRY_SECONDS,
    Contested,
    Findings,
    Kind,
    Reconciler,
    Reconciliation,
)
from portsyncd.model.sync import PortSync
from tests.model.talk import DOWN, NO_CARRIER, UP, ports

PORTS = ("Ethernet0", "Ethernet4", "Ethernet8", "PortChannel1")
INIT_DONE = "PortInitDone"
MISSED = "no event told of what became of the link"
INTERVAL = 300.0


class Switch:
    """A switch that runs, with these ports up and published. ``PortSync`` is real; the kernel and Redis are dicts.

    linkless: more ports of CONFIG_DB. unpublished: those of ``names`` that APPL_DB does not have.

    links: by name; state, appl, config: what the databases hold; marked: PortInitDone is there; generation: our key.
    writes: port writes since the last ``reconcile`` began; staged: keys; asked: what the kernel was asked for, for each
    full read.
    """

    def __init__(self, *names: str, linkless: tuple[str, ...] = (), unpublished: tuple[str, ...] = ()) -> None:
        self.now = 1000.0
        self.sync = PortSync(Policy(existing_links=ExistingLinks.ADOPT))
        self.appl = set(names) - set(unpublished)
        self.config = (*names, *linkless)
        self.marked = False
        self.generation = "g1"
        self.state: dict[str, Fields] = {}
        self.links = {name: Link(ifindex, UP, 0) for ifindex, name in enumerate(names, 1)}
        self.writes: list[PortWrite] = []
        self.staged: list[str] = []
        self.asked: list[frozenset[str]] = []
        self.begin()
        self.sync.take({name: Conflated(link, self.now) for name, link in self.links.items()}, self.now)
        self.sync.synced(Synced(frozenset(("start",)), certified=True), self.now)
        self.carry_out()

    def look(self) -> Look:
        return Look(self.generation, config_done=True, init_done=self.marked, own_row=True)

    def begin(self) -> None:
        config = ports(*self.config)
        snapshot = Snapshot(config, dict(self.state), "g1", config_done=True, init_done=self.marked, own_row=True)
        self.sync.begin(snapshot, fresh_id="g1", remembered=None, now=self.now)

    # ---- what the writer does

    def carry_out(self) -> None:
        """Whatever there is to do, to the end."""
        while (command := self.sync.next()) is not None:
            self.sync.done(command, self.answer(command), now=self.now)

    def step(self) -> Command:
        """One command."""
        command = self.sync.next()
        assert command is not None
        self.sync.done(command, self.answer(command), now=self.now)
        return command

    def answer(self, command: Command) -> Answer:
        match command:
            case WritePorts(writes):
                self.writes += writes
                return [self.write(write) for write in writes]
            case Produce(rows):
                self.staged += [row.key for row in rows]
                self.marked = self.marked or INIT_DONE in self.staged
            case ListPorts():
                return PortNames(tuple(self.state), dict.fromkeys(self.config).keys(), self.look())
            case ReadPorts(names):
                return PortsRead([PortRead(name, self.state.get(name), name in self.appl) for name in names])
            case ReadLinks(names):
                self.asked.append(names)
            case _:
                pass
        return ()

    def write(self, write: PortWrite) -> bool:
        if write.op is not Op.SET:
            self.state.pop(write.name, None)
        if write.op is Op.DELETE:
            return True
        if write.name in self.appl and write.fields is not None:
            self.state[write.name] = write.fields
        return write.name in self.appl

    # ---- a reconciliation

    def compare(self) -> None:
        """Its first half: up to where the links are to be read."""
        self.writes.clear()
        self.staged.clear()
        assert self.sync.reconcile()
        self.carry_out()

    def read_links(self, *, reasons: Iterable[str] = (RECONCILE,), lost: bool = False) -> None:
        """Its other half."""
        absent = {name: Conflated(None, inf, removed=True) for names in self.asked[-1:] for name in names}
        self.sync.take(absent | {name: Conflated(link, inf) for name, link in self.links.items()}, self.now)
        self.sync.synced(Synced(frozenset(reasons), certified=True, lost=lost, started=self.now), self.now)
        self.carry_out()

    def reconcile(self, *, after: float = INTERVAL) -> list[str]:
        """One reconciliation, so much later. Returns what was written, and staged."""
        self.now += after
        self.compare()
        self.read_links()
        return [f"{write.op.value} {write.name}" for write in self.writes] + [f"stage {key}" for key in self.staged]

    def event(self, name: str, link: Link | None) -> None:
        """An event of this name is taken."""
        self.sync.take({name: Conflated(link, self.now, removed=link is None)}, self.now)

    # ---- what came of it

    @property
    def result(self) -> Reconciliation:
        return self.sync.reconciliation

    def counted(self) -> dict[Kind, int]:
        return {kind: count for kind, count in self.result.counts.items() if count}

    def expected(self) -> dict[str, Fields]:
        return {name: link.fields for name, link in self.links.items() if name in self.appl}

    def findings(self) -> Findings:
        findings = self.sync.take_findings()
        assert findings is not None
        return findings


def test_where_nothing_is_wrong_nothing_is_written() -> None:
    switch = Switch(*PORTS)
    assert switch.result == Reconciliation()
    assert switch.reconcile() == []
    assert switch.result == Reconciliation(runs=1, finished_at=switch.now)
    assert switch.findings() == Findings(complete=True)
    assert switch.sync.take_findings() is None


# ---- what others did


def test_an_entry_that_was_removed_is_written_again() -> None:
    switch = Switch(*PORTS)
    switch.now += 20
    del switch.state["Ethernet4"]
    assert switch.reconcile(after=100) == ["set Ethernet4"]
    (difference,) = switch.result.recent
    assert difference[:4] == ("Ethernet4", Kind.MISSING, None, UP)
    assert difference.cause == "another client removed it; portsyncd wrote it last 120.0 s before this was found"
    assert switch.counted() == {Kind.MISSING: 1}
    assert switch.findings() == Findings(found=1, first=(difference,), complete=True)


def test_an_entry_that_was_changed_is_written_again() -> None:
    switch = Switch(*PORTS)
    switch.state["Ethernet4"] = ("ok", "up", "up", "")
    assert switch.reconcile() == ["set Ethernet4"]
    assert switch.result.recent[0][:4] == ("Ethernet4", Kind.STALE, ("ok", "up", "up", ""), UP)
    assert "another client changed it" in switch.result.recent[0].cause


def test_an_entry_that_was_wrong_before_this_process_wrote_it_tells_so() -> None:
    switch = Switch("Ethernet0")
    sync = PortSync(Policy(existing_links=ExistingLinks.ADOPT))
    switch.sync = sync
    switch.begin()
    sync.take({"Ethernet0": Conflated(switch.links["Ethernet0"], 0.0)}, 0.0)
    sync.synced(Synced(frozenset(), certified=True), 0.0)
    switch.carry_out()
    switch.state["Ethernet0"] = DOWN
    switch.reconcile()
    assert switch.result.recent[0].cause == "another client changed it; this process has never written it"


def test_an_entry_of_no_link_is_removed_once_the_kernel_has_said_so() -> None:
    switch = Switch(*PORTS)
    switch.state["Ethernet12"] = UP
    switch.compare()
    assert switch.asked == [{"Ethernet12"}]
    assert switch.writes == []
    assert switch.counted() == {}
    switch.read_links()
    assert switch.writes == [PortWrite("Ethernet12", Op.DELETE, None)]
    assert switch.result.recent[0][:4] == ("Ethernet12", Kind.ORPHAN, UP, None)
    assert "Ethernet12" not in switch.sync.ports


def test_an_entry_whose_link_only_the_kernel_knew_is_kept_or_corrected() -> None:
    for entry, kinds in ((UP, {}), (DOWN, {Kind.STALE: 1})):
        switch = Switch(*PORTS)
        switch.appl.add("Ethernet12")
        switch.links["Ethernet12"] = Link(12, UP, 0)
        switch.state["Ethernet12"] = entry
        assert switch.reconcile() == ["set Ethernet12"] * len(kinds)
        assert switch.counted() == kinds
        assert switch.state == switch.expected()


def test_the_entry_of_an_old_link_is_removed() -> None:
    switch = Switch("Ethernet0")
    switch.sync.generation.old = {7}
    switch.links["Ethernet4"] = Link(7, UP, 0)
    switch.event("Ethernet4", Link(7, UP, 0))
    switch.state["Ethernet4"] = UP
    assert switch.reconcile() == ["delete Ethernet4"]
    assert switch.counted() == {Kind.ORPHAN: 1}


def test_what_others_made_right_is_no_difference() -> None:
    switch = Switch("Ethernet0", "Ethernet4")
    switch.state["Ethernet0"] = UP
    switch.sync.ports["Ethernet0"].held = DOWN
    assert switch.reconcile() == []
    assert switch.sync.ports["Ethernet0"].held == UP
    # Gone, and the kernel has not been asked for it yet.
    switch.state["Ethernet8"] = UP
    switch.begin()
    assert switch.sync.unproven() == {"Ethernet8"}
    del switch.state["Ethernet8"]
    assert switch.reconcile() == []
    assert switch.sync.unproven() == frozenset()
    assert switch.counted() == {}


def test_others_fields_are_not_ours() -> None:
    switch = Switch("Ethernet0")
    switch.state.pop("Ethernet0")
    switch.links.pop("Ethernet0")
    switch.event("Ethernet0", None)
    switch.carry_out()
    # An entry without state reads as none.
    assert switch.reconcile() == []


def test_port_init_done_is_sent_again_after_the_ports_have_been_put_right() -> None:
    switch = Switch("Ethernet0")
    switch.marked = False
    del switch.state["Ethernet0"]
    assert switch.reconcile() == ["set Ethernet0", "stage PortInitDone"]
    assert switch.marked
    assert switch.counted() == {Kind.MISSING: 2}
    assert switch.result.recent[1][:4] == (INIT_DONE, Kind.MISSING, None, None)
    assert switch.sync.generation.initialized
    assert switch.reconcile() == []


def test_port_init_done_that_is_not_out_is_not_missed() -> None:
    switch = Switch("Ethernet0")
    switch.sync.generation.initialized = switch.marked = False
    switch.sync.config_ports_are([])
    switch.sync._expected["Ethernet4"] = 0.0
    switch.sync._unready.add("Ethernet4")
    assert switch.reconcile() == []


def test_without_port_config_done_port_init_done_is_not_judged() -> None:
    reconciler = Reconciler(("Ethernet",))
    for config_done, again in ((False, False), (True, True)):
        look = Look("g1", config_done=config_done, init_done=False, own_row=True)
        reconciler.listed(PortNames((), frozenset(), look), (), initialized=True)
        assert reconciler.asked(0.0) is again


def test_port_init_done_that_went_out_after_the_look_is_not_missed() -> None:
    reconciler = Reconciler(("Ethernet",))
    look = Look("g1", config_done=True, init_done=False, own_row=True)
    reconciler.listed(PortNames((), frozenset(), look), (), initialized=False)
    assert not reconciler.asked(0.0)


def test_who_asks_while_the_links_are_read_has_port_init_done_judged_once() -> None:
    switch = Switch(*PORTS)
    switch.marked = False
    switch.compare()
    assert switch.sync.reconcile()
    switch.carry_out()
    switch.read_links()
    assert (len(switch.asked), switch.staged, switch.counted()) == (2, [INIT_DONE], {Kind.MISSING: 1})


def test_a_port_that_others_made_right_is_waited_for_no_longer() -> None:
    switch = Switch(*PORTS, unpublished=("Ethernet4",))
    assert not switch.marked
    switch.state["Ethernet4"] = UP
    switch.compare()
    assert switch.staged == [INIT_DONE]


def test_an_orphan_of_an_awaited_port_does_not_change_since_when_it_is_awaited() -> None:
    switch = Switch(*PORTS, linkless=("Ethernet12",))
    switch.state["Ethernet12"] = UP
    switch.now += 100
    switch.compare()
    (awaited,) = switch.sync.awaited()
    assert (awaited.name, awaited.since) == ("Ethernet12", 1000.0)


def test_what_the_kernel_has_yet_to_be_asked_of_is_left_alone() -> None:
    switch = Switch(*PORTS)
    # A new session finds it, whose read of the links has not come yet.
    switch.appl.add("Ethernet12")
    switch.state["Ethernet12"] = UP
    switch.begin()
    switch.compare()
    assert switch.writes == []
    assert switch.asked == [{"Ethernet12"}]
    switch.read_links()
    assert "Ethernet12" not in switch.state
    # Where it is gone by then, there is nothing to ask for.
    switch.state["Ethernet12"] = UP
    switch.begin()
    del switch.state["Ethernet12"]
    switch.compare()
    assert switch.asked[1:] == [frozenset()]


def test_a_flush_is_none_of_its_business() -> None:
    switch = Switch("Ethernet0")
    switch.generation = "g2"
    switch.state.clear()
    switch.compare()
    assert switch.writes == []
    assert not switch.result.running
    assert switch.result.runs == 0
    assert switch.findings() == Findings()


# ---- APPL_DB is others' to make


def test_a_port_without_an_appl_db_entry_is_only_named() -> None:
    switch = Switch("Ethernet0", "Ethernet4", "PortChannel1", "x/y")
    switch.appl -= {"Ethernet4", "PortChannel1", "x/y"}
    assert switch.reconcile() == []
    assert (switch.result.unpublished, switch.result.unpublished_total) == (("Ethernet4",), 1)
    assert switch.counted() == {}
    # Whoever removed a port has removed its entry, too.
    del switch.state["Ethernet4"]
    # Tried, and tried again once its entry is waited for.
    assert switch.reconcile() == ["set Ethernet4"] * 2
    assert "Ethernet4" not in switch.state
    assert dict(switch.sync.pending_ports()).keys() == {"Ethernet4"}
    assert switch.reconcile() == []
    assert switch.counted() == {}


def test_of_many_the_first_few_are_named() -> None:
    names = [f"Ethernet{number}" for number in range(NAMED + 4)]
    switch = Switch(*names)
    switch.appl.clear()
    switch.reconcile()
    assert (switch.result.unpublished, switch.result.unpublished_total) == (tuple(names[:NAMED]), NAMED + 4)
    switch.appl.update(names)
    switch.state.clear()
    switch.reconcile()
    findings = switch.findings()
    assert (findings.found, len(findings.first)) == (NAMED + 4, NAMED)
    assert [difference.port for difference in switch.result.recent] == names[4:]
    assert switch.result.unpublished_total == 0


def test_a_port_whose_notification_was_lost_is_written() -> None:
    switch = Switch("Ethernet0")
    switch.event("Ethernet4", Link(4, UP, 0))
    switch.links["Ethernet4"] = Link(4, UP, 0)
    switch.carry_out()
    assert switch.sync.pending.keys() == {"Ethernet4"}
    switch.appl.add("Ethernet4")
    switch.config += ("Ethernet4",)
    assert switch.reconcile() == ["set Ethernet4"]
    assert switch.counted() == {}


def test_what_is_not_known_is_written_again_anyway() -> None:
    switch = Switch("Ethernet0")
    switch.appl.clear()
    switch.sync.ports["Ethernet0"].held = UNKNOWN
    switch.sync.pending["Ethernet0"] = 0.0
    switch.sync._waited_for = frozenset(("Ethernet0",))
    switch.state.clear()
    assert switch.reconcile() == []
    assert switch.sync.ports["Ethernet0"].held is UNKNOWN


# ---- events that were missed


def test_what_only_the_read_of_the_links_told_is_a_difference() -> None:
    switch = Switch("Ethernet0", "Ethernet4", "Ethernet8")
    switch.appl.add("Ethernet12")
    switch.config += ("Ethernet12",)
    switch.links |= {"Ethernet0": Link(1, DOWN, 0), "Ethernet12": Link(12, UP, 0)}
    del switch.links["Ethernet4"]
    switch.now += INTERVAL
    switch.compare()
    switch.sync.take({"Ethernet4": Conflated(None, inf, removed=True)}, switch.now)
    switch.read_links()
    assert [(found.port, found.kind, found.cause) for found in switch.result.recent] == [
        ("Ethernet4", Kind.ORPHAN, MISSED),
        ("Ethernet0", Kind.STALE, MISSED),
        ("Ethernet12", Kind.MISSING, MISSED),
    ]
    assert switch.state == switch.expected()
    assert switch.reconcile() == []
    assert switch.result.contested == ()


def test_an_event_that_came_after_the_read_was_not_missed() -> None:
    switch = Switch("Ethernet0", "Ethernet4")
    switch.compare()
    down = Link(1, DOWN, 0)
    switch.sync.take({"Ethernet0": Conflated(down, inf)}, switch.now)
    switch.event("Ethernet0", down)
    switch.event("Ethernet4", Link(2, DOWN, 0))
    switch.links = {"Ethernet0": down, "Ethernet4": Link(2, DOWN, 0)}
    switch.read_links()
    assert switch.counted() == {}


def test_where_events_are_known_to_be_lost_none_is_a_difference() -> None:
    for reasons, lost in (((RECONCILE, "overrun"), False), (("start",), False), ((RECONCILE,), True)):
        switch = Switch("Ethernet0")
        switch.links["Ethernet0"] = Link(1, DOWN, 0)
        switch.compare()
        switch.read_links(reasons=reasons, lost=lost)
        assert switch.result.runs == 1
        assert switch.counted() == {}
        assert switch.state == switch.expected()


def test_a_link_that_appl_db_does_not_have_may_come_and_change_unheard() -> None:
    switch = Switch("Ethernet0")
    switch.event("Ethernet4", Link(4, UP, 0))
    switch.carry_out()
    switch.links |= {"Ethernet4": Link(4, DOWN, 0), "Ethernet8": Link(8, UP, 0)}
    switch.compare()
    switch.read_links()
    assert switch.counted() == {}


def test_of_a_port_that_waits_nothing_was_missed() -> None:
    switch = Switch(*PORTS)
    switch.appl.remove("Ethernet4")
    switch.event("Ethernet4", Link(2, DOWN, 0))
    switch.carry_out()
    switch.links["Ethernet4"] = Link(2, NO_CARRIER, 0)
    switch.reconcile()
    assert switch.counted() == {}


def test_another_read_of_the_links_does_not_end_it() -> None:
    switch = Switch("Ethernet0")
    switch.compare()
    switch.sync.synced(Synced(frozenset(("overrun",)), certified=True, started=switch.now - 1), switch.now)
    assert switch.result.running
    assert switch.sync.next() is None
    # Asked again, should the answer have got lost.
    assert switch.sync.reconcile()
    assert isinstance(switch.step(), ReadLinks)
    switch.read_links()
    assert switch.result.runs == 1


# ---- the sequence


def test_it_is_not_possible_before_the_ports_are_announced() -> None:
    sync = PortSync(Policy())
    assert not sync.reconcile()
    sync.begin(Snapshot(), fresh_id="g1", remembered=None, now=0.0)
    assert not sync.reconcile()
    sync.synced(Synced(frozenset(), certified=True), 0.0)
    assert not sync.reconcile()


def test_it_asks_for_so_many_ports_at_a_time_and_whoever_asks_again_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "PORTS_PER_QUESTION", 2)
    switch = Switch("Ethernet0", "Ethernet4", "Ethernet8")
    for _ in range(2):
        assert switch.sync.reconcile()
    assert switch.result.running
    said = []
    for _ in range(4):
        said.append(switch.step())
        assert switch.sync.reconcile() or isinstance(said[-1], ReadLinks)
        if isinstance(said[-1], ReadLinks):
            break
    assert said == [
        ListPorts(),
        ReadPorts(("Ethernet0", "Ethernet4")),
        ReadPorts(("Ethernet8",)),
        ReadLinks(frozenset()),
    ]


def test_of_many_names_each_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "PORTS_PER_QUESTION", 1)
    names = [f"Ethernet{number}" for number in range(40)]
    switch = Switch(*names)
    assert switch.sync.reconcile()
    read: list[str] = []
    while not isinstance(command := switch.step(), ReadLinks):
        read += command.names if isinstance(command, ReadPorts) else ()
    assert read == names


def test_events_come_first() -> None:
    switch = Switch("Ethernet0", "Ethernet4")
    assert switch.sync.reconcile()
    assert isinstance(switch.step(), ListPorts)
    switch.event("Ethernet0", Link(1, DOWN, 0))
    assert isinstance(switch.step(), WritePorts)
    assert isinstance(switch.step(), ReadPorts)
    assert switch.counted() == {}


def test_without_any_port_there_are_still_the_links() -> None:
    switch = Switch()
    assert switch.reconcile() == []
    assert switch.result.runs == 1


def test_a_new_session_ends_it() -> None:
    switch = Switch("Ethernet0")
    switch.state.clear()
    assert switch.sync.reconcile()
    for _ in range(2):
        switch.step()
    command = switch.sync.next()
    assert isinstance(command, WritePorts)
    switch.sync.lost(command)
    switch.begin()
    assert not switch.result.running
    assert switch.result.runs == 0
    findings = switch.findings()
    assert (findings.found, findings.complete) == (1, False)
    switch.carry_out()
    assert switch.state == switch.expected()


# ---- contested


def fight(switch: Switch, runs: int, *, after: float = INTERVAL) -> list[list[str]]:
    """Somebody changes Ethernet0 before each of so many reconciliations."""
    said = []
    for _ in range(runs):
        switch.state["Ethernet0"] = DOWN
        said.append(switch.reconcile(after=after))
    return said


def test_a_new_session_takes_nothing_from_one_that_is_over() -> None:
    switch = Switch(*PORTS)
    del switch.state["Ethernet4"]
    switch.reconcile()
    switch.begin()
    findings = switch.findings()
    assert (findings.found, findings.complete) == (1, True)
    switch.begin()
    assert switch.sync.take_findings() is None


def test_who_was_not_contested_is_not_called_so_no_longer() -> None:
    switch = Switch(*PORTS)
    del switch.state["Ethernet4"]
    switch.reconcile()
    assert switch.findings().found == 1
    switch.reconcile()
    assert switch.findings() == Findings(complete=True)


def test_what_is_wrong_for_the_third_time_is_left_as_it_is() -> None:
    switch = Switch("Ethernet0", "Ethernet4")
    assert fight(switch, 2) == [["set Ethernet0"]] * 2
    assert not switch.result.contested
    switch.findings()
    assert fight(switch, 1) == [[]]
    contested = Contested("Ethernet0", Kind.STALE, CONTESTED_AFTER, 1000.0 + INTERVAL)
    assert switch.result.contested == (contested,)
    findings = switch.findings()
    assert (findings.found, findings.contested) == (1, (contested,))
    assert fight(switch, 2) == [[], []]
    assert switch.result.contested == (contested._replace(times=5),)
    assert switch.findings() == Findings(complete=True)
    assert switch.counted() == {Kind.STALE: 3}


@pytest.mark.parametrize("after", [0.0, 1.0, QUIET_SECONDS / 2])
def test_asking_often_does_not_prolong_the_fight(after: float) -> None:
    switch = Switch("Ethernet0")
    written = 0
    for _ in range(10):
        written += sum(map(len, fight(switch, 1, after=after)))
        # In between it is found right.
        assert switch.reconcile(after=after) == []
    assert written == CONTESTED_AFTER - 1


def test_the_numbers_are_those_of_the_documents() -> None:
    # The third time, a minute, an hour: docs/reconciliation.md.
    assert (CONTESTED_AFTER, QUIET_SECONDS, RETRY_SECONDS) == (3, 60, 3600)


def test_news_of_the_kernel_is_written_to_a_contested_entry() -> None:
    switch = Switch("Ethernet0")
    fight(switch, 3)
    switch.links["Ethernet0"] = Link(1, NO_CARRIER, 0)
    switch.event("Ethernet0", switch.links["Ethernet0"])
    switch.carry_out()
    assert switch.state["Ethernet0"] == NO_CARRIER
    assert switch.reconcile() == []
    assert switch.result.contested == ()
    assert switch.findings().calmed == ("Ethernet0",)
    assert fight(switch, 1) == [["set Ethernet0"]]


def test_a_contested_entry_is_put_right_again_after_an_hour() -> None:
    switch = Switch("Ethernet0")
    fight(switch, 3)
    runs = int(RETRY_SECONDS / INTERVAL)
    assert [switch.reconcile() for _ in range(runs - 1)] == [[]] * (runs - 2) + [["set Ethernet0"]]
    assert len(switch.result.contested) == 1
    assert switch.reconcile() == []
    assert not switch.result.contested


def test_a_contested_entry_that_is_gone_with_its_link_is_forgotten() -> None:
    switch = Switch("Ethernet0")
    fight(switch, 3)
    switch.config = ()
    switch.appl.clear()
    del switch.links["Ethernet0"]
    switch.event("Ethernet0", None)
    switch.sync.config_ports_are(())
    switch.carry_out()
    switch.sync.ports.clear()
    assert switch.reconcile() == []
    assert switch.result.contested == ()


def test_an_entry_under_another_prefix_is_somebody_elses() -> None:
    switch = Switch("Ethernet0")
    switch.state["eth0"] = UP
    assert switch.reconcile() == []
    assert switch.asked[-1] == frozenset()
    assert switch.counted() == {}
    assert "eth0" not in switch.sync.ports


def test_an_orphan_that_comes_back_is_contested() -> None:
    switch = Switch("Ethernet0")
    said = []
    for _ in range(5):
        switch.state["Ethernet4"] = UP
        said.append(switch.reconcile())
    assert said == [["delete Ethernet4"]] * 2 + [[]] * 3
    assert [(entry.port, entry.kind) for entry in switch.result.contested] == [("Ethernet4", Kind.ORPHAN)]
    assert switch.asked[-3:] == [frozenset()] * 3


def test_port_init_done_that_is_removed_again_and_again_is_contested() -> None:
    switch = Switch("Ethernet0")
    said = []
    for _ in range(4):
        switch.marked = False
        said.append(switch.reconcile())
    assert said == [["stage PortInitDone"]] * 2 + [[]] * 2
    assert [entry.port for entry in switch.result.contested] == [INIT_DONE]
    switch.marked = True
    switch.reconcile()
    assert not switch.result.contested


def test_of_many_contested_entries_the_first_few_are_told() -> None:
    names = [f"Ethernet{number}" for number in range(NAMED + 2)]
    switch = Switch(*names)
    for _ in range(CONTESTED_AFTER):
        switch.state.clear()
        switch.reconcile()
    assert len(switch.findings().contested) == NAMED
    assert len(switch.result.contested) == NAMED + 2
    switch.state.update(switch.expected())
    switch.reconcile()
    assert len(switch.findings().calmed) == NAMED
    assert switch.result.contested == ()


# ---- properties

NAMES = (*PORTS, "Ethernet12", "Ethernet16", "PortChannel9")
entries = st.sampled_from((None, UP, DOWN, NO_CARRIER, ("ok", "", "", ""), ("error", "up", "up", "9100")))
damage = st.dictionaries(st.sampled_from(NAMES), entries)


def suffer(switch: Switch, harm: dict[str, Fields | None]) -> set[str]:
    """Other clients leave these entries. Returns the names of those that are wrong then."""
    for name, entry in harm.items():
        if entry is None:
            switch.state.pop(name, None)
        else:
            switch.state[name] = entry
    right = switch.expected()
    return {name for name in switch.state.keys() | right.keys() if switch.state.get(name) != right.get(name)}


@given(damage, st.booleans(), st.integers(1, 4))
def test_whatever_others_did_is_put_right_and_nothing_else_written(
    harm: dict[str, Fields | None], marked: bool, at_a_time: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconcile, "PORTS_PER_QUESTION", at_a_time)
        switch = Switch(*PORTS)
        switch.marked = marked
        wrong = suffer(switch, harm)
        switch.reconcile()
        assert {write.name for write in switch.writes} == wrong
        assert len(switch.writes) == len(wrong)
        assert switch.state == switch.expected()
        assert switch.marked
        assert sum(switch.result.counts.values()) == len(wrong) + (not marked)
        assert switch.reconcile() == []


links = st.sampled_from((None, UP, DOWN, NO_CARRIER))


@given(damage, st.dictionaries(st.sampled_from(NAMES), links))
def test_what_the_kernel_did_unheard_is_put_right_too(
    harm: dict[str, Fields | None], truth: dict[str, Fields | None]
) -> None:
    switch = Switch(*PORTS)
    switch.appl.update(NAMES)
    switch.config += ("Ethernet12", "Ethernet16")
    for ifindex, (name, state) in enumerate(truth.items(), 1):
        if state is None:
            switch.links.pop(name, None)
        else:
            switch.links[name] = Link(switch.links[name].ifindex if name in switch.links else 100 + ifindex, state, 0)
    suffer(switch, harm)
    switch.compare()
    # The reader asks for whatever it knows and the dump lacks.
    gone = {name: Conflated(None, inf, removed=True) for name in PORTS if name not in switch.links}
    switch.sync.take(gone, switch.now)
    switch.read_links()
    assert switch.state == switch.expected()
    assert switch.reconcile() == []


@given(st.lists(st.tuples(damage, st.sampled_from((0.0, 10.0, 61.0, INTERVAL, RETRY_SECONDS))), max_size=12))
def test_nobody_is_fought_for_long(fights: Collection[tuple[dict[str, Fields | None], float]]) -> None:
    switch = Switch(*PORTS)
    written: dict[str, list[float]] = {}
    right: dict[str, float] = {}
    for harm, after in fights:
        wrong = suffer(switch, harm)
        switch.reconcile(after=after)
        for write in switch.writes:
            assert write.name in wrong
            written.setdefault(write.name, []).append(switch.now)
        for name in set(NAMES) - wrong:
            times = written.get(name)
            if times is not None and switch.now - max(times[-1], right.get(name, 0.0)) >= QUIET_SECONDS:
                written.pop(name)
        for name in wrong:
            right[name] = switch.now
        assert {write.name for write in switch.writes} >= {
            name for name in wrong if name not in {entry.port for entry in switch.result.contested}
        }
        for times in written.values():
            late = times[CONTESTED_AFTER - 1 :]
            before = times[CONTESTED_AFTER - 2 : -1]
            assert all(second - first >= RETRY_SECONDS for first, second in zip(before, late, strict=False))
