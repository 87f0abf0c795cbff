"""Why a handshake failed: a fixed set of reasons, for a metric's label, and one line for the log.

OpenSSL says it in the ``reason`` of ``ssl.SSLError``, its own names for what goes wrong; for a certificate that it does
not accept, in ``verify_code`` (openssl-verification-options(1), x509_vfy.h). Those below are what OpenSSL 3.0 really
answers, as the tests show, and the names that newer ones have for the same.
"""

import re
import ssl
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import trio

from portsyncd.tls.x509 import printable

MAX_TEXT: Final = 300


class Reason(StrEnum):
    """What a handshake failed of; the values of the label ``reason``."""

    UNSUPPORTED_VERSION = "unsupported_version"
    NO_SHARED_CIPHER = "no_shared_cipher"
    NO_SHARED_GROUP = "no_shared_group"
    NO_CERTIFICATE = "no_certificate"
    SELF_SIGNED = "self_signed"
    UNKNOWN_CA = "unknown_ca"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_PURPOSE = "wrong_purpose"
    WEAK_CERTIFICATE = "weak_certificate"
    NAME_NOT_ALLOWED = "name_not_allowed"
    REJECTED_BY_CLIENT = "rejected_by_client"
    NOT_TLS = "not_tls"
    CLOSED = "closed"
    TIMEOUT = "timeout"
    EVICTED = "evicted"
    OTHER = "other"


REASONS: Final = tuple(reason.value for reason in Reason)

_MEANINGS: Final = MappingProxyType(
    {
        Reason.UNSUPPORTED_VERSION: "the client does not offer TLS 1.3",
        Reason.NO_SHARED_CIPHER: "the client does not offer TLS_AES_256_GCM_SHA384",
        Reason.NO_SHARED_GROUP: "the client does not offer the group secp384r1 (P-384)",
        Reason.NO_CERTIFICATE: "the client shows no certificate",
        Reason.SELF_SIGNED: "the client's certificate is signed by itself, not by a CA of metrics.ca",
        Reason.UNKNOWN_CA: "the client's certificate is of no CA in metrics.ca",
        Reason.EXPIRED: "the client's certificate, or its CA's, has expired by this machine's clock",
        Reason.NOT_YET_VALID: "the client's certificate, or its CA's, is not valid yet by this machine's clock",
        Reason.WRONG_PURPOSE: "the client's certificate is not one for clients (extended key usage clientAuth)",
        Reason.WEAK_CERTIFICATE: "the client's certificate is weaker than the TLS profile allows",
        Reason.NAME_NOT_ALLOWED: "none of the client's alternative names is in metrics.client_allowed_sans",
        Reason.REJECTED_BY_CLIENT: "the client ended the handshake",
        Reason.NOT_TLS: "what the client sent is no TLS, or broken",
        Reason.CLOSED: "the client closed the connection",
        Reason.TIMEOUT: "the client did not finish in time",
        Reason.EVICTED: "it had to make room for newer handshakes",
        Reason.OTHER: "the handshake failed",
    }
)
_NO_TLS = (
    "HTTP_REQUEST HTTPS_PROXY_REQUEST WRONG_VERSION_NUMBER PACKET_LENGTH_TOO_LONG UNKNOWN_PROTOCOL UNEXPECTED_MESSAGE "
    "UNEXPECTED_RECORD BAD_RECORD_TYPE BAD_PACKET_LENGTH LENGTH_TOO_SHORT LENGTH_TOO_LONG LENGTH_MISMATCH BAD_LENGTH "
    "RECORD_TOO_SMALL"
)
_BY_NAME: Final = MappingProxyType(
    {
        name: reason
        for reason, names in (
            (Reason.UNSUPPORTED_VERSION, "UNSUPPORTED_PROTOCOL VERSION_TOO_LOW WRONG_SSL_VERSION"),
            (Reason.NO_SHARED_CIPHER, "NO_SHARED_CIPHER"),
            (Reason.NO_SHARED_GROUP, "NO_SUITABLE_KEY_SHARE NO_SUITABLE_GROUPS NO_SHARED_GROUPS"),
            (Reason.NO_CERTIFICATE, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            (Reason.WEAK_CERTIFICATE, "EE_KEY_TOO_SMALL CA_KEY_TOO_SMALL CA_MD_TOO_WEAK"),
            (Reason.CLOSED, "UNEXPECTED_EOF_WHILE_READING"),
            (Reason.NOT_TLS, _NO_TLS),
        )
        for name in names.split()
    }
)
# X509_V_ERR_ and: UNABLE_TO_GET_ISSUER_CERT 2, CERT_SIGNATURE_FAILURE 7, CERT_NOT_YET_VALID 9, CERT_HAS_EXPIRED 10,
# DEPTH_ZERO_SELF_SIGNED_CERT 18, SELF_SIGNED_CERT_IN_CHAIN 19, UNABLE_TO_GET_ISSUER_CERT_LOCALLY 20,
# UNABLE_TO_VERIFY_LEAF_SIGNATURE 21, CERT_CHAIN_TOO_LONG 22, INVALID_CA 24, PATH_LENGTH_EXCEEDED 25, INVALID_PURPOSE 26,
# CERT_UNTRUSTED 27, AKID_SKID_MISMATCH 30, AKID_ISSUER_SERIAL_MISMATCH 31, EE_KEY_TOO_SMALL 66, CA_KEY_TOO_SMALL 67,
# CA_MD_TOO_WEAK 68.
_BY_VERIFY_CODE: Final = MappingProxyType(
    {
        code: reason
        for reason, codes in (
            (Reason.UNKNOWN_CA, (2, 7, 19, 20, 21, 22, 27, 30, 31)),
            (Reason.NOT_YET_VALID, (9,)),
            (Reason.EXPIRED, (10,)),
            (Reason.SELF_SIGNED, (18,)),
            (Reason.WRONG_PURPOSE, (24, 25, 26)),
            (Reason.WEAK_CERTIFICATE, (66, 67, 68)),
        )
        for code in codes
    }
)
# "sslv3 alert bad certificate", "tlsv13 alert certificate required"; of a few alerts the name says only "tlsv1 ...".
_ALERT = re.compile(r"\b(?:ssl|tls)v[0-9]+ (?:alert )?([a-z ]+)")
# RFC 8446, 6.2: alerts of who does not accept the other side's certificate.
_DISTRUST: Final = frozenset(
    {
        "bad certificate",
        "unsupported certificate",
        "certificate revoked",
        "certificate expired",
        "certificate unknown",
        "unknown ca",
    }
)
_UNPREFIXED = re.compile(r"^(?:\[[^\]]*\] )?(.*?)(?: \(_ssl\.c:[0-9]+\))?$")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a client was refused. reason: one of ``REASONS``; text: one line for the log, of bounded length."""

    reason: str
    text: str


def failure(reason: Reason, detail: str = "") -> Failure:
    """A failure for this reason; detail: what is known besides, from wherever it may come."""
    meaning = _MEANINGS[reason]
    text = printable(f"{meaning}: {detail}" if detail else meaning)
    return Failure(reason.value, text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}...")


TIMEOUT: Final = failure(Reason.TIMEOUT)
EVICTED: Final = failure(Reason.EVICTED)


def classify(error: BaseException) -> Failure:
    """What an exception out of a handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return failure(_BY_VERIFY_CODE.get(error.verify_code, Reason.OTHER), error.verify_message)
    if isinstance(error, ssl.SSLZeroReturnError | ssl.SSLEOFError):
        return failure(Reason.CLOSED)
    if isinstance(error, ssl.SSLError):
        return _ssl_failure(error)
    if isinstance(error, TimeoutError | trio.TooSlowError):
        return TIMEOUT
    if isinstance(error, EOFError | OSError | trio.BrokenResourceError | trio.ClosedResourceError):
        return failure(Reason.CLOSED)
    return failure(Reason.OTHER, type(error).__name__)


def _ssl_failure(error: ssl.SSLError) -> Failure:
    # Python knows no name for what is newer than itself; the text comes from OpenSSL, and is there always.
    match = _UNPREFIXED.match(error.args[-1] if error.args and isinstance(error.args[-1], str) else "")
    said = match[1] if match else ""
    # Not every one that Python code raises has the attribute.
    reason = _BY_NAME.get(getattr(error, "reason", None) or "")
    if reason:
        return failure(reason, said)
    if alert := _ALERT.search(said):
        untrusted = alert[1] in _DISTRUST
        return failure(
            Reason.REJECTED_BY_CLIENT, alert[1] + ("; it does not accept our certificate" if untrusted else "")
        )
    return failure(Reason.OTHER, said)
