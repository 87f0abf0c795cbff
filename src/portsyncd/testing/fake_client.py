"""A client of the metrics endpoint on a ``FakeHost``: real TLS, real HTTP/1.1, and no thread."""

import ssl
import zlib
from dataclasses import dataclass
from typing import Final

import h11
import trio

from portsyncd.testing.fake_host import CLIENT, FakeHost
from portsyncd.tls.authority import Issued
from portsyncd.tls.profile import GROUP, load_chain

# X509_V_FLAG_NO_CHECK_TIME: the dates are the fake world's, and OpenSSL goes by this machine's clock.
NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
_RECEIVE_BYTES = 65536


class UnansweredError(Exception):
    """There was no answer, or none that is one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. body: unpacked; headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def client_context(ca_pem: bytes, client: Issued | None = None) -> ssl.SSLContext:
    """A TLS context that trusts these CAs whatever the date is, and shows this certificate, if any."""
    context = ssl.create_default_context(cadata=ca_pem.decode())
    if client is not None:
        load_chain(context, client.cert_pem, client.key_pem)
    # Offered at once, the server's only group needs no second hello.
    context.set_ecdh_curve(GROUP)
    context.verify_flags |= NO_CHECK_TIME
    return context


class FakeClient:
    """Keeps its connection, and makes a new one where the server has closed it, as every HTTP client does; who asks while
    another one does waits for his turn.

    client: its address.
    """

    def __init__(self, host: FakeHost, context: ssl.SSLContext, client: str = CLIENT) -> None:
        self._host = host
        self._context = context
        self._client = client
        self._stream: trio.SSLStream[trio.abc.Stream] | None = None
        self._http = h11.Connection(h11.CLIENT)
        self._turn = trio.Lock()

    async def open(self) -> "trio.SSLStream[trio.abc.Stream]":
        """Connect and shake hands. Raises ``UnansweredError``. With TLS 1.3 the server's refusal of a certificate comes with
        the first answer."""
        try:
            transport: trio.abc.Stream = await self._host.connect(self._client)
            stream = self._stream = trio.SSLStream(transport, self._context, server_hostname="::1")
            self._http = h11.Connection(h11.CLIENT)
            await stream.do_handshake()
        except (OSError, trio.BrokenResourceError) as error:
            await self.aclose()
            raise UnansweredError(f"no connection: {_why(error)}") from error
        return stream

    async def ask(self, path: str, **headers: str) -> "trio.SSLStream[trio.abc.Stream]":
        """Send a request, over a connection that is made if there is none. Raises ``UnansweredError``."""
        stream = self._stream or await self.open()
        named = [("host", "switch"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        try:
            await stream.send_all(
                self._http.send(h11.Request(method="GET", target=path, headers=named))
                + self._http.send(h11.EndOfMessage())
            )
        except trio.BrokenResourceError as error:
            await self.aclose()
            raise UnansweredError(f"the request was not sent: {_why(error)}") from error
        return stream

    async def get(self, path: str, **headers: str) -> Answer:
        """One request and its answer; where a connection of before brings none, over a new one. Raises ``UnansweredError``."""
        async with self._turn:
            kept = self._stream is not None
            try:
                return await self._get(path, **headers)
            except UnansweredError:
                if not kept:
                    raise
                return await self._get(path, **headers)

    async def _get(self, path: str, **headers: str) -> Answer:
        stream = await self.ask(path, **headers)
        status, received, body, complete = 0, dict[str, str](), bytearray(), False
        try:
            while not complete:
                match await self._next_event(stream):
                    case h11.Response(status_code=status, headers=found):
                        received = {name.decode().lower(): value.decode() for name, value in found}
                    case h11.Data(data=data):
                        body += data
                    case h11.EndOfMessage():
                        complete = True
                    case other:
                        raise UnansweredError(f"after {len(body)} bytes: {other}")  # noqa: TRY301 - one way to fail
            if received.get("content-encoding") == "gzip":
                body = bytearray(zlib.decompress(body, wbits=31))
            if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is h11.MUST_CLOSE:
                await self.aclose()
            else:
                self._http.start_next_cycle()
        except (UnansweredError, trio.BrokenResourceError, h11.RemoteProtocolError, zlib.error) as error:
            await self.aclose()
            raise UnansweredError(_why(error)) from error
        return Answer(status, received, bytes(body))

    async def _next_event(self, stream: "trio.SSLStream[trio.abc.Stream]") -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(bytes(await stream.receive_some(_RECEIVE_BYTES)))
        return event

    async def aclose(self) -> None:
        """Close the connection without a word more; the next request opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


def _why(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
