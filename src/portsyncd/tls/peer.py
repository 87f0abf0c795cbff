"""Who a client is, by its certificate, and whether that is good enough once OpenSSL has accepted it.

OpenSSL asks for nothing that this process's own certificates keep to: it takes P-256 and SHA-256 from a client. So the
profile is held against the certificate after the handshake, before a request is read.
"""

import _ssl
import hashlib
import ipaddress
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from portsyncd.errors import DecodeError
from portsyncd.tls import x509
from portsyncd.tls.failures import Failure, Reason, failure

# A connection remembers its client: a certificate may have 100 KB of names.
MAX_SUBJECT: Final = 256
MAX_NAMES: Final = 100
MAX_NAME: Final = 253
_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Peer:
    """The client of one connection.

    subject: RFC 4514, in one line, shortened; sans: its alternative names without their kinds, not more than
    ``MAX_NAMES``, too long ones left out; fingerprint: SHA-256 of the certificate in hexadecimal. unfit: why it is to
    be refused whoever it is, if so.
    """

    subject: str
    sans: tuple[str, ...]
    fingerprint: str
    unfit: Failure | None = None


def identify(tls: ssl.SSLObject) -> Peer:
    """The client at the other end of a finished handshake. Never raises: what cannot be read is unfit."""
    chain = verified_chain(tls)
    # The last one is the CA that is trusted, and was judged when its file was read.
    return judge(chain[0], chain[1:-1])


def verified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates, DER, that OpenSSL verified the client with: its own first, the trusted CA last."""
    if hasattr(tls, "get_verified_chain"):  # Python 3.13
        return list(tls.get_verified_chain())
    # What the public method was made of; ssl has had it since 3.10.
    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in tls._sslobj.get_verified_chain()]  # type: ignore[attr-defined]  # noqa: SLF001


def judge(der: bytes, intermediates: Sequence[bytes] = ()) -> Peer:
    """The client whose certificate this is, and whether it and those between it and the CA fit the profile."""
    fingerprint = hashlib.sha256(der).hexdigest()
    try:
        certificate = x509.parse_der(der)
        between = [x509.parse_der(each) for each in intermediates]
    except DecodeError as error:
        return Peer("(unreadable)", (), fingerprint, failure(Reason.OTHER, str(error)))
    subject = certificate.subject
    if len(subject) > MAX_SUBJECT:
        subject = f"{subject[: MAX_SUBJECT - 3]}..."
    weaknesses = [problem for each in (certificate, *between) for problem in x509.strength_problems(each)]
    others = x509.profile_problems(certificate, x509.Role.CLIENT)
    unfit = None
    if weaknesses:
        unfit = failure(Reason.WEAK_CERTIFICATE, f"{'; '.join(weaknesses)} ({subject})")
    elif others:
        unfit = failure(Reason.WRONG_PURPOSE, f"{'; '.join(others)} ({subject})")
    return Peer(
        subject=subject,
        sans=tuple(name for name in certificate.sans.all() if len(name) <= MAX_NAME)[:MAX_NAMES],
        fingerprint=fingerprint,
        unfit=unfit,
    )


def refusal(peer: Peer, allowed_sans: Collection[str]) -> Failure | None:
    """Why this client is not served; None: it is. allowed_sans: one of them must be among its names; empty: no matter."""
    if peer.unfit:
        return peer.unfit
    if allowed_sans and {_canonical(name) for name in allowed_sans}.isdisjoint(map(_canonical, peer.sans)):
        shown = ", ".join(peer.sans[:_SHOWN_NAMES]) + (", ..." if len(peer.sans) > _SHOWN_NAMES else "")
        return failure(Reason.NAME_NOT_ALLOWED, f"{peer.subject} has {shown or 'no alternative names'}")
    return None


def _canonical(name: str) -> str:
    """The same for names that mean the same: addresses in any spelling, DNS names (RFC 4343) in any case."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name if "/" in name or "@" in name or ":" in name else name.lower().removesuffix(".")
