"""Clients of the metrics endpoint: one that scrapes over a kept connection, and the raw socket for all the rest."""

import http.client
import json
import socket
import ssl
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Final, Self

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.netns import NetworkNamespace

PORT: Final = 9090
DEADLINE_SECONDS: Final = 30.0


class Endpoint:
    """The metrics endpoint of a daemon, as clients with a certificate of ``certificates`` see it.

    namespace: where the daemon listens, if not here. Of the client's own TLS context nothing is changed by the
    environment that the daemon's profile sets, since that only forbids what it does not use.
    """

    def __init__(
        self, certificates: Certificates, *, port: int = PORT, namespace: NetworkNamespace | None = None
    ) -> None:
        self.certificates = certificates
        self.port = port
        self._namespace = namespace

    def context(self, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """A client's TLS context; with the set's own client certificate unless another is named."""
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        context.load_cert_chain(cert or self.certificates.client_cert, key or self.certificates.client_key)
        return context

    def connect(self) -> socket.socket:
        """A TCP connection."""
        with self._namespace.enter() if self._namespace else nullcontext():
            connection = socket.create_connection(("::1", self.port), timeout=DEADLINE_SECONDS)
        # Or the last record of the handshake waits for an acknowledgement that the kernel delays by 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def open(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """A connection after its handshake. With TLS 1.3 the server's refusal of a certificate comes with the first
        read."""
        return (context or self.context()).wrap_socket(self.connect(), server_hostname="::1")

    def client(self, context: ssl.SSLContext | None = None) -> "Client":
        """A client that keeps its connection."""
        return Client(self, context or self.context())

    def scrape(self) -> str:
        """The metrics, over a connection of their own."""
        with self.client() as client:
            return client.get("/metrics")[1].decode()

    def health(self) -> dict[str, Any]:
        """The health document."""
        with self.client() as client:
            document: dict[str, Any] = json.loads(client.get("/health")[1])
            return document

    def exchange(self, request: bytes, context: ssl.SSLContext | None = None) -> bytes:
        """Send raw bytes after the handshake and return all that comes until the server closes or resets."""
        answer = b""
        with closing(self.open(context)) as connection:
            try:
                connection.sendall(request)
                while piece := connection.recv(65536):
                    answer += piece
            except (ConnectionError, ssl.SSLError):
                pass
        return answer


class Client:
    """One kept connection; made anew where the server has closed it, as every HTTP client does."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        self._endpoint = endpoint
        self._context = context
        self._http: http.client.HTTPConnection | None = None

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """One request: the response and its body."""
        if self._http is None:
            self._http = http.client.HTTPConnection("::1", self._endpoint.port)
            self._http.sock = self._endpoint.open(self._context)
        self._http.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = self._http.getresponse()
        body = response.read()
        if response.will_close:
            self.close()
        return response, body

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
