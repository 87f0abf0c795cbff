"""A TCP address of Redis that another server takes while the former goes on: found by real connections to real servers."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import trio

from portsyncd.backends import addresses as module
from portsyncd.backends.connection import Access, RedisConnection
from portsyncd.backends.redis import RedisStore
from portsyncd.errors import StoreUnavailableError
from portsyncd.testing.forwarder import Forwarder
from portsyncd.testing.redis_server import RedisServer
from portsyncd.wire import schema
from portsyncd.wire.database_config import Database, Endpoint

DEADLINE_SECONDS = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def endpoint(server: RedisServer) -> Iterator[Endpoint]:
    with Forwarder(server.socket_path) as forwarder:
        yield Endpoint(host="127.0.0.1", port=forwarder.port)


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The endpoint of each connection that was opened, or was tried to; and no pause between looks."""
    opened: list[str] = []
    opening = RedisConnection.open

    async def open_(connection: RedisConnection) -> None:
        opened.append(connection._where)
        await opening(connection)

    monkeypatch.setattr(RedisConnection, "open", open_)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    return opened


class Session:
    """A store that is open and watched; ``ended``: why its watch did, None while it goes on."""

    def __init__(self, endpoint: Endpoint, config: Endpoint | None) -> None:
        endpoints = dict.fromkeys(schema.DEFAULT_SEPARATORS, endpoint) | {schema.CONFIG_DB: config or endpoint}
        self.store = RedisStore(
            {
                name: Database(name, endpoints[name], schema.DEFAULT_NUMBERS[name], separator)
                for name, separator in schema.DEFAULT_SEPARATORS.items()
            },
            Access(timeout=DEADLINE_SECONDS),
        )
        self.ended: StoreUnavailableError | None = None

    async def watch(self) -> None:
        try:
            await self.store.watch(lambda _: None)
        except StoreUnavailableError as problem:
            self.ended = problem

    async def until(self, condition: Callable[[], bool]) -> None:
        """Probe until that is so."""
        with trio.fail_after(DEADLINE_SECONDS):
            while not condition():
                await self.store.probe()
                await trio.lowlevel.checkpoint()

    async def until_ended(self) -> str:
        """Probe once: that has to do. Returns why the session ended."""
        with suppress(StoreUnavailableError):
            # It may be found meanwhile.
            await self.store.probe()
        with trio.fail_after(DEADLINE_SECONDS):
            while self.ended is None:
                await trio.lowlevel.checkpoint()
        return str(self.ended)


@asynccontextmanager
async def session(endpoint: Endpoint, config: Endpoint | None = None) -> AsyncIterator[Session]:
    made = Session(endpoint, config)
    with closing(made.store):
        await made.store.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.watch)
            yield made
            nursery.cancel_scope.cancel()


async def test_who_is_found_at_the_address_is_looked_at_again_and_again_and_is_still_the_same(
    endpoint: Endpoint, opened: list[str]
) -> None:
    async with session(endpoint) as one:
        assert len(opened) == 4
        await one.until(lambda: len(opened) >= 8)
        assert one.ended is None
        assert one.store.waiting_since is None


async def test_a_server_whose_address_another_one_has_taken_is_left(endpoint: Endpoint, server: RedisServer) -> None:
    async with session(endpoint) as one:
        await one.store.probe()
        server.supersede()
        # It is still there for who is connected to it.
        await one.store.look()
        assert "another server has taken the address" in await one.until_ended()
        for request in (one.store.probe, partial(one.store.wait_for_ports, {"Ethernet0"})):
            with pytest.raises(StoreUnavailableError, match="another server has taken the address"):
                await request()
    async with session(endpoint) as other:
        await other.store.probe()
        assert other.ended is None


async def test_an_address_that_is_taken_while_a_session_is_opened_is_found_taken(
    endpoint: Endpoint, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = module.Address.learn

    async def learn_late(address: module.Address, connection: RedisConnection) -> None:
        await learn(address, connection)
        server.supersede()

    monkeypatch.setattr(module.Address, "learn", learn_late)
    async with session(endpoint) as one:
        assert "taken" in await one.until_ended()


async def test_a_server_that_cannot_be_reached_anew_serves_as_long_as_it_does(
    endpoint: Endpoint, server: RedisServer, opened: list[str]
) -> None:
    async with session(endpoint) as one:
        server.remove_socket()
        await one.until(lambda: len(opened) >= 7)
        await one.store.look()
        assert one.ended is None


async def test_one_that_takes_connections_and_says_nothing_holds_nobody_up(
    endpoint: Endpoint, server: RedisServer, opened: list[str]
) -> None:
    async with session(endpoint) as one:
        server.remove_socket()
        with closing(trio.socket.socket(trio.socket.AF_UNIX)) as mute:
            await mute.bind(server.socket_path)
            mute.listen()
            await one.until(lambda: len(opened) == 5)
            for _ in range(3):
                await one.store.probe()
            assert one.ended is None
            assert one.store.waiting_since is None
        assert len(opened) == 5


async def test_where_nobody_says_who_is_there_nobody_connects_anew(
    endpoint: Endpoint, server: RedisServer, opened: list[str]
) -> None:
    client: Any = server.client(0)  # redis-py gives execute_command() no types
    client.execute_command("ACL", "SETUSER", "default", "-info")
    async with session(endpoint) as one:
        before = len(opened)
        for _ in range(3):
            await one.store.probe()
        assert len(opened) == before


async def test_a_server_that_takes_no_more_connections_is_no_other_one(
    endpoint: Endpoint, server: RedisServer, opened: list[str]
) -> None:
    async with session(endpoint) as one:
        client = server.client(0)
        client.config_set("maxclients", client.info("clients")["connected_clients"])
        await one.until(lambda: len(opened) >= 7)
        assert one.ended is None


async def test_of_two_addresses_each_is_looked_at_once(
    endpoint: Endpoint, server: RedisServer, tmp_path: Path, opened: list[str]
) -> None:
    (tmp_path / "config").mkdir()
    with RedisServer(tmp_path / "config") as config, Forwarder(config.socket_path) as forwarder:
        other = Endpoint(host="127.0.0.1", port=forwarder.port)
        async with session(endpoint, config=other) as one:
            opened.clear()
            await one.until(lambda: len({where.partition(" at ")[2] for where in opened}) == 2)
            config.supersede()
            assert str(other) in await one.until_ended()


async def test_over_a_unix_socket_nobody_connects_anew(server: RedisServer, opened: list[str]) -> None:
    async with session(Endpoint(unix_socket=server.socket_path)) as one:
        before = len(opened)
        for _ in range(3):
            await one.store.probe()
        assert len(opened) == before


async def test_an_address_of_several_servers_is_left_no_more_than_three_times(
    endpoint: Endpoint, server: RedisServer, opened: list[str]
) -> None:
    with structlog.testing.capture_logs() as log:
        for _ in range(3):
            assert not log
            async with session(endpoint) as one:
                server.supersede()
                await one.until_ended()
            server.kill_former()
        async with session(endpoint) as last:
            server.supersede()
            opened.clear()
            for _ in range(3):
                await last.store.probe()
            assert not opened
            assert last.ended is None
    assert [line["address"] for line in log] == [str(endpoint)]


async def test_one_that_is_taken_now_and_then_is_left_each_time(
    endpoint: Endpoint, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TAKEN_SECONDS", 0.0)
    for _ in range(5):
        async with session(endpoint) as one:
            server.supersede()
            await one.until_ended()
        server.kill_former()
