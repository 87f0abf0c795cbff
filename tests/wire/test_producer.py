"""ProducerStateTable: the arguments, and what the script does to a real Redis and to a consumer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.testing.orchagent import Orchagent, Pop
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.wait import until
from portsyncd.wire import schema
from portsyncd.wire.producer import SCRIPT, Row, batches, delete_row, script_arguments, set_row

CHANNEL = "PORT_TABLE_CHANNEL@0"
PORT = {"alias": "etp1", "lanes": "0,1,2,3", "speed": "40000"}


def produce(client: redis.Redis, *rows: Row, db_number: int = 0) -> Any:
    """Run the script; returns what it returns."""
    return client.eval(SCRIPT, 2, *script_arguments(rows, db_number=db_number))


def contents(client: redis.Redis) -> dict[str, Any]:
    """All of a database: hashes as dicts, sets as sets."""
    found: dict[str, Any] = {}
    for key in client.scan_iter(count=1000):
        found[key] = client.hgetall(key) if client.type(key) == "hash" else client.smembers(key)
    return found


@contextmanager
def channel(client: redis.Redis, name: str = CHANNEL) -> Iterator[Any]:
    """A subscription that is in force; its call gives the messages since the last time."""
    anyhow: Any = client
    with anyhow.pubsub(ignore_subscribe_messages=False) as pubsub:
        pubsub.subscribe(name)
        until(lambda: pubsub.get_message(timeout=0.1), what="the subscription is confirmed")

        def heard() -> list[str]:
            # Redis keeps the order, so that all that was said before this is here when this is.
            client.publish(name, "end")
            messages: list[str] = []
            while not messages or messages[-1] != "end":
                message = pubsub.get_message(timeout=5)
                assert message is not None, messages
                messages.append(message["data"])
            return messages[:-1]

        yield heard


# ---- rows


def test_a_row_has_the_fields_of_a_config_db_hash_in_their_order() -> None:
    assert set_row("Ethernet0", PORT) == Row("Ethernet0", (("alias", "etp1"), ("lanes", "0,1,2,3"), ("speed", "40000")))


@pytest.mark.parametrize(
    ("field", "cut"), [("lanes@", "lanes"), ("lanes", "lanes"), ("a@b@c", "a"), ("@", ""), ("@x", "")]
)
def test_a_field_name_is_cut_at_its_first_at_sign_and_values_are_not(field: str, cut: str) -> None:
    assert set_row("Ethernet0", {field: "0@1"}).fields == ((cut, "0@1"),)


def test_null_null_is_copied_and_stands_for_an_empty_hash() -> None:
    null = Row("Ethernet0", (("NULL", "NULL"),))
    assert set_row("Ethernet0", {"NULL": "NULL"}) == null
    assert set_row("Ethernet0", {}) == null


def test_a_row_without_fields_is_a_deletion() -> None:
    assert delete_row("Ethernet0") == Row("Ethernet0", ())


def test_arguments_are_keys_channel_prefix_and_counted_rows() -> None:
    rows = [Row("Ethernet0", (("mtu", "9100"), ("speed", "1"))), delete_row("Ethernet4")]
    assert script_arguments(rows, db_number=3) == [
        "PORT_TABLE_KEY_SET",
        "PORT_TABLE_DEL_SET",
        "PORT_TABLE_CHANNEL@3",
        "_PORT_TABLE:",
        *("Ethernet0", "2", "mtu", "9100", "speed", "1"),
        *("Ethernet4", "0"),
    ]


@given(st.integers(0, 20), st.integers(1, 7))
def test_batches_hold_all_rows_in_order_and_none_is_too_big(count: int, size: int) -> None:
    rows = [delete_row(str(number)) for number in range(count)]
    cut = list(batches(rows, size))
    assert [row for batch in cut for row in batch] == rows
    assert all(len(batch) == size for batch in cut[:-1])
    assert all(0 < len(batch) <= size for batch in cut)


# ---- the script


def test_a_set_stages_the_row_and_says_so(server: RedisServer) -> None:
    client = server.client(0)
    with channel(client) as heard:
        produce(client, set_row("Ethernet0", PORT))
        assert heard() == ["G"]
    assert contents(client) == {"PORT_TABLE_KEY_SET": {"Ethernet0"}, "_PORT_TABLE:Ethernet0": PORT}


def test_one_message_per_newly_added_key(server: RedisServer) -> None:
    client = server.client(0)
    with channel(client) as heard:
        produce(client, set_row("Ethernet0", PORT), set_row("Ethernet4", PORT), set_row("Ethernet0", {"mtu": "1"}))
        assert heard() == ["G", "G"]
        produce(client, set_row("Ethernet4", PORT), delete_row("Ethernet0"))
        assert heard() == []
        client.srem("PORT_TABLE_KEY_SET", "Ethernet4")
        produce(client, set_row("Ethernet4", PORT))
        assert heard() == ["G"]


def test_the_channel_carries_the_number_of_the_database(server: RedisServer) -> None:
    client = server.client(3)
    with channel(client, "PORT_TABLE_CHANNEL@3") as heard:
        produce(client, set_row("Ethernet0", PORT), db_number=3)
        assert heard() == ["G"]
    assert server.client(0).dbsize() == 0


def test_a_set_merges_into_what_is_staged_already(server: RedisServer) -> None:
    client = server.client(0)
    produce(client, set_row("Ethernet0", {"mtu": "9100", "speed": "1"}))
    produce(client, set_row("Ethernet0", {"mtu": "1500"}))
    assert client.hgetall("_PORT_TABLE:Ethernet0") == {"mtu": "1500", "speed": "1"}


def test_a_deletion_drops_what_is_staged_and_asks_for_a_pop(server: RedisServer) -> None:
    client = server.client(0)
    produce(client, set_row("Ethernet0", PORT))
    with channel(client) as heard:
        produce(client, delete_row("Ethernet0"), delete_row("Ethernet4"))
        assert heard() == ["G"]
    both = {"Ethernet0", "Ethernet4"}
    assert contents(client) == {"PORT_TABLE_KEY_SET": both, "PORT_TABLE_DEL_SET": both}


def test_a_set_leaves_the_popped_table_and_others_keys_alone(server: RedisServer) -> None:
    client = server.client(0)
    client.hset("PORT_TABLE:Ethernet0", mapping={"oper_status": "up"})
    client.hset("OTHER_TABLE:Ethernet0", mapping={"x": "y"})
    produce(client, set_row("Ethernet0", PORT), delete_row("Ethernet4"))
    assert client.hgetall("PORT_TABLE:Ethernet0") == {"oper_status": "up"}
    assert client.hgetall("OTHER_TABLE:Ethernet0") == {"x": "y"}


def test_the_consumer_pops_what_was_set(server: RedisServer) -> None:
    client = server.client(0)
    orchagent = Orchagent(client)
    produce(client, set_row("Ethernet0", {"lanes@": "0,1"}), set_row("Ethernet4", {}))
    assert orchagent.pop_all() == [
        Pop("Ethernet0", {"lanes": "0,1"}, deleted=False),
        Pop("Ethernet4", {"NULL": "NULL"}, deleted=False),
    ]
    assert client.hgetall("PORT_TABLE:Ethernet0") == {"lanes": "0,1"}
    produce(client, delete_row("Ethernet0"))
    assert orchagent.pop_all() == [Pop("Ethernet0", {}, deleted=True)]
    assert contents(client) == {"PORT_TABLE:Ethernet4": {"NULL": "NULL"}}


def test_a_deletion_before_a_set_survives_to_the_pop(server: RedisServer) -> None:
    client = server.client(0)
    orchagent = Orchagent(client)
    produce(client, set_row("Ethernet0", {"old": "1"}))
    orchagent.pop_all()
    produce(client, delete_row("Ethernet0"), set_row("Ethernet0", {"new": "2"}))
    assert orchagent.pop_all() == [Pop("Ethernet0", {"new": "2"}, deleted=True)]
    assert client.hgetall("PORT_TABLE:Ethernet0") == {"new": "2"}


def test_many_keys_are_all_popped_by_one_pop_per_message(server: RedisServer) -> None:
    # Each of up to 128 keys: with fewer messages than keys a consumer that pops once a message would leave some.
    client = server.client(0)
    with Orchagent(client) as orchagent:
        rows = [set_row(f"Ethernet{number}", PORT) for number in range(1000)]
        for batch in batches(rows, 100):
            produce(client, *batch)
        until(lambda: len(orchagent.ports) == 1000, what=lambda: f"all popped; {len(orchagent.ports)} are")


def test_bytes_that_are_no_text_arrive_as_they_are(server: RedisServer) -> None:
    raw = redis.Redis(unix_socket_path=server.socket_path)
    name, value = b"Ethernet\xff\xc3(", b"\x80"
    arguments = script_arguments([Row("Ethernet0", (("alias", "x"),))], db_number=0)
    odd = [{"Ethernet0": name, "x": value}.get(text, text) for text in arguments]
    raw.eval(SCRIPT, 2, *odd)
    assert raw.smembers("PORT_TABLE_KEY_SET") == {name}
    assert raw.hgetall(b"_PORT_TABLE:" + name) == {b"alias": value}
    raw.close()


def test_no_rows_do_nothing(server: RedisServer) -> None:
    produce(server.client(0))
    assert server.client(0).dbsize() == 0


class Model:
    """ProducerStateTable's two operations in Python, one row at a time."""

    def __init__(self) -> None:
        self.key_set: set[str] = set()
        self.del_set: set[str] = set()
        self.staged: dict[str, dict[str, str]] = {}
        self.said = 0

    def carry_out(self, row: Row) -> None:
        self.said += row.key not in self.key_set
        self.key_set.add(row.key)
        if row.fields:
            self.staged.setdefault(row.key, {}).update(row.fields)
        else:
            self.del_set.add(row.key)
            self.staged.pop(row.key, None)

    def contents(self) -> dict[str, Any]:
        sets = {schema.PORT_KEY_SET: self.key_set, schema.PORT_DEL_SET: self.del_set}
        hashes: Mapping[str, Any] = {f"_PORT_TABLE:{key}": fields for key, fields in self.staged.items()}
        return {key: value for key, value in [*sets.items(), *hashes.items()] if value}


keys = st.sampled_from(["Ethernet0", "Ethernet4", "PortConfigDone", "é"])
# Arguments that look like counts or are empty must not upset the counting.
texts = st.sampled_from(["mtu", "0", "3", "", "NULL", "value"])
rows = st.one_of(
    st.builds(set_row, keys, st.dictionaries(texts, texts, max_size=3)),
    st.builds(delete_row, keys),
)


def test_any_rows_do_what_they_do_one_by_one(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        client = server.client(0)
        with channel(client) as heard:

            @given(st.lists(st.lists(rows, max_size=4), max_size=4))
            def check(calls: Sequence[Iterable[Row]]) -> None:
                client.flushdb()
                model = Model()
                for call in calls:
                    produce(client, *call)
                    for row in call:
                        model.carry_out(row)
                assert contents(client) == model.contents()
                assert heard() == ["G"] * model.said

            check()
