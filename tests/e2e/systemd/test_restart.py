"""Killed, or ended by itself: systemd starts the next process, which has the socket of the former one and what waits in it."""

import signal

import pytest

from tests.e2e.clients import sample
from tests.e2e.hooks import Hooks
from tests.e2e.keyspace import Subscriber
from tests.e2e.systemd.installation import AILING_DAEMON, BUDGET
from tests.e2e.systemd.switch import UNIT, ServiceSwitch
from tests.e2e.systemd.warm import PORTS, assert_warm, change_links, warm_switch

pytestmark = pytest.mark.root

FLAPS = 'portsyncd_port_flaps_total{port="Ethernet0"}'
OPEN = "metrics endpoint is open"


def flaps(switch: ServiceSwitch) -> float:
    return sample(switch.endpoint.scrape(), FLAPS)


def test_what_happens_after_kill_9_is_not_lost(switch: ServiceSwitch) -> None:
    switch.configure({"warm_restart": {"save_interval_secs": 1}})
    # Time enough to see that nothing runs meanwhile.
    switch.guest.drop_in(UNIT, "RestartSec=2s")
    warm_switch(switch)
    switch.wait_message(OPEN)
    switch.wait(lambda: len(switch.saved_ports()) == len(PORTS), "the state is saved")
    before = flaps(switch)
    assert switch.show("NFileDescriptorStore") == {"NFileDescriptorStore": "1"}
    with Subscriber(switch) as subscriber:
        switch.kill(signal.SIGKILL)
        switch.wait_shown(SubState="auto-restart", NFileDescriptorStore="1")
        change_links(switch)
        # Down and up again: as if nothing had been, but for the kernel's own counter.
        switch.links.carrier("Ethernet0", up=False)
        switch.links.carrier("Ethernet0", up=True)
        assert switch.show("SubState") == {"SubState": "auto-restart"}
        switch.wait_shown(NRestarts="1", ActiveState="active")
        assert_warm(switch)
        heard = {name for _, name in subscriber.heard()}
    assert heard == set(PORTS), "also Ethernet4, which is as it was: it went down and came up"
    switch.wait(lambda: sum(OPEN in message for message in switch.messages()) == 2, "the endpoint is open again")
    assert flaps(switch) == before + 1
    switch.wait_shown(NFileDescriptorStore="1")


def test_nobody_hears_of_a_restart_without_changes(switch: ServiceSwitch) -> None:
    warm_switch(switch)
    with Subscriber(switch) as subscriber:
        switch.guest.systemctl("restart", UNIT)
        switch.wait_equal()
        assert subscriber.heard() == []
    starts = [message for message in switch.messages() if message.startswith("initial sync complete by EOIU")]
    assert " start=warm " in starts[-1]


def test_where_its_budget_is_used_up_systemd_begins_anew(switch: ServiceSwitch) -> None:
    switch.guest.drop_in(UNIT, "RestartSec=100ms", "ExecStart=", f"ExecStart={AILING_DAEMON}")
    warm_switch(switch)
    hooks = Hooks(switch.namespace)
    for number in range(1, BUDGET + 1):
        hooks.crash("writer")
        switch.wait(
            lambda: sum("service runs again" in message for message in switch.messages()) == number,  # noqa: B023
            "it is rebuilt",
        )
    change_links(switch)
    hooks.crash("writer")
    switch.wait_shown(NRestarts="1", ActiveState="active")
    switch.wait_message("status=69")
    assert_warm(switch)
