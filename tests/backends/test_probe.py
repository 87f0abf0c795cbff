"""Signs of life from a real Redis whose path is cut: each connection of a session is found dead, and a new session works."""

import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from portsyncd.backends.base import Notices
from portsyncd.backends.connection import Access, RedisConnection
from portsyncd.backends.redis import RedisStore
from portsyncd.errors import StoreUnavailableError
from portsyncd.testing.firewall import dropping
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.redis_server import RedisServer
from portsyncd.wire import schema
from portsyncd.wire.database_config import Database, Endpoint

PORT = 6379
DEADLINE_SECONDS = 20.0
# How long a probe of a cut connection is waited for, where the session itself would wait for ever.
IMPATIENT_SECONDS = 0.3


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkNamespace]:
    connect = RedisConnection._connect
    with NetworkNamespace() as namespace:

        def connect_inside(connection: RedisConnection) -> None:
            # In a worker thread, which others use after us.
            with namespace.enter():
                connect(connection)

        monkeypatch.setattr(RedisConnection, "_connect", connect_inside)
        yield namespace


@pytest.fixture
def server(namespace: NetworkNamespace, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, arguments=("--port", str(PORT), "--bind", "127.0.0.1")) as server:
        # The first one was started outside.
        server.kill()
        with namespace.enter():
            server.start()
        yield server


@asynccontextmanager
async def session(endpoint: Endpoint, config: Endpoint | None = None) -> AsyncIterator[tuple[RedisStore, list[str]]]:
    """A session whose requests wait for minutes, and the names that its watch has reported."""
    endpoints = dict.fromkeys(schema.DEFAULT_SEPARATORS, endpoint) | {schema.CONFIG_DB: config or endpoint}
    databases = {
        name: Database(name, endpoints[name], schema.DEFAULT_NUMBERS[name], separator)
        for name, separator in schema.DEFAULT_SEPARATORS.items()
    }
    names: list[str] = []

    def take(notices: Notices) -> None:
        names.extend(notices.config_ports)

    with closing(RedisStore(databases, Access(timeout=600.0))) as store:
        await store.open()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def watch() -> None:
                with pytest.raises(StoreUnavailableError):
                    await store.watch(take)

            await trio.testing.wait_all_tasks_blocked()
            yield store, names
            store.close()


def connections(store: RedisStore) -> dict[str, Any]:
    (subscriber,) = store._notifications._connections.values()
    return {**store._connections, "notifications": subscriber}


def port_of(connection: Any) -> int:
    return int(connection._socket().getsockname()[1])


async def probe(store: RedisStore) -> None:
    with trio.fail_after(DEADLINE_SECONDS):
        await store.probe()


@pytest.mark.root
@pytest.mark.parametrize("cut", ["APPL_DB", "CONFIG_DB", "STATE_DB", "notifications"])
async def test_whichever_connection_is_cut_a_probe_finds_it_and_the_next_session_works(
    namespace: NetworkNamespace, server: RedisServer, cut: str
) -> None:
    endpoint = Endpoint(host="127.0.0.1", port=PORT)
    async with session(endpoint) as (store, _):
        await probe(store)
        with dropping(namespace, port_of(connections(store)[cut])):
            with pytest.raises(trio.TooSlowError), trio.fail_after(IMPATIENT_SECONDS):
                await store.probe()
            store.close()
            async with session(endpoint) as (other, names):
                await probe(other)
                server.client(4).hset("PORT|Ethernet0", "lanes", "0")
                await probe(other)
                assert names == ["Ethernet0"]


@pytest.mark.root
async def test_a_cut_connection_can_be_given_up_while_it_is_being_opened(
    namespace: NetworkNamespace, server: RedisServer
) -> None:
    database = Database("STATE_DB", Endpoint(host="127.0.0.1", port=PORT), 6, "|")
    connection = RedisConnection(database, Access(timeout=600.0))
    with dropping(namespace, PORT), trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def give_up() -> None:
                while connection.waiting_since is None:
                    await trio.lowlevel.checkpoint()
                connection.close()

            with pytest.raises(StoreUnavailableError):
                await connection.open()
    assert connection.waiting_since is None


@pytest.mark.root
async def test_of_two_instances_each_must_answer_on_its_connection_for_notifications(
    namespace: NetworkNamespace, server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    with RedisServer(tmp_path / "config") as config:
        async with session(Endpoint(host="127.0.0.1", port=PORT), Endpoint(unix_socket=config.socket_path)) as (
            store,
            _,
        ):
            await probe(store)
            of_appl, _of_config = store._notifications._connections.values()
            with dropping(namespace, port_of(of_appl)):
                with pytest.raises(trio.TooSlowError), trio.fail_after(IMPATIENT_SECONDS):
                    await store.probe()
                store.close()


@pytest.mark.parametrize("forbidden", ["ping", "psubscribe", "subscribe"])
async def test_what_a_user_may_not_do_does_not_fail_a_probe(tmp_path: Path, forbidden: str) -> None:
    with RedisServer(tmp_path) as server:
        client: Any = server.client(0)  # redis-py gives execute_command() no types
        client.execute_command("ACL", "SETUSER", "default", f"-{forbidden}")
        async with session(Endpoint(unix_socket=server.socket_path)) as (store, _):
            await probe(store)
            assert store.notifying == (forbidden == "ping")
            await probe(store)
            assert store.waiting_since is None


async def test_a_probe_ends_with_what_ends_the_watch_and_for_the_same_reason(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with session(Endpoint(unix_socket=server.socket_path)) as (store, _):
            server.pause()
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def probe_in_vain() -> None:
                    with pytest.raises(StoreUnavailableError, match="another task closed"):
                        await probe(store)

                await trio.testing.wait_all_tasks_blocked()
                connections(store)["notifications"].close()


async def test_answers_that_have_come_count_whatever_the_time_is(tmp_path: Path, mock_clock: MockClock) -> None:
    with RedisServer(tmp_path) as server:
        async with session(Endpoint(unix_socket=server.socket_path)) as (store, _), trio.open_nursery() as nursery:
            server.pause()

            @nursery.start_soon
            async def probe_within() -> None:
                with trio.fail_after(1.5):
                    await store.probe()

            await trio.testing.wait_all_tasks_blocked()
            server.resume()
            # Nobody runs until all is there, and it is long past the time.
            for connection in connections(store).values():
                assert select.select([connection._socket()], [], [], DEADLINE_SECONDS)[0]
            mock_clock.jump(60)
        assert store.waiting_since is None


async def test_a_probe_under_way_ends_when_redis_refuses_a_subscription_meanwhile(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with session(Endpoint(unix_socket=server.socket_path)) as (store, _):
            client: Any = server.client(0)
            client.execute_command("ACL", "SETUSER", "default", "-unsubscribe")
            # The answer on the connection for notifications is that it may not be asked.
            await probe(store)
            assert not store.notifying
            await probe(store)
