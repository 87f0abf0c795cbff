"""Proves at start-up that the endpoint refuses what it should: real handshakes, in memory, with throw-away certificates.

The context is made by the same function as the endpoint's own. What the profile forbids this process cannot offer
itself, so those ClientHellos are bytes (``hello``); a hello of the same make that is good shows that it is not their
form that is refused.
"""

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from portsyncd.errors import ConfigError, DecodeError
from portsyncd.tls import openssl, x509
from portsyncd.tls.authority import Authority, Issued, Odd
from portsyncd.tls.files import Files, Material
from portsyncd.tls.hello import TLS_1_2, TLS_1_3, Group, Suite, client_hello, server_answer
from portsyncd.tls.profile import ALPN, GROUP, SUITE, load_chain, server_context

_GOOD_HELLO: Final = client_hello([Suite.AES_256_GCM])
_BAD_HELLOS: Final = MappingProxyType(
    {
        "ChaCha20": client_hello([Suite.CHACHA20]),
        "AES-128": client_hello([Suite.AES_128_GCM, Suite.AES_128_CCM, Suite.AES_128_CCM_8]),
        "the group X25519": client_hello([Suite.AES_256_GCM], Group.X25519),
        "the group P-256": client_hello([Suite.AES_256_GCM], Group.SECP256R1),
        "TLS 1.2": client_hello([Suite.ECDHE_ECDSA_AES_256_GCM], version=TLS_1_2),
    }
)
# Whatever the clock says, and should it be set while this runs.
_ALWAYS: Final[Odd] = {
    "not_before": datetime(1970, 1, 2, tzinfo=UTC),
    "not_after": datetime(9999, 12, 31, tzinfo=UTC),
}
_HOST = "localhost"
# Client and server take turns: two each, and one more where the server asks for another key share.
_ROUNDS = 3


def problems() -> list[str]:
    """One line for each handshake that went the wrong way, then one with what to do; none: all went the right way.

    Takes some 50 ms of computation.
    """
    ours, foreign = Authority.make(**_ALWAYS), Authority.make(**_ALWAYS)
    server = ours.issue_server([_HOST], **_ALWAYS)
    nowhere = Path("(self-test)")
    material = Material(
        Files(nowhere, nowhere, nowhere),
        server=x509.parse_pem(server.cert_pem),
        ca=x509.parse_pem(ours.cert_pem),
        key_pem=server.key_pem,
    )
    try:
        context = server_context(material)
        found = _hellos(context)
        found += _good(context, _client(ours, ours.issue_client("client", **_ALWAYS)))
        for name, client in (
            ("without a certificate", _client(ours)),
            ("with a certificate of another CA", _client(ours, foreign.issue_client("client", **_ALWAYS))),
        ):
            if _served(context, client):
                found.append(f"a client {name} would be served")
    except (ConfigError, ssl.SSLError) as error:
        found = [f"OpenSSL cannot be set up: {error.__cause__ or error}"]
    if not found:
        return []
    return [*(f"metrics: TLS self-test: {line}" for line in found), f"metrics: TLS self-test: {_advice()}"]


def _hellos(context: ssl.SSLContext) -> list[str]:
    found = []
    try:
        answer = server_answer(_say(context, _GOOD_HELLO))
        if (answer.version, answer.suite, answer.group) != (TLS_1_3, Suite.AES_256_GCM, Group.SECP384R1):
            found.append(f"a client that offers {SUITE} and P-384 would get something else ({answer})")
    except (ssl.SSLError, DecodeError) as error:
        found.append(f"a client that offers {SUITE} and P-384 would be refused ({error})")
    for name, hello in _BAD_HELLOS.items():
        try:
            _say(context, hello)
        except ssl.SSLError:
            continue
        found.append(f"a client that offers nothing but {name} would be served")
    return found


def _good(context: ssl.SSLContext, client: ssl.SSLContext) -> list[str]:
    """What is wrong with a handshake that should succeed."""
    pair = _Pair(context, client)
    try:
        pair.shake_hands()
    except ssl.SSLError as error:
        return [f"a good client would be refused ({error})"]
    cipher = pair.server.cipher()
    agreed = (pair.server.version(), cipher and cipher[0], pair.server.selected_alpn_protocol())
    if agreed != ("TLSv1.3", SUITE, ALPN):
        return [f"a good client would get something else ({', '.join(map(str, agreed))})"]
    if pair.to_client.pending:
        return ["a client would get a session ticket, and could come back without its certificate"]
    return []


def _served(context: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    try:
        _Pair(context, client).shake_hands()
    except ssl.SSLError:
        return False
    return True


def _say(context: ssl.SSLContext, hello: bytes) -> bytes:
    """The server's answer to a hello. Raises ``ssl.SSLError`` where it refuses."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(hello)
    _turn(context.wrap_bio(incoming, outgoing, server_side=True))
    return outgoing.read()


class _Pair:
    """A client and a server that are joined in memory."""

    def __init__(self, context: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(self._to_server, self.to_client, server_side=True)
        self._client = client.wrap_bio(self.to_client, self._to_server, server_hostname=_HOST)

    def shake_hands(self) -> None:
        """Ends when both have all that they need; raises ``ssl.SSLError`` where one of them refuses."""
        for _ in range(_ROUNDS):
            _turn(self._client)
            if _turn(self.server):
                return
        raise ssl.SSLError("the handshake does not end")


def _turn(side: ssl.SSLObject) -> bool:
    """Whether it has all that it needs."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _client(trusted: Authority, issued: Issued | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ecdh_curve(GROUP)
    context.set_alpn_protocols([ALPN])
    context.load_verify_locations(cadata=trusted.cert_pem.decode())
    if issued:
        load_chain(context, issued.cert_pem, issued.key_pem)
    return context


def _advice() -> str:
    way_out = "or set metrics.enabled = false"
    named = os.environ.get(openssl.VARIABLE)
    if not named:
        return (
            f"OpenSSL was started without portsyncd's settings: start the daemon as `portsyncd` or `python -m portsyncd`, "
            f"or set {openssl.VARIABLE}={openssl.SETTINGS}, {way_out}"
        )
    if named != openssl.SETTINGS:
        return (
            f"{openssl.VARIABLE} is set to {named}: unset it, or take over into that file what {openssl.SETTINGS} says, "
            f"{way_out}"
        )
    return (
        f"OpenSSL did not heed {openssl.VARIABLE}={named}: the file must be readable, and Python without capabilities of "
        f"its own (setcap), with which OpenSSL ignores the variable (use AmbientCapabilities= of systemd), {way_out}"
    )
