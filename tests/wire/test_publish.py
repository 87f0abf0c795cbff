"""Port writes to STATE_DB: the arguments, and what the script does to a real Redis."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.testing.redis_server import RedisServer
from portsyncd.wire import publish
from portsyncd.wire.publish import (
    DELETE,
    PUT_SCRIPT,
    READ_SCRIPT,
    REMOVE_SCRIPT,
    REPLACE,
    SCRIPT,
    SET,
    field_pairs,
    script_arguments,
)

UP = ("ok", "up", "up", "9100")
DOWN = ("ok", "down", "up", "9100")
ENTRY = {"state": "ok", "netdev_oper_status": "up", "admin_status": "up", "mtu": "9100"}
FOREIGN = {"host_tx_ready": "true", "speed": "40000"}

Write = tuple[str, str, tuple[str, str, str, str] | None]


def arguments(*writes: Write) -> list[str]:
    return script_arguments(
        writes, appl_number=0, state_number=6, appl_prefix="PORT_TABLE:", state_prefix="PORT_TABLE|"
    )


def write(server: RedisServer, *writes: Write) -> str:
    """Run the script on a connection to STATE_DB, as the daemon does."""
    answer: Any = server.client(6).eval(SCRIPT, 0, *arguments(*writes))
    return str(answer)


def known(server: RedisServer, *names: str) -> None:
    """APPL_DB has these ports."""
    for name in names:
        server.client(0).hset(f"PORT_TABLE:{name}", "lanes", "0")


def holds(server: RedisServer, fields: Mapping[str, str], name: str = "Ethernet0") -> None:
    """STATE_DB has this entry."""
    for field, value in fields.items():
        server.client(6).hset(f"PORT_TABLE|{name}", field, value)


def entry(server: RedisServer, name: str = "Ethernet0") -> dict[str, str]:
    found: Any = server.client(6).hgetall(f"PORT_TABLE|{name}")
    return dict(found)


# ---- arguments


def test_arguments_are_databases_prefixes_and_five_a_write() -> None:
    assert arguments(("Ethernet0", SET, UP), ("Ethernet4", DELETE, None), ("Ethernet8", REPLACE, DOWN)) == [
        *("0", "6", "PORT_TABLE:", "PORT_TABLE|"),
        *("Ethernet0", "s", "up", "up", "9100"),
        *("Ethernet4", "d", "", "", ""),
        *("Ethernet8", "r", "down", "up", "9100"),
    ]


def test_the_operations_are_three() -> None:
    assert (publish.SET, publish.DELETE, publish.REPLACE) == ("s", "d", "r")


def test_the_four_fields_in_sonics_order() -> None:
    assert field_pairs(DOWN) == [
        *("state", "ok"),
        *("netdev_oper_status", "down"),
        *("admin_status", "up"),
        *("mtu", "9100"),
    ]


# ---- set


def test_a_port_of_appl_db_is_set_in_sonics_order(server: RedisServer) -> None:
    known(server, "Ethernet0")
    assert write(server, ("Ethernet0", SET, UP)) == "1"
    assert list(entry(server).items()) == list(ENTRY.items())


def test_a_port_that_appl_db_lacks_is_not_set(server: RedisServer) -> None:
    known(server, "Ethernet4")
    assert write(server, ("Ethernet0", SET, UP), ("Ethernet4", SET, UP)) == "01"
    assert entry(server) == {}
    assert entry(server, "Ethernet4") == ENTRY


def test_a_port_that_is_staged_only_counts_as_lacking(server: RedisServer) -> None:
    server.client(0).hset("_PORT_TABLE:Ethernet0", "lanes", "0")
    assert write(server, ("Ethernet0", SET, UP)) == "0"


def test_a_set_leaves_the_fields_of_others(server: RedisServer) -> None:
    known(server, "Ethernet0")
    holds(server, FOREIGN | {"mtu": "1"})
    write(server, ("Ethernet0", SET, UP))
    assert entry(server) == FOREIGN | ENTRY


def test_writes_of_one_name_come_in_their_order(server: RedisServer) -> None:
    known(server, "Ethernet0")
    assert write(server, ("Ethernet0", SET, UP), ("Ethernet0", DELETE, None), ("Ethernet0", SET, DOWN)) == "111"
    assert entry(server) == ENTRY | {"netdev_oper_status": "down"}


# ---- delete and replace


def test_a_removal_takes_the_whole_hash_other_writers_fields_too(server: RedisServer) -> None:
    # xcvrd acts on that DEL.
    holds(server, FOREIGN | ENTRY)
    assert write(server, ("Ethernet0", DELETE, None)) == "1"
    assert server.client(6).dbsize() == 0


@pytest.mark.parametrize("operation", [DELETE, REPLACE])
def test_an_entry_without_state_is_not_ours_to_remove(server: RedisServer, operation: str) -> None:
    holds(server, FOREIGN)
    write(server, ("Ethernet0", operation, DOWN if operation == REPLACE else None))
    assert entry(server) == FOREIGN


def test_replacing_drops_what_others_wrote_about_the_former_link(server: RedisServer) -> None:
    known(server, "Ethernet0")
    holds(server, FOREIGN | ENTRY)
    assert write(server, ("Ethernet0", REPLACE, DOWN)) == "1"
    assert entry(server) == ENTRY | {"netdev_oper_status": "down"}


def test_replacing_an_entry_without_state_keeps_it_and_sets_ours(server: RedisServer) -> None:
    known(server, "Ethernet0")
    holds(server, FOREIGN)
    assert write(server, ("Ethernet0", REPLACE, UP)) == "1"
    assert entry(server) == FOREIGN | ENTRY


def test_replacing_a_port_that_appl_db_lacks_removes_and_sets_nothing(server: RedisServer) -> None:
    holds(server, ENTRY)
    assert write(server, ("Ethernet0", REPLACE, UP)) == "0"
    assert entry(server) == {}


def test_removing_what_is_not_there_is_done(server: RedisServer) -> None:
    assert write(server, ("Ethernet0", DELETE, None)) == "1"


def test_a_removal_makes_one_notification_and_a_replacement_two(server: RedisServer) -> None:
    known(server, "Ethernet0")
    holds(server, ENTRY)
    client: Any = server.client(6)
    with client.pubsub() as pubsub:
        pubsub.subscribe("__keyspace@6__:PORT_TABLE|Ethernet0")
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        write(server, ("Ethernet0", REPLACE, UP), ("Ethernet0", DELETE, None))
        assert [pubsub.get_message(timeout=5)["data"] for _ in range(3)] == ["del", "hset", "del"]


# ---- what Redis refuses


@pytest.mark.parametrize(
    ("command", "script", "keys", "rest"),
    [
        ("hset", SCRIPT, 0, arguments(("Ethernet0", SET, UP))),
        ("hexists", SCRIPT, 0, arguments(("Ethernet0", DELETE, None))),
        ("hexists", REMOVE_SCRIPT, 1, ["PORT_TABLE|Ethernet0"]),
        ("hset", PUT_SCRIPT, 1, ["PORT_TABLE|Ethernet0", *field_pairs(UP)]),
        ("hmget", READ_SCRIPT, 0, ["PORT_TABLE|", "Ethernet0"]),
    ],
)
def test_what_redis_refuses_is_an_error_of_the_call(
    server: RedisServer, command: str, script: str, keys: int, rest: list[str]
) -> None:
    known(server, "Ethernet0")
    server.client(0).acl_setuser(
        "portsyncd", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=[f"-{command}"]
    )
    client = redis.Redis(unix_socket_path=server.socket_path, db=6, username="portsyncd", password="any", protocol=2)
    with client, pytest.raises(redis.ResponseError, match="can't run this command"):
        client.eval(script, keys, *rest)


# ---- the call as a whole


def test_no_writes_do_nothing(server: RedisServer) -> None:
    assert write(server) == ""


def test_the_connection_stays_on_its_own_database(server: RedisServer) -> None:
    known(server, "Ethernet0")
    client = redis.Redis(
        unix_socket_path=server.socket_path, db=6, single_connection_client=True, decode_responses=True
    )
    client.eval(SCRIPT, 0, *arguments(("Ethernet0", SET, UP)))
    assert client.keys() == ["PORT_TABLE|Ethernet0"]
    client.close()


def test_databases_and_prefixes_are_what_the_arguments_say(server: RedisServer) -> None:
    server.client(3).hset("P/Ethernet0", "lanes", "0")
    said = script_arguments(
        [("Ethernet0", SET, UP)], appl_number=3, state_number=5, appl_prefix="P/", state_prefix="S/"
    )
    assert server.client(0).eval(SCRIPT, 0, *said) == "1"
    assert server.client(5).hgetall("S/Ethernet0") == ENTRY


def test_names_that_are_no_text_arrive_as_they_are(server: RedisServer) -> None:
    raw = redis.Redis(unix_socket_path=server.socket_path, db=6)
    name = b"Ethernet\xff\xc3("
    server.client(0).hset(b"PORT_TABLE:" + name, "lanes", "0")
    odd = [name if text == "Ethernet0" else text for text in arguments(("Ethernet0", SET, UP))]
    assert raw.eval(SCRIPT, 0, *odd) == b"1"
    assert raw.keys() == [b"PORT_TABLE|" + name]
    raw.close()


def test_the_lone_removal_spares_an_entry_without_state(server: RedisServer) -> None:
    client = server.client(6)
    holds(server, FOREIGN)
    holds(server, FOREIGN | ENTRY, "Ethernet4")
    for name in ("Ethernet0", "Ethernet4", "Ethernet8"):
        client.eval(REMOVE_SCRIPT, 1, f"PORT_TABLE|{name}")
    assert entry(server) == FOREIGN
    assert client.dbsize() == 1


class Model:
    """The rules in Python, one write at a time. appl: the ports of APPL_DB."""

    def __init__(self, appl: set[str], state: dict[str, dict[str, str]]) -> None:
        self.appl, self.state = appl, state

    def carry_out(self, name: str, operation: str, fields: tuple[str, str, str, str] | None) -> str:
        if operation in (DELETE, REPLACE) and "state" in self.state.get(name, {}):
            del self.state[name]
        if operation == DELETE:
            return "1"
        if name not in self.appl:
            return "0"
        assert fields is not None
        self.state.setdefault(name, {}).update(zip(ENTRY, fields, strict=True))
        return "1"


names = st.sampled_from(["Ethernet0", "Ethernet4", "PortChannel1", "é"])
fields = st.sampled_from([UP, DOWN, ("ok", "down", "down", "1500")])
writes = st.one_of(
    st.tuples(names, st.sampled_from([SET, REPLACE]), fields), st.tuples(names, st.just(DELETE), st.none())
)


def test_any_writes_do_what_they_do_one_by_one(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:

        @given(
            st.sets(names), st.dictionaries(names, st.sampled_from([FOREIGN, ENTRY, FOREIGN | ENTRY])), st.lists(writes)
        )
        def check(appl: set[str], state: dict[str, dict[str, str]], asked: Sequence[Write]) -> None:
            server.client(0).flushall()
            known(server, *appl)
            for name, held in state.items():
                holds(server, held, name)
            model = Model(appl, {name: dict(held) for name, held in state.items()})
            assert write(server, *asked) == "".join(model.carry_out(*one) for one in asked)
            keys: Any = server.client(6).keys()
            assert {key.removeprefix("PORT_TABLE|"): server.client(6).hgetall(key) for key in keys} == model.state

        check()
