import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.tls import failures
from portsyncd.tls.authority import Authority, Issued
from portsyncd.tls.peer import MAX_NAMES, MAX_SUBJECT, Peer, identify, judge, refusal, verified_chain
from tests.tls.handshakes import Kit, shake_hands

AUTHORITY = Authority.make()
SANS = ["prometheus.example", "::1", "spiffe://example/prometheus"]


def der(issued: Issued) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_pem.decode())


def test_identity() -> None:
    peer = judge(der(AUTHORITY.issue_client("prometheus", SANS)))
    assert (peer.subject, peer.sans) == ("CN=prometheus", tuple(SANS))
    assert len(peer.fingerprint) == 64
    assert peer.unfit is None


@pytest.mark.parametrize(
    "allowed",
    [(), ("PROMETHEUS.example",), ("0:0::1", "x"), ("spiffe://example/prometheus",), ("prometheus.example.",)],
)
def test_who_is_served(allowed: tuple[str, ...]) -> None:
    assert refusal(judge(der(AUTHORITY.issue_client("prometheus", SANS))), allowed) is None


def test_dns_names_are_equal_in_any_case() -> None:
    assert refusal(judge(der(AUTHORITY.issue_client("c", ["Prometheus.Example"]))), ["prometheus.example"]) is None


@pytest.mark.parametrize(
    ("sans", "shown"),
    [
        (SANS, "CN=c has prometheus.example, ::1"),
        ([], "CN=c has no alternative names"),
        (["a"] * 9, "a, a, a, a, a, ..."),
    ],
)
def test_whose_name_is_not_allowed(sans: list[str], shown: str) -> None:
    refused = refusal(judge(der(AUTHORITY.issue_client("c", sans))), ["other", "spiffe://EXAMPLE/prometheus"])
    assert refused
    assert refused.reason == "name_not_allowed"
    assert shown in refused.text


@pytest.mark.parametrize(
    ("issued", "text"),
    [
        (AUTHORITY.issue_client("c", curve="secp256r1"), "key is ECDSA P-256"),
        (AUTHORITY.issue_client("c", rsa_bits=2048), "key is RSA of 2048 bits"),
        (AUTHORITY.issue_client("c", digest="sha256"), "signed with SHA-256"),
    ],
)
def test_whose_certificate_is_too_weak(issued: Issued, text: str) -> None:
    refused = refusal(judge(der(issued)), [])
    assert refused
    assert refused.reason == "weak_certificate"
    assert text in refused.text


@pytest.mark.parametrize("issued", [AUTHORITY.issue_client("c", curve="secp521r1", digest="sha512")])
def test_whose_certificate_is_strong_enough(issued: Issued) -> None:
    assert refusal(judge(der(issued)), []) is None


def test_a_connection_remembers_a_bounded_part() -> None:
    peer = judge(der(AUTHORITY.issue_client("c", [f"name{number}.example" for number in range(500)])))
    assert len(peer.sans) == MAX_NAMES


def test_a_long_subject_is_shortened() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{unit:064}") for unit in range(9)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime.now(UTC), datetime.now(UTC))
    peer = judge(builder.sign(key, hashes.SHA384()).public_bytes(Encoding.DER))
    assert len(peer.subject) == MAX_SUBJECT
    assert peer.subject.endswith("...")


def test_what_is_logged_is_bounded() -> None:
    refused = refusal(Peer("x" * MAX_SUBJECT, ("y" * 253,) * 9, ""), ["z"])
    assert refused
    assert len(refused.text) == failures.MAX_TEXT


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    refused = refusal(judge(data), [])
    assert refused
    assert refused.reason == "other"


@given(st.integers(0), st.integers(0, 255))
def test_no_damaged_certificate_raises(position: int, value: int) -> None:
    data = bytearray(DAMAGED)
    data[position % len(data)] = value
    peer = judge(bytes(data))
    refused = refusal(peer, ["x"])
    assert peer.subject.isprintable()
    assert refused
    assert refused.text.isprintable()


DAMAGED = der(AUTHORITY.issue_client("client", SANS))


def signed_by_root(root: Authority, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool, **usage: bool) -> bytes:
    """A CA's or a client's certificate as somebody else's tools make one: PEM."""
    usages = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    builder = x509.CertificateBuilder(
        root.certificate.subject,
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        key.public_key(),
        x509.random_serial_number(),
        root.certificate.not_valid_before_utc,
        root.certificate.not_valid_after_utc,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    bits = dict.fromkeys(usages, False) | {"key_cert_sign": ca, "crl_sign": ca} | usage
    builder = builder.add_extension(x509.KeyUsage(**bits, encipher_only=False, decipher_only=False), critical=True)
    return builder.sign(signer_of(root), hashes.SHA384()).public_bytes(Encoding.PEM)


def signer_of(authority: Authority) -> ec.EllipticCurvePrivateKey:
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    return authority.key


@pytest.mark.parametrize(("curve", "refused"), [("secp256r1", "weak_certificate"), ("secp384r1", None)])
def test_what_lies_between_a_client_and_the_ca_is_judged_too(tmp_path: Path, curve: str, refused: str | None) -> None:
    # An authority that may sign CAs: its own certificate, without a limit to the length of paths.
    root = Authority.make()
    unlimited = signed_by_root(root, "portsyncd-metrics-ca", signer_of(root), ca=True)
    kit = Kit(tmp_path, root)
    kit.files.ca.write_bytes(unlimited)
    below = Authority.make(common_name="below", curve=curve)
    leaf = below.issue_client("leaf")
    chain = Issued(leaf.cert_pem + signed_by_root(root, "below", signer_of(below), ca=True), leaf.key_pem)
    serving, _ = shake_hands(kit.server(), kit.client(chain))
    assert len(verified_chain(serving)) == 3
    verdict = refusal(identify(serving), [])
    assert (verdict and verdict.reason) == refused


def test_a_certificate_that_may_not_sign_handshakes_is_no_clients() -> None:
    pem = signed_by_root(AUTHORITY, "c", ec.generate_private_key(ec.SECP384R1()), ca=False, key_agreement=True)
    refused = refusal(judge(ssl.PEM_cert_to_DER_cert(pem.decode())), [])
    assert refused is not None
    assert refused.reason == "wrong_purpose"
