"""How the daemon starts, is told things, and ends: exit codes, signals, permissions."""

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from portsyncd.testing.daemon_process import IN_SYNC, DaemonNotRunningError
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold, until
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]
RUN = (sys.executable, "-m", "portsyncd", "run")
WITHOUT_NET_ADMIN = ("setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin")


def contents(switch: Switch) -> list[tuple[int, str, object]]:
    """All hashes of APPL_DB and STATE_DB."""
    clients = enumerate((switch.appl_db, switch.state_db))
    return sorted((number, str(key), client.hgetall(key)) for number, client in clients for key in client.scan_iter())


def test_a_wrong_file_names_all_its_problems_and_nothing_starts(make_switch: SwitchMaker) -> None:
    wrong = {"daemon": {"log_level": "loud"}, "netlink": {"receive_buffer_bytes": 1}, "nonsense": {"key": 1}}
    switch = make_switch(config=wrong)
    switch.daemon.start()
    assert switch.daemon.wait_ended() == 78
    said = switch.daemon.log()
    for part in ("log_level", "loud", "receive_buffer_bytes", "nonsense", str(switch.daemon.config_path)):
        assert part in said
    assert "Traceback" not in said
    assert switch.appl_db.keys() == []


def test_an_absent_file_that_was_named_is_an_error(make_switch: SwitchMaker) -> None:
    switch = make_switch(argv=(*RUN, "--config", "{config}.not"))
    switch.daemon.start()
    assert switch.daemon.wait_ended() == 78


def test_an_unknown_flag_is_a_wrong_command_line(make_switch: SwitchMaker) -> None:
    switch = make_switch(argv=(*RUN, "--no-such-flag"))
    switch.daemon.start()
    assert switch.daemon.wait_ended() == 64


def test_flags_win_over_the_environment_and_that_over_the_file(make_switch: SwitchMaker) -> None:
    switch = make_switch(
        config={"database": {"unix_socket_path": "/nonexistent.sock"}},
        environment={"PORTSYNCD_NETLINK_EXISTING_LINKS": "adopt", "PORTSYNCD_DATABASE_UNIX_SOCKET_PATH": "/no.sock"},
    )
    switch.daemon.argv = (*RUN, "--config", "{config}", "--redis-socket", switch.redis.socket_path)
    switch.add_ports(PORTS, up=True)
    switch.load_config(PORTS)
    switch.start()
    switch.wait_settled()
    assert switch.links.states()["Ethernet0"].admin_up


def test_without_permission_reset_ends_with_its_own_exit_code(make_switch: SwitchMaker) -> None:
    switch = make_switch(
        config={"netlink": {"existing_links": "reset"}}, argv=(*WITHOUT_NET_ADMIN, *RUN, "--config", "{config}")
    )
    switch.add_ports(PORTS, up=True)
    switch.load_config(PORTS)
    switch.daemon.start()
    assert switch.daemon.wait_ended() == 77
    assert "CAP_NET_ADMIN" in switch.daemon.log()


def test_without_permission_all_else_works(make_switch: SwitchMaker) -> None:
    switch = make_switch(
        config={"netlink": {"existing_links": "adopt"}}, argv=(*WITHOUT_NET_ADMIN, *RUN, "--config", "{config}")
    )
    switch.add_ports(PORTS, up=True)
    switch.load_config(PORTS)
    switch.start()
    switch.wait_settled()
    # The kernel's own limit holds then; what was obtained is said.
    limit = int(switch.namespace.run(["cat", "/proc/sys/net/core/rmem_max"]).stdout)
    (record,) = switch.daemon.events("listening to the kernel")
    assert record["receive_buffer_bytes"] == 2 * min(limit, 33554432)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_leaves_the_keys_and_ends_with_0(switch: Switch, number: signal.Signals) -> None:
    switch.bring_up(PORTS)
    before = contents(switch)
    switch.daemon.signal(number)
    assert switch.daemon.wait_ended() == 0
    assert contents(switch) == before


def test_an_event_that_came_before_the_signal_reaches_redis(switch: Switch) -> None:
    switch.bring_up(PORTS)
    for mtu in range(2000, 2005):
        switch.daemon.pause()
        switch.links.set("Ethernet0", mtu=mtu)
        # Both are there when it goes on.
        switch.daemon.signal(signal.SIGTERM)
        switch.daemon.resume()
        assert switch.daemon.wait_ended() == 0
        assert switch.state("Ethernet0")["mtu"] == str(mtu)
        switch.daemon.start()
        switch.daemon.wait_in_sync()


def test_what_waits_in_the_mailbox_is_written_before_the_end(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.redis.pause()
    switch.links.set("Ethernet0", mtu=9000)
    # Time for the first change to be on its way to Redis: only then does the second one wait in the mailbox.
    hold(0.2)
    switch.links.set("Ethernet4", mtu=9000)
    switch.daemon.signal(signal.SIGTERM)
    switch.daemon.wait_for("stopping")
    switch.redis.resume()
    assert switch.daemon.wait_ended() == 0
    assert switch.state("Ethernet0")["mtu"] == "9000"
    assert switch.state("Ethernet4")["mtu"] == "9000"


def test_it_ends_in_time_although_redis_does_not_answer(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.redis.pause()
    switch.links.set("Ethernet0", mtu=9000)
    switch.daemon.signal(signal.SIGTERM)
    assert switch.daemon.wait_ended() == 0
    switch.redis.resume()


def test_told_twice_it_ends_at_once(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.redis.pause()
    switch.links.set("Ethernet0", mtu=9000)
    switch.daemon.signal(signal.SIGTERM)
    switch.daemon.wait_for("stopping")
    switch.daemon.signal(signal.SIGTERM)
    assert switch.daemon.wait_ended() == 0
    assert switch.daemon.events("told to stop twice: leaving at once")
    assert not switch.daemon.events("left before everything was written; the next start compares everything")
    switch.redis.resume()


def test_it_can_be_stopped_while_redis_is_absent(switch: Switch) -> None:
    switch.redis.kill()
    switch.daemon.start()
    switch.daemon.wait_for("Redis cannot be used: port states wait, and will be written when it can")
    assert switch.daemon.terminate() == 0


def test_killed_by_a_watchdog_it_says_where_it_was(switch: Switch) -> None:
    switch.start()
    switch.daemon.signal(signal.SIGABRT)
    assert switch.daemon.wait_ended() == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in switch.daemon.log()
    assert "daemon.py" in switch.daemon.log()


def test_hup_ends_it_at_no_moment_of_its_life(switch: Switch) -> None:
    """But for the first, in which Python itself begins."""
    switch.load_config(PORTS)
    switch.daemon.start()
    until(lambda: heeds_hup(switch.daemon.pid), what="it has seen to signals")

    def in_sync() -> list[dict[str, Any]]:
        switch.daemon.signal(signal.SIGHUP)
        return switch.daemon.events(IN_SYNC)

    until(in_sync, what=switch.daemon.log)
    switch.daemon.signal(signal.SIGTERM)
    with suppress(DaemonNotRunningError):
        while True:
            switch.daemon.signal(signal.SIGHUP)
    assert switch.daemon.wait_ended() == 0


def heeds_hup(pid: int) -> bool:
    """Whether it ignores SIGHUP, or has a handler for it."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return any(int(status[mask], 16) & 1 << signal.SIGHUP - 1 for mask in ("SigIgn", "SigCgt"))


def test_hup_reads_the_log_level_again(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"daemon": {"log_level": "info"}})
    switch.bring_up(PORTS)
    assert not any(record["level"] == "debug" for record in switch.daemon.events())
    switch.daemon.configure({"daemon": {"log_level": "debug"}})
    switch.daemon.signal(signal.SIGHUP)
    switch.daemon.wait_for("configuration read again")
    switch.appl_db.flushdb()
    switch.wait(
        lambda: any(record["level"] == "debug" for record in switch.daemon.events()), "there are lines for debugging"
    )


def test_hup_with_a_wrong_file_changes_nothing_and_says_so(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.daemon.configure({"daemon": {"log_level": "loud"}})
    switch.daemon.signal(signal.SIGHUP)
    said = switch.daemon.wait_for("the configuration is wrong, the old one stays in force")
    assert "loud" in str(said["problems"])
    switch.links.set("Ethernet0", mtu=9000)
    switch.wait_equal()


def test_disabled_it_stays_and_does_nothing(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"daemon": {"enabled": False}})
    switch.load_config(PORTS)
    switch.add_ports(PORTS)
    switch.daemon.start()
    switch.daemon.wait_for("daemon.enabled is false: idle until told to stop")
    assert switch.appl_db.keys() == []
    assert switch.state_db.keys() == []
    assert switch.daemon.terminate() == 0
