"""A certificate authority for the metrics endpoint: for ``portsyncd certs``, the demo and the tests.

What it makes by default fits the profile and passes OpenSSL's strict checks: P-384 keys, SHA-384 signatures, version 3
with the extensions that RFC 5280 asks of a CA and of what it signs.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeAlias, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portsyncd.errors import ConfigError, DecodeError
from portsyncd.tls import x509 as facts

CA_DAYS: Final = 1095
CA_NAME: Final = "portsyncd-metrics-ca"
# 13 months: once a year they are renewed, with a month to spare.
DAYS: Final = 397
SERVER_NAME: Final = "portsyncd-metrics"
SERVER_SANS: Final = ("::1", "localhost")

# What was made just now is valid also on a machine whose clock is a little behind.
CLOCK_SKEW: Final = timedelta(minutes=5)

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CURVES: Final[MappingProxyType[str, type[ec.EllipticCurve]]] = MappingProxyType(
    {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1, "secp521r1": ec.SECP521R1}
)
_DIGESTS: Final[MappingProxyType[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = MappingProxyType(
    {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}
)
_EKUS: Final = MappingProxyType(
    {
        "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
        "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
        "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
        "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
)
# Underscores are common in the names of switches. The last label of a name is never a number: that is a mistyped address.
_LABEL: Final = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME: Final = re.compile(rf"(\*\.)?({_LABEL}\.)*(?![0-9]+$){_LABEL}", re.IGNORECASE)
_URI: Final = re.compile(r"([a-z][a-z0-9+.-]*://|urn:)[!-~]+", re.IGNORECASE)


class Odd(TypedDict, total=False):
    """How a certificate differs from the usual; for tests of what must be refused, and for other sites' habits."""

    now: datetime
    """Aware; instead of the machine's clock."""
    not_before: datetime
    not_after: datetime
    curve: str
    """``secp256r1``, ``secp384r1``, ``secp521r1``."""
    rsa_bits: int
    """An RSA key instead."""
    digest: str
    """``sha256``, ``sha384``, ``sha512``."""
    ekus: Sequence[str]
    """Such as ``serverAuth``; none: no such extension."""
    self_signed: bool
    """Signed by its own key instead of the CA's."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key (PKCS 8 without a passphrase), both PEM."""

    cert_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA with its private key. It signs servers' and clients' certificates, and no further CA."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @classmethod
    def make(cls, days: int = CA_DAYS, common_name: str = CA_NAME, **odd: Unpack[Odd]) -> "Authority":
        """A new CA, valid for so many days."""
        key = _new_key(odd)
        name = _name(common_name)
        builder = _dated(_builder(name, name, key, key), odd, days, latest=None)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(ca=True), critical=True)
        return cls(_signed(_with_ekus(builder, odd.get("ekus", ())), key, odd), key)

    @classmethod
    def load(cls, cert_pem: bytes, key_pem: bytes) -> "Authority":
        """A CA made earlier, to issue more. Raises ``ConfigError`` with what keeps it from signing; dates are not looked at."""
        problems: list[str] = []
        ca = public = None
        try:
            ca = facts.parse_pem(cert_pem)[0]
        except DecodeError as error:
            problems.append(f"CA certificate: {error}")
        try:
            public = facts.public_key_of(key_pem)
        except DecodeError as error:
            problems.append(f"CA key: {error}")
        if ca and not ca.is_ca:
            problems.append(f"CA certificate: {ca.subject} is no CA (basic constraints); it may not sign others")
        if ca and public and ca.spki != public:
            problems.append("CA key: it does not belong to the CA certificate")
        if problems or ca is None:
            raise ConfigError(problems)
        key = load_pem_private_key(key_pem, None)
        if not isinstance(key, PrivateKey):
            raise ConfigError([f"CA key: it is {ca.key}; certificates are signed here with ECDSA or RSA"])
        return cls(x509.load_der_x509_certificate(ca.der), key)

    @property
    def cert_pem(self) -> bytes:
        """The CA's certificate; what clients and daemon trust."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The CA's private key: who has it makes certificates that the daemon accepts."""
        return _pem(self.key)

    def issue_server(
        self,
        sans: Sequence[str] = SERVER_SANS,
        days: int = DAYS,
        *,
        common_name: str = SERVER_NAME,
        **odd: Unpack[Odd],
    ) -> Issued:
        """A server's certificate (serverAuth). Raises ``ValueError`` for a name that cannot be one."""
        return self._issue(common_name, sans, days, "serverAuth", odd)

    def issue_client(self, common_name: str, sans: Sequence[str] = (), days: int = DAYS, **odd: Unpack[Odd]) -> Issued:
        """A client's certificate (clientAuth). Raises ``ValueError`` for a name that cannot be one."""
        return self._issue(common_name, sans, days, "clientAuth", odd)

    def _issue(self, common_name: str, sans: Sequence[str], days: int, eku: str, odd: Odd) -> Issued:
        key = _new_key(odd)
        name = _name(common_name)
        alone = odd.get("self_signed", False)
        signer = key if alone else self.key
        builder = _builder(name, name if alone else self.certificate.subject, key, signer)
        builder = _dated(builder, odd, days, latest=self.certificate.not_valid_after_utc)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(ca=False), critical=True)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(general_name, sans)), critical=False)
        certificate = _signed(_with_ekus(builder, odd.get("ekus", (eku,))), signer, odd)
        return Issued(certificate.public_bytes(Encoding.PEM), _pem(key))


def general_name(text: str) -> x509.GeneralName:
    """A subject alternative name of the kind that it looks like: IP address, URI (with ``://``, or ``urn:``), DNS name.

    Raises ``ValueError`` with a message for who wrote it.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        if "%" in text:
            raise ValueError(f"{text!r}: an address in a certificate has no zone; leave out what begins with %")
        return x509.IPAddress(address)
    if _URI.fullmatch(text):
        return x509.UniformResourceIdentifier(text)
    if _DNS_NAME.fullmatch(text) and len(text) <= 253:
        return x509.DNSName(text)
    raise ValueError(f"{text!r} is neither an IP address (without brackets or port) nor a DNS name nor a URI")


def _name(common_name: str) -> x509.Name:
    if not common_name.isprintable() or not 1 <= len(common_name) <= 64:
        raise ValueError(f"{common_name!r}: a common name has 1 to 64 characters that print")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _new_key(odd: Odd) -> PrivateKey:
    if "rsa_bits" in odd:
        return rsa.generate_private_key(65537, odd["rsa_bits"])
    return ec.generate_private_key(_CURVES[odd.get("curve", "secp384r1")]())


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, signer: PrivateKey) -> x509.CertificateBuilder:
    # RFC 5280, 4.2.1.1 and 4.2.1.2: the key identifiers tell two CAs of one name apart while one replaces the other.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _dated(
    builder: x509.CertificateBuilder, odd: Odd, days: int, *, latest: datetime | None
) -> x509.CertificateBuilder:
    now = odd.get("now") or datetime.now(UTC)
    after = now + timedelta(days=days)
    if latest is not None:
        # Beyond its CA's end nobody would accept it; a date that says so is noticed in time.
        after = min(after, latest)
    after = odd.get("not_after", after)
    before = odd.get("not_before", min(now, after) - CLOCK_SKEW)
    return builder.not_valid_before(before).not_valid_after(after)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _with_ekus(builder: x509.CertificateBuilder, ekus: Sequence[str]) -> x509.CertificateBuilder:
    if not ekus:
        return builder
    return builder.add_extension(x509.ExtendedKeyUsage([_EKUS[eku] for eku in ekus]), critical=False)


def _signed(builder: x509.CertificateBuilder, signer: PrivateKey, odd: Odd) -> x509.Certificate:
    return builder.sign(signer, _DIGESTS[odd.get("digest", "sha384")]())


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
