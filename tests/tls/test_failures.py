"""What OpenSSL says of each bad client, and what we make of it. The clients are real, the bytes are on a socket."""

import os
import re
import socket
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.tls import failures
from portsyncd.tls.authority import Authority, Issued
from portsyncd.tls.failures import Failure, Reason, classify, failure
from portsyncd.tls.hello import TLS_1_2, Group, Suite, client_hello
from portsyncd.tls.profile import load_chain
from tests.tls.handshakes import Kit, say, shake_hands

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
HELLO = client_hello([Suite.AES_256_GCM])


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def refused_by(attempt: Callable[[], object]) -> Failure:
    with pytest.raises(ssl.SSLError) as raised:
        attempt()
    return classify(raised.value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-tls1_2"], Reason.UNSUPPORTED_VERSION),
        (["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], Reason.NO_SHARED_CIPHER),
        (["-ciphersuites", "TLS_AES_128_GCM_SHA256"], Reason.NO_SHARED_CIPHER),
        (["-groups", "X25519"], Reason.NO_SHARED_GROUP),
        (["-groups", "P-256"], Reason.NO_SHARED_GROUP),
        (["-sigalgs", "ECDSA+SHA256"], Reason.OTHER),
        (["-verify_return_error"], Reason.REJECTED_BY_CLIENT),
    ],
)
def test_openssl_s_client(
    kit: Kit, require_program: Callable[[str], str], arguments: list[str], reason: Reason
) -> None:
    assert refused_client(kit, require_program("openssl"), arguments).reason == reason


def test_an_rsa_key_signs_no_handshake_with_sha256(kit: Kit, require_program: Callable[[str], str]) -> None:
    kit.put(kit.authority.issue_server(rsa_bits=3072))
    refused = refused_client(kit, require_program("openssl"), ["-sigalgs", "RSA-PSS+SHA256"])
    assert refused == Failure("other", "the handshake failed: no shared signature algorithms")


def refused_client(kit: Kit, openssl: str, arguments: list[str]) -> Failure:
    """What becomes of `openssl s_client`; it trusts nobody."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.settimeout(30)
        client = subprocess.Popen(
            [openssl, "s_client", "-connect", f"[::1]:{listener.getsockname()[1]}", *arguments],
            # It is not to be under our profile, of course.
            env={**os.environ, "OPENSSL_CONF": os.devnull, "SSL_CERT_FILE": os.devnull},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with client, listener.accept()[0] as transport:
            transport.settimeout(30)
            return refused_by(lambda: kit.server().wrap_socket(transport, server_side=True))


FOREIGN = Authority.make()
PAST = {"not_before": NOW - 3 * DAY, "not_after": NOW - DAY}
FUTURE = {"not_before": NOW + DAY, "not_after": NOW + 3 * DAY}


@pytest.mark.parametrize(
    ("reason", "authority", "odd"),
    [
        (Reason.NO_CERTIFICATE, None, None),
        (Reason.SELF_SIGNED, None, {"self_signed": True}),
        (Reason.UNKNOWN_CA, FOREIGN, {}),
        (Reason.EXPIRED, None, PAST),
        (Reason.NOT_YET_VALID, None, FUTURE),
        (Reason.WRONG_PURPOSE, None, {"ekus": ["serverAuth"]}),
        (Reason.WEAK_CERTIFICATE, None, {"rsa_bits": 1024}),
    ],
)
def test_certificates_that_openssl_refuses(
    kit: Kit, reason: Reason, authority: Authority | None, odd: dict[str, Any] | None
) -> None:
    client = kit.client()
    if odd is not None:
        # The client itself must not mind.
        client.set_ciphers("DEFAULT@SECLEVEL=0")
        issued = (authority or kit.authority).issue_client("c", **odd)
        load_chain(client, issued.cert_pem, issued.key_pem)
    server = kit.server()
    assert refused_by(lambda: shake_hands(server, client)).reason == reason
    assert shake_hands(server, kit.client(kit.authority.issue_client("good"))), "a good client is served meanwhile"


def test_a_chain_that_ends_in_a_foreign_ca(kit: Kit) -> None:
    foreign = Authority.make()
    issued = foreign.issue_client("c")
    client = kit.client(Issued(issued.cert_pem + foreign.cert_pem, issued.key_pem))
    assert refused_by(lambda: shake_hands(kit.server(), client)).reason == Reason.UNKNOWN_CA


def test_a_client_that_does_not_trust_us_says_so(kit: Kit) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = kit.server().wrap_bio(to_server, to_client, server_side=True)
    client = kit.client(trusted=Authority.make()).wrap_bio(to_client, to_server, server_hostname="localhost")
    for side, end in ((client, ssl.SSLWantReadError), (server, ssl.SSLWantReadError), (client, ssl.SSLError)):
        with pytest.raises(end):
            side.do_handshake()
    found = refused_by(server.do_handshake)
    assert found == Failure(
        "rejected_by_client", "the client ended the handshake: unknown ca; it does not accept our certificate"
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Reason.NOT_TLS),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", Reason.NOT_TLS),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.NOT_TLS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.NOT_TLS),
        (bytes(100), Reason.NOT_TLS),
        (b"\x16\x03\x01" + b"\xff" * 300, Reason.NOT_TLS),
        (b"\x17\x03\x03\x00\x05hello", Reason.NOT_TLS),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", Reason.NOT_TLS),
        (HELLO + HELLO, Reason.NOT_TLS),
        (HELLO.replace(bytes.fromhex("04AA87CA22"), bytes.fromhex("04AA87CA23")), Reason.OTHER),
        (HELLO + b"\x17\x03\x03\x00\x40" + bytes(64), Reason.OTHER),
        (HELLO + b"\x15\x03\x03\x00\x02\x02\x2a", Reason.REJECTED_BY_CLIENT),
        (HELLO + b"\x15\x03\x03\x00\x02\x02\x30", Reason.REJECTED_BY_CLIENT),
        (HELLO + b"\x15\x03\x03\x00\x02\x02\x74", Reason.REJECTED_BY_CLIENT),
        (HELLO + b"\x15\x03\x03\x00\x02\x02\x78", Reason.REJECTED_BY_CLIENT),
        (HELLO + b"\x15\x03\x03\x00\x02\x02\xff", Reason.OTHER),
        (HELLO + b"\x15\x03\x03\x00\x02\x02\x00", Reason.CLOSED),
        (client_hello([Suite.CHACHA20]), Reason.NO_SHARED_CIPHER),
        (client_hello([Suite.AES_256_GCM], Group.X25519), Reason.NO_SHARED_GROUP),
        (client_hello([Suite.ECDHE_ECDSA_AES_256_GCM], version=TLS_1_2), Reason.UNSUPPORTED_VERSION),
    ],
)
def test_bytes(kit: Kit, data: bytes, reason: Reason) -> None:
    assert refused_by(lambda: say(kit.server(), data)).reason == reason


@pytest.mark.parametrize("data", [b"", HELLO[:50], HELLO])
def test_the_end_of_a_connection(kit: Kit, data: bytes) -> None:
    server = kit.server()
    if data == HELLO:
        say(server, data)
    assert refused_by(lambda: say(server, data[:50], end=True)).reason == Reason.CLOSED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EOFError(), Reason.CLOSED),
        (ConnectionResetError(), Reason.CLOSED),
        (trio.BrokenResourceError(), Reason.CLOSED),
        (ssl.SSLZeroReturnError(), Reason.CLOSED),
        (TimeoutError(), Reason.TIMEOUT),
        (trio.TooSlowError(), Reason.TIMEOUT),
        (ssl.SSLError(), Reason.OTHER),
        (ssl.SSLError(1), Reason.OTHER),
        (RuntimeError(), Reason.OTHER),
    ],
)
def test_other_exceptions(error: Exception, reason: Reason) -> None:
    found = classify(error)
    assert found.reason == reason
    assert found.text


def test_reasons_are_a_fixed_set() -> None:
    assert set(failures.REASONS) == {failure(reason).reason for reason in Reason}
    assert (failures.TIMEOUT.reason, failures.EVICTED.reason) == ("timeout", "evicted")


@given(st.sampled_from(Reason), st.text())
def test_text_for_the_log_is_one_bounded_line(reason: Reason, detail: str) -> None:
    text = failure(reason, detail).text
    assert text.isprintable()
    assert 0 < len(text) <= failures.MAX_TEXT


def test_the_page_says_what_to_do_about_each_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tls.md").read_text(encoding="utf-8")
    table = page.partition("| `reason` |")[2].partition("\n\n")[0]
    told = [name for row in table.splitlines() for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])]
    assert sorted(told) == sorted(failures.REASONS)
