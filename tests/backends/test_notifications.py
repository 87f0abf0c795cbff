"""What is particular to notifications of a real Redis: what has to be on, and what is subscribed to."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from portsyncd.backends.base import Notices
from portsyncd.backends.connection import Access, RedisConnection
from portsyncd.backends.notifications import Notifications
from portsyncd.errors import StoreUnavailableError
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.wait import until
from portsyncd.wire import schema
from portsyncd.wire.database_config import Database, Endpoint

DEADLINE_SECONDS = 20.0
PATIENT = Access(timeout=DEADLINE_SECONDS)

MakeServer = Callable[..., RedisServer]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    with ExitStack() as stack:

        def make(name: str = "", **options: Any) -> RedisServer:
            (tmp_path / name).mkdir(exist_ok=True)
            return stack.enter_context(RedisServer(tmp_path / name, **options))

        yield make


def notifications(
    appl: RedisServer, config: RedisServer | None = None, access: Access = PATIENT, prefix: str = "PORT|"
) -> Notifications:
    def database(name: str, server: RedisServer) -> Database:
        number = schema.DEFAULT_NUMBERS[name]
        return Database(name, Endpoint(unix_socket=server.socket_path), number, schema.DEFAULT_SEPARATORS[name])

    databases = {
        schema.APPL_DB: database(schema.APPL_DB, appl),
        schema.CONFIG_DB: database(schema.CONFIG_DB, config or appl),
    }
    return Notifications(
        databases, lambda database: RedisConnection(database, access), "PORT_TABLE:", prefix, timeout=access.timeout
    )


@asynccontextmanager
async def watched(made: Notifications) -> AsyncIterator[trio.MemoryReceiveChannel[Notices]]:
    """Its notices as they come."""
    with closing(made):
        await made.open()
        send, receive = trio.open_memory_channel[Notices](1000)
        with trio.fail_after(DEADLINE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(made.watch, send.send_nowait)
                yield receive
                nursery.cancel_scope.cancel()


def forbid(server: RedisServer, command: str) -> None:
    """Nobody may ask for this command from now on."""
    client: Any = server.client(0)  # redis-py gives execute_command() no types
    client.execute_command("ACL", "SETUSER", "default", f"-{command}")


# K: keyspace channels. A: all events; g and h: DEL and HSET, which is what the tables' changes are.
@pytest.mark.parametrize(
    ("flags", "on"),
    [
        ("AKE", True),
        ("AK", True),
        ("Khg", True),
        ("KEhgx", True),
        ("", False),
        ("AE", False),
        ("Kh", False),
        ("Kg$", False),
    ],
)
async def test_whether_redis_sends_what_is_needed(make_server: MakeServer, flags: str, on: bool) -> None:
    with closing(notifications(make_server(notify=flags))) as made:
        await made.open()
        assert made.on is on


async def test_they_are_on_only_if_both_instances_send_them(make_server: MakeServer) -> None:
    for number, (appl, config) in enumerate((("AKE", ""), ("", "AKE"), ("AKE", "AKE"))):
        made = notifications(make_server(f"a{number}", notify=appl), make_server(f"c{number}", notify=config))
        with closing(made):
            await made.open()
            assert made.on is (appl == config)


async def test_a_redis_that_will_not_say_counts_as_off(make_server: MakeServer) -> None:
    server = make_server()
    forbid(server, "config")
    with closing(notifications(server)) as made:
        await made.open()
        assert not made.on


async def test_where_a_user_may_not_subscribe_they_count_as_off_once_redis_has_said_so(
    make_server: MakeServer,
) -> None:
    server = make_server()
    forbid(server, "psubscribe")
    async with watched(made := notifications(server)):
        with trio.fail_after(DEADLINE_SECONDS / 2):
            await made.wait_for_ports({"Ethernet0"})
        assert not made.on


async def test_two_instances_are_heard_both(make_server: MakeServer) -> None:
    appl, config = make_server("appl"), make_server("config")
    async with watched(made := notifications(appl, config)) as notices:
        await made.wait_for_ports({"Ethernet0"})
        appl.client(0).hset("PORT_TABLE:Ethernet0", "lanes", "0")
        assert await notices.receive() == Notices(ports=frozenset({"Ethernet0"}))
        config.client(4).hset("PORT|Ethernet4", "lanes", "0")
        assert await notices.receive() == Notices(config_ports=frozenset({"Ethernet4"}))


@pytest.mark.parametrize("killed", ["appl", "config"])
async def test_the_end_of_either_instance_ends_the_watch(make_server: MakeServer, killed: str) -> None:
    servers = {name: make_server(name) for name in ("appl", "config")}
    with closing(notifications(servers["appl"], servers["config"])) as made:
        await made.open()
        with trio.fail_after(DEADLINE_SECONDS):
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def watch() -> None:
                    with pytest.raises(StoreUnavailableError):
                        await made.watch(lambda _notices: None)

                await trio.testing.wait_all_tasks_blocked()
                servers[killed].kill()


async def test_one_instance_takes_one_connection(make_server: MakeServer) -> None:
    server = make_server()
    before = len(server.client(0).client_list())
    async with watched(notifications(server)):
        assert len(server.client(0).client_list()) == before + 1


async def test_what_comes_together_is_reported_together(make_server: MakeServer) -> None:
    server = make_server()
    made = notifications(server)
    with closing(made):
        await made.open()
        until(lambda: server.client(0).pubsub_numpat() == 1, what="Redis has taken the subscription in")
        pipeline = server.client(4).pipeline(transaction=False)
        for number in range(500):
            pipeline.hset(f"PORT|Ethernet{number}", "lanes", "0")
        pipeline.execute()
        reports: list[Notices] = []

        def report(notices: Notices) -> None:
            reports.append(notices)
            if sum(len(report.config_ports) for report in reports) == 500:
                scope.cancel()

        with trio.fail_after(DEADLINE_SECONDS), trio.CancelScope() as scope:
            await made.watch(report)
    assert len(reports) < 50


async def test_a_separator_may_be_a_character_of_globs(make_server: MakeServer) -> None:
    server = make_server()
    async with watched(notifications(server, prefix="PORT[")) as notices:
        until(lambda: server.client(0).pubsub_numpat() == 1, what="Redis has taken the subscription in")
        server.client(4).hset("PORT[Ethernet0", "lanes", "0")
        assert await notices.receive() == Notices(config_ports=frozenset({"Ethernet0"}))


async def test_only_what_is_waited_for_is_subscribed_to(make_server: MakeServer) -> None:
    server = make_server()

    def channels() -> set[str]:
        return {str(channel) for channel in server.client(0).pubsub_channels("__keyspace@0__*")}

    async with watched(made := notifications(server)):
        await made.wait_for_ports({"Ethernet0", "Ethernet4"})
        assert channels() == {"__keyspace@0__:PORT_TABLE:Ethernet0", "__keyspace@0__:PORT_TABLE:Ethernet4"}
        await made.wait_for_ports({"Ethernet4", "Ethernet8"})
        assert channels() == {"__keyspace@0__:PORT_TABLE:Ethernet4", "__keyspace@0__:PORT_TABLE:Ethernet8"}
        await made.wait_for_ports(())
        until(lambda: not channels(), what="Redis has taken the end of the subscriptions in")


async def test_a_subscription_that_redis_does_not_confirm_ends_by_the_deadline(make_server: MakeServer) -> None:
    server = make_server()
    async with watched(made := notifications(server, access=Access(timeout=0.5))):
        server.pause()
        with pytest.raises(StoreUnavailableError, match=r"within 0\.5 s"):
            await made.wait_for_ports({"Ethernet0"})
