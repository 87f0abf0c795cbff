"""The rules that the daemon must keep. Each function returns what is broken, in words."""

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import trio

from portsyncd.daemon import Daemon
from portsyncd.model.healing import Kind
from portsyncd.model.health import RESTARTS, Status
from portsyncd.model.links import Change
from portsyncd.model.ports import UNKNOWN, oper_up, published_fields
from portsyncd.model.saved import from_content
from portsyncd.model.service_state import EXTENSION_SECONDS
from portsyncd.services.supervisor import ChildState
from portsyncd.testing.fake_manager import UnitState
from portsyncd.wire import schema
from tests.chaos.simulation.machine import APPL, STATE

if TYPE_CHECKING:
    from tests.chaos.simulation.simulation import Simulation

# Services and what they wait in; more is a leak.
_TASKS = 60
# Checks of /health that come right only when the disk or memory is next looked at, or written to.
_LAGGING = frozenset({"storage", "memory"})
_BUDGET = 10
_BUDGET_SECONDS = 300.0


def expected_states(sim: "Simulation") -> dict[str, dict[str, str]]:
    """What STATE_DB ought to say: every link that is a port by its name and by APPL_DB."""
    appl = sim.redis.database(APPL)
    prefixes = tuple(sim.setting.config.netlink.port_prefixes)
    return {
        link.name: dict(zip(schema.STATE_FIELDS, published_fields(link.message()), strict=True))
        for link in sim.kernel.links.values()
        if link.name.startswith(prefixes) and link.kind != "team" and f"{schema.PORT_TABLE}:{link.name}" in appl
    }


def states(sim: "Simulation") -> dict[str, dict[str, str]]:
    """What it says."""
    prefix = f"{schema.STATE_PORT_TABLE}|"
    entries = {
        key.removeprefix(prefix): sim.redis.hash(STATE, key)
        for key in sim.redis.database(STATE)
        if key.startswith(prefix)
    }
    return {name: entry for name, entry in entries.items() if "state" in entry}


def has_marker(sim: "Simulation", name: str) -> bool:
    """Whether APPL_DB holds it, staged or popped."""
    appl = sim.redis.database(APPL)
    return f"{schema.PORT_TABLE}:{name}" in appl or f"{schema.STAGED_PORT_TABLE}:{name}" in appl


def unsettled(sim: "Simulation") -> list[str]:
    """What is not right yet."""
    daemon = sim.daemon
    if daemon is None:
        return ["the daemon does not run"]
    problems = wrong_states(sim)
    for child in daemon.services.supervisor.statistics().children:
        if child.state is not ChildState.RUNNING:
            problems.append(f"{child.name} is {child.state}: {child.last_failure}")
    if sim.world.manager.state is not UnitState.ACTIVE:
        problems.append(f"the service is {sim.world.manager.state}: {sim.world.manager.status}")
    return problems + sim.endpoint.closed(daemon) + _out_of_sync(sim, daemon) + _unannounced(sim, daemon)


def _out_of_sync(sim: "Simulation", daemon: Daemon) -> list[str]:
    problems = []
    writer, reader = daemon.services.writer.statistics(), daemon.services.reader.statistics()
    if not writer.connected:
        problems.append(f"the writer is not connected: {writer.problem}")
    if not reader.listening:
        problems.append("the reader does not listen")
    elif sim.heals(Kind.NETLINK) and not sim.kernel.sockets:
        problems.append("the kernel tells nobody of its links")
    if sim.world.unanswered:
        problems.append("a question waits for the kernel's answer")
    if reader.resyncing or not writer.in_sync or len(daemon.services.inbox) or writer.events_in_flight:
        problems.append("it is not in sync")
    return problems


def _unannounced(sim: "Simulation", daemon: Daemon) -> list[str]:
    problems = []
    if daemon.services.writer.sync.generation.old & sim.kernel.links.keys():
        problems.append("there are links from before the start")
    if schema.PORT_KEY_SET in sim.redis.database(APPL):
        problems.append("orchagent has not taken what is staged")
    if not has_marker(sim, schema.PORT_CONFIG_DONE):
        problems.append("no PortConfigDone")
    held = sim.redis.database(STATE)
    linked = all(f"{schema.STATE_PORT_TABLE}|{name}" in held for name in sim.redis.config_ports())
    if linked and not has_marker(sim, schema.PORT_INIT_DONE):
        problems.append("no PortInitDone although it is due")
    return problems


def wrong_states(sim: "Simulation") -> list[str]:
    wanted, held = expected_states(sim), states(sim)
    problems = [
        f"STATE_DB has {held.get(name)} of {name}, the kernel {' '.join(fields.values())}"
        for name, fields in wanted.items()
        if {field: held.get(name, {}).get(field) for field in fields} != fields
    ]
    return problems + [f"STATE_DB has {name}, the kernel has not" for name in held if sim.kernel.find(name) is None]


# ---- all along


def watch(sim: "Simulation", daemon: Daemon) -> None:
    """Look over the mailbox: what it refuses is read again, and must have had a reason."""
    put = daemon.services.inbox.put

    def watched(changes: list[Change], now: float, *, reread: bool = False, event: bool = False) -> bool:
        accepted = put(changes, now, reread=reread, event=event)
        if not accepted:
            if len(daemon.services.inbox) < daemon.services.inbox.bound:
                sim.book.violate("the mailbox refused what it had room for")
            sim.book.blinded()
        return accepted

    daemon.services.inbox.put = watched  # type: ignore[method-assign, assignment]
    break_off = daemon.services.reader.break_off

    def watched_break(why: str) -> None:
        sim.broken_off += daemon.services.reader.statistics().listening
        sim.trace.say(f"guardian: gives the netlink sockets up: {why}")
        if sim.kernel.answers and trio.current_time() - sim.world.kernel_trouble_at > sim.setting.detection_seconds:
            sim.book.violate(f"the netlink sockets were given up without a reason: {why}")
        break_off(why)

    daemon.services.reader.break_off = watched_break  # type: ignore[method-assign]


def unbounded(sim: "Simulation", daemon: Daemon) -> list[str]:
    """What has grown beyond its bound."""
    sync, inbox = daemon.services.writer.sync, daemon.services.inbox
    names = len(sim.book.names)
    sizes = {
        "mailbox": (len(inbox), names),
        "ports": (len(sync.ports), names),
        "dirty ports": (len(sync._dirty), names),
        "pending ports": (len(sync.pending), names),
        "unproven ports": (len(sync._unproven), names),
        "saved ports": (len(sync._saved), names),
        "flaps": (len(sync._flaps), names),
        "latencies": (len(daemon.services.writer.statistics().latencies), 1024),
        "names asked for": (len(daemon.services.reader._asked), names),
        "reasons of reads": (len(daemon.services.reader._due), 16),
        "tasks": (trio.lowlevel.current_statistics().tasks_living, _TASKS + sim.endpoint.tasks(daemon)),
    }
    if daemon.services.recorder is not None:
        sizes["waiting samples"] = (len(daemon.services.recorder._waiting), 60)
    return [f"{what}: {size}, and {bound} at most" for what, (size, bound) in sizes.items() if size > bound]


def untold(sim: "Simulation", daemon: Daemon) -> list[str]:
    """What the service manager believes, and is not so. Nothing here blocks the event loop, and what stands still is begun
    anew before the watchdog bites."""
    manager = sim.world.manager
    problems = []
    if manager.starved_for():
        problems.append("the service manager's watchdog would have killed the daemon")
    if manager.state is not UnitState.ACTIVATING and not daemon.services.writer.first_sync.is_set():
        problems.append(f"the service is {manager.state} before its first sync")
    if manager.state is UnitState.ACTIVATING and trio.current_time() - manager.extended_at > EXTENSION_SECONDS:
        problems.append("the service manager would have given the start up")
    return problems


def budget_is_spent(sim: "Simulation", daemon: Daemon) -> bool:
    """Whether an essential service was made to fail as often as its budget allows."""
    thrown = {} if sim.crasher is None else sim.crasher.thrown
    more = {"writer": 0, "reader": sim.world.source_errors + sim.broken_off}
    return any(thrown.get(name, 0) + sim.begun_anew[name] + count > _BUDGET for name, count in more.items())


# ---- at rest


def miscounted(sim: "Simulation") -> list[str]:
    """Counters of this process that do not agree with what happened."""
    daemon = sim.daemon
    assert daemon is not None
    writer, reader, inbox = (
        daemon.services.writer.statistics(),
        daemon.services.reader.statistics(),
        daemon.services.inbox.statistics(),
    )
    problems = []
    if writer.writes != sim.book.writes:
        problems.append(f"{writer.writes} port writes are counted, {sim.book.writes} were acknowledged")
    if reader.events != sim.book.datagrams:
        problems.append(f"{reader.events} events are counted, {sim.book.datagrams} were read")
    ended = writer.events_processed + reader.failed + writer.events_failed + inbox.events + writer.events_in_flight
    if reader.events != ended:
        problems.append(f"{reader.events} events were read, {ended} accounted for")
    if bool(reader.overruns) != bool(sim.book.losses) or reader.overruns > sim.book.losses:
        problems.append(f"{reader.overruns} overruns are counted, {sim.book.losses} happened")
    steps = daemon.services.guardian.statistics().clock_steps
    # Several may look like one, or like none.
    if steps > sim.book.clock_steps or steps < (sim.book.clock_steps == 1 and sim.setting.looks_often):
        problems.append(f"{steps} steps of the clock are counted, {sim.book.clock_steps} happened")
    problems += ill(sim, _LAGGING)
    problems += _wrong_restarts(sim, daemon) + _wrong_ports(sim, daemon)
    return problems


def ill(sim: "Simulation", excused: Collection[str] = ()) -> list[str]:
    """Checks of /health that are not healthy without a reason. excused: those that need not be yet."""
    daemon = sim.daemon
    if daemon is None:
        return ["the daemon does not run"]
    excused = {*excused, *_excuses(sim, daemon)}
    return [
        f"{name} is {check.status}: {check.reason}"
        for name, check in daemon.services.observer.health().checks.items()
        if name not in excused and check.status is not Status.HEALTHY
    ]


def _excuses(sim: "Simulation", daemon: Daemon) -> set[str]:
    """Checks that may be ill although all is right, each for a reason of its own."""
    excused = set()
    if any(sim.kernel.find(name) is None for name in sim.redis.config_ports()):
        excused.add("awaited_ports")
    appl, prefixes = sim.redis.database(APPL), tuple(sim.setting.config.netlink.port_prefixes)
    names = [link.name for link in sim.kernel.links.values()]
    if any(name.startswith(prefixes) and f"{schema.PORT_TABLE}:{name}" not in appl for name in names):
        excused.add("pending_ports")
    if any(child.restarts >= RESTARTS for child in daemon.services.supervisor.statistics().children):
        excused.add("services")
    if sim.outcome.faults:
        excused.add("latency")
    if sim.endpoint.is_about_to_expire(daemon):
        excused.add("certificates")
    if daemon.services.writer.statistics().lost_writes:
        excused.add("writes")
    return excused


def unsaved(sim: "Simulation", daemon: Daemon) -> list[str]:
    """Ports of which an orderly stop did not keep what the next start has to know."""
    if sim.world.state is None:
        return []
    kept = sim.world.kept_state.content
    ports = from_content(kept, age=0.0, trusted=True).ports if kept else {}
    return [
        f"{name} is kept as {ports.get(name)}"
        for name, port in daemon.services.writer.sync.ports.items()
        if port.link is not None
        and (ports[name][:2] if name in ports else None) != (port.link.fields, port.link.ifindex)
    ]


def _wrong_restarts(sim: "Simulation", daemon: Daemon) -> list[str]:
    thrown = {} if sim.crasher is None else sim.crasher.thrown
    problems = []
    for child in daemon.services.supervisor.statistics().children:
        least = most = thrown.get(child.name, 0) + sim.begun_anew[child.name]
        if child.name == "reader":
            # Several errors can end one life.
            most += sim.world.source_errors + sim.broken_off
        elif child.name == "writer":
            most += sim.world.set_down_errors
        elif child.name == "guardian":
            # It survives what fails in its checks.
            least = 0
        elif child.name == "metrics":
            # What fails for one client ends that client's connection.
            least, most = sim.endpoint.restarts()
            most += thrown.get(child.name, 0)
        if not least <= child.restarts <= most:
            problems.append(f"{child.name} was restarted {child.restarts} times, and had {most} reasons")
    return problems


def _wrong_ports(sim: "Simulation", daemon: Daemon) -> list[str]:
    """Each port against its link."""
    problems = []
    known = set(sim.setting.names) | states(sim).keys() | {link.name for link in sim.kernel.links.values()}
    for name, port in daemon.services.writer.sync.ports.items():
        if name not in known:
            problems.append(f"{name} is not forgotten")
        if port.held is UNKNOWN and name not in daemon.services.writer.sync.pending:
            problems.append(f"what Redis holds of {name} is not known")
    return problems


def unremoved(sim: "Simulation") -> list[str]:
    """What others on the switch rely on and was not done, although everything was seen: a removal of the entry when a link
    went."""
    return [f"the entry of {name} was not removed when its link went" for name in sorted(sim.book.owed_removals)]


def unnoticed(sim: "Simulation") -> list[str]:
    """And a write when admin_status was down in between. That holds for what went unseen, too: where events were lost, or
    nobody listened for a while, each port that is up may have been down."""
    book = sim.book
    return [
        f"the entry of {name} was not written anew although it was down meanwhile"
        for name in sorted(book.owed_writes & expected_states(sim).keys())
        if sim.kernel.link(name).up
    ]


class Seen(NamedTuple):
    """A port and its link: carrier losses as the kernel counts them, and what the daemon has counted."""

    ifindex: int
    up: bool
    losses: int
    flaps: int
    ups: int
    downs: int


def seen(sim: "Simulation") -> dict[str, Seen]:
    """All ports that have a link."""
    daemon = sim.daemon
    assert daemon is not None
    return {
        name: Seen(
            link.ifindex,
            oper_up(published_fields(link.message())),
            link.carrier_down,
            port.flaps,
            port.ups,
            port.downs,
        )
        for name, port in daemon.services.writer.sync.ports.items()
        if (link := sim.kernel.find(name)) is not None and port.link is not None
    }


def uncounted(sim: "Simulation", before: dict[str, Seen]) -> list[str]:
    """Ports that kept their link, and whose carrier losses or transitions were counted otherwise than they happened."""
    problems = []
    for name, now in seen(sim).items():
        was = before.get(name)
        if was is None or was.ifindex != now.ifindex or name in sim.book.moved:
            continue
        if now.flaps - was.flaps != now.losses - was.losses:
            problems.append(f"{name} lost its carrier {now.losses - was.losses} times, counted {now.flaps - was.flaps}")
        if (now.ups - was.ups) - (now.downs - was.downs) != now.up - was.up:
            problems.append(
                f"{name}: {now.ups - was.ups} ups and {now.downs - was.downs} downs do not lead where it is"
            )
    return problems
