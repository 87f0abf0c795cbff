"""What MONITOR says of a switch's writes, whoever issues them and however."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portsyncd.testing.monitor import Monitor, Write
from portsyncd.testing.orchagent import Orchagent
from portsyncd.testing.redis_server import RedisServer
from portsyncd.wire import producer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


ROW = producer.set_row("Ethernet0", {"alias": 'say "hi"', "description": "a b\\c", "lanes": ""})
FIELDS = {"alias": 'say "hi"', "description": "a b\\c", "lanes": ""}


def test_producer_rows_of_one_script_are_told_apart(server: RedisServer) -> None:
    rows = [ROW, producer.set_row("Ethernet4", {"lanes": "4"}), producer.delete_row("Ethernet8")]
    with Monitor(server) as monitor:
        server.client(0).eval(producer.SCRIPT, 2, *producer.script_arguments(rows, db_number=0))
        assert monitor.writes() == [
            Write("APPL_DB", "producer_set", "Ethernet0", FIELDS),
            Write("APPL_DB", "producer_set", "Ethernet4", {"lanes": "4"}),
            Write("APPL_DB", "producer_del", "Ethernet8", {}),
        ]


def test_a_row_that_waits_already_is_not_announced_and_yet_written(server: RedisServer) -> None:
    arguments = producer.script_arguments([ROW], db_number=0)
    with Monitor(server) as monitor:
        for _ in range(2):
            server.client(0).eval(producer.SCRIPT, 2, *arguments)
        assert monitor.writes() == [Write("APPL_DB", "producer_set", "Ethernet0", FIELDS)] * 2


def test_the_consumer_writes_nothing_that_counts(server: RedisServer) -> None:
    server.client(0).eval(producer.SCRIPT, 2, *producer.script_arguments([ROW], db_number=0))
    with Monitor(server) as monitor:
        Orchagent(server.client(0)).pop_all()
        assert monitor.writes() == []


def test_state_db_writes_by_hand_and_by_script(server: RedisServer) -> None:
    with Monitor(server) as monitor:
        server.client(6).hset("PORT_TABLE|Ethernet0", "mtu", "1500")
        before = monitor.position()
        server.client(6).eval("redis.call('HSET', KEYS[1], 'a', 'b') redis.call('DEL', KEYS[1])", 1, "k")
        server.client(4).delete("PORT|Ethernet0")
        assert monitor.writes(before) == [
            Write("STATE_DB", "hset", "k", {"a": "b"}),
            Write("STATE_DB", "del", "k", {}),
            Write("CONFIG_DB", "del", "PORT|Ethernet0", {}),
        ]


def test_what_was_recorded_outlives_the_server(server: RedisServer) -> None:
    with Monitor(server) as monitor:
        server.client(6).set("k", "v")
        monitor.position()
        server.kill()
    assert any(command.words == ("SET", "k", "v") for command in monitor.commands)
