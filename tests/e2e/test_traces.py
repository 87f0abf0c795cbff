"""The golden traces of C++ portsyncd, replayed against the real daemon, kernel and Redis.

Each step's writes must be those of the trace, in what matters of their order, except where this project departs on
purpose (section 5 of the contract):

- 5.1, writes only on change: a write that repeats what the entry holds is taken out of what is expected. Of several
  different writes to one port within a step (the kernel reports one command in several messages) some may be conflated,
  but the last is there, and none is there that the trace does not have.
- What else differs stands in ``DEPARTURES``.

After each step a link that no trace knows changes, and its write to Redis is awaited: what came before it is there.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from portsyncd.testing.links import LinkState
from portsyncd.testing.monitor import Monitor, Write
from portsyncd.testing.switch import SENTINEL, Switch, as_fields, config_row
from portsyncd.wire import schema

pytestmark = pytest.mark.root

TRACES: Final = sorted((Path(__file__).parents[1] / "data" / "traces").glob("*.json"))
BY_HAND: Final = "(before the first step)"
OWN_KEYS: Final = {
    schema.APPL_DB: {schema.GENERATION_KEY},
    schema.CONFIG_DB: {schema.LOGGER_KEY},
    schema.STATE_DB: set(),
}


def port(name: str, oper: bool, admin: bool, mtu: int) -> Write:
    return Write(schema.STATE_DB, "hset", f"PORT_TABLE|{name}", as_fields(LinkState(oper, admin, mtu)))


INIT_DONE: Final = Write(schema.APPL_DB, "producer_set", "PortInitDone", {"lanes": "0"})

# (scenario, step) -> section of the contract, and the writes that are expected instead.
DEPARTURES: Final[dict[tuple[str, str], tuple[str, list[Write]]]] = {
    ("08_not_in_port_table", "APPL_DB HSET PORT_TABLE:PortChannel1 lanes 1 (by hand)"): (
        "5.2: a link that waits is published as soon as its entry appears",
        [port("PortChannel1", oper=True, admin=True, mtu=1500)],
    ),
    ("08_not_in_port_table", "ip link del Ethernet100"): ("5.5: there is no entry of ours to remove", []),
    ("14_dpu", "start consumer (plays orchagent)"): (
        "5.2, 5.3: links that exist are adopted on a dpu, and PortInitDone follows",
        [port("Ethernet0", False, True, 1500), port("Ethernet4", False, False, 1500), INIT_DONE],
    ),
}
# (scenario, database, key) -> section, and the entry that is expected at the end.
FINAL_DEPARTURES: Final[dict[tuple[str, str, str], tuple[str, dict[str, str]]]] = {
    ("14_dpu", schema.APPL_DB, "PORT_TABLE:PortInitDone"): ("5.3", INIT_DONE.fields),
    ("14_dpu", schema.STATE_DB, "PORT_TABLE|Ethernet4"): ("5.2, 5.3", port("Ethernet4", False, False, 1500).fields),
}


class Replay:
    """Carries out the steps of one trace."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch

    def do(self, step: str) -> None:
        for pattern, action in ACTIONS:
            found = re.fullmatch(pattern, step)
            if found:
                action(self, *found.groups())
                return
        pytest.fail(f"nothing here knows the step {step!r}")

    def load_config(self, count: str, first: str, fields: str) -> None:
        for number in range(int(count)):
            row = {name: value for name, value in config_row(number).items() if name in fields.split(",")}
            self.hset(
                "CONFIG", f"PORT|Ethernet{int(first) + 4 * number}", *(word for pair in row.items() for word in pair)
            )

    def add_config_port(self) -> None:
        number = len(self.switch.config_db.keys("PORT|*"))
        self.load_config("1", str(4 * number), ",".join(config_row(0)))

    def hset(self, db: str, key: str, *words: str) -> None:
        client = self.switch.redis.client(schema.DEFAULT_NUMBERS[f"{db}_DB"])
        client.hset(key, mapping=dict(zip(words[::2], words[1::2], strict=True)))

    def write(self, write: Write) -> None:
        self.hset(write.db.removesuffix("_DB"), write.key, *(word for pair in write.fields.items() for word in pair))

    def hset_words(self, db: str, key: str, words: str) -> None:
        self.hset(db, key, *words.split())

    def delete_key(self, db: str, key: str) -> None:
        self.switch.redis.client(schema.DEFAULT_NUMBERS[f"{db}_DB"]).delete(key)

    def start_daemon(self) -> None:
        self.switch.daemon.start()
        self.switch.daemon.wait_in_sync()

    def start_consumer(self) -> None:
        self.switch.orchagent.start()

    def add_link(self, name: str, kind: str, peer: str | None) -> None:
        if kind == "veth":
            assert peer == f"p{name}"
            self.switch.links.add_port(name)
        else:
            self.switch.links.add(name, kind)

    def delete_link(self, name: str) -> None:
        self.switch.links.delete(name)

    def set_link(self, name: str, words: str) -> None:
        attributes: dict[str, Any] = {}
        iterator = iter(words.split())
        for word in iterator:
            match word:
                case "up" | "down":
                    attributes["up"] = word == "up"
                case "nomaster":
                    attributes["master"] = ""
                case "promisc":
                    attributes |= {"flags": 0x100 if next(iterator) == "on" else 0, "change": 0x100}
                case "mtu" | "txqueuelen" | "group":
                    attributes[{"txqueuelen": "txqlen"}.get(word, word)] = int(next(iterator))
                case "master" | "address" | "alias" | "name":
                    attributes[{"alias": "ifalias", "name": "ifname"}.get(word, word)] = next(iterator)
                case _:
                    pytest.fail(f"nothing here knows 'ip link set ... {word}'")
        self.switch.links.set(name, **attributes)

    def add_address(self, address: str, name: str) -> None:
        self.switch.links.add_address(name, address)


ACTIONS: Final[list[tuple[str, Callable[..., None]]]] = [
    (r"CONFIG_DB: (\d+) ports Ethernet(\d+)\.\.-?\d+ \(([\w,]+)\)", Replay.load_config),
    (r"CONFIG_DB add 1 port", Replay.add_config_port),
    (r"(APPL|CONFIG|STATE)_DB HSET (\S+) (.+?)(?: \(.*\))?", Replay.hset_words),
    (r"(APPL|CONFIG|STATE)_DB DEL (\S+)(?: \(.*\))?", Replay.delete_key),
    (r"start portsyncd(?: \(.*\))?", Replay.start_daemon),
    (r"start consumer(?: \(.*\))?", Replay.start_consumer),
    (r"ip link add (\S+) type (\w+)(?: peer name (\S+))?", Replay.add_link),
    (r"ip link set (?:dev )?(\S+) (.+)", Replay.set_link),
    (r"ip link del (\S+)", Replay.delete_link),
    (r"ip addr add (\S+) dev (\S+)", Replay.add_address),
]


def read_write(record: dict[str, Any]) -> Write:
    (kind,) = record.keys() - {"db", "fields"}
    return Write(record["db"], kind, record[kind], record.get("fields", {}))


class Held:
    """What the entries hold, to leave out writes that would change nothing (5.1)."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], dict[str, str]] = {}

    def changing(self, writes: Sequence[Write]) -> Iterator[Write]:
        for write in writes:
            before = self.entries.get((write.db, write.key))
            if write.kind == "hset" and before == write.fields:
                continue
            self.entries[write.db, write.key] = write.fields
            yield write


def per_key(writes: Sequence[Write]) -> dict[tuple[str, str], list[Write]]:
    found: dict[tuple[str, str], list[Write]] = {}
    for write in writes:
        found.setdefault((write.db, write.key), []).append(write)
    return found


def is_conflation(ours: Sequence[Write], theirs: Sequence[Write]) -> bool:
    """Whether ``ours`` is ``theirs`` with some left out, but not the last."""
    remaining = iter(theirs)
    return all(write in remaining for write in ours) and ours[-1:] == theirs[-1:]


def difference(ours: Sequence[Write], theirs: Sequence[Write]) -> str:
    """What is wrong with a step's writes; empty when nothing is."""
    here, there = per_key(ours), per_key(theirs)
    for key in here.keys() | there.keys():
        if not is_conflation(here.get(key, []), there.get(key, [])):
            return f"{key}: wrote {here.get(key)}, expected {there.get(key)}"
    keys = [write.key for write in ours]
    produced = [write.key for write in ours if write.kind == "producer_set"]
    if schema.PORT_CONFIG_DONE in produced:
        ports = [key for key in produced if key not in schema.MARKERS]
        if produced[: len(ports)] != ports or produced.index(schema.PORT_CONFIG_DONE) != len(ports):
            return f"PortConfigDone does not follow the ports: {produced}"
        if keys[0] != schema.WARM_KEY:
            return f"warm or cold was not settled first: {keys}"
    if schema.PORT_INIT_DONE in produced and keys[-1] != schema.PORT_INIT_DONE:
        return f"PortInitDone is not last: {keys}"
    return ""


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace(path: Path, switch: Switch) -> None:
    trace = json.loads(path.read_text())
    scenario = trace["scenario"]
    replay, held = Replay(switch), Held()
    with Monitor(switch.redis) as monitor:
        for step in trace["steps"]:
            do, recorded = step["do"], [read_write(record) for record in step["writes"]]
            if do == BY_HAND:
                for write in recorded:
                    replay.write(write)
                continue
            _, expected = DEPARTURES.get((scenario, do), ("", recorded))
            replay_step(replay, monitor, do, list(held.changing(expected)))
    final = {db: dict(entries) for db, entries in trace["final"].items()}
    for (departing, db, key), (_, fields) in FINAL_DEPARTURES.items():
        if departing == scenario:
            final[db][key] = fields
    assert {db: contents(switch, db) for db in final} == final
    switch.orchagent.check()


def replay_step(replay: Replay, monitor: Monitor, do: str, expected: Sequence[Write]) -> None:
    position = monitor.position()

    def wrong() -> str:
        return difference([write for write in monitor.writes(position) if is_of_a_trace(write)], expected)

    replay.do(do)
    replay.switch.wait(lambda: not wrong(), lambda: f"{do}: {wrong()}")
    if replay.switch.daemon.running:
        replay.switch.barrier()
    assert not wrong(), f"{do}: {wrong()}"


def is_of_a_trace(write: Write) -> bool:
    """The traces record the daemon's writes to STATE_DB, and its producer sets."""
    if is_ours(write.db, write.key):
        return False
    return write.db == schema.STATE_DB or write.kind.startswith("producer")


def is_ours(db: str, key: str) -> bool:
    """Whether a key is the daemon's own, or the sentinel's."""
    return key in OWN_KEYS.get(db, ()) or SENTINEL in key


def contents(switch: Switch, db: str) -> dict[str, dict[str, str]]:
    """All hashes of a database but our own; a key of another type fails."""
    client = switch.redis.client(schema.DEFAULT_NUMBERS[db])
    rows: dict[str, Any] = {key: client.hgetall(key) for key in map(str, client.keys()) if not is_ours(db, key)}
    return rows


def test_every_departure_is_of_a_trace() -> None:
    traces = {path.stem: json.loads(path.read_text()) for path in TRACES}
    for scenario, do in DEPARTURES:
        assert do in [step["do"] for step in traces[scenario]["steps"]]
    for scenario, db, _ in FINAL_DEPARTURES:
        assert db in traces[scenario]["final"]


def test_the_comparison_objects() -> None:
    up, down = port("Ethernet0", True, True, 1500), port("Ethernet0", False, False, 1500)
    assert not difference([up], [down, up])
    assert difference([down], [down, up])
    assert difference([up, down, up], [down, up])
    assert difference([], [up])
    assert difference([up], [])
    assert difference([INIT_DONE, up], [up, INIT_DONE])
    assert list(Held().changing([up, up, down, up])) == [up, down, up]
