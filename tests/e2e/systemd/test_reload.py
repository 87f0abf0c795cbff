"""``systemctl reload``: when it returns, the files hold; meanwhile the unit is reloading."""

import signal
import ssl
from contextlib import closing

import pytest

from tests.e2e.systemd.switch import UNIT, ServiceSwitch

pytestmark = pytest.mark.root

PORTS = ["Ethernet0"]


def served(switch: ServiceSwitch) -> str:
    """The certificate that a new connection gets."""
    with closing(switch.endpoint.open()) as connection:
        certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return ssl.DER_cert_to_PEM_cert(certificate)


@pytest.fixture
def serving(switch: ServiceSwitch) -> ServiceSwitch:
    """It runs, and its endpoint is open."""
    switch.bring_up(PORTS)
    switch.wait_message("metrics endpoint is open")
    return switch


def test_it_rotates_the_certificates(serving: ServiceSwitch) -> None:
    certificates = serving.certificates
    for _ in range(3):
        certificates.put("server", certificates.authority.issue_server())
        serving.put_certificates()
        serving.guest.systemctl("reload", UNIT)
        assert served(serving) == certificates.server_cert.read_text()
    assert serving.show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}


def test_a_bad_certificate_changes_nothing(serving: ServiceSwitch) -> None:
    before = served(serving)
    certificates = serving.certificates
    good = certificates.server_cert.read_bytes()
    certificates.server_cert.write_bytes(good[: len(good) // 2])
    serving.put_certificates()
    certificates.server_cert.write_bytes(good)
    serving.guest.systemctl("reload", UNIT)
    serving.wait_message("new certificates are refused")
    assert served(serving) == before
    assert serving.show("ActiveState") == {"ActiveState": "active"}


def test_whoever_sends_the_signal_the_unit_is_reloading_for_a_while(serving: ServiceSwitch) -> None:
    def changed_at() -> str:
        return serving.show("StateChangeTimestampMonotonic")["StateChangeTimestampMonotonic"]

    before, pid = changed_at(), serving.main_pid
    serving.configure({"daemon": {"log_level": "debug"}})
    serving.kill(signal.SIGHUP)
    serving.wait_message("configuration read again log_level=debug")
    # It was active before, and is now: in between it was something else.
    serving.wait(lambda: changed_at() != before, "the unit was in another state")
    serving.wait_shown(ActiveState="active", SubState="running", MainPID=str(pid))
