"""The TLS profile: what a handshake with the metrics endpoint must agree on, and the context that insists on it.

TLS 1.3, TLS_AES_256_GCM_SHA384, secp384r1, a client certificate: the level of CNSA 1.0 (RFC 9151). Python before 3.15
cannot choose the suite in code, see ``openssl.py``; ``selftest.py`` proves that the whole is in force.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol, runtime_checkable

from portsyncd.errors import ConfigError
from portsyncd.tls.files import Material

SUITE: Final = "TLS_AES_256_GCM_SHA384"
GROUP: Final = "secp384r1"
ALPN: Final = "http/1.1"

# Where several can be named, best first. ML-KEM-1024 is CNSA 2.0's key agreement, alone and together with P-384.
_GROUPS: Final = "secp384r1:secp521r1"
_QUANTUM_SAFE_GROUPS: Final = f"SecP384r1MLKEM1024:MLKEM1024:{_GROUPS}"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is in force. name: for a metric's label; description: for the log."""

    name: str
    description: str


@runtime_checkable
class _Chooser(Protocol):
    """``ssl.SSLContext`` of Python 3.15 and newer."""

    def set_ciphersuites(self, ciphersuites: str, /) -> None: ...

    def set_groups(self, groups: str, /) -> None: ...


@cache
def in_force() -> Profile:
    """The profile that ``server_context`` brings about on this Python and OpenSSL.

    CNSA 2.0 is never claimed: its certificates (ML-DSA-87) are not asked for, and clients without ML-KEM are served.
    """
    groups = _agree(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    quantum_safe = groups == _QUANTUM_SAFE_GROUPS
    return Profile(
        name="CNSA 1.0 (RFC 9151) with ML-KEM-1024" if quantum_safe else "CNSA 1.0 (RFC 9151)",
        description=f"CNSA 1.0 (RFC 9151): TLS 1.3, {SUITE}, {groups.replace(':', ' or ')}"
        + ("; with clients that can, the key agreement of CNSA 2.0" if quantum_safe else ""),
    )


def server_context(material: Material) -> ssl.SSLContext:
    """A context for the server's side of each connection: client certificate required, of the given CA alone.

    It holds exactly the bytes of ``material``, whatever has become of the files. Raises ``ConfigError`` where OpenSSL
    does not take them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _agree(context)
    # With a ticket a client would come back without showing its certificate again, even when that has expired.
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    context.verify_mode = ssl.CERT_REQUIRED
    # What the operator put into the file is trusted, be it a root or the CA below one.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=b"".join(ca.der for ca in material.ca))
        chain = "".join(ssl.DER_cert_to_PEM_cert(certificate.der) for certificate in material.server)
        load_chain(context, chain.encode(), material.key_pem)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        problem = f"metrics: OpenSSL does not take the certificates: {error}; make new ones: `portsyncd certs make`"
        raise ConfigError([problem]) from error
    return context


def load_chain(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """``context.load_cert_chain`` with bytes instead of files. Raises ``ssl.SSLError``, and ``ConfigError`` for a
    passphrase."""
    with _path_of(cert_pem) as cert_path, _path_of(key_pem) as key_path:
        context.load_cert_chain(cert_path, key_path, _no_passphrase)


def _agree(context: ssl.SSLContext) -> str:
    """Limit suite and groups as far as this runtime lets us; returns the groups, best first."""
    if not isinstance(context, _Chooser):
        context.set_ecdh_curve(GROUP)
        return GROUP
    context.set_ciphersuites(SUITE)
    try:
        context.set_groups(_QUANTUM_SAFE_GROUPS)
    except ssl.SSLError:
        context.set_groups(_GROUPS)
        return _GROUPS
    return _QUANTUM_SAFE_GROUPS


@contextmanager
def _path_of(content: bytes) -> Iterator[str]:
    """A path under which OpenSSL reads these bytes, which are in memory and nowhere else."""
    file = os.memfd_create("portsyncd")
    try:
        os.write(file, content)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


def _no_passphrase() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise ConfigError(["metrics.key: the private key has a passphrase; the daemon has nobody to ask for it"])
