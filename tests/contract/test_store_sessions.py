"""How every ``Store`` hears of changes, and how its sessions end; in the same four worlds as ``test_store``."""

from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest
import trio
import trio.testing

from portsyncd.backends.base import Store
from portsyncd.errors import StoreRefusedError, StoreUnavailableError
from portsyncd.model.commands import Op, PortWrite
from portsyncd.model.ports import Fields
from portsyncd.testing.wait import until
from portsyncd.wire.producer import set_row
from tests.contract.store_worlds import DEADLINE_SECONDS, World, watching

APPL, CONFIG, STATE = "APPL_DB", "CONFIG_DB", "STATE_DB"
UP: Fields = ("ok", "up", "up", "9100")
ROW = {"LOGLEVEL": "INFO"}

Request = Callable[[Store], Awaitable[object]]
READS: dict[str, Request] = {
    "config_initialized": lambda store: store.config_initialized(),
    "config_is_empty": lambda store: store.config_is_empty(),
    "snapshot": lambda store: store.snapshot(),
    "look": lambda store: store.look(),
    "config_port_names": lambda store: store.config_port_names(),
    "log_level": lambda store: store.log_level(),
}
WRITES: dict[str, Request] = {
    "write_ports": lambda store: store.write_ports([PortWrite("Ethernet0", Op.SET, UP)]),
    "produce": lambda store: store.produce([set_row("Ethernet0", {"mtu": "9100"})]),
    "set_hash": lambda store: store.set_hash(STATE, "WARM_RESTART_TABLE|portsyncd", {"restore_count": "0"}),
}
REQUESTS = READS | WRITES


def admit(world: World, name: str) -> None:
    """Orchagent took this port: its APPL_DB entry appears."""
    world.client(APPL).hset(f"PORT_TABLE:{name}", mapping={"lanes": "0"})


async def waiting(store: Store) -> float:
    """Since when it waits, as soon as it does."""
    with trio.fail_after(DEADLINE_SECONDS):
        while (since := store.waiting_since) is None:
            await trio.lowlevel.checkpoint()
    return since


# ---- notifications


async def test_changes_of_config_ports_and_of_our_logger_row_are_reported(world: World, store: Store) -> None:
    assert store.notifying
    config = world.client(CONFIG)
    async with watching(store) as seen:
        config.hset("PORT|Ethernet0", mapping={"mtu": "9100"})
        config.hset("PORT|Ethernet4", mapping={"mtu": "9100"})
        await seen.until(lambda: seen.config_ports == {"Ethernet0", "Ethernet4"})
        seen.config_ports.clear()
        config.delete("PORT|Ethernet4")
        await seen.until(lambda: seen.config_ports == {"Ethernet4"})
        assert not seen.logger
        config.hset("LOGGER|portsyncd", mapping=ROW)
        await seen.until(lambda: seen.logger)
    assert seen.ports == set()


async def test_other_tables_are_not_reported(world: World, store: Store) -> None:
    async with watching(store) as seen:
        world.client(CONFIG).hset("PORT_QOS_MAP|Ethernet0", mapping={"dscp": "x"})
        world.client(CONFIG).hset("LOGGER|orchagent", mapping=ROW)
        world.client(STATE).hset("PORT_TABLE|Ethernet0", mapping={"state": "ok"})
        admit(world, "Ethernet0")
        # A sentinel: what came before it has been passed over.
        world.client(CONFIG).hset("PORT|Ethernet4", mapping={"mtu": "9100"})
        await seen.until(lambda: bool(seen.config_ports))
    assert (seen.ports, seen.config_ports, seen.logger) == (set(), {"Ethernet4"}, False)


async def test_what_happens_before_watch_begins_is_not_lost(world: World, store: Store) -> None:
    # Redis has taken the subscription in when it has answered a request that was sent after it.
    await store.look()
    world.client(CONFIG).hset("PORT|Ethernet0", mapping={"mtu": "9100"})
    async with watching(store) as seen:
        await seen.until(lambda: seen.config_ports == {"Ethernet0"})


async def test_an_appl_db_entry_is_reported_only_while_it_is_waited_for(world: World, store: Store) -> None:
    async with watching(store) as seen:
        await store.wait_for_ports({"Ethernet0", "Ethernet4"})
        for name in ("Ethernet0", "Ethernet8"):
            admit(world, name)
        await seen.until(lambda: seen.ports == {"Ethernet0"})
        await store.wait_for_ports({"Ethernet8"})
        seen.ports.clear()
        for name in ("Ethernet4", "Ethernet8"):
            admit(world, name)
        await seen.until(lambda: seen.ports == {"Ethernet8"})
        await store.wait_for_ports(())
        admit(world, "Ethernet8")
        world.client(CONFIG).hset("PORT|Ethernet4", mapping={"mtu": "9100"})
        await seen.until(lambda: bool(seen.config_ports))
    assert seen.ports == {"Ethernet8"}


async def test_an_entry_that_appears_as_soon_as_waiting_began_is_never_missed(world: World, store: Store) -> None:
    async with watching(store) as seen:
        for number in range(50):
            name = f"Ethernet{number}"
            await store.wait_for_ports({name})
            admit(world, name)
            await seen.until(lambda name=name: name in seen.ports)  # type: ignore[misc]


async def test_a_name_with_odd_bytes_can_be_waited_for(world: World, store: Store) -> None:
    name = "Ethernet\udcff0"
    async with watching(store) as seen:
        await store.wait_for_ports({name, "Ethernet0"})
        await store.set_hash(APPL, f"PORT_TABLE:{name}", {"lanes": "0"})
        await seen.until(lambda: seen.ports == {name})


async def test_waiting_for_ports_needs_somebody_who_watches(world: World) -> None:
    with closing(world.make(timeout=world.short)) as store:
        await store.open()
        with pytest.raises(StoreUnavailableError):
            await store.wait_for_ports({"Ethernet0"})


async def test_a_flush_is_not_reported(world: World, store: Store) -> None:
    world.client(CONFIG).hset("PORT|Ethernet0", mapping={"mtu": "9100"})
    await store.look()
    async with watching(store) as seen:
        await seen.until(lambda: bool(seen.config_ports))
        await store.wait_for_ports({"Ethernet0"})
        seen.config_ports.clear()
        for db in (APPL, CONFIG, STATE):
            world.client(db).flushdb()
        world.client(CONFIG).hset("PORT|Ethernet4", mapping={"mtu": "9100"})
        await seen.until(lambda: bool(seen.config_ports))
    assert (seen.ports, seen.config_ports) == (set(), {"Ethernet4"})


async def test_where_notifications_are_off_it_says_so_and_everything_else_works(
    make_world: Callable[..., World],
) -> None:
    world = make_world(notify=False)
    with closing(world.make()) as store:
        await store.open()
        assert not store.notifying
        async with watching(store) as seen:
            await store.wait_for_ports({"Ethernet0"})
            admit(world, "Ethernet0")
            world.client(CONFIG).hset("PORT|Ethernet0", mapping={"mtu": "9100"})
            assert await store.write_ports([PortWrite("Ethernet0", Op.SET, UP)]) == [True]
        assert (seen.ports, seen.config_ports) == (set(), set())


# ---- scripts


async def test_scripts_that_redis_has_forgotten_are_sent_again(world: World, store: Store) -> None:
    admit(world, "Ethernet0")
    for number in range(3):
        state: Fields = ("ok", "up", "up", str(9100 + number))
        assert await store.write_ports([PortWrite("Ethernet0", Op.SET, state)]) == [True]
        await store.produce([set_row(f"Ethernet{number}", {"mtu": "9100"})])
        (read,) = await store.read_ports(["Ethernet0"])
        assert read.held == state
        for db in (APPL, STATE):
            world.client(db).script_flush()
    assert [name for name, _ in world.pop()] == ["Ethernet0", "Ethernet1", "Ethernet2"]


# ---- signs of life


@pytest.mark.parametrize("notify", [True, False])
async def test_a_probe_is_answered_again_and_again_and_notifications_go_on(
    make_world: Callable[..., World], notify: bool
) -> None:
    world = make_world(notify=notify)
    with closing(world.make()) as store:
        await store.open()
        async with watching(store) as seen:
            for names in ({"Ethernet0"}, set[str](), {"Ethernet4"}):
                await store.wait_for_ports(names)
                with trio.fail_after(DEADLINE_SECONDS):
                    await store.probe()
                    await store.probe()
            assert store.waiting_since is None
            admit(world, "Ethernet4")
            if notify:
                await seen.until(lambda: seen.ports == {"Ethernet4"})
        assert store.notifying == notify


async def test_a_probe_reports_nothing_and_loses_nothing(world: World, store: Store) -> None:
    async with watching(store) as seen:
        world.client(CONFIG).hset("PORT|Ethernet0", mapping={"mtu": "9100"})
        await store.probe()
        # What Redis said before it answered has been heard before.
        assert seen.config_ports == {"Ethernet0"}
    assert (seen.ports, seen.logger) == (set(), False)


async def test_a_probe_lets_others_run(store: Store) -> None:
    async with watching(store):
        with trio.testing.assert_checkpoints():
            await store.probe()


async def test_a_probe_needs_somebody_who_watches(world: World) -> None:
    with closing(world.make(timeout=world.short)) as store:
        await store.open()
        with pytest.raises(StoreUnavailableError):
            await store.probe()


async def test_a_redis_that_is_gone_or_does_not_answer_fails_a_probe(world: World) -> None:
    for fault, end in (("pause", "resume"), ("kill", "start")):
        with closing(world.make(timeout=world.short)) as store:
            await store.open()
            async with trio.open_nursery() as nursery:

                async def watch(store: Store = store) -> None:
                    with pytest.raises(StoreUnavailableError):
                        await store.watch(lambda _notices: None)

                nursery.start_soon(watch)
                await trio.testing.wait_all_tasks_blocked()
                world.fault(fault)
                with pytest.raises(StoreUnavailableError):
                    await store.probe()
                store.close()
            with pytest.raises(StoreUnavailableError):
                await store.probe()
        world.fault(end)


@pytest.mark.parametrize("name", ["open", "look", "probe", "write_ports"])
async def test_a_request_that_waits_says_since_when_and_closing_ends_it(world: World, name: str) -> None:
    requests: dict[str, Request] = {**REQUESTS, "open": lambda store: store.open(), "probe": lambda s: s.probe()}
    with closing(world.make()) as store:
        assert store.waiting_since is None
        if name != "open":
            await store.open()
            assert store.waiting_since is None
        world.fault("pause")
        before = trio.current_time()

        async def fail() -> None:
            with pytest.raises(StoreUnavailableError):
                await requests[name](store)

        with trio.fail_after(DEADLINE_SECONDS / 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                assert before <= await waiting(store) <= trio.current_time()
                store.close()
        assert store.waiting_since is None
    world.fault("resume")


async def test_waiting_for_notifications_is_no_request_that_waits(store: Store) -> None:
    async with watching(store):
        await trio.testing.wait_all_tasks_blocked()
        assert store.waiting_since is None
        await store.wait_for_ports({"Ethernet0"})
        assert store.waiting_since is None


async def test_a_subscription_that_is_not_confirmed_is_a_request_that_waits(world: World, store: Store) -> None:
    async with watching(store), trio.open_nursery() as nursery:
        world.fault("pause")
        nursery.start_soon(store.wait_for_ports, {"Ethernet0"})
        await waiting(store)
        world.fault("resume")
    assert store.waiting_since is None


# ---- how sessions end


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_request_lets_others_run(store: Store, name: str) -> None:
    with trio.testing.assert_checkpoints():
        await REQUESTS[name](store)


async def test_a_closed_session_refuses_everything(world: World) -> None:
    store = world.make()
    store.close()
    store = world.make()
    await store.open()
    store.close()
    store.close()
    for request in REQUESTS.values():
        with pytest.raises(StoreUnavailableError):
            await request(store)
    with pytest.raises(StoreUnavailableError):
        await store.watch(lambda _notices: None)


async def test_closing_ends_what_other_tasks_wait_for(world: World) -> None:
    store = world.make()
    await store.open()
    world.fault("pause")
    failed: list[str] = []

    async def fail(name: str, request: Request) -> None:
        with pytest.raises(StoreUnavailableError):
            await request(store)
        failed.append(name)

    with trio.fail_after(DEADLINE_SECONDS / 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, "request", WRITES["set_hash"])
            nursery.start_soon(fail, "watch", lambda store: store.watch(lambda _notices: None))
            await trio.testing.wait_all_tasks_blocked()
            store.close()
    assert sorted(failed) == ["request", "watch"]


@pytest.mark.parametrize("name", ["snapshot", "write_ports", "produce"])
async def test_a_redis_that_does_not_answer_is_given_up_in_time(world: World, name: str) -> None:
    with closing(world.make(timeout=world.short)) as store:
        await store.open()
        world.fault("pause")
        with pytest.raises(StoreUnavailableError):
            await REQUESTS[name](store)
        world.fault("resume")
        # The late answer must not be taken for that of another request.
        with pytest.raises(StoreUnavailableError):
            await REQUESTS[name](store)


async def test_what_was_given_up_may_still_be_carried_out(world: World) -> None:
    with closing(world.make(timeout=world.short)) as store:
        await store.open()
        world.fault("pause")
        with pytest.raises(StoreUnavailableError):
            await WRITES["set_hash"](store)
    world.fault("resume")
    until(lambda: world.client(STATE).exists("WARM_RESTART_TABLE|portsyncd"), what="the row that was given up")


async def test_a_stopped_redis_fails_open_in_time(world: World) -> None:
    world.fault("pause")
    with closing(world.make(timeout=world.short)) as store, pytest.raises(StoreUnavailableError):
        await store.open()


async def test_a_cancelled_request_ends_its_session(world: World, store: Store) -> None:
    world.fault("pause")
    with trio.move_on_after(0.02) as scope:
        await store.set_hash(STATE, "KEY", {"a": "b"})
    assert scope.cancelled_caught
    world.fault("resume")
    with pytest.raises(StoreUnavailableError):
        await store.set_hash(STATE, "KEY", {"a": "c"})


async def test_a_killed_redis_ends_the_session_and_a_new_one_works(world: World) -> None:
    with closing(world.make()) as store:
        await store.open()
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                with pytest.raises(StoreUnavailableError):
                    await store.watch(lambda _notices: None)

            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            world.fault("kill")
        for request in REQUESTS.values():
            with pytest.raises(StoreUnavailableError):
                await request(store)
    with closing(world.make()) as store, pytest.raises(StoreUnavailableError):
        await store.open()
    world.fault("start")
    with closing(world.make()) as store:
        await store.open()
        admit(world, "Ethernet0")
        assert await store.write_ports([PortWrite("Ethernet0", Op.SET, UP)]) == [True]


@pytest.mark.parametrize(("how", "said"), [("READONLY", "read only replica"), ("OOM", "maxmemory")])
async def test_a_redis_that_refuses_to_write_still_answers_questions(
    world: World, store: Store, how: str, said: str
) -> None:
    admit(world, "Ethernet0")
    world.refuse(how)
    for request in WRITES.values():
        with pytest.raises(StoreRefusedError, match=said):
            await request(store)
    for request in READS.values():
        await request(store)
    assert world.client(STATE).hgetall("PORT_TABLE|Ethernet0") == {}
