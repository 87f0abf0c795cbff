"""The unit starts and stops: active once the first sync is over and not before, failed where only an operator can help."""

from collections.abc import Sequence

import pytest

from portsyncd.testing.wait import hold
from tests.e2e.systemd.switch import CERTIFICATES, UNIT, ServiceSwitch

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]
# With a TimeoutStartSec= of its own; the unit's is to be exceeded in full only.
SHORT_SECONDS, LATE_SECONDS = 2, 6
LATE_IN_FULL_SECONDS = 120


def test_it_is_active_after_its_first_sync_and_says_how_it_is(switch: ServiceSwitch) -> None:
    switch.bring_up(PORTS)
    assert switch.show("ActiveState", "SubState", "NRestarts") == {
        "ActiveState": "active",
        "SubState": "running",
        "NRestarts": "0",
    }
    assert any("in sync" in message for message in switch.messages())
    switch.wait(
        lambda: 'Status: "2 ports in sync"' in switch.guest.systemctl("status", UNIT), "systemctl shows its state"
    )


def test_it_starts_for_as_long_as_redis_is_late(switch: ServiceSwitch, pytestconfig: pytest.Config) -> None:
    in_full = pytestconfig.getoption("--full")
    if not in_full:
        switch.guest.drop_in(UNIT, f"TimeoutStartSec={SHORT_SECONDS}s")
    switch.redis.kill()
    switch.guest.systemctl("start", "--no-block", UNIT)
    switch.wait(lambda: "waiting for Redis" in switch.show("StatusText")["StatusText"], "it says what it waits for")
    hold(LATE_IN_FULL_SECONDS if in_full else LATE_SECONDS)
    assert switch.show("ActiveState", "SubState") == {"ActiveState": "activating", "SubState": "start"}
    switch.redis.start()
    switch.bring_up(PORTS)
    assert switch.show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}


def test_told_to_stop_it_ends_well(switch: ServiceSwitch) -> None:
    switch.bring_up(PORTS)
    switch.links.set("Ethernet0", mtu=9000)
    switch.guest.systemctl("stop", UNIT)
    assert switch.show("ActiveState") == {"ActiveState": "inactive"}
    # systemd forgets the properties of what it has stopped. It would tell of any exit status but 0, and of its patience
    # (TimeoutStopSec=) being at an end.
    switch.wait_message("Deactivated successfully")
    for complaint in ("Main process exited", "timed out", "Killing"):
        assert not any(complaint in message for message in switch.messages())
    assert switch.state("Ethernet0")["mtu"] == "9000"
    assert set(switch.saved_ports()) == set(PORTS)


def test_it_goes_and_comes_with_swss(switch: ServiceSwitch) -> None:
    switch.guest.write("/run/systemd/system/swss.service", "[Service]\nType=exec\nExecStart=sleep infinity\n")
    switch.guest.systemctl("daemon-reload")
    switch.guest.systemctl("enable", "--runtime", UNIT)
    switch.guest.systemctl("start", "swss.service")
    switch.wait_shown(ActiveState="active")
    before = switch.main_pid
    switch.guest.systemctl("restart", "swss.service")
    switch.wait(lambda: switch.main_pid not in (0, before), "it was restarted, too")
    switch.wait_shown(ActiveState="active")
    switch.guest.systemctl("stop", "swss.service")
    switch.wait_shown(ActiveState="inactive")
    switch.wait_message("Deactivated successfully")
    switch.guest.systemctl("start", "swss.service")
    switch.wait_shown(ActiveState="active")
    switch.guest.systemctl("disable", "--runtime", UNIT)


@pytest.mark.parametrize(
    ("status", "changes", "report"),
    [
        (64, ["ExecStart=", "ExecStart=/usr/bin/portsyncd --no-such-flag"], ["--no-such-flag"]),
        (77, ["AmbientCapabilities="], ["CAP_NET_ADMIN", "netlink.existing_links"]),
        (78, ["Environment=PORTSYNCD_DAEMON_LOG_LEVEL=loud"], ["PORTSYNCD_DAEMON_LOG_LEVEL", "loud", "debug"]),
    ],
    ids=["command line", "permission", "configuration"],
)
def test_what_only_the_operator_can_mend_is_not_tried_again(
    switch: ServiceSwitch, status: int, changes: Sequence[str], report: Sequence[str]
) -> None:
    switch.configure({"netlink": {"existing_links": "reset"}})
    switch.add_ports(PORTS, up=True)
    switch.load_config(PORTS)
    switch.guest.drop_in(UNIT, "RestartSec=0", *changes)
    switch.guest.systemctl("start", UNIT, check=False)
    assert_failed_for_good(switch, status)
    said = "\n".join(message for message in switch.messages() if "systemd" not in message)
    for part in report:
        assert part in said


def test_a_configuration_file_with_mistakes_is_reported_as_a_whole(switch: ServiceSwitch) -> None:
    switch.configure({"daemon": {"log_level": "loud"}, "nonsense": {"key": 1}})
    switch.guest.systemctl("start", UNIT, check=False)
    assert_failed_for_good(switch, 78)
    said = "\n".join(switch.messages())
    assert "log_level" in said
    assert "nonsense" in said


def test_without_certificates_it_does_not_start(switch: ServiceSwitch) -> None:
    (switch.guest.root / CERTIFICATES.lstrip("/") / "ca.crt").unlink()
    switch.guest.systemctl("start", UNIT, check=False)
    assert_failed_for_good(switch, 78)
    assert any(f"{CERTIFICATES}/ca.crt does not exist" in message for message in switch.messages())


def assert_failed_for_good(switch: ServiceSwitch, status: int) -> None:
    """It ended with this exit status, and systemd left it at that."""
    assert switch.show("ActiveState", "Result", "ExecMainStatus", "NRestarts") == {
        "ActiveState": "failed",
        "Result": "exit-code",
        "ExecMainStatus": str(status),
        "NRestarts": "0",
    }
