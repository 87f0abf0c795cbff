"""How the metrics endpoint opens, when the daemon refuses to start for it, and how its certificates are exchanged."""

import http.client
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import pytest

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.daemon_process import DaemonProcess
from portsyncd.testing.endpoint import PORT, Client, Endpoint
from portsyncd.testing.switch import Switch
from portsyncd.tls.authority import Authority
from tests.e2e.clients import sample
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]
EX_CONFIG = 78
# As an operator starts it: without the profile that the tests' own process has.
AS_STARTED: Final[Mapping[str, str]] = {"OPENSSL_CONF": ""}
OPEN, REFUSED = "metrics endpoint is open", "new certificates are refused, the old ones stay in force"
APPLIED = "new certificates are in force"
DAY = timedelta(days=1)
NO_GROUP_OF_OURS = 54321
CLIENTS, SCRAPES_A_CONNECTION = 50, 3
# So many clients without a pause would want more than the two cores that a test may count on.
PACE_SECONDS = 0.5


# ---- what ends the start


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    """A switch on which no daemon ever gets to work."""
    with Switch(tmp_path_factory.mktemp("idle")) as switch:
        yield switch
        assert switch.appl_db.keys() == []
        assert switch.state_db.keys() == []


class Start:
    """Starts of a daemon, each of which must end with 78 and one report."""

    def __init__(self, switch: Switch, folder: Path) -> None:
        self._switch = switch
        self._folder = folder
        self.certificates = Certificates(folder / "certificates")

    def report(self, config: Mapping[str, Any] | None = None, environment: Mapping[str, str] = AS_STARTED) -> str:
        """What the daemon says instead of starting; config: more of section [metrics]."""
        daemon = DaemonProcess(self._switch.namespace, self._switch.redis, self._folder, environment=environment)
        daemon.configure(self.certificates.config())
        daemon.configure({"metrics": config or {}})
        with daemon:
            assert daemon.wait_ended() == EX_CONFIG, daemon.log()
            said = daemon.log()
        assert "Traceback" not in said
        assert not daemon.events(OPEN)
        return said


@pytest.fixture
def start(idle: Switch, tmp_path: Path) -> Start:
    return Start(idle, tmp_path)


@pytest.mark.parametrize("name", ["server_cert", "server_key", "ca"])
def test_each_file_must_be_there(start: Start, name: str) -> None:
    path: Path = getattr(start.certificates, name)
    path.unlink()
    said = start.report()
    assert f"{path} does not exist" in said
    assert "metrics.enabled" in said
    assert said.count(str(path.parent)) == 1


def test_one_report_names_every_problem(start: Start) -> None:
    certificates = start.certificates
    certificates.put("server", certificates.authority.issue_server(curve="secp256r1", digest="sha256"))
    certificates.server_key.write_bytes(certificates.client_key.read_bytes())
    certificates.server_key.chmod(0o644)
    certificates.ca.unlink()
    said = start.report({"client_allowed_sans": ["x"]})
    for part in ("P-256", "SHA-256", "0644", f"{certificates.ca} does not exist", "does not belong to"):
        assert part in said, said


def test_a_key_of_another_certificate_is_refused(start: Start) -> None:
    certificates = start.certificates
    certificates.server_key.write_bytes(certificates.client_key.read_bytes())
    assert f"{certificates.server_key} does not belong to the certificate" in start.report()


@pytest.mark.parametrize(("odd", "word"), [({"curve": "secp256r1"}, "P-256"), ({"digest": "sha256"}, "SHA-256")])
def test_a_certificate_below_the_profile_is_refused(start: Start, odd: dict[str, Any], word: str) -> None:
    start.certificates.put("server", start.certificates.authority.issue_server(**odd))
    said = start.report()
    assert str(start.certificates.server_cert) in said
    assert word in said


def test_a_key_that_others_can_read_is_refused(start: Start) -> None:
    key = start.certificates.server_key
    key.chmod(0o604)
    said = start.report()
    assert "mode 0604 gives everybody access" in said
    assert f"chmod 0600 {key}" in said
    key.chmod(0o640)
    os.chown(key, -1, NO_GROUP_OF_OURS)
    assert f"mode 0640 gives group {NO_GROUP_OF_OURS}, which is not the service's" in start.report()


@pytest.mark.parametrize("address", ["127.0.0.1:9090", "[127.0.0.1]:9090", "0.0.0.0:9090", "[::ffff:127.0.0.1]:9090"])
def test_an_ipv4_address_is_refused(start: Start, address: str) -> None:
    said = start.report({"listen": address})
    assert "metrics.listen" in said or "listen" in said
    assert "IPv6 only" in said


def test_settings_of_openssl_that_allow_more_are_refused(start: Start, tmp_path: Path) -> None:
    settings = tmp_path / "lax.cnf"
    settings.write_text(
        "openssl_conf = o\n[o]\nssl_conf = s\n[s]\nsystem_default = d\n"
        "[d]\nCiphersuites = TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256\n"
    )
    said = start.report(environment={"OPENSSL_CONF": str(settings)})
    assert "ChaCha20" in said
    assert "AES-128" not in said
    assert f"OPENSSL_CONF is set to {settings}" in said


# ---- what keeps the endpoint closed for a while


def stays_closed(switch: Switch, why: str) -> None:
    """The endpoint is closed for this reason, and the port sync goes on."""

    def failures() -> list[dict[str, Any]]:
        return [record for record in switch.daemon.events("service failed") if record["service"] == "metrics"]

    assert why in switch.wait(failures, "the metrics service has failed")[0]["error"]
    switch.links.set(PORTS[0], mtu=9000)
    switch.wait_equal()
    assert not switch.daemon.events(OPEN)


def opens(switch: Switch) -> None:
    """Wait until the endpoint is open; the attempts before are counted, and what it was closed for is over."""
    switch.daemon.wait_for(OPEN)
    checks = switch.endpoint.health()["checks"]
    assert checks["metrics_endpoint"]["status"] == "healthy"
    assert checks["services"]["details"]["metrics"]["recent_restarts"] >= 1
    assert sample(switch.endpoint.scrape(), 'portsyncd_service_restarts_total{service="metrics"}') >= 1


def test_a_port_in_use_is_tried_again_and_the_sync_goes_on(make_switch: SwitchMaker) -> None:
    switch = make_switch(metrics=True, environment=AS_STARTED, config={"health": {"max_stall_seconds": 3}})
    with switch.namespace.enter():
        other = socket.create_server(("::1", PORT), family=socket.AF_INET6)
    with other:
        switch.bring_up(PORTS)
        stays_closed(switch, f"[::1]:{PORT}: Address already in use")
        # /health cannot be asked; the log has what it would say.
        switch.wait(
            lambda: [told for told in switch.daemon.events("health changed") if "in use" in str(told["reasons"])],
            "health is degraded",
        )
    opens(switch)


@pytest.mark.parametrize(("days", "word"), [(-1, "expired"), (1, "not valid before")])
def test_wrong_dates_keep_the_endpoint_closed_and_the_sync_goes_on(
    make_switch: SwitchMaker, days: int, word: str
) -> None:
    switch = make_switch(metrics=True, environment=AS_STARTED)
    certificates, begin = switch.endpoint.certificates, datetime.now(UTC) + days * DAY
    wrong = certificates.authority.issue_server(not_before=begin - DAY / 2, not_after=begin + DAY / 2)
    certificates.put("server", wrong)
    switch.bring_up(PORTS)
    stays_closed(switch, word)
    assert listening(switch) == set()
    certificates.put("server", certificates.authority.issue_server())
    opens(switch)


def listening(switch: Switch) -> set[str]:
    """Where in the namespace somebody listens on TCP over IPv6 (state 0A of /proc/net/tcp6)."""
    lines = switch.namespace.run(["cat", "/proc/net/tcp6"]).stdout.splitlines()[1:]
    return {local for _, local, _, state, *_ in map(str.split, lines) if state == "0A"}


def test_disabled_it_needs_no_files_and_opens_no_port(make_switch: SwitchMaker, tmp_path: Path) -> None:
    nowhere = {name: str(tmp_path / "nowhere" / name) for name in ("cert", "key", "ca")}
    switch = make_switch(config={"metrics": {"enabled": False, **nowhere}}, environment={"OPENSSL_CONF": "/nowhere"})
    switch.bring_up(PORTS)
    assert listening(switch) == set()


def test_it_says_what_it_is_when_it_opens(make_switch: SwitchMaker) -> None:
    switch = make_switch(metrics=True, environment=AS_STARTED)
    switch.bring_up(PORTS)
    record = switch.daemon.wait_for(OPEN)
    assert record["url"] == "https://[::1]:9090/metrics"
    assert record["client_certificate"] == "required"
    assert "TLS 1.3, TLS_AES_256_GCM_SHA384, secp384r1" in record["profile"]
    assert len(listening(switch)) == 1


# ---- certificates that change


@pytest.fixture
def switch(make_switch: SwitchMaker) -> Switch:
    switch = make_switch(metrics=True, environment=AS_STARTED)
    switch.start()
    switch.daemon.wait_for(OPEN)
    return switch


def serial(endpoint: Endpoint) -> str:
    """The serial number of the certificate that a new connection is shown."""
    with closing(endpoint.open()) as connection:
        certificate = connection.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


class Crowd:
    """Clients that scrape over connections that they now and then make anew. A context manager."""

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._scrape, args=(number,)) for number in range(size)]
        self.scrapes = [0] * size
        self.failures: list[str] = []

    def _scrape(self, number: int) -> None:
        try:
            context = self._endpoint.context()
            while not self._stop.is_set():
                with self._endpoint.client(context) as client:
                    for _ in range(SCRAPES_A_CONNECTION):
                        response, body = client.get("/metrics")
                        assert response.status == 200
                        assert body.endswith(b"\n")
                        self.scrapes[number] += 1
                        self._stop.wait(PACE_SECONDS)
        except (OSError, AssertionError) as error:
            self.failures.append(repr(error))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_scrape_fails_while_certificate_and_key_are_replaced(switch: Switch) -> None:
    endpoint, certificates = switch.endpoint, switch.endpoint.certificates
    first = serial(endpoint)
    with Crowd(endpoint, CLIENTS) as crowd:
        switch.wait(lambda: all(crowd.scrapes) or crowd.failures, "everyone has scraped once")
        # Seen by the daemon itself.
        certificates.put("server", certificates.authority.issue_server())
        switch.wait(lambda: len(switch.daemon.events(APPLIED)) == 1, "the files are seen")
        second = serial(endpoint)
        # And at once when it is told.
        certificates.put("server", certificates.authority.issue_server())
        switch.daemon.signal(signal.SIGHUP)
        switch.wait(lambda: len(switch.daemon.events(APPLIED)) == 2, "the files are read again")
        before = list(crowd.scrapes)
        switch.wait(
            lambda: (
                all(now > then + SCRAPES_A_CONNECTION for now, then in zip(crowd.scrapes, before, strict=True))
                or crowd.failures
            ),
            "everyone has come back",
        )
    assert crowd.failures == []
    assert len({first, second, serial(endpoint)}) == 3
    assert sample(endpoint.scrape(), 'portsyncd_tls_reloads_total{result="applied"}') == 2
    assert not switch.daemon.events("TLS handshake refused")


def test_a_new_ca_shuts_out_the_clients_of_the_old_one(switch: Switch, tmp_path: Path) -> None:
    endpoint, certificates = switch.endpoint, switch.endpoint.certificates
    old, authority = endpoint.context(), Authority.make()
    with endpoint.client(old) as kept:
        kept.get("/metrics")
        certificates.ca.write_bytes(authority.cert_pem)
        switch.daemon.signal(signal.SIGHUP)
        switch.daemon.wait_for(APPLIED)
        # Who is connected has to show again who they are.
        switch.wait(lambda: is_closed(kept), "the connection ends")
    with endpoint.client(old) as refused, pytest.raises((ssl.SSLError, ConnectionError)):
        refused.get("/metrics")
    switch.daemon.wait_for("TLS handshake refused")
    # The server's own certificate is still of the old CA.
    fresh = ssl.create_default_context(cadata=certificates.authority.cert_pem.decode())
    fresh.load_cert_chain(*certificates.put("fresh", authority.issue_client("fresh")))
    with endpoint.client(fresh) as client:
        assert client.get("/metrics")[0].status == 200


def is_closed(client: Client) -> bool:
    try:
        return client.get("/metrics")[0].status != 200
    except (OSError, http.client.HTTPException):
        return True


@pytest.mark.parametrize("told", [True, False], ids=["SIGHUP", "seen"])
def test_a_bad_new_set_changes_nothing(switch: Switch, told: bool) -> None:
    endpoint, certificates = switch.endpoint, switch.endpoint.certificates
    first, good = serial(endpoint), certificates.server_cert.read_bytes()
    certificates.server_cert.write_bytes(b"garbage")
    if told:
        switch.daemon.signal(signal.SIGHUP)
    problems = switch.daemon.wait_for(REFUSED)["problems"]
    assert str(certificates.server_cert) in str(problems)
    assert serial(endpoint) == first
    assert sample(endpoint.scrape(), 'portsyncd_tls_reloads_total{result="refused"}') == 1
    assert sample(endpoint.scrape(), 'portsyncd_tls_reloads_total{result="applied"}') == 0
    # It is told once, not at every look.
    certificates.server_cert.write_bytes(good)
    switch.daemon.signal(signal.SIGHUP)
    switch.daemon.wait_for(APPLIED)
    assert len(switch.daemon.events(REFUSED)) == 1


def test_an_expired_new_set_is_refused(switch: Switch) -> None:
    endpoint, certificates = switch.endpoint, switch.endpoint.certificates
    first, yesterday = serial(endpoint), datetime.now(UTC) - DAY
    expired = certificates.authority.issue_server(not_before=yesterday - DAY, not_after=yesterday)
    certificates.put("server", expired)
    switch.daemon.signal(signal.SIGHUP)
    assert "expired" in str(switch.daemon.wait_for(REFUSED)["problems"])
    assert serial(endpoint) == first
