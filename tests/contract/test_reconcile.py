"""What reconciliation asks of every ``Store``, and keys that are not of the type that they should be."""

import pytest

from portsyncd.backends.base import Store
from portsyncd.model.commands import Look, Op, PortRead, PortWrite
from tests.contract.store_worlds import World
from tests.contract.test_store import APPL, CONFIG, DOWN, HARD_NAMES, ODD_NAME, STATE, UP, UP_HASH, admit, entry


def make_wrong(world: World, name: str) -> None:
    """A key of another type stands where a port's entry should."""
    world.client(STATE).set(f"PORT_TABLE|{name}", "not a hash")


async def test_the_names_of_ports_that_the_databases_hold(world: World, store: Store) -> None:
    names = await store.port_names()
    assert (set(names.state), set(names.config)) == (set(), set())
    assert names.look == Look("", config_done=False, init_done=False, own_row=False)
    state, config, appl = world.client(STATE), world.client(CONFIG), world.client(APPL)
    state.hset("PORT_TABLE|Ethernet0", mapping=UP_HASH)
    state.hset("PORT_TABLE|Ethernet4", mapping={"speed": "1"})
    state.hset("PORT_TABLE_OTHER|Ethernet8", mapping=UP_HASH)
    await store.set_hash(STATE, f"PORT_TABLE|{ODD_NAME}", UP_HASH)
    make_wrong(world, "Ethernet24")
    config.hset("PORT|Ethernet12", mapping={"lanes": "0"})
    config.hset("PORT_QOS_MAP|Ethernet16", mapping={"dscp": "x"})
    appl.hset("PORTSYNCD_GENERATION_TABLE:localhost", mapping={"id": "abc"})
    appl.hset("PORT_TABLE:PortInitDone", mapping={"lanes": "0"})
    names = await store.port_names()
    assert sorted(names.state) == ["Ethernet0", "Ethernet24", "Ethernet4", ODD_NAME]
    assert list(names.config) == ["Ethernet12"]
    assert names.look == Look("abc", config_done=False, init_done=True, own_row=False)


async def test_of_many_names_each_comes_once(world: World, store: Store) -> None:
    config = world.client(CONFIG)
    everything = [f"Ethernet{number}" for number in range(3000)]
    for name in everything:
        config.hset(f"PORT|{name}", mapping={"lanes": "0"})
    names = await store.port_names()
    assert sorted(names.config) == sorted(everything)


async def test_what_the_databases_hold_of_ports(world: World, store: Store) -> None:
    state = world.client(STATE)
    state.hset("PORT_TABLE|Ethernet0", mapping=UP_HASH | {"speed": "100000"})
    state.hset("PORT_TABLE|Ethernet4", mapping={"state": "", "mtu": "1500"})
    state.hset("PORT_TABLE|Ethernet8", mapping={"mtu": "1500"})
    make_wrong(world, "Ethernet16")
    admit(world, "Ethernet0", "Ethernet12", "Ethernet16")
    names = ["Ethernet12", "Ethernet0", "Ethernet4", "Ethernet8", "Ethernet16", "Ethernet0"]
    assert await store.read_ports(names) == [
        PortRead("Ethernet12", None, published=True),
        PortRead("Ethernet0", UP, published=True),
        PortRead("Ethernet4", ("", "", "", "1500"), published=False),
        PortRead("Ethernet8", None, published=False),
        PortRead("Ethernet16", None, published=True),
        PortRead("Ethernet0", UP, published=True),
    ]
    assert await store.read_ports([]) == []


async def test_ports_with_hard_names_are_read(world: World, store: Store) -> None:
    for name in HARD_NAMES:
        await store.set_hash(STATE, f"PORT_TABLE|{name}", UP_HASH)
        await store.set_hash(APPL, f"PORT_TABLE:{name}", {"lanes": "0"})
    assert await store.read_ports(HARD_NAMES) == [PortRead(name, UP, published=True) for name in HARD_NAMES]


# ---- a key of another type


async def test_a_key_of_another_type_is_no_entry_of_a_snapshot(world: World, store: Store) -> None:
    make_wrong(world, "Ethernet0")
    world.client(STATE).hset("PORT_TABLE|Ethernet4", mapping=UP_HASH)
    assert (await store.snapshot()).state == {"Ethernet4": UP}


@pytest.mark.parametrize("op", [Op.SET, Op.REPLACE])
async def test_a_key_of_another_type_gives_way_to_what_is_set(world: World, store: Store, op: Op) -> None:
    make_wrong(world, "Ethernet0")
    admit(world, "Ethernet0", "Ethernet4")
    writes = [PortWrite("Ethernet0", op, UP), PortWrite("Ethernet4", Op.SET, DOWN)]
    assert await store.write_ports(writes) == [True, True]
    assert entry(world, "Ethernet0") == UP_HASH
    assert entry(world, "Ethernet4")["mtu"] == "1500"


async def test_a_key_of_another_type_is_nothing_to_delete(world: World, store: Store) -> None:
    make_wrong(world, "Ethernet0")
    make_wrong(world, "Ethernet4")
    writes = [PortWrite("Ethernet0", Op.DELETE, None), PortWrite("Ethernet4", Op.REPLACE, UP)]
    assert await store.write_ports(writes) == [True, False]
    assert world.client(STATE).exists("PORT_TABLE|Ethernet0")
    assert world.client(STATE).exists("PORT_TABLE|Ethernet4")
