"""One TLS handshake as the server, with its arithmetic in a worker thread.

A P-384 handshake takes several milliseconds of computation, which OpenSSL does without the interpreter's lock: in a
thread of its own it does not hold up the link events. ``trio.SSLStream`` would do it in the loop's thread; here its
handshake finds everything done already.
"""

import ssl
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import trio

from portsyncd.web.host import Host, Transport
from portsyncd.web.limits import Stage

_RECORD_HEADER = struct.Struct("!BHH")
# RFC 8446, 5.1: content types 20 (change_cipher_spec) to 23 (application_data), at most 2^14 + 256 bytes.
_RECORD_TYPES = range(20, 24)
_LONGEST_RECORD = 16384 + 256
_RECEIVE_BYTES = 16384
_SIP_BYTES = 2048
# What a client may still send while the farewell is on its way to it.
_FAREWELL_BYTES = 65536


TlsStream: TypeAlias = "trio.SSLStream[trio.abc.Stream]"


class RefusedError(Exception):
    """OpenSSL ended a handshake. alert: what is still to be sent to the client (``say_farewell``)."""

    def __init__(self, cause: ssl.SSLError, alert: bytes) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.alert = alert


class _Sips(trio.abc.Stream):
    """A transport that is read a little at a time: OpenSSL works through all that it is given in one go, and a client may
    send nothing but requests for new keys, at 20 us each."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._transport.receive_some(min(max_bytes or _SIP_BYTES, _SIP_BYTES))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._transport.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._transport.aclose()


class Keeper:
    """Stands where ``trio.SSLStream`` takes an ``SSLContext``, and keeps the parts that the handshake needs."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.incoming = self.outgoing = ssl.MemoryBIO()
        self.tls: ssl.SSLObject

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any) -> ssl.SSLObject:
        """As ``SSLContext.wrap_bio``."""
        self.incoming, self.outgoing = incoming, outgoing
        self.tls = self._context.wrap_bio(incoming, outgoing, **options)
        return self.tls


def complete_records(data: bytes | bytearray) -> int:
    """How many of these bytes are whole TLS records; all of them where they are no such records at all.

    OpenSSL is asked only about whole records, so that a client that sends a byte at a time costs no thread each time;
    and it is to be asked at once about what it will refuse anyway.
    """
    end = 0
    while end < len(data):
        if data[end] not in _RECORD_TYPES:
            return len(data)
        if len(data) - end < _RECORD_HEADER.size:
            break
        length = _RECORD_HEADER.unpack_from(data, end)[2]
        if length > _LONGEST_RECORD:
            return len(data)
        if len(data) - end < _RECORD_HEADER.size + length:
            break
        end += _RECORD_HEADER.size + length
    return end


async def shake_hands(
    transport: Transport,
    context: ssl.SSLContext,
    host: Host,
    limiter: trio.CapacityLimiter,
    progress: Callable[[Stage], object] = bool,
) -> tuple[TlsStream, ssl.SSLObject]:
    """Carry the handshake out; returns the stream for what follows, and its SSL object for who the client is.

    progress: told where it stands, first when the client has sent a whole record. Raises ``RefusedError`` where either
    side refuses it, and ``trio.BrokenResourceError`` or ``EOFError`` where the client went away.
    """
    keeper = Keeper(context)
    sips: trio.abc.Stream = _Sips(transport)
    stream = trio.SSLStream(sips, keeper, server_side=True)  # type: ignore[arg-type]  # all that it uses of one
    received = bytearray()
    while True:
        data = await transport.receive_some(_RECEIVE_BYTES)
        if not data:
            raise EOFError
        received += data
        whole = complete_records(received)
        if not whole:
            continue
        progress(Stage.COMPUTING)
        keeper.incoming.write(bytes(received[:whole]))
        del received[:whole]
        try:
            done = await host.compute(_step, keeper.tls.do_handshake, host.give_way, limiter=limiter)
        except ssl.SSLError as error:
            raise RefusedError(error, keeper.outgoing.read()) from error
        progress(Stage.WAITING)
        if answer := keeper.outgoing.read():
            await transport.send_all(answer)
        if done:
            # The beginning of the first request may have come with the last record.
            keeper.incoming.write(bytes(received))
            await stream.do_handshake()
            return stream, keeper.tls


def _step(do_handshake: Callable[[], None], give_way: Callable[[], None]) -> bool:
    give_way()
    try:
        do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


async def say_farewell(transport: Transport, alert: bytes) -> None:
    """Send a last record and let it arrive: what the client has sent meanwhile is read, since closing a socket with
    unread data resets the connection, and takes the alert along. The caller bounds the time."""
    try:
        if alert:
            await transport.send_all(alert)
        await transport.send_eof()
        left = _FAREWELL_BYTES
        while left > 0 and (data := await transport.receive_some(_RECEIVE_BYTES)):
            left -= len(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
