"""Redis fails in every way that it can; the daemon stays, says so once, does not spin, and puts everything right after."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portsyncd.testing import burst
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = [f"Ethernet{4 * number}" for number in range(8)]
COMPLAINT = "Redis cannot be used: port states wait, and will be written when it can"
RECOVERY = "connected to Redis"


def change_much(switch: Switch) -> None:
    """Hundreds of changes, some of each kind."""
    switch.kernel.send(burst.mtu_flips([switch.links.index(name) for name in PORTS[:4]], 800, (1400, 9000)))
    switch.links.delete(PORTS[5])
    switch.links.delete(PORTS[6])
    switch.links.add_port(PORTS[6])
    switch.links.set(PORTS[7], up=True)
    switch.links.carrier(PORTS[7], up=True)


@contextmanager
def outage(switch: Switch, seconds: float = 2.0, *, complaint: str = "") -> Iterator[None]:
    """The block makes Redis useless; then much changes, and the daemon must bear it for a while."""
    complaints, cpu = len(switch.daemon.events(COMPLAINT)), switch.daemon.cpu_seconds()
    yield
    change_much(switch)
    switch.wait(lambda: len(switch.daemon.events(COMPLAINT)) > complaints, "the daemon says what is wrong")
    hold(seconds)
    change_again(switch)
    # A loop without a pause would have used all of it.
    assert switch.daemon.cpu_seconds() - cpu < 0.35 * seconds + 0.3
    assert switch.daemon.running
    said = switch.daemon.events(COMPLAINT)[complaints:]
    assert len(said) == 1, "once, and not per event"
    assert complaint in said[0]["problem"]


def change_again(switch: Switch) -> None:
    switch.links.set(PORTS[0], mtu=7777)


def recovered(switch: Switch) -> None:
    switch.wait(lambda: switch.daemon.events(RECOVERY)[1:], "the daemon says that Redis can be used again")
    switch.wait_settled()
    assert switch.state(PORTS[0])["mtu"] == "7777"
    assert not switch.state(PORTS[5])
    switch.links.set(PORTS[1], mtu=1234)
    switch.wait_equal()


def test_killed_and_restarted_empty(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with outage(switch):
        switch.redis.kill()
    switch.redis.restart(empty=True)
    # An unloaded CONFIG_DB is not "zero ports".
    switch.daemon.wait_for("waiting for CONFIG_DB to be loaded")
    assert not switch.has_marker("PortConfigDone")
    switch.orchagent.start()
    switch.load_config(PORTS)
    switch.wait(lambda: switch.orchagent.configured, "every port is announced again")
    switch.add_ports([PORTS[5]])
    switch.wait_settled()
    assert switch.states().keys() >= set(PORTS)
    assert switch.links.states()[PORTS[7]].admin_up


def test_absent_at_the_start_and_then_empty_is_not_yet_zero_ports(switch: Switch) -> None:
    switch.redis.kill()
    switch.daemon.start()
    switch.daemon.wait_for(COMPLAINT)
    switch.redis.start()
    switch.daemon.wait_for("waiting for CONFIG_DB to be loaded")
    assert switch.appl_db.keys() == []
    switch.load_config([])
    switch.daemon.wait_in_sync()
    # Now it is: an empty configuration that says that it is complete.
    switch.orchagent.start()
    switch.wait(lambda: switch.orchagent.init_done, "PortInitDone comes at once")
    assert switch.orchagent.count == 0


def test_killed_and_restarted_with_old_data(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.redis.save()
    switch.links.set(PORTS[2], mtu=3333)
    switch.wait_equal()
    with outage(switch):
        switch.redis.kill()
    switch.redis.restart(empty=False)
    recovered(switch)


def test_killed_and_restarted_with_data_from_before_the_markers(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.redis.save()
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(PORTS)
    switch.wait_settled()
    switch.orchagent.stop()
    switch.redis.restart(empty=False)
    switch.orchagent.start()
    switch.wait(lambda: switch.orchagent.configured, "every port is announced again")
    switch.wait_settled()
    assert switch.states().keys() >= set(PORTS)


def test_stopped_for_longer_than_the_deadline(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with outage(switch, 1.0, complaint="answer"):
        switch.redis.pause()
    switch.redis.resume()
    recovered(switch)


def test_stopped_for_a_moment_is_no_trouble(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.redis.pause()
    change_much(switch)
    change_again(switch)
    switch.redis.resume()
    switch.wait_settled()
    assert not switch.daemon.events(COMPLAINT)


def test_script_flush(switch: Switch) -> None:
    switch.bring_up(PORTS)
    for mtu in (2000, 3000):
        switch.appl_db.script_flush()
        switch.links.set(PORTS[0], mtu=mtu)
        switch.wait_equal()
    assert not switch.daemon.events(COMPLAINT)


def test_flushall(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.set(PORTS[0], up=True)
    switch.wait_equal()
    switch.orchagent.stop()
    switch.appl_db.flushall()
    switch.orchagent.start()
    switch.load_config(PORTS)
    switch.wait(lambda: switch.orchagent.configured, "every port is announced again")
    switch.wait_settled()
    assert switch.states().keys() >= set(PORTS)
    assert switch.links.states()[PORTS[0]].admin_up


def test_flushall_while_config_db_stays_empty(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.orchagent.stop()
    switch.appl_db.flushall()
    switch.daemon.wait_for("waiting for CONFIG_DB to be loaded")
    assert not switch.appl_db.exists("_PORT_TABLE:PortConfigDone", "PORT_TABLE:PortConfigDone")
    switch.orchagent.start()
    switch.load_config(PORTS)
    switch.wait(lambda: switch.orchagent.configured, "every port is announced again")
    switch.wait_settled()


def test_a_flush_of_state_db_alone_is_made_good(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.state_db.flushdb()
    switch.wait_equal()
    assert switch.states().keys() >= set(PORTS)


def test_a_read_only_replica(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with outage(switch, complaint="read only replica"):
        # Of a master that does not exist: it keeps its data and takes no writes.
        switch.appl_db.replicaof("127.0.0.1", "1")
    switch.appl_db.replicaof("NO", "ONE")
    recovered(switch)


def test_out_of_memory(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with outage(switch, complaint="maxmemory"):
        switch.appl_db.config_set("maxmemory", "1")
    switch.appl_db.config_set("maxmemory", "0")
    recovered(switch)


def test_out_of_memory_before_the_first_start(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.appl_db.config_set("maxmemory", "1")
    switch.daemon.start()
    switch.daemon.wait_for(COMPLAINT)
    hold(1)
    assert len(switch.daemon.events(COMPLAINT)) == 1
    switch.appl_db.config_set("maxmemory", "0")
    switch.orchagent.start()
    switch.daemon.wait_in_sync()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")


def test_loading_its_data(switch: Switch) -> None:
    switch.bring_up(PORTS)
    pipeline = switch.redis.client(9).pipeline(transaction=False)
    for number in range(2000):
        pipeline.set(f"ballast{number}", "x" * 400)
    pipeline.execute()
    switch.redis.save()
    switch.redis.kill()
    # Half a millisecond a key; and it looks at its sockets once per kilobyte.
    switch.redis.arguments = ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    change_much(switch)
    change_again(switch)
    switch.redis.start(wait=False)
    switch.wait(lambda: "loading" in str(switch.daemon.events(COMPLAINT)), "the daemon says that Redis is loading")
    recovered(switch)
    # Closed, then loading: two states, told once each.
    assert len(switch.daemon.events(COMPLAINT)) <= 2


def test_a_password_that_the_daemon_does_not_have(make_switch: SwitchMaker, tmp_path: Path) -> None:
    switch = make_switch(server=RedisServer(tmp_path, password="secret"))
    switch.load_config(PORTS)
    switch.daemon.start()
    said = switch.daemon.wait_for(COMPLAINT)
    assert "NOAUTH" in said["problem"] or "Authentication" in said["problem"]
    cpu = switch.daemon.cpu_seconds()
    hold(2)
    assert switch.daemon.cpu_seconds() - cpu < 0.7
    assert len(switch.daemon.events(COMPLAINT)) == 1
    switch.appl_db.config_set("requirepass", "")
    switch.daemon.wait_in_sync()


def test_a_wrong_password_and_then_the_right_one(make_switch: SwitchMaker, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    file.chmod(0o600)
    switch = make_switch(
        server=RedisServer(tmp_path, password="secret"), config={"database": {"password_file": str(file)}}
    )
    switch.load_config(PORTS)
    switch.daemon.start()
    said = switch.daemon.wait_for(COMPLAINT)
    assert "WRONGPASS" in said["problem"] or "password" in said["problem"]
    assert "wrong\\n" not in switch.daemon.log()
    switch.daemon.terminate()
    file.write_text("secret\n")
    switch.bring_up(PORTS)
    assert "secret" not in switch.daemon.log()


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_faults_in_the_middle_of_a_storm(switch: Switch, fault: str) -> None:
    switch.bring_up(PORTS)
    switch.redis.save()
    indexes = [switch.links.index(name) for name in PORTS]
    act: Callable[[], None] = switch.redis.kill if fault == "kill" else switch.redis.pause
    undo: Callable[[], None] = switch.redis.start if fault == "kill" else switch.redis.resume
    for mtu in (2001, 2002, 2003):
        switch.kernel.send(burst.mtu_flips(indexes, 1600, (1400, mtu)))
        act()
        switch.kernel.send(burst.mtu_flips(indexes, 1600, (1400, mtu)))
        undo()
        switch.wait_equal()
    switch.wait_settled()
