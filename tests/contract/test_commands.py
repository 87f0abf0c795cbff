"""The fake server carries out each command, and each script, as a real Redis does: whatever comes in whatever order."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from portsyncd.backends.connection import Access, RedisConnection
from portsyncd.backends.replies import Connection, Request
from portsyncd.errors import StoreRefusedError
from portsyncd.testing.fake_connection import FakeConnection
from portsyncd.testing.fake_redis import FakeRedis
from portsyncd.testing.redis_server import RedisServer
from portsyncd.wire import producer, publish, schema
from portsyncd.wire.database_config import Database, Endpoint
from portsyncd.wire.producer import Row
from tests.contract.store_worlds import DEADLINE_SECONDS

APPL, STATE = schema.DEFAULT_NUMBERS[schema.APPL_DB], schema.DEFAULT_NUMBERS[schema.STATE_DB]
PORTS = ("Ethernet0", "Ethernet4", "Ethernet\udcff")
ENTRIES = tuple(f"PORT_TABLE|{port}" for port in PORTS)
# Of each type that a key can have here.
KEYS = (*ENTRIES, "PORT_TABLE:Ethernet0", "text", "set")
FIELDS = ("state", "mtu", "speed")

keys, fields, values = st.sampled_from(KEYS), st.sampled_from(FIELDS), st.sampled_from(("", "ok", "9100", "\udcfe"))
pairs = st.lists(st.tuples(fields, values), min_size=1, max_size=3).map(
    lambda each: [text for pair in each for text in pair]
)
state_fields = st.tuples(st.just("ok"), *(st.sampled_from(("up", "down")) for _ in range(3)))
written = st.lists(
    st.tuples(
        st.sampled_from(PORTS),
        st.sampled_from((publish.SET, publish.DELETE, publish.REPLACE)),
        state_fields,
    ),
    max_size=4,
)
rows = st.lists(
    st.tuples(st.sampled_from(PORTS), st.lists(st.tuples(fields, values), max_size=2).map(tuple)).map(
        lambda row: Row(*row)
    ),
    max_size=4,
)


def publishing(writes: list[tuple[str, str, Any]]) -> Request:
    arguments = publish.script_arguments(
        writes, appl_number=APPL, state_number=STATE, appl_prefix="PORT_TABLE:", state_prefix="PORT_TABLE|"
    )
    return ("EVAL", publish.SCRIPT, 0, *arguments)


requests: st.SearchStrategy[Request] = st.one_of(
    st.tuples(st.sampled_from(("GET", "HGETALL", "EXISTS")), keys),
    st.tuples(st.just("HGET"), keys, fields),
    st.tuples(keys, pairs).map(lambda each: ("HSET", each[0], *each[1])),
    st.sampled_from((("DBSIZE",), ("PING",))),
    written.map(publishing),
    rows.map(lambda each: ("EVAL", producer.SCRIPT, 2, *producer.script_arguments(each, db_number=APPL))),
    st.tuples(st.just("EVAL"), st.just(publish.REMOVE_SCRIPT), st.just(1), keys),
    st.tuples(keys, state_fields).map(
        lambda each: ("EVAL", publish.PUT_SCRIPT, 1, each[0], *publish.field_pairs(each[1]))
    ),
    st.lists(st.sampled_from(PORTS), max_size=3).map(
        lambda names: ("EVAL", publish.READ_SCRIPT, 0, "PORT_TABLE|", *names)
    ),
)
pipelines = st.lists(st.tuples(st.sampled_from((APPL, STATE)), st.lists(requests, min_size=1, max_size=4)), max_size=6)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def database(server: RedisServer | None, number: int) -> Database:
    path = "fake" if server is None else server.socket_path
    return Database("DB", Endpoint(unix_socket=path), number, "|")


async def played(connections: dict[int, Connection], script: list[tuple[int, list[Request]]]) -> list[Any]:
    """The replies to all pipelines; of an error its kind."""
    replies: list[Any] = []
    for connection in connections.values():
        await connection.open()
    for number, pipeline in script:
        try:
            with trio.fail_after(DEADLINE_SECONDS):
                replies.append(await connections[number].call(*pipeline))
        except StoreRefusedError as refusal:
            replies.append((type(refusal).__name__, "WRONGTYPE" in str(refusal)))
    for connection in connections.values():
        connection.close()
    return replies


def decoded(value: Any) -> Any:
    """As the daemon sees it."""
    match value:
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case dict():
            return {decoded(field): decoded(text) for field, text in value.items()}
    return set(map(decoded, value))


def contents(client: Any) -> dict[str, Any]:
    kinds: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"string": client.get,
    }
    return {decoded(key): decoded(kinds[client.type(key)](key)) for key in client.keys("*")}


@settings(max_examples=150, deadline=None)
@given(script=pipelines)
def test_the_same_requests_have_the_same_replies_and_the_same_effect(
    server: RedisServer, script: list[tuple[int, list[Request]]]
) -> None:
    fake = FakeRedis()
    on_fake: dict[int, Connection] = {}
    on_real: dict[int, Connection] = {}
    clients = {number: redis.Redis(unix_socket_path=server.socket_path, db=number) for number in (APPL, STATE)}
    clients[APPL].flushall()
    for number, client in clients.items():
        client.set("text", "a text")
        client.sadd("set", "member")
        fake.set(number, "text", "a text")
        fake.add_member(number, "set", "member")
        on_fake[number] = FakeConnection(fake, database(None, number), "DB", DEADLINE_SECONDS)
        on_real[number] = RedisConnection(database(server, number), Access(timeout=DEADLINE_SECONDS))
    assert trio.run(played, on_fake, script) == trio.run(played, on_real, script)
    for number, client in clients.items():
        assert fake.database(number) == contents(client)
        client.close()
