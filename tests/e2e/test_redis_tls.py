"""Redis over TLS, by the daemon whose whole process is held to the metrics endpoint's TLS profile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.switch import Switch
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORT = 6380


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "redis-tls")


@pytest.fixture
def switch(make_switch: SwitchMaker, certificates: Certificates, tmp_path: Path) -> Switch:
    """One whose Redis listens for TLS inside the switch's namespace, and whose daemon is told so."""
    files = {
        "--tls-cert-file": certificates.server_cert,
        "--tls-key-file": certificates.server_key,
        "--tls-ca-cert-file": certificates.ca,
    }
    arguments = [text for flag, path in files.items() for text in (flag, str(path))]
    server = RedisServer(tmp_path, arguments=(*arguments, "--tls-port", str(PORT), "--tls-auth-clients", "no"))
    tls = {"unix_socket_path": "", "redis_host": "::1", "redis_port": PORT, "tls": True}
    made = make_switch(server=server, config={"database": {**tls, "tls_ca": str(certificates.ca)}})
    made.redis.stop()
    with made.namespace.enter():
        made.redis.start()
    return made


def test_ports_are_kept_over_tls(switch: Switch) -> None:
    switch.bring_up(["Ethernet0", "Ethernet4"])
    switch.links.carrier("Ethernet0", up=False)
    switch.wait_equal()


def test_a_certificate_of_somebody_else_is_not_trusted(
    switch: Switch, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    other = Certificates(tmp_path / "other")
    switch.daemon.configure({"database": {"tls_ca": str(other.ca)}})
    switch.load_config(["Ethernet0"])
    switch.daemon.start()
    told = switch.daemon.wait_for("Redis cannot be used: port states wait, and will be written when it can")
    assert "certificate verify failed" in told["problem"]
    assert switch.daemon.running


def test_a_certificate_of_another_name_is_not_trusted(switch: Switch) -> None:
    switch.daemon.configure({"database": {"redis_host": "127.0.0.1"}})
    switch.load_config(["Ethernet0"])
    switch.daemon.start()
    told = switch.daemon.wait_for("Redis cannot be used: port states wait, and will be written when it can")
    assert "IP address mismatch" in told["problem"]
