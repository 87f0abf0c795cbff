"""What is particular to the store on a real Redis: its scripts, its pipelines, and databases in two instances."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from portsyncd.backends.connection import Access
from portsyncd.backends.redis import RedisStore
from portsyncd.errors import StoreChangedError, StoreRefusedError
from portsyncd.model.commands import Op, PortWrite
from portsyncd.model.ports import Fields
from portsyncd.testing.monitor import Monitor
from portsyncd.testing.redis_server import RedisServer
from portsyncd.wire import schema
from portsyncd.wire.database_config import Database, Endpoint
from portsyncd.wire.producer import set_row

UP: Fields = ("ok", "up", "up", "9100")
SET = PortWrite("Ethernet0", Op.SET, UP)
ROW = set_row("Ethernet0", {"mtu": "9100"})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    with closing(make_store(server)) as store:
        await store.open()
        yield store


def make_store(
    appl: RedisServer, state: RedisServer | None = None, *, kind: type[RedisStore] = RedisStore
) -> RedisStore:
    servers = {schema.APPL_DB: appl, schema.CONFIG_DB: appl, schema.STATE_DB: state or appl}
    return kind(
        {
            name: Database(name, Endpoint(unix_socket=server.socket_path), schema.DEFAULT_NUMBERS[name], separator)
            for (name, separator), server in zip(schema.DEFAULT_SEPARATORS.items(), servers.values(), strict=True)
        },
        Access(timeout=20.0),
    )


def admit(server: RedisServer, *names: str) -> None:
    """Orchagent took these ports: their APPL_DB entries appear."""
    for name in names:
        server.client(0).hset(f"PORT_TABLE:{name}", "lanes", "0")


def calls(server: RedisServer, command: str) -> int:
    """How often Redis has been asked for this command."""
    return int(server.client(0).info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_scripts_are_sent_once_and_then_named(server: RedisServer, store: RedisStore) -> None:
    for _ in range(5):
        await store.produce([ROW])
        await store.write_ports([SET])
    assert calls(server, "evalsha") == 10
    assert calls(server, "eval") == 2


async def test_a_script_flush_costs_one_more_round_trip_and_nothing_else(
    server: RedisServer, store: RedisStore
) -> None:
    admit(server, "Ethernet0")
    assert await store.write_ports([SET]) == [True]
    server.client(0).script_flush()
    assert await store.write_ports([SET]) == [True]
    server.client(0).script_flush()
    await store.produce([ROW])
    assert server.client(0).smembers("PORT_TABLE_KEY_SET") == {"Ethernet0"}


async def test_a_write_is_one_request_that_no_other_client_comes_between(
    server: RedisServer, store: RedisStore
) -> None:
    admit(server, "Ethernet0")
    await store.write_ports([SET])
    with Monitor(server) as monitor:
        start = monitor.position()
        await store.write_ports([SET, PortWrite("Ethernet4", Op.SET, UP)])
        seen = [command for command in monitor.since(start) if command.words[0] != "ECHO"]
    assert [command.words[0] for command in seen if not command.script] == ["EVALSHA"]
    assert [command.words[:2] for command in seen if command.script and command.words[0] == "HSET"] == [
        ("HSET", "PORT_TABLE|Ethernet0")
    ]


async def test_the_script_leaves_the_connection_on_its_own_database(server: RedisServer, store: RedisStore) -> None:
    admit(server, "Ethernet0")
    await store.write_ports([SET])
    await store.set_hash(schema.STATE_DB, "KEY", {"a": "b"})
    assert server.client(6).hgetall("KEY") == {"a": "b"}
    assert not server.client(0).exists("KEY")


async def test_databases_may_have_other_numbers_and_separators(server: RedisServer) -> None:
    names = (schema.APPL_DB, schema.CONFIG_DB, schema.STATE_DB)
    endpoint = Endpoint(unix_socket=server.socket_path)
    databases = {name: Database(name, endpoint, number, "/") for name, number in zip(names, (1, 2, 3), strict=True)}
    with closing(RedisStore(databases, Access(timeout=20.0))) as store:
        await store.open()
        server.client(1).hset("PORT_TABLE/Ethernet0", "lanes", "0")
        server.client(2).hset("PORT/Ethernet0", "mtu", "9100")
        assert await store.write_ports([SET, PortWrite("Ethernet4", Op.SET, UP)]) == [True, False]
        assert server.client(3).hget("PORT_TABLE/Ethernet0", "state") == "ok"
        snapshot = await store.snapshot()
        assert (snapshot.config_ports, snapshot.state) == ({"Ethernet0": {"mtu": "9100"}}, {"Ethernet0": UP})
        await store.produce([ROW])
        assert server.client(1).exists("_PORT_TABLE:Ethernet0")


async def test_a_snapshot_of_more_ports_than_one_pipeline_takes(server: RedisServer, store: RedisStore) -> None:
    names = {f"Ethernet{number}" for number in range(2500)}
    for db, prefix in ((4, "PORT|"), (6, "PORT_TABLE|")):
        pipeline = server.client(db).pipeline(transaction=False)
        for name in names:
            pipeline.hset(prefix + name, mapping={"state": "ok", "mtu": "9100", "index": name})
        pipeline.execute()
    snapshot = await store.snapshot()
    assert {name: row["index"] for name, row in snapshot.config_ports.items()} == {name: name for name in names}
    assert snapshot.state == dict.fromkeys(names, ("ok", "", "", "9100"))


class Late(RedisStore):
    """A port goes after the names have been read."""

    async def config_port_names(self) -> frozenset[str]:
        return await super().config_port_names() | {"Ethernet4"}


async def test_a_port_that_goes_while_the_snapshot_is_read_is_left_out(server: RedisServer) -> None:
    server.client(4).hset("PORT|Ethernet0", "mtu", "9100")
    with closing(make_store(server, kind=Late)) as store:
        await store.open()
        assert (await store.snapshot()).config_ports == {"Ethernet0": {"mtu": "9100"}}


async def test_a_row_of_the_wrong_type_is_a_refusal(server: RedisServer, store: RedisStore) -> None:
    server.client(6).set("WARM_RESTART_TABLE|portsyncd", "no hash")
    with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
        await store.set_hash("STATE_DB", "WARM_RESTART_TABLE|portsyncd", {"state": "restored"})
    admit(server, "Ethernet0")
    assert await store.write_ports([SET]) == [True]


# ---- databases in two instances


class Interrupted(RedisStore):
    """Orchagent does something after each look at the entries."""

    def interrupt_by(self, act: Callable[[], object]) -> None:
        self._act = act

    async def _are_present(self, names: Sequence[str]) -> list[bool]:
        answer = await super()._are_present(names)
        self._act()
        return answer


@pytest.mark.parametrize("comes", [False, True], ids=["goes", "comes"])
async def test_where_an_entry_goes_or_comes_between_the_two_looks_nothing_is_known(tmp_path: Path, comes: bool) -> None:
    (tmp_path / "2").mkdir()
    with ExitStack() as stack:
        appl = stack.enter_context(RedisServer(tmp_path))
        state = stack.enter_context(RedisServer(tmp_path / "2"))
        store = stack.enter_context(closing(make_store(appl, state, kind=Interrupted)))
        assert isinstance(store, Interrupted)
        await store.open()
        admit(appl, "Ethernet4", *([] if comes else ["Ethernet0"]))
        if comes:
            store.interrupt_by(lambda: admit(appl, "Ethernet0"))
        else:
            store.interrupt_by(lambda: appl.client(0).delete("PORT_TABLE:Ethernet0"))
        with pytest.raises(StoreChangedError, match="APPL_DB changed"):
            await store.write_ports([SET, SET._replace(name="Ethernet4")])
        assert await store.write_ports([SET._replace(name="Ethernet4")]) == [True]


async def test_the_instance_of_appl_db_is_never_written_to_for_state_db(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    with ExitStack() as stack:
        appl = stack.enter_context(RedisServer(tmp_path))
        state = stack.enter_context(RedisServer(tmp_path / "2"))
        store = stack.enter_context(closing(make_store(appl, state)))
        await store.open()
        admit(appl, "Ethernet0")
        assert await store.write_ports([SET]) == [True]
        assert appl.client(6).keys() == []
        assert state.client(0).keys() == []
        state.client(6).set("PORT_TABLE|Ethernet0", "no hash")
        assert await store.write_ports([PortWrite("Ethernet0", Op.REPLACE, UP)]) == [True]
        assert appl.client(6).keys() == []
