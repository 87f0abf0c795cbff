"""What the tests of TLS have in common: a set on disk, and handshakes with a server context in memory."""

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from portsyncd.tls import profile
from portsyncd.tls.authority import Authority, Issued
from portsyncd.tls.files import Files, Material, read

HOST = "localhost"


@dataclass
class Kit:
    """A set in ``folder``, and what made it."""

    folder: Path
    authority: Authority = field(default_factory=Authority.make)

    def __post_init__(self) -> None:
        self.files = Files(self.folder / "server.crt", self.folder / "server.key", self.folder / "ca.crt")
        self.put(self.authority.issue_server())
        self.files.ca.write_bytes(self.authority.cert_pem)

    def put(self, server: Issued) -> None:
        """Another server certificate, with its key."""
        self.files.cert.write_bytes(server.cert_pem)
        self.files.key.touch(mode=0o600)
        self.files.key.write_bytes(server.key_pem)

    def material(self) -> Material:
        """The set, read."""
        return read(self.files)

    def server(self) -> ssl.SSLContext:
        """The context that the daemon would use."""
        return profile.server_context(self.material())

    def client(self, issued: Issued | None = None, *, trusted: Authority | None = None) -> ssl.SSLContext:
        """A client's context; without a certificate unless one is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=(trusted or self.authority).cert_pem.decode())
        context.set_alpn_protocols(["h2", "http/1.1"])
        if issued:
            profile.load_chain(context, issued.cert_pem, issued.key_pem)
        return context


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after a handshake. Raises what the server said against it, after the client's alert has reached it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname=HOST, session=session)
    for _ in range(3):
        try:
            asking.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            serving.do_handshake()
            raise
        try:
            serving.do_handshake()
        except ssl.SSLWantReadError:
            continue
        return serving, asking
    raise AssertionError("the handshake does not end")


def say(server: ssl.SSLContext, data: bytes, *, end: bool = False) -> bytes:
    """What the server answers to raw bytes. Raises what it says against them."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    to_server.write(data)
    if end:
        to_server.write_eof()
    with suppress(ssl.SSLWantReadError):
        serving.do_handshake()
    return to_client.read()
