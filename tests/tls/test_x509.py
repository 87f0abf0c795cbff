"""Certificates' facts, held to what openssl prints; the profile's verdict; no bytes that break the reader."""

import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import DecodeError
from portsyncd.tls import x509
from portsyncd.tls.authority import Authority
from portsyncd.tls.x509 import Certificate, Role

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CA = Authority.make(now=NOW)
SERVER = CA.issue_server(now=NOW)
CLIENT = CA.issue_client("prometheus", ("prometheus", "spiffe://sonic/scraper", "10.0.0.7"), now=NOW)
SELF_SIGNED = CA.issue_client("me", self_signed=True, now=NOW)


def parse(pem: bytes) -> Certificate:
    (certificate,) = x509.parse_pem(pem)
    return certificate


# -- facts


def test_facts_of_a_ca() -> None:
    ca = parse(CA.cert_pem)
    assert (ca.subject, ca.issuer) == ("CN=portsyncd-metrics-ca", "CN=portsyncd-metrics-ca")
    assert (ca.is_ca, ca.path_length, ca.self_signed) == (True, 0, True)
    assert (ca.key_usages, ca.ekus) == (frozenset({"keyCertSign", "cRLSign"}), None)
    assert (str(ca.key), ca.key.bits, ca.key.curve, ca.digest) == ("ECDSA P-384", 384, "secp384r1", "sha384")
    assert (ca.not_before, ca.not_after) == (NOW - timedelta(minutes=5), NOW + timedelta(days=1095))


def test_facts_of_a_client() -> None:
    client = parse(CLIENT.cert_pem)
    assert (client.subject, client.is_ca, client.path_length, client.self_signed) == (
        "CN=prometheus",
        False,
        None,
        False,
    )
    assert (client.key_usages, client.ekus) == (frozenset({"digitalSignature"}), frozenset({"clientAuth"}))
    assert client.sans == x509.Sans(dns=("prometheus",), ip=("10.0.0.7",), uri=("spiffe://sonic/scraper",))
    assert client.sans.all() == ("prometheus", "10.0.0.7", "spiffe://sonic/scraper")
    assert str(client.sans) == "DNS:prometheus, IP:10.0.0.7, URI:spiffe://sonic/scraper"
    assert x509.parse_der(client.der) == client
    assert x509.public_key_of(CLIENT.key_pem) == client.spki != x509.public_key_of(SERVER.key_pem)


@pytest.mark.parametrize("pem", [CA.cert_pem, SERVER.cert_pem, CLIENT.cert_pem], ids=["ca", "server", "client"])
def test_the_facts_are_those_that_openssl_sees(pem: bytes, require_program: Callable[[str], str]) -> None:
    command = [require_program("openssl"), "x509", "-noout", "-serial", "-fingerprint", "-sha256"]
    command += ["-subject", "-issuer", "-nameopt", "RFC2253", "-enddate", "-dateopt", "iso_8601"]
    said = subprocess.run(command, input=pem, capture_output=True, check=True).stdout.decode()
    seen = dict(line.split("=", 1) for line in said.splitlines())
    certificate = parse(pem)
    assert int(seen["serial"], 16) == certificate.serial
    assert seen["sha256 Fingerprint"].replace(":", "").lower() == certificate.fingerprint
    assert (seen["subject"], seen["issuer"]) == (certificate.subject, certificate.issuer)
    assert seen["notAfter"] == f"{certificate.not_after:%Y-%m-%d %H:%M:%SZ}"


def test_a_file_of_several_keeps_their_order() -> None:
    both = x509.parse_pem(b"some words\n" + SERVER.cert_pem + b"\n" + CA.cert_pem + CLIENT.key_pem)
    assert [each.subject for each in both] == ["CN=portsyncd-metrics", "CN=portsyncd-metrics-ca"]


def test_who_signed_whom() -> None:
    ca, client = parse(CA.cert_pem), parse(CLIENT.cert_pem)
    other = parse(Authority.make(now=NOW).cert_pem)
    assert x509.issued_by(client, ca)
    assert x509.issued_by(ca, ca)
    assert not x509.issued_by(client, other)  # of the same name
    assert not x509.issued_by(ca, client)
    assert not x509.issued_by(client, replace(ca, der=b"x"))
    assert parse(SELF_SIGNED.cert_pem).self_signed


def test_the_same_subject_and_issuer_alone_is_not_self_signed() -> None:
    assert not parse(CA.issue_client("portsyncd-metrics-ca", now=NOW).cert_pem).self_signed


def odd_certificate(
    subject: str = "x", *, sans: tuple[library.GeneralName, ...] = (), serial: int = 1
) -> tuple[bytes, bytes]:
    """Certificate and key of a kind that Authority does not make: Ed25519, any names."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = library.Name([library.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = library.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(serial).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    if sans:
        builder = builder.add_extension(library.SubjectAlternativeName(sans), critical=False)
    certificate = builder.sign(key, None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem


def test_names_stay_in_one_line() -> None:
    pem, _ = odd_certificate("a\nb\x1b[31mü", sans=(library.DNSName("x\r\ny"), library.RFC822Name("a@b")))
    certificate = parse(pem)
    assert certificate.subject == "CN=a\\0Ab\\1B[31mü"
    assert certificate.sans.all() == ("x\r\ny", "a@b")
    assert str(certificate.sans) == "DNS:x\\0D\\0Ay, email:a@b"
    assert str(x509.Sans()) == "none"


@given(st.text())
def test_printable_text_is_one_line_and_left_alone_the_second_time(text: str) -> None:
    shown = x509.printable(text)
    assert shown.isprintable()
    assert x509.printable(shown) == shown


# -- profile


@pytest.mark.parametrize(
    ("pem", "role"),
    [
        (CA.cert_pem, Role.CA),
        (SERVER.cert_pem, Role.SERVER),
        (CLIENT.cert_pem, Role.CLIENT),
        (CA.issue_client("c", curve="secp521r1", digest="sha512").cert_pem, Role.CLIENT),
        (CA.issue_client("c", rsa_bits=3072).cert_pem, Role.CLIENT),
        (CA.issue_client("c", ekus=()).cert_pem, Role.CLIENT),
        (CA.issue_client("c", ekus=("serverAuth", "clientAuth")).cert_pem, Role.CLIENT),
        (Authority.make(ekus=("clientAuth",)).cert_pem, Role.CA),
    ],
)
def test_what_the_profile_allows(pem: bytes, role: Role) -> None:
    assert x509.profile_problems(parse(pem), role) == []


KEYS = "allowed: ECDSA P-384 or P-521, RSA of 3072 bits or more"


@pytest.mark.parametrize(
    ("pem", "role", "problem"),
    [
        (CA.issue_client("c", curve="secp256r1").cert_pem, "client", f"key is ECDSA P-256; {KEYS}"),
        (CA.issue_client("c", rsa_bits=2048).cert_pem, "client", f"key is RSA of 2048 bits; {KEYS}"),
        (CA.issue_client("c", digest="sha256").cert_pem, "client", "signed with SHA-256; allowed: SHA-384 or SHA-512"),
        (
            SERVER.cert_pem,
            "client",
            "extended key usage is serverAuth; a client certificate needs clientAuth",
        ),
        (CLIENT.cert_pem, "server", "extended key usage is clientAuth; a server certificate needs serverAuth"),
        (
            CA.issue_client("c", ekus=("anyExtendedKeyUsage",)).cert_pem,
            "client",
            "extended key usage is anyExtendedKeyUsage; a client certificate needs clientAuth",
        ),
        (
            Authority.make(ekus=("serverAuth",)).cert_pem,
            "ca",
            "extended key usage is serverAuth; a CA of client certificates needs clientAuth",
        ),
        (
            CA.cert_pem,
            "server",
            "key usage is cRLSign, keyCertSign; TLS 1.3 needs digitalSignature",
        ),
    ],
)
def test_what_the_profile_does_not_allow(pem: bytes, role: str, problem: str) -> None:
    assert x509.profile_problems(parse(pem), role) == [problem]


def test_every_problem_is_told() -> None:
    weak = parse(CA.issue_client("c", rsa_bits=1024, digest="sha256", ekus=("codeSigning",)).cert_pem)
    assert len(x509.profile_problems(weak, Role.CLIENT)) == 3
    assert x509.profile_problems(weak, Role.CLIENT)[:2] == x509.strength_problems(weak)
    no_ca = parse(CLIENT.cert_pem)
    assert x509.profile_problems(no_ca, Role.CA) == [
        "basic constraints do not say CA:TRUE; a CA certificate needs that",
        "key usage is digitalSignature; a CA certificate needs keyCertSign",
    ]


def test_a_certificate_without_extensions_is_no_ca_and_an_ed25519_key_is_not_allowed() -> None:
    certificate = parse(odd_certificate()[0])
    assert (certificate.key_usages, certificate.ekus, certificate.sans) == (None, None, x509.Sans())
    assert x509.profile_problems(certificate, "ca") == [
        f"key is Ed25519; {KEYS}",
        "signed with no digest of its own; allowed: SHA-384 or SHA-512",
        "basic constraints do not say CA:TRUE; a CA certificate needs that",
        "key usage is absent; a CA certificate needs keyCertSign",
    ]


# -- dates


@pytest.mark.parametrize(
    ("moment", "problem"),
    [
        (
            timedelta(days=-3),
            "not valid before 2026-03-01 12:00:00 UTC, in 3 days; this machine's clock says 2026-02-26",
        ),
        (timedelta(seconds=-1), "not valid before 2026-03-01 12:00:00 UTC, in 1 second; this machine's"),
        (timedelta(0), None),
        (timedelta(days=1, seconds=-1), None),
        (timedelta(days=1), "expired on 2026-03-02 12:00:00 UTC, less than a second ago; this machine's clock says"),
        (timedelta(days=1, hours=2), "expired on 2026-03-02 12:00:00 UTC, 2 hours ago; this machine's clock says"),
    ],
)
def test_dates(moment: timedelta, problem: str | None) -> None:
    certificate = parse(CA.issue_client("c", not_before=NOW, not_after=NOW + timedelta(days=1)).cert_pem)
    problems = x509.date_problems(certificate, NOW + moment)
    assert len(problems) == (problem is not None)
    assert all(each.startswith(problem or "") for each in problems)


# -- what is no certificate


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (CLIENT.key_pem, "a private key and no certificate"),
        (parse(CLIENT.cert_pem).der, "looks like DER"),
        (b"hello", "no certificate in PEM form"),
        (CLIENT.cert_pem[:-30], "a certificate that cannot be read"),
        (CLIENT.cert_pem + CA.cert_pem[:-30], "a certificate|2 certificates begin"),
        (CLIENT.cert_pem.replace(b"M", b"?", 3), "a certificate that cannot be read"),
    ],
)
def test_what_is_no_certificate(content: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message) as caught:
        x509.parse_pem(content)
    assert "\n" not in str(caught.value)


def test_what_is_no_private_key() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    for content, message in (
        (b"", "no private key"),
        (CLIENT.cert_pem, "no private key"),
        (locked, "passphrase"),
        (CLIENT.key_pem[:-40], "cannot be read"),
    ):
        with pytest.raises(DecodeError, match=message):
            x509.public_key_of(content)


def survives(read: Callable[[bytes], object], content: bytes) -> None:
    """It is read, or ``DecodeError`` says in one line why not."""
    try:
        read(content)
    except DecodeError as error:
        assert str(error).isprintable()


def judge(pem: bytes) -> None:
    for each in x509.parse_pem(pem):
        for role in Role:
            assert all(problem.isprintable() for problem in x509.profile_problems(each, role))
        assert all(problem.isprintable() for problem in x509.date_problems(each, NOW))
        assert f"{each.sans}{each.subject}{each.issuer}{each.digest_name}".isprintable()


def reading_der(der: bytes) -> None:
    certificate = x509.parse_der(der)
    # In PEM form again, since damage to the DER itself reaches further than damage to its base64.
    judge(ssl.DER_cert_to_PEM_cert(certificate.der).encode())


WHOLE = CLIENT.cert_pem + CA.cert_pem
DER = parse(CLIENT.cert_pem).der


@given(length=st.integers(0, len(WHOLE)))
def test_any_truncation_is_read_or_refused(length: int) -> None:
    survives(judge, WHOLE[:length])
    survives(reading_der, DER[:length])
    survives(x509.public_key_of, CLIENT.key_pem[:length])


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3))
def test_any_changed_byte_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    for read, content in ((judge, WHOLE), (reading_der, DER), (x509.public_key_of, CLIENT.key_pem)):
        damaged = bytearray(content)
        for place, flip in changes:
            damaged[place % len(damaged)] ^= flip
        survives(read, bytes(damaged))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    survives(judge, content)
    survives(reading_der, content)
    survives(x509.public_key_of, content)
    survives(x509.public_key_of, b"-----BEGIN PRIVATE KEY-----\n" + content)


def test_an_unknown_signature_algorithm_is_no_reason_to_fail() -> None:
    # ecdsa-with-SHA384 is 1.2.840.10045.4.3.3; 4.3.7 does not exist.
    der = DER.replace(bytes.fromhex("06082a8648ce3d040303"), bytes.fromhex("06082a8648ce3d040307"))
    certificate = x509.parse_der(der)
    assert certificate.digest_name == "algorithm 1.2.840.10045.4.3.7"
    assert len(x509.strength_problems(certificate)) == 1


def test_an_extension_that_stands_there_twice_is_refused() -> None:
    # subjectAltName is 2.5.29.17, keyUsage is 2.5.29.15.
    with pytest.raises(DecodeError, match="Duplicate"):
        x509.parse_der(DER.replace(bytes.fromhex("0603551d11"), bytes.fromhex("0603551d0f")))


def test_a_serial_number_that_the_library_warns_about_is_read() -> None:
    damaged = bytearray(DER)
    damaged[15] |= 0x80
    assert x509.parse_der(bytes(damaged)).serial < 0


def test_the_library_still_has_the_digests_under_these_names() -> None:
    assert {hashes.SHA384.name, hashes.SHA512.name} == set(x509.DIGESTS)
