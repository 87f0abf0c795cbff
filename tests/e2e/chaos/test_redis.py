"""Redis fails in each way that its connections can tell, or cannot: how soon that is noticed, and made good afterwards."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from portsyncd.testing import burst
from portsyncd.testing.firewall import dropping
from portsyncd.testing.forwarder import Forwarder
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold
from tests.e2e.chaos.trial import (
    COMPLAINT,
    PORTS,
    assert_goes_on,
    change,
    now,
    seconds_until_told,
    seconds_until_well,
)
from tests.e2e.conftest import SwitchMaker
from tests.e2e.recovery import Measure

pytestmark = pytest.mark.root

TCP_PORT = 6379
# The daemon tries again all the time: in which phase of that Redis comes back is left to chance.
OUTAGE_SECONDS = (1.5, 2.5)


@contextmanager
def killed(switch: Switch) -> Iterator[None]:
    switch.redis.kill()
    yield
    hold(random.uniform(*OUTAGE_SECONDS))
    switch.redis.start()


@contextmanager
def killed_and_started_empty(switch: Switch) -> Iterator[None]:
    """What there was comes back as at the start of a switch."""
    switch.redis.kill()
    yield
    switch.redis.restart(empty=True)
    switch.daemon.wait_for("waiting for CONFIG_DB to be loaded")
    switch.orchagent.stop()
    switch.orchagent.start()
    switch.load_config(PORTS)


@contextmanager
def stopped(switch: Switch) -> Iterator[None]:
    """Its connections stay, it only says nothing."""
    switch.redis.pause()
    yield
    hold(random.uniform(*OUTAGE_SECONDS))
    switch.redis.resume()


@contextmanager
def replaced(switch: Switch) -> Iterator[None]:
    """By one with older data."""
    switch.redis.restart(empty=False)
    yield


@contextmanager
def superseded(switch: Switch) -> Iterator[None]:
    """Its socket's file is removed, another server takes its place, and only then does it end."""
    switch.redis.remove_socket()
    switch.links.set(PORTS[1], mtu=1300)
    switch.wait_equal()
    assert not switch.daemon.events(COMPLAINT), "who is connected needs no file"
    switch.redis.supersede()
    switch.redis.kill_former()
    yield


@contextmanager
def doubled(switch: Switch) -> Iterator[None]:
    """Another server takes its socket, and it lives on: no connection breaks."""
    switch.redis.supersede()
    yield


FAULTS: dict[str, Callable[[Switch], AbstractContextManager[None]]] = {
    "Redis killed, started again 2 s later with older data": killed,
    "Redis killed, started again empty; from when CONFIG_DB is loaded": killed_and_started_empty,
    "Redis stopped (SIGSTOP), continued": stopped,
    "Redis replaced at once by one with older data": replaced,
    "Redis' socket removed, taken by another server, the former killed": superseded,
    "Redis' socket taken by another server, the former goes on": doubled,
}


@pytest.mark.parametrize("name", FAULTS, ids=[fault.__name__ for fault in FAULTS.values()])
def test_redis_fails(switch: Switch, measure: Measure, name: str) -> None:
    switch.bring_up(PORTS)
    switch.redis.save()
    began = now()
    with FAULTS[name](switch):
        change(switch)
        detected = seconds_until_told(switch, COMPLAINT, began)
    measure(name, detected=detected, recovered=seconds_until_well(switch))
    assert_goes_on(switch)


def test_redis_dies_in_the_middle_of_a_storm(switch: Switch, measure: Measure) -> None:
    switch.bring_up(PORTS)
    switch.redis.save()
    indexes = [switch.links.index(name) for name in PORTS[:4]]
    under_way = threading.Event()

    def flips() -> Iterator[bytes]:
        for number, request in enumerate(burst.mtu_flips(indexes, 12_000)):
            if number == 2000:
                under_way.set()
            yield request

    storm = threading.Thread(target=lambda: switch.kernel.send(flips()))
    storm.start()
    under_way.wait()
    began = now()
    switch.redis.kill()
    storm.join()
    change(switch)
    detected = seconds_until_told(switch, COMPLAINT, began)
    switch.redis.start()
    measure("Redis killed in the middle of a storm", detected=detected, recovered=seconds_until_well(switch))
    assert_goes_on(switch)


# ---- over TCP, packets are dropped and nobody is told


@pytest.fixture
def tcp_switch(make_switch: SwitchMaker, tmp_path: Path) -> Switch:
    """A switch whose daemon talks with Redis over TCP, inside the switch's namespace; all others use its socket."""
    server = RedisServer(tmp_path, arguments=("--port", str(TCP_PORT), "--bind", "127.0.0.1"))
    there = {"unix_socket_path": "", "redis_host": "127.0.0.1", "redis_port": TCP_PORT}
    # Started where other tests may have the same port, it would not begin.
    server.arguments, arguments = (), server.arguments
    switch = make_switch(server=server, config={"database": there})
    switch.redis.stop()
    switch.redis.arguments = arguments
    with switch.namespace.enter():
        switch.redis.start()
    return switch


@contextmanager
def requests_dropped(namespace: NetworkNamespace) -> Iterator[None]:
    with one_way(namespace, f"tcp dport {TCP_PORT}"):
        yield


@contextmanager
def replies_dropped(namespace: NetworkNamespace) -> Iterator[None]:
    with one_way(namespace, f"tcp sport {TCP_PORT}"):
        yield


@contextmanager
def one_way(namespace: NetworkNamespace, match: str) -> Iterator[None]:
    rules = f"chain input {{ type filter hook input priority 0; {match} drop; }}"
    namespace.run(["nft", f"table inet one_way {{ {rules}; }}"])
    yield
    namespace.run(["nft", "delete table inet one_way"])


@contextmanager
def both_dropped(namespace: NetworkNamespace) -> Iterator[None]:
    with dropping(namespace, TCP_PORT):
        yield


PATHS = {"requests": requests_dropped, "replies": replies_dropped, "requests and replies": both_dropped}


@pytest.mark.parametrize("what", PATHS)
def test_packets_between_the_daemon_and_redis_are_dropped(tcp_switch: Switch, measure: Measure, what: str) -> None:
    switch = tcp_switch
    switch.bring_up(PORTS)
    began = now()
    with PATHS[what](switch.namespace):
        change(switch)
        detected = seconds_until_told(switch, COMPLAINT, began)
        hold(random.uniform(*OUTAGE_SECONDS))
    measure(f"{what} dropped on their way (TCP)", detected=detected, recovered=seconds_until_well(switch))
    assert_goes_on(switch)


def test_an_idle_subscriber_whose_path_is_gone_is_found_and_made_anew(tcp_switch: Switch, measure: Measure) -> None:
    # It only ever listens; without a probe the kernel's keepalive would find it, after 25 s.
    switch = tcp_switch
    switch.bring_up(PORTS)
    known = {client["addr"] for client in switch.appl_db.client_list(_type="pubsub")}
    ports = [int(address.rpartition(":")[2]) for address in known if address.startswith("127.0.0.1:")]
    assert ports, "the daemon subscribes"
    began = now()
    with dropping(switch.namespace, *ports):
        change(switch)
        detected = seconds_until_told(switch, COMPLAINT, began)
        # The path itself stays as it is: nothing has to heal for a new connection.
        measure("the subscriber's packets dropped (TCP)", detected=detected, recovered=seconds_until_well(switch))
        assert_goes_on(switch)


def test_an_address_is_taken_by_another_server_and_the_former_goes_on(
    make_switch: SwitchMaker, measure: Measure
) -> None:
    switch = make_switch(
        config={"database": {"unix_socket_path": "", "redis_host": "127.0.0.1", "redis_port": TCP_PORT}}
    )
    with switch.namespace.enter():
        forwarder = Forwarder(switch.redis.socket_path, TCP_PORT)
    with forwarder:
        switch.bring_up(PORTS)
        switch.redis.save()
        began = now()
        switch.redis.supersede()
        change(switch)
        detected = seconds_until_told(switch, COMPLAINT, began)
        measure(
            "Redis' address (TCP) taken by another server, the former goes on",
            detected=detected,
            recovered=seconds_until_well(switch),
        )
        assert_goes_on(switch)
