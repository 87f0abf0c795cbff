"""The strict consumer: it must follow orchagent's rules, and must be able to object."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from portsyncd.testing.orchagent import Orchagent, Pop, StrictOrchagentError
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.wait import until
from portsyncd.wire import producer
from portsyncd.wire.producer import Row


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def appl_db(server: RedisServer) -> redis.Redis:
    client = server.client(0)
    client.flushall()
    return client


def produce(client: redis.Redis, *rows: Row) -> None:
    client.eval(producer.SCRIPT, 2, *producer.script_arguments(rows, db_number=0))


def port(name: str) -> Row:
    return producer.set_row(name, {"lanes": "1", "speed": "100"})


def done(count: int) -> Row:
    return producer.set_row("PortConfigDone", {"count": str(count)})


INIT_DONE = producer.set_row("PortInitDone", {"lanes": "0"})


def test_a_pop_moves_the_staged_row(appl_db: redis.Redis) -> None:
    orchagent = Orchagent(appl_db)
    appl_db.hset("PORT_TABLE:Ethernet0", "flap_count", "3")
    produce(appl_db, port("Ethernet0"))
    assert orchagent.pop_all() == [Pop("Ethernet0", {"lanes": "1", "speed": "100"}, deleted=False)]
    assert appl_db.hgetall("PORT_TABLE:Ethernet0") == {"flap_count": "3", "lanes": "1", "speed": "100"}
    assert appl_db.keys() == ["PORT_TABLE:Ethernet0"]


def test_a_deletion_precedes_what_is_set_after_it(appl_db: redis.Redis) -> None:
    orchagent = Orchagent(appl_db)
    appl_db.hset("PORT_TABLE:Ethernet0", "old", "1")
    produce(appl_db, producer.delete_row("Ethernet0"), port("Ethernet0"))
    assert orchagent.pop_all() == [Pop("Ethernet0", {"lanes": "1", "speed": "100"}, deleted=True)]
    assert appl_db.hgetall("PORT_TABLE:Ethernet0") == {"lanes": "1", "speed": "100"}
    produce(appl_db, producer.delete_row("Ethernet0"))
    assert orchagent.pop_all() == [Pop("Ethernet0", {}, deleted=True)]
    assert orchagent.ports == {}
    assert appl_db.keys() == []


def test_a_port_is_known_only_from_a_pop(appl_db: redis.Redis) -> None:
    orchagent = Orchagent(appl_db)
    appl_db.hset("PORT_TABLE:Ethernet0", "lanes", "1")
    produce(appl_db, done(1))
    orchagent.pop_all()
    assert not orchagent.configured
    produce(appl_db, port("Ethernet0"))
    orchagent.pop_all()
    assert orchagent.configured


def test_init_done_without_config_done_is_an_error(appl_db: redis.Redis) -> None:
    orchagent = Orchagent(appl_db)
    produce(appl_db, INIT_DONE)
    orchagent.pop_all()
    with pytest.raises(StrictOrchagentError, match="PortConfigDone never was"):
        orchagent.check()


def test_config_done_of_an_earlier_life_does_not_count(appl_db: redis.Redis) -> None:
    orchagent = Orchagent(appl_db)
    produce(appl_db, done(0), INIT_DONE)
    orchagent.pop_all()
    orchagent.check()
    orchagent.begin()
    produce(appl_db, INIT_DONE)
    orchagent.pop_all()
    with pytest.raises(StrictOrchagentError):
        orchagent.check()


def test_init_done_before_the_ports_is_an_error(appl_db: redis.Redis) -> None:
    orchagent = Orchagent(appl_db)
    produce(appl_db, done(1), INIT_DONE)
    orchagent.pop_all()
    with pytest.raises(StrictOrchagentError, match="0 of 1 ports"):
        orchagent.check()


def test_the_random_order_of_pops_is_not_the_producers_fault(appl_db: redis.Redis) -> None:
    # With three batches waiting, PortInitDone is often taken before PortConfigDone or some of the ports.
    for _ in range(20):
        orchagent = Orchagent(appl_db)
        produce(appl_db, *(port(f"Ethernet{number}") for number in range(300)), done(300), INIT_DONE)
        orchagent.pop_all()
        orchagent.check()
        assert orchagent.configured
        assert orchagent.init_done


def test_in_a_thread_it_takes_what_waits_and_what_is_announced(appl_db: redis.Redis) -> None:
    produce(appl_db, *(port(f"Ethernet{number}") for number in range(200)))
    with Orchagent(appl_db) as orchagent:
        until(lambda: len(orchagent.ports) == 200, what="what waited is taken")
        produce(appl_db, done(200))
        until(lambda: orchagent.configured, what="what was announced is taken")


def test_one_pop_per_message_heard(appl_db: redis.Redis) -> None:
    with Orchagent(appl_db) as orchagent:
        # Staged without a message: nobody would hear of it.
        appl_db.hset("_PORT_TABLE:Ethernet0", "lanes", "1")
        appl_db.sadd("PORT_TABLE_KEY_SET", "Ethernet0")
        until(lambda: appl_db.pubsub_numsub("PORT_TABLE_CHANNEL@0")[0][1] == 1)
        produce(appl_db, *(port(f"Other{number}") for number in range(200)))
        until(lambda: len(orchagent.pops) == 201, what="200 messages suffice for all")


def test_it_outlives_a_redis_that_goes_away(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, Orchagent(server.client(0)) as orchagent:
        server.restart(empty=True)
        produce(server.client(0), port("Ethernet0"))
        until(lambda: "Ethernet0" in orchagent.ports, what="it consumes again")


def test_a_warm_start_takes_over_what_the_markers_vouch_for(appl_db: redis.Redis) -> None:
    orchagent = Orchagent(appl_db)
    produce(appl_db, port("Ethernet0"), done(1), INIT_DONE)
    orchagent.pop_all()
    orchagent.begin(warm=True)
    assert orchagent.configured
    assert orchagent.init_done
    appl_db.hset("PORT_TABLE:stranger", "a", "b")
    orchagent.begin(warm=True)
    assert orchagent.ports == {}
    assert appl_db.keys() == []
