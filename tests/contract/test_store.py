"""What every ``Store`` does: the shipped fake and the real one, with the databases in one instance and in two."""

import pytest

from portsyncd.backends.base import Store
from portsyncd.errors import StoreRefusedError
from portsyncd.model.commands import Look, Op, PortWrite, Snapshot
from portsyncd.model.ports import Fields
from portsyncd.wire.producer import delete_row, set_row
from tests.contract.store_worlds import World

APPL, CONFIG, STATE = "APPL_DB", "CONFIG_DB", "STATE_DB"
UP: Fields = ("ok", "up", "up", "9100")
DOWN: Fields = ("ok", "down", "up", "1500")
UP_HASH = {"state": "ok", "netdev_oper_status": "up", "admin_status": "up", "mtu": "9100"}
ODD_NAME = "Ethernet\udcff0"
HARD_NAMES = ["Ethernet 0", 'Ethernet"0', "Ethernet\n0", "Ethernetü", "Ethernet*", ODD_NAME]


def entry(world: World, name: str) -> dict[str, str]:
    """A port's STATE_DB entry."""
    return dict(world.client(STATE).hgetall(f"PORT_TABLE|{name}"))


def admit(world: World, *names: str) -> None:
    """Orchagent took these ports: their APPL_DB entries appear."""
    for name in names:
        world.client(APPL).hset(f"PORT_TABLE:{name}", mapping={"lanes": "0"})


# ---- reading


async def test_whether_config_db_is_loaded(world: World, store: Store) -> None:
    assert await store.config_is_empty()
    assert await store.config_initialized() is None
    for value in ("0", "1"):
        world.client(CONFIG).set("CONFIG_DB_INITIALIZED", value)
        assert await store.config_initialized() == value
    assert not await store.config_is_empty()


async def test_a_snapshot_of_empty_databases(store: Store) -> None:
    assert await store.snapshot() == Snapshot()


async def test_a_snapshot_holds_all_that_a_start_needs(world: World, store: Store) -> None:
    appl, config, state = (world.client(db) for db in (APPL, CONFIG, STATE))
    config.hset("PORT|Ethernet0", mapping={"lanes": "0,1", "alias@": "etp1"})
    await store.set_hash(CONFIG, f"PORT|{ODD_NAME}", {"alias": ODD_NAME})
    config.hset("PORT_QOS_MAP|Ethernet4", mapping={"dscp": "x"})
    config.hset("DEVICE_METADATA|localhost", mapping={"switch_type": "dpu"})
    config.hset("WARM_RESTART|swss", mapping={"portsyncd_timer": "30"})
    config.hset("LOGGER|portsyncd", mapping={"LOGLEVEL": "DEBUG"})
    state.hset("PORT_TABLE|Ethernet0", mapping=UP_HASH | {"speed": "100000"})
    state.hset("PORT_TABLE|Ethernet4", mapping={"state": "ok", "mtu": "1500"})
    state.hset("PORT_TABLE|Ethernet8", mapping={"speed": "100000"})
    state.hset("PORT_TABLE_OTHER|Ethernet8", mapping={"state": "ok"})
    state.hset("WARM_RESTART_ENABLE_TABLE|swss", mapping={"enable": "true"})
    state.hset("WARM_RESTART_TABLE|portsyncd", mapping={"restore_count": "3"})
    appl.hset("PORTSYNCD_GENERATION_TABLE:localhost", mapping={"id": "abc"})
    appl.hset("_PORT_TABLE:PortConfigDone", mapping={"count": "1"})
    assert await store.snapshot() == Snapshot(
        config_ports={"Ethernet0": {"lanes": "0,1", "alias@": "etp1"}, ODD_NAME: {"alias": ODD_NAME}},
        state={"Ethernet0": UP, "Ethernet4": ("ok", "", "", "1500")},
        generation="abc",
        config_done=True,
        switch_type="dpu",
        warm_enabled=True,
        own_row=True,
        restore_count="3",
        warm_timer="30",
        log_level="DEBUG",
    )


@pytest.mark.parametrize("key", ["WARM_RESTART_ENABLE_TABLE|system", "WARM_RESTART_ENABLE_TABLE|swss"])
@pytest.mark.parametrize(("value", "enabled"), [("true", True), ("false", False), ("yes", False)])
async def test_warm_restart_is_enabled_for_the_system_or_for_swss(
    world: World, store: Store, key: str, value: str, enabled: bool
) -> None:
    world.client(STATE).hset(key, mapping={"enable": value})
    assert (await store.snapshot()).warm_enabled is enabled


async def test_a_look_sees_markers_staged_or_popped(world: World, store: Store) -> None:
    assert await store.look() == Look("", config_done=False, init_done=False, own_row=False)
    await store.produce([set_row("PortConfigDone", {"count": "0"})])
    assert await store.look() == Look("", config_done=True, init_done=False, own_row=False)
    await store.produce([set_row("PortInitDone", {"lanes": "0"})])
    await store.set_hash(STATE, "WARM_RESTART_TABLE|portsyncd", {"restore_count": "0"})
    await store.set_hash(APPL, "PORTSYNCD_GENERATION_TABLE:localhost", {"id": "abc"})
    everything = Look("abc", config_done=True, init_done=True, own_row=True)
    assert await store.look() == everything
    world.pop()
    assert await store.look() == everything
    world.client(APPL).flushdb()
    assert await store.look() == Look("", config_done=False, init_done=False, own_row=True)


async def test_single_rows_of_config_db(world: World, store: Store) -> None:
    assert await store.log_level() is None
    assert await store.config_port_names() == frozenset()
    await store.set_hash(CONFIG, "LOGGER|portsyncd", {"LOGLEVEL": "INFO", "LOGOUTPUT": "SYSLOG"})
    await store.set_hash(CONFIG, "PORT|Ethernet0", {"mtu": "9100"})
    assert await store.log_level() == "INFO"
    assert await store.config_port_names() == {"Ethernet0"}


async def test_a_key_of_the_wrong_type_is_a_refusal_and_the_session_stays_good(world: World, store: Store) -> None:
    world.client(CONFIG).set("LOGGER|portsyncd", "no hash")
    with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
        await store.log_level()
    assert await store.config_port_names() == frozenset()


# ---- writing


async def test_a_port_is_set_only_if_appl_db_has_it(world: World, store: Store) -> None:
    admit(world, "Ethernet0")
    answer = await store.write_ports(
        [PortWrite("Ethernet0", Op.SET, UP), PortWrite("Ethernet4", Op.SET, UP), PortWrite("Ethernet0", Op.SET, DOWN)]
    )
    assert answer == [True, False, True]
    assert entry(world, "Ethernet0") == dict(zip(UP_HASH, DOWN, strict=True))
    assert list(entry(world, "Ethernet0")) == list(UP_HASH)
    assert entry(world, "Ethernet4") == {}


async def test_other_writers_fields_survive_a_set_and_go_with_a_removal(world: World, store: Store) -> None:
    admit(world, "Ethernet0", "Ethernet4")
    for name in ("Ethernet0", "Ethernet4"):
        world.client(STATE).hset(f"PORT_TABLE|{name}", mapping={"speed": "100000"})
    await store.write_ports([PortWrite(name, Op.SET, UP) for name in ("Ethernet0", "Ethernet4")])
    assert entry(world, "Ethernet0") == {"speed": "100000", **UP_HASH}
    answer = await store.write_ports([PortWrite("Ethernet0", Op.DELETE, None), PortWrite("Ethernet4", Op.REPLACE, UP)])
    assert answer == [True, True]
    assert entry(world, "Ethernet0") == {}
    assert entry(world, "Ethernet4") == UP_HASH


async def test_an_entry_without_state_is_not_ours_to_remove(world: World, store: Store) -> None:
    admit(world, "Ethernet4")
    for name in ("Ethernet0", "Ethernet4"):
        world.client(STATE).hset(f"PORT_TABLE|{name}", mapping={"speed": "100000"})
    await store.write_ports([PortWrite("Ethernet0", Op.DELETE, None), PortWrite("Ethernet4", Op.REPLACE, UP)])
    assert entry(world, "Ethernet0") == {"speed": "100000"}
    assert entry(world, "Ethernet4") == {"speed": "100000", **UP_HASH}


async def test_a_replacement_without_an_appl_db_entry_removes_and_sets_nothing(world: World, store: Store) -> None:
    world.client(STATE).hset("PORT_TABLE|Ethernet0", mapping=UP_HASH)
    assert await store.write_ports([PortWrite("Ethernet0", Op.REPLACE, UP)]) == [False]
    assert entry(world, "Ethernet0") == {}


async def test_a_removal_needs_no_appl_db_entry(world: World, store: Store) -> None:
    world.client(STATE).hset("PORT_TABLE|Ethernet0", mapping=UP_HASH)
    answer = await store.write_ports([PortWrite("Ethernet0", Op.DELETE, None), PortWrite("Ethernet4", Op.DELETE, None)])
    assert answer == [True, True]
    assert world.client(STATE).keys() == []


async def test_many_ports_in_one_call(world: World, store: Store) -> None:
    names = [f"Ethernet{number}" for number in range(512)]
    admit(world, *names[::2])
    answer = await store.write_ports([PortWrite(name, Op.SET, UP) for name in names])
    assert answer == [True, False] * 256
    assert len(world.client(STATE).keys()) == 256
    assert await store.write_ports([]) == []


@pytest.mark.parametrize("name", HARD_NAMES)
async def test_hard_names_are_written_like_others(world: World, store: Store, name: str) -> None:
    await store.produce([set_row(name, {"alias": name})])
    assert world.pop() == [(name, {"alias": name})]
    assert await store.write_ports([PortWrite(name, Op.SET, UP)]) == [True]
    assert (await store.snapshot()).state == {name: UP}
    await store.write_ports([PortWrite(name, Op.DELETE, None)])
    assert (await store.snapshot()).state == {}


async def test_a_producer_row_is_staged_until_it_is_popped(world: World, store: Store) -> None:
    await store.produce([set_row("Ethernet0", {"lanes": "0", "alias@": "etp1"}), set_row("Ethernet4", {})])
    appl = world.client(APPL)
    assert appl.hgetall("_PORT_TABLE:Ethernet0") == {"lanes": "0", "alias": "etp1"}
    assert appl.hgetall("_PORT_TABLE:Ethernet4") == {"NULL": "NULL"}
    assert set(appl.smembers("PORT_TABLE_KEY_SET")) == {"Ethernet0", "Ethernet4"}
    assert not appl.exists("PORT_TABLE:Ethernet0")
    assert world.pop() == [("Ethernet0", {"lanes": "0", "alias": "etp1"}), ("Ethernet4", {"NULL": "NULL"})]
    assert appl.hgetall("PORT_TABLE:Ethernet0") == {"lanes": "0", "alias": "etp1"}
    assert world.pop() == []


async def test_a_message_goes_out_for_each_key_that_was_not_waiting(world: World, store: Store) -> None:
    rows = [set_row("Ethernet0", {"mtu": "1"}), set_row("Ethernet4", {"mtu": "1"}), set_row("Ethernet0", {"mtu": "2"})]
    await store.produce(rows)
    assert world.heard() == ["G", "G"]
    await store.produce(rows)
    assert world.heard() == ["G", "G"]
    world.pop()
    await store.produce(rows[:1])
    assert world.heard() == ["G", "G", "G"]


async def test_staged_fields_merge_and_a_deletion_ends_them(world: World, store: Store) -> None:
    await store.produce([set_row("Ethernet0", {"mtu": "1", "fec": "rs"}), set_row("Ethernet0", {"mtu": "2"})])
    assert world.pop() == [("Ethernet0", {"mtu": "2", "fec": "rs"})]
    await store.produce([set_row("Ethernet0", {"mtu": "3"}), delete_row("Ethernet0")])
    assert set(world.client(APPL).smembers("PORT_TABLE_DEL_SET")) == {"Ethernet0"}
    assert world.pop() == [("Ethernet0", {})]
    assert not world.client(APPL).exists("PORT_TABLE:Ethernet0")


async def test_a_hash_is_merged(world: World, store: Store) -> None:
    world.client(STATE).hset("WARM_RESTART_TABLE|portsyncd", mapping={"state": "restored"})
    await store.set_hash(STATE, "WARM_RESTART_TABLE|portsyncd", {"restore_count": "1", "state": "reconciled"})
    assert world.client(STATE).hgetall("WARM_RESTART_TABLE|portsyncd") == {"state": "reconciled", "restore_count": "1"}
