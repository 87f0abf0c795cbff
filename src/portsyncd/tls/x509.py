"""What a certificate says, and whether that is good enough for the profile.

The profile is the level of CNSA 1.0 (RFC 8603 for certificates, RFC 9151 for TLS): ECDSA on P-384 or P-521, or RSA of
3,072 bits and more; signatures with SHA-384 or SHA-512. Whether a certificate is valid at a moment is asked apart
from that, since a switch that boots before NTP has the wrong date and the right certificate.

Whatever the bytes are, they are parsed or ``DecodeError`` is raised; no exception of ``cryptography`` leaves here.
"""

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from portsyncd.errors import DecodeError

CURVES: Final = MappingProxyType({"secp384r1": "P-384", "secp521r1": "P-521"})
MIN_RSA_BITS: Final = 3072
DIGESTS: Final = MappingProxyType({"sha384": "SHA-384", "sha512": "SHA-512"})

_OTHER_CURVES: Final = MappingProxyType({"secp192r1": "P-192", "secp224r1": "P-224", "secp256r1": "P-256"})
_OTHER_DIGESTS: Final = MappingProxyType({"sha256": "SHA-256", "sha224": "SHA-224", "sha1": "SHA-1", "md5": "MD5"})
_EKU_NAMES: Final = MappingProxyType(
    {
        ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
        ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
    }
)
# RFC 5280, 4.2.1.3: attribute of cryptography's KeyUsage, and the standard's name of the bit.
_KEY_USAGES: Final = MappingProxyType(
    {
        "digital_signature": "digitalSignature",
        "content_commitment": "nonRepudiation",
        "key_encipherment": "keyEncipherment",
        "data_encipherment": "dataEncipherment",
        "key_agreement": "keyAgreement",
        "key_cert_sign": "keyCertSign",
        "crl_sign": "cRLSign",
    }
)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_BEGINS: Final = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN X509 CERTIFICATE-----")
_FOREIGN: Final = (
    ValueError,  # includes UnicodeError
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Role(StrEnum):
    """What a certificate is for at the metrics endpoint. ``ca``: it signs clients' certificates."""

    SERVER = "server"
    CA = "ca"
    CLIENT = "client"


# OpenSSL asks the same of a CA as of the certificate below it, and takes anyExtendedKeyUsage for neither of them
# (crypto/x509/v3_purp.c, check_purpose_ssl_client).
_EKU_OF_ROLE: Final = MappingProxyType({Role.SERVER: "serverAuth", Role.CA: "clientAuth", Role.CLIENT: "clientAuth"})

_ROLE_NAMES: Final = MappingProxyType(
    {
        Role.SERVER: "server certificate",
        Role.CA: "CA of client certificates",
        Role.CLIENT: "client certificate",
    }
)


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. ``kind`` is ``ECDSA``, ``RSA`` or another algorithm's name; ``curve`` is OpenSSL's name of it."""

    kind: str
    bits: int
    curve: str = ""

    def __str__(self) -> str:
        if self.kind == "ECDSA":
            return f"ECDSA {CURVES.get(self.curve) or _OTHER_CURVES.get(self.curve, self.curve)}"
        return f"RSA of {self.bits} bits" if self.kind == "RSA" else self.kind

    @property
    def good(self) -> bool:
        """Whether the profile allows it."""
        return (self.kind == "ECDSA" and self.curve in CURVES) or (self.kind == "RSA" and self.bits >= MIN_RSA_BITS)


@dataclass(frozen=True, slots=True)
class Sans:
    """Subject alternative names by kind, each in the order of the certificate. Addresses are in canonical form."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    email: tuple[str, ...] = ()

    def all(self) -> tuple[str, ...]:
        """All of them, without their kinds: what an allow-list is compared with."""
        return (*self.dns, *self.ip, *self.uri, *self.email)

    def __str__(self) -> str:
        kinds = (("DNS", self.dns), ("IP", self.ip), ("URI", self.uri), ("email", self.email))
        return ", ".join(f"{kind}:{printable(name)}" for kind, names in kinds for name in names) or "none"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The facts of one certificate.

    Names are RFC 4514 strings in one line; times are aware, in UTC; ``digest`` is the signature's in lower case
    (``sha384``), or empty where the algorithm has none of its own; ``key_usages`` and ``ekus`` are None where the
    certificate has no such extension; ``path_length`` is None for no limit; ``fingerprint`` is SHA-256 over ``der`` in
    hexadecimal; ``spki`` is the public key as DER (SubjectPublicKeyInfo).
    """

    subject: str
    issuer: str
    sans: Sans
    serial: int
    not_before: datetime
    not_after: datetime
    key: Key
    digest: str
    is_ca: bool
    path_length: int | None
    key_usages: frozenset[str] | None
    ekus: frozenset[str] | None
    self_signed: bool
    fingerprint: str
    spki: bytes = field(repr=False)
    der: bytes = field(repr=False)

    @property
    def digest_name(self) -> str:
        """The signature's digest as people write it."""
        return DIGESTS.get(self.digest) or _OTHER_DIGESTS.get(self.digest) or self.digest or "no digest of its own"


def parse_pem(pem: bytes) -> tuple[Certificate, ...]:
    """Every certificate of a PEM file, in its order; at least one. Other blocks are passed over.

    Raises ``DecodeError``, also where one of several certificates is cut off or damaged.
    """
    announced = sum(pem.count(begin) for begin in _BEGINS)
    if not announced:
        raise DecodeError(_no_certificate(pem))
    with _decoding("a certificate that cannot be read"):
        parsed = tuple(_facts(each) for each in x509.load_pem_x509_certificates(pem))
    if len(parsed) != announced:
        raise DecodeError(f"{announced} certificates begin, {len(parsed)} can be read: the file is damaged")
    return parsed


def parse_der(der: bytes) -> Certificate:
    """The certificate as it comes from a peer. Raises ``DecodeError``."""
    with _decoding("a certificate that cannot be read"):
        return _facts(x509.load_der_x509_certificate(der))


def public_key_of(key_pem: bytes) -> bytes:
    """The public half of a private key, as DER: equal to ``Certificate.spki`` where they belong together.

    Raises ``DecodeError``, also for a key with a passphrase: the daemon has nobody to ask for it.
    """
    if b"PRIVATE KEY-----" not in key_pem:
        raise DecodeError("no private key in PEM form (no line -----BEGIN PRIVATE KEY-----)")
    if b"ENCRYPTED" in key_pem:
        raise DecodeError("the private key has a passphrase; write it without: openssl pkey -in OLD -out NEW")
    with _decoding("a private key that cannot be read"):
        key = load_pem_private_key(key_pem, None)
        return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def issued_by(certificate: Certificate, ca: Certificate) -> bool:
    """Whether this CA's key signed the certificate, and is the issuer that it names. Dates and flags are not looked at."""
    try:
        with _decoding("a certificate that cannot be read"):
            below = x509.load_der_x509_certificate(certificate.der)
            below.verify_directly_issued_by(x509.load_der_x509_certificate(ca.der))
    except (DecodeError, InvalidSignature):
        return False
    return True


def strength_problems(certificate: Certificate) -> list[str]:
    """One line for a key and one for a signature that the profile does not allow, whatever the certificate is for."""
    problems = []
    if not certificate.key.good:
        problems.append(
            f"key is {certificate.key}; allowed: ECDSA {' or '.join(CURVES.values())}, RSA of {MIN_RSA_BITS} bits or more"
        )
    if certificate.digest not in DIGESTS:
        problems.append(f"signed with {certificate.digest_name}; allowed: {' or '.join(DIGESTS.values())}")
    return problems


def profile_problems(certificate: Certificate, role: Role | str) -> list[str]:
    """One line for each way in which the certificate is not good enough for its role; none: it is. Dates do not count."""
    role = Role(role)
    problems = strength_problems(certificate)
    if role is Role.CA:
        problems += _ca_problems(certificate)
    elif certificate.key_usages is not None and "digitalSignature" not in certificate.key_usages:
        # RFC 8446, 4.4.2.2 and 4.4.2.3: in TLS 1.3 each side signs.
        problems.append(f"key usage is {_listed(certificate.key_usages)}; TLS 1.3 needs digitalSignature")
    needed = _EKU_OF_ROLE[role]
    if certificate.ekus is not None and needed not in certificate.ekus:
        problems.append(f"extended key usage is {_listed(certificate.ekus)}; a {_ROLE_NAMES[role]} needs {needed}")
    return problems


def _ca_problems(certificate: Certificate) -> list[str]:
    problems = []
    if not certificate.is_ca:
        problems.append("basic constraints do not say CA:TRUE; a CA certificate needs that")
    # RFC 5280, 4.2.1.3: a CA's certificate must have the extension; OpenSSL's strict mode insists.
    if "keyCertSign" not in (certificate.key_usages or ()):
        usages = "absent" if certificate.key_usages is None else _listed(certificate.key_usages)
        problems.append(f"key usage is {usages}; a CA certificate needs keyCertSign")
    return problems


def date_problems(certificate: Certificate, now: datetime) -> list[str]:
    """At most one line: the certificate is not valid yet, or no longer, at ``now`` (aware). Bounds as in OpenSSL."""
    clock = f"this machine's clock says {show_time(now)}"
    if now < certificate.not_before:
        wait = show_span(certificate.not_before - now)
        return [f"not valid before {show_time(certificate.not_before)}, in {wait}; {clock}"]
    if now >= certificate.not_after:
        return [f"expired on {show_time(certificate.not_after)}, {show_span(now - certificate.not_after)} ago; {clock}"]
    return []


def show_time(moment: datetime) -> str:
    """A moment for people, in UTC, such as ``2026-03-01 12:00:00 UTC``."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def show_span(span: timedelta) -> str:
    """A length of time for people: days, or hours, or minutes, rounded down."""
    seconds = int(span.total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count = seconds // length
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a second"


def printable(text: str) -> str:
    """The text in one line: each byte of what does not print as a backslash and two hexadecimal digits (RFC 4514)."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else "".join(f"\\{byte:02X}" for byte in char.encode("utf-8", "backslashreplace"))
        for char in text
    )


def _listed(usages: frozenset[str]) -> str:
    return ", ".join(sorted(usages)) or "empty"


def _no_certificate(pem: bytes) -> str:
    if not pem.strip():
        return "the file is empty; a PEM certificate is needed"
    if b"PRIVATE KEY-----" in pem:
        return "a private key and no certificate; are certificate and key exchanged?"
    if pem[:1] == b"\x30":
        return "not PEM; it looks like DER, which this makes PEM of: openssl x509 -inform der -in OLD -out NEW"
    return "no certificate in PEM form (no line -----BEGIN CERTIFICATE-----)"


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Turn the library's exceptions into ours, and its warnings (about serial numbers of old CAs) into nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            yield
    except _FOREIGN as error:
        # The library's first words; then come its parser's inner state, or the address of its own questions and answers.
        said = printable(re.split(r"\n|: ParseError|\. See ", str(error))[0].strip()) or type(error).__name__
        raise DecodeError(f"{what}: {said}") from error


def _facts(certificate: x509.Certificate) -> Certificate:
    der = certificate.public_bytes(Encoding.DER)
    public = certificate.public_key()
    extensions = certificate.extensions
    constraints = _extension(extensions, x509.BasicConstraints)
    usage = _extension(extensions, x509.KeyUsage)
    extended = _extension(extensions, x509.ExtendedKeyUsage)
    return Certificate(
        subject=printable(certificate.subject.rfc4514_string()),
        issuer=printable(certificate.issuer.rfc4514_string()),
        sans=_sans(_extension(extensions, x509.SubjectAlternativeName)),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key=_key(public),
        digest=_digest(certificate),
        is_ca=constraints is not None and constraints.ca,
        path_length=constraints.path_length if constraints else None,
        key_usages=None
        if usage is None
        else frozenset(name for attribute, name in _KEY_USAGES.items() if getattr(usage, attribute)),
        ekus=None if extended is None else frozenset(_EKU_NAMES.get(oid, oid.dotted_string) for oid in extended),
        self_signed=_signed_by_itself(certificate),
        fingerprint=hashlib.sha256(der).hexdigest(),
        spki=public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        der=der,
    )


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _sans(extension: x509.SubjectAlternativeName | None) -> Sans:
    if extension is None:
        return Sans()
    return Sans(
        dns=tuple(extension.get_values_for_type(x509.DNSName)),
        ip=tuple(str(each) for each in extension.get_values_for_type(x509.IPAddress)),
        uri=tuple(extension.get_values_for_type(x509.UniformResourceIdentifier)),
        email=tuple(extension.get_values_for_type(x509.RFC822Name)),
    )


def _key(public: object) -> Key:
    if isinstance(public, ec.EllipticCurvePublicKey):
        return Key("ECDSA", public.key_size, public.curve.name)
    if isinstance(public, rsa.RSAPublicKey):
        return Key("RSA", public.key_size)
    return Key(type(public).__name__.removesuffix("PublicKey").removesuffix("Public"), getattr(public, "key_size", 0))


def _digest(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return f"algorithm {certificate.signature_algorithm_oid.dotted_string}"
    return algorithm.name if algorithm else ""


def _signed_by_itself(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (*_FOREIGN, InvalidSignature):
        return False
    return True
