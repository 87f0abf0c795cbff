"""One authenticated connection: whose it is, until when it may go on, and a stream that keeps it to that."""

from typing import Protocol

import trio

from portsyncd.web.handshake import TlsStream
from portsyncd.web.limits import Candidate, Limits

# A piece is encrypted in one go; link events wait meanwhile.
_PIECE_BYTES = 32768
# A request is some hundred bytes; more in one go is an attack, whose decryption and parsing takes a millisecond.
_RECEIVE_BYTES = 8192


class Peer(Protocol):
    """Who the client is, by its certificate."""

    @property
    def subject(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


class Connection:
    """Deadlines of one connection. Everything that serves it runs in ``scope``."""

    def __init__(self, peer: Peer, limits: Limits) -> None:
        self.peer = peer
        self.limits = limits
        self.scope = trio.CancelScope(deadline=trio.current_time() + limits.idle_seconds)
        self._useful_at = self._opened_at = trio.current_time()
        self._asked = self._retired = False
        self.given_up = False
        # The sending of a piece, which Hypercorn has shielded from ``scope``.
        self.sending: trio.CancelScope | None = None

    @property
    def candidate(self) -> Candidate:
        """What ``limits.first_to_go`` wants to know."""
        return Candidate(self.peer.fingerprint, self._useful_at)

    def asked(self) -> None:
        """A request has begun to arrive."""
        if not self._asked:
            self._asked = True
            self.scope.deadline = trio.current_time() + self.limits.request_seconds

    def answered(self) -> None:
        """A request has been answered; the next one may take its time."""
        self._asked = False
        now = self._useful_at = trio.current_time()
        too_old = now - self._opened_at >= self.limits.age_seconds
        self.scope.deadline = now if too_old or self._retired else now + self.limits.idle_seconds

    def retire(self) -> None:
        """End it when the present request has been answered, or now if there is none."""
        self._retired = True
        if not self._asked:
            self.scope.cancel()

    def give_up(self) -> None:
        """End it now, also where it waits for a client that does not read."""
        self.given_up = True
        self.scope.cancel()
        if self.sending is not None:
            self.sending.cancel()


class ConnectionStream(trio.abc.Stream):
    """What Hypercorn reads and writes. Nothing here waits for a client longer than the limits say, not even where
    Hypercorn shields its sending from cancellation."""

    def __init__(self, tls: TlsStream, connection: Connection) -> None:
        self._tls = tls
        self._connection = connection

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._tls.receive_some(min(max_bytes or _RECEIVE_BYTES, _RECEIVE_BYTES))
        if data:
            self._connection.asked()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                # Who has been given up may have gone on to its next piece.
                seconds = 0.0 if self._connection.given_up else self._connection.limits.send_seconds
                with trio.fail_after(seconds) as self._connection.sending:
                    await self._tls.send_all(data[start : start + _PIECE_BYTES])
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            # Nobody listens any more: whatever is still at work for it ends.
            self._connection.scope.cancel()
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._tls.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        # With a close_notify, so that the client knows that nothing was cut off.
        with trio.move_on_after(self._connection.limits.close_seconds):
            await self._tls.aclose()
