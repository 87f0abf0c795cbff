"""What the authority makes, judged by openssl; its odd certificates are odd in one thing only."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import ConfigError
from portsyncd.tls import x509
from portsyncd.tls.authority import Authority, Issued, general_name
from portsyncd.tls.x509 import Certificate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CA = Authority.make()

Verify = Callable[..., str]


def parse(pem: bytes) -> Certificate:
    (certificate,) = x509.parse_pem(pem)
    return certificate


@pytest.fixture
def verify(require_program: Callable[[str], str], tmp_path: Path) -> Verify:
    """``openssl verify`` in its strict mode; gives what it said."""
    openssl = require_program("openssl")

    def run(ca_pem: bytes, issued: Issued, purpose: str) -> str:
        (tmp_path / "ca.crt").write_bytes(ca_pem)
        (tmp_path / "leaf.crt").write_bytes(issued.cert_pem)
        command = [openssl, "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.crt", "leaf.crt"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return ran.stdout + ran.stderr

    return run


@pytest.mark.parametrize(
    "ca",
    [CA, Authority.make(curve="secp521r1", digest="sha512"), Authority.load(CA.cert_pem, CA.key_pem)],
    ids=["P-384", "P-521", "loaded"],
)
def test_openssl_accepts_what_it_makes_for_its_purpose_alone(ca: Authority, verify: Verify) -> None:
    server, client = ca.issue_server(), ca.issue_client("c", ("c", "10.0.0.1", "urn:x:y", "::1"))
    assert verify(ca.cert_pem, server, "sslserver") == "leaf.crt: OK\n"
    assert verify(ca.cert_pem, client, "sslclient") == "leaf.crt: OK\n"
    assert "unsuitable certificate purpose" in verify(ca.cert_pem, server, "sslclient")
    assert "unsuitable certificate purpose" in verify(ca.cert_pem, client, "sslserver")


def test_openssl_refuses_the_odd_ones(verify: Verify) -> None:
    past = datetime.now(UTC) - timedelta(days=9)
    assert "self-signed certificate" in verify(CA.cert_pem, CA.issue_client("c", self_signed=True), "sslclient")
    assert "expired" in verify(
        CA.cert_pem, CA.issue_client("c", not_before=past, not_after=past + timedelta(days=1)), "sslclient"
    )
    assert "not yet valid" in verify(
        CA.cert_pem, CA.issue_client("c", not_before=past + timedelta(days=10)), "sslclient"
    )
    assert "verification failed" in verify(Authority.make().cert_pem, CA.issue_client("c"), "sslclient")
    # OpenSSL does not take it for clientAuth, so neither does the profile.
    any_purpose = CA.issue_client("c", ekus=("anyExtendedKeyUsage",))
    assert "unsuitable certificate purpose" in verify(CA.cert_pem, any_purpose, "sslclient")


def test_a_ca_signs_no_further_ca() -> None:
    ca = parse(CA.cert_pem)
    assert (ca.is_ca, ca.path_length) == (True, 0)
    assert not parse(CA.issue_server().cert_pem).is_ca


def test_names_and_dates_by_default() -> None:
    ca = Authority.make(now=NOW)
    server = parse(ca.issue_server(now=NOW).cert_pem)
    assert server.sans.all() == ("localhost", "::1")
    assert (server.not_before, server.not_after) == (NOW - timedelta(minutes=5), NOW + timedelta(days=397))
    assert parse(ca.cert_pem).not_after == NOW + timedelta(days=1095)
    assert parse(Authority.make(1, "x", now=NOW).cert_pem).not_after == NOW + timedelta(days=1)


def test_nothing_outlives_its_ca() -> None:
    ca = Authority.make(10, now=NOW)
    assert parse(ca.issue_server(days=20, now=NOW).cert_pem).not_after == NOW + timedelta(days=10)
    late = NOW + timedelta(days=11)
    assert x509.date_problems(parse(ca.issue_server(now=late).cert_pem), late) != []


def test_each_has_a_key_and_a_serial_of_its_own() -> None:
    issued = [CA.issue_client("c") for _ in range(3)]
    assert len({x509.public_key_of(each.key_pem) for each in issued}) == 3
    assert len({parse(each.cert_pem).serial for each in issued}) == 3
    for each in issued:
        assert x509.public_key_of(each.key_pem) == parse(each.cert_pem).spki


def test_keys_are_not_shown() -> None:
    assert "PRIVATE" not in repr(CA.issue_client("c"))
    assert "key" not in repr(CA)


def test_two_cas_of_one_name_are_told_apart(verify: Verify) -> None:
    # While one CA replaces the other a file holds both; openssl picks by key identifier.
    new = Authority.make()
    for ca_pem in (CA.cert_pem + new.cert_pem, new.cert_pem + CA.cert_pem):
        for ca in (CA, new):
            assert verify(ca_pem, ca.issue_client("c"), "sslclient") == "leaf.crt: OK\n"
    assert "verification failed" in verify(new.cert_pem, CA.issue_client("c"), "sslclient")


@pytest.mark.parametrize(
    ("cert", "key", "problems"),
    [
        (b"", CA.key_pem, ["CA certificate: the file is empty; a PEM certificate is needed"]),
        (CA.cert_pem, b"", ["CA key: no private key in PEM form (no line -----BEGIN PRIVATE KEY-----)"]),
        (CA.cert_pem, Authority.make().key_pem, ["CA key: it does not belong to the CA certificate"]),
    ],
)
def test_what_cannot_be_loaded(cert: bytes, key: bytes, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Authority.load(cert, key)
    assert list(caught.value.problems) == problems


def test_a_leaf_is_no_ca() -> None:
    leaf = CA.issue_server()
    with pytest.raises(ConfigError, match="is no CA"):
        Authority.load(leaf.cert_pem, leaf.key_pem)


def test_a_ca_of_another_kind_of_key_is_not_used() -> None:
    from cryptography import x509 as library

    key = ed25519.Ed25519PrivateKey.generate()
    name = library.Name([])
    builder = library.CertificateBuilder(name, name, key.public_key(), 7, NOW, NOW + timedelta(days=1))
    builder = builder.add_extension(library.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigError, match="it is Ed25519"):
        Authority.load(builder.sign(key, None).public_bytes(Encoding.PEM), pem)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("::1", "IPAddress"),
        ("2001:DB8:0::7", "IPAddress"),
        ("10.0.0.1", "IPAddress"),
        ("localhost", "DNSName"),
        ("leaf-1.example", "DNSName"),
        ("leaf_1", "DNSName"),
        ("*.example", "DNSName"),
        ("10.example", "DNSName"),
        ("spiffe://sonic/scraper", "UniformResourceIdentifier"),
        ("urn:sonic:scraper", "UniformResourceIdentifier"),
    ],
)
def test_the_kind_of_a_name(text: str, kind: str) -> None:
    assert type(general_name(text)).__name__ == kind


@pytest.mark.parametrize(
    "text",
    [
        *("", "[::1]", "[::1]:9090", "localhost:9090", "10.0.0.256", "10.0.0.1:1", "fe80::1%eth0", "a..b", "-a", "a-"),
        *("*", "a.*", "ü", "a b", "a\nb", "localhost\n", "a" * 64, ".".join(["a" * 60] * 5), "http://a b", "a@b"),
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|zone"):
        general_name(text)


@given(st.text(max_size=70))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        issued = CA.issue_client("c", (text,))
    except ValueError:
        return
    assert len(parse(issued.cert_pem).sans.all()) == 1


@pytest.mark.parametrize("name", ["", "a" * 65, "a\nb"])
def test_what_is_no_common_name(name: str) -> None:
    with pytest.raises(ValueError, match="common name"):
        CA.issue_client(name)
