"""systemd's watchdog ends a daemon that stands still, and none that only waits; the next one goes on as if nothing had been."""

import json
import signal
import socket
from pathlib import Path

import pytest

from portsyncd.testing.wait import hold
from portsyncd.wire import schema
from tests.e2e.systemd.installation import AILING_DAEMON, DEAF
from tests.e2e.systemd.switch import UNIT, ServiceSwitch
from tests.e2e.systemd.warm import PORTS, assert_warm, change_links, warm_switch

pytestmark = pytest.mark.root

WATCHDOG_SECONDS = 2
SOON = (f"WatchdogSec={WATCHDOG_SECONDS}s", "RestartSec=100ms")
AILING = ("ExecStart=", f"ExecStart={AILING_DAEMON}")
OUTAGE_IN_FULL_SECONDS = 60


def test_an_outage_of_redis_is_no_standstill(switch: ServiceSwitch, pytestconfig: pytest.Config) -> None:
    in_full = pytestconfig.getoption("--full")
    if not in_full:
        switch.guest.drop_in(UNIT, *SOON)
    switch.bring_up(PORTS)
    switch.redis.save()
    before = switch.main_pid
    switch.redis.kill()
    change_links(switch)
    hold(OUTAGE_IN_FULL_SECONDS if in_full else 3 * WATCHDOG_SECONDS)
    switch.redis.start()
    switch.wait_equal()
    assert switch.show("MainPID", "NRestarts") == {"MainPID": str(before), "NRestarts": "0"}


def test_a_stopped_process_is_replaced_by_a_warm_one(switch: ServiceSwitch) -> None:
    switch.guest.drop_in(UNIT, *SOON)
    warm_switch(switch)
    switch.kill(signal.SIGSTOP)
    change_links(switch)
    assert_replaced(switch)


def test_a_blocked_event_loop_is_replaced_by_a_warm_one(switch: ServiceSwitch) -> None:
    switch.guest.drop_in(UNIT, *SOON, *AILING)
    warm_switch(switch)
    with switch.namespace.enter(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        # Whoever is blocked answers no more: no ``Hooks``, which would wait for that.
        told.connect("\0portsyncd-hooks")
        told.send(json.dumps(["block", 600]).encode())
    change_links(switch)
    assert_replaced(switch)
    assert any("hooked_daemon.py" in message for message in switch.messages()), "the stack says where it stood"


def test_events_that_do_not_move_are_enough(switch: ServiceSwitch) -> None:
    switch.configure({"health": {"max_stall_seconds": 1}, "self_healing": {"heal_stall": False}})
    switch.guest.drop_in(UNIT, *SOON, *AILING)
    warm_switch(switch)
    deaf = Path(f"{switch.guest.root}{DEAF}")
    deaf.touch()
    change_links(switch)
    switch.wait_message("events do not move: systemd's watchdog is not fed any more")
    deaf.unlink()
    assert_replaced(switch)


def test_switched_off_it_ends_nobody(switch: ServiceSwitch) -> None:
    switch.configure({"health": {"enable_watchdog": False}})
    switch.guest.drop_in(UNIT, *SOON)
    switch.bring_up(PORTS)
    before = switch.main_pid
    switch.kill(signal.SIGSTOP)
    hold(1.5 * WATCHDOG_SECONDS)
    switch.kill(signal.SIGCONT)
    change_links(switch)
    switch.wait_equal()
    assert switch.show("MainPID", "NRestarts") == {"MainPID": str(before), "NRestarts": "0"}


def assert_replaced(switch: ServiceSwitch) -> None:
    """The watchdog ended it once, and the next process did all that there was to do."""
    switch.wait_shown(NRestarts="1", ActiveState="active")
    switch.wait_message("Watchdog timeout")
    switch.wait_message("Fatal Python error: Aborted")
    assert_warm(switch)
    assert switch.state_db.hget(schema.WARM_KEY, "state") == "reconciled"
    assert switch.show("NRestarts") == {"NRestarts": "1"}
