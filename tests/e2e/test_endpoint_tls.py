"""What the metrics endpoint refuses, tried with real curl and real openssl; and that others are served all the same."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from portsyncd.testing.certificates import URL
from portsyncd.testing.children import dying_with_parent
from portsyncd.testing.endpoint import Client
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import until
from portsyncd.tls.authority import Authority
from tests.e2e.clients import Pair, curl, odd_client, s_client, unrestricted

pytestmark = pytest.mark.root

METRICS, ADDRESS = f"{URL}/metrics", URL.removeprefix("https://")
GET = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
FAILURES = "portsyncd_tls_handshake_failures_total"


class Offer(NamedTuple):
    """A handshake that must fail: what curl and openssl are told, and the reason that the daemon gives."""

    reason: str
    curl: tuple[str, ...]
    openssl: tuple[str, ...]


OFFERS = {
    "TLS 1.2": Offer("unsupported_version", ("--tlsv1.2", "--tls-max", "1.2"), ("-tls1_2",)),
    "CHACHA20": Offer(
        "no_shared_cipher",
        ("--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"),
        ("-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"),
    ),
    "AES-128": Offer(
        "no_shared_cipher", ("--tls13-ciphers", "TLS_AES_128_GCM_SHA256"), ("-ciphersuites", "TLS_AES_128_GCM_SHA256")
    ),
    "X25519": Offer("no_shared_group", ("--curves", "X25519"), ("-groups", "X25519")),
    "P-256": Offer("no_shared_group", ("--curves", "prime256v1"), ("-groups", "P-256")),
}
CLIENTS = {
    "self-signed": "self_signed",
    "other-ca": "unknown_ca",
    "expired": "expired",
    "not-yet-valid": "not_yet_valid",
    "no-client-auth": "wrong_purpose",
    "p256": "weak_certificate",
    "sha256": "weak_certificate",
}


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]) -> Iterator[Switch]:
    """A switch whose daemon lets those in whose certificate is for ``prometheus``."""
    require_program("curl")
    require_program("openssl")
    # As an operator starts it: the profile is the daemon's own affair.
    with Switch(tmp_path_factory.mktemp("switch"), metrics=True, environment={"OPENSSL_CONF": ""}) as switch:
        switch.daemon.configure({"metrics": {"client_allowed_sans": ["prometheus"]}})
        switch.endpoint.certificates.client("client", sans=("prometheus",))
        switch.start()
        switch.daemon.wait_for("metrics endpoint is open")
        yield switch


@pytest.fixture(scope="module")
def kept(switch: Switch) -> Iterator[Client]:
    """A good client that keeps one connection over all that happens here."""
    with switch.endpoint.client() as client:
        yield client


class Witness:
    """Sees that handshakes are refused: the log's lines, the counter, and that good clients are served meanwhile."""

    def __init__(self, switch: Switch, kept: Client) -> None:
        self._switch = switch
        self._kept = kept
        self._lines = len(self._events())
        self._counts = self.counts()

    def _events(self) -> list[dict[str, str]]:
        return self._switch.daemon.events("TLS handshake refused")

    def counts(self) -> dict[str, int]:
        """The counter, by reason; asked for over the connection that is kept."""
        response, body = self._kept.get("/metrics")
        assert response.status == 200
        found = re.findall(rf'^{FAILURES}{{reason="(\w+)"}} (\S+)$', body.decode(), re.MULTILINE)
        return {reason: int(float(count)) for reason, count in found}

    def saw(self, reason: str, times: int) -> None:
        """So many refusals for this reason, and nothing else, in log and counter."""
        until(lambda: len(self._events()) >= self._lines + times, what="the refusals are logged")
        lines = self._events()[self._lines :]
        assert [line["reason"] for line in lines] == times * [reason]
        assert all(line["client"] == "::1" and line["problem"] for line in lines)
        counts = self.counts()
        assert counts == {**self._counts, reason: self._counts[reason] + times}
        # Nor is a connection of one's own refused.
        self._switch.endpoint.scrape()


@pytest.fixture
def witness(switch: Switch, kept: Client) -> Witness:
    return Witness(switch, kept)


class Tools:
    """Both tools, in the daemon's namespace, with a good client's certificate and the right CA unless told otherwise."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        certificates = switch.endpoint.certificates
        self.ca = certificates.ca
        self.good = certificates.client_cert, certificates.client_key

    def curl(self, *options: str, client: Pair | None, url: str = METRICS, ca: Path | None = None) -> str:
        return curl(self._switch.namespace, ca or self.ca, url, *options, client=client).stdout

    def openssl(self, *options: str, client: Pair | None, ca: Path | None = None) -> str:
        done = s_client(self._switch.namespace, ADDRESS, ca or self.ca, *options, client=client, request=GET)
        return done.stdout + done.stderr


@pytest.fixture
def tools(switch: Switch) -> Tools:
    return Tools(switch)


def served(answer: str) -> bool:
    return "portsyncd_build_info" in answer


def test_a_good_client_of_either_kind_is_served_with_the_profile(tools: Tools, witness: Witness) -> None:
    assert tools.curl(client=tools.good).startswith("200 ")
    said = tools.openssl("-alpn", "h2,http/1.1", client=tools.good)
    assert served(said)
    assert "New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384" in said
    assert "Server Temp Key: ECDH, secp384r1, 384 bits" in said
    assert "ALPN protocol: http/1.1" in said
    assert witness.counts() == witness._counts


@pytest.mark.parametrize("name", OFFERS)
def test_what_is_below_the_profile_is_refused(tools: Tools, witness: Witness, name: str) -> None:
    offer = OFFERS[name]
    assert tools.curl(*offer.curl, client=tools.good) == "000 "
    assert not served(tools.openssl(*offer.openssl, client=tools.good))
    witness.saw(offer.reason, 2)


def test_without_a_certificate_there_is_nothing(tools: Tools, witness: Witness) -> None:
    assert tools.curl(client=None) == "000 "
    said = tools.openssl(client=None)
    assert not served(said)
    # The client learns why.
    assert "certificate required" in said
    witness.saw("no_certificate", 2)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_wrong_certificate_is_refused(switch: Switch, tools: Tools, witness: Witness, kind: str) -> None:
    client = odd_client(switch.endpoint.certificates, kind, sans=("prometheus",))
    assert tools.curl(client=client) == "000 "
    assert not served(tools.openssl(client=client))
    witness.saw(CLIENTS[kind], 2)


def test_a_name_that_is_not_on_the_list_is_refused(switch: Switch, tools: Tools, witness: Witness) -> None:
    for sans in ((), ("prometheus.example", "rometheus", "::1")):
        client = switch.endpoint.certificates.client("unlisted", sans=sans)
        assert tools.curl(client=client) == "000 "
        assert not served(tools.openssl(client=client))
    witness.saw("name_not_allowed", 4)


def test_one_listed_name_among_others_is_enough(switch: Switch, tools: Tools) -> None:
    client = switch.endpoint.certificates.client("listed", sans=("::1", "other.example", "prometheus"))
    assert tools.curl(client=client).startswith("200 ")


def test_plain_http_is_refused(tools: Tools, witness: Witness) -> None:
    assert tools.curl(client=None, url=METRICS.replace("https", "http")) == "000 "
    witness.saw("not_tls", 1)


def test_a_client_that_distrusts_the_daemon_is_told_apart(tools: Tools, witness: Witness, tmp_path: Path) -> None:
    other = tmp_path / "other-ca.crt"
    other.write_bytes(Authority.make().cert_pem)
    assert tools.curl(client=tools.good, ca=other) == "000 "
    assert not served(tools.openssl(client=tools.good, ca=other))
    witness.saw("rejected_by_client", 2)


def test_no_session_can_be_taken_up_again(tools: Tools, tmp_path: Path) -> None:
    session = tmp_path / "session"
    said = tools.openssl("-sess_out", str(session), client=tools.good)
    assert served(said)
    assert "Session Ticket" not in said
    assert not session.exists()
    said = tools.openssl("-reconnect", client=tools.good)
    assert said.count("New, TLSv1.3") > 1
    assert "Reused" not in said


def test_an_expired_client_cannot_come_back_with_a_session(
    switch: Switch, tools: Tools, witness: Witness, tmp_path: Path
) -> None:
    # The daemon gives none, so it is another server's; that one has the daemon's own certificate.
    certificates, session = switch.endpoint.certificates, tmp_path / "session"
    server = ["-cert", str(certificates.server_cert), "-key", str(certificates.server_key)]
    argv = ["openssl", "s_server", "-quiet", "-www", "-6", "-accept", "9999", *server]
    other = switch.namespace.popen(dying_with_parent(argv), env=unrestricted(), stdin=subprocess.DEVNULL)
    profile = ("-ciphersuites", "TLS_AES_256_GCM_SHA384", "-groups", "P-384", "-sess_out", str(session))
    try:

        def have() -> bool:
            s_client(switch.namespace, "[::1]:9999", tools.ca, *profile, client=None, request="GET / HTTP/1.0\r\n\r\n")
            return session.exists()

        until(have, what="there is a session")
    finally:
        other.kill()
        other.wait()
    with_session = ("-sess_in", str(session))
    said = tools.openssl(*with_session, client=tools.good)
    assert served(said)
    assert "Reused" not in said
    expired = odd_client(certificates, "expired", sans=("prometheus",))
    assert not served(tools.openssl(*with_session, client=expired))
    witness.saw("expired", 1)
