"""The first gate of the metrics endpoint: who gets through the TLS handshake, within its bounds, and why others do not."""

import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from functools import partial
from math import inf
from typing import NamedTuple

import trio

from portsyncd.logs import Announcer, get_logger
from portsyncd.tls import failures, peer
from portsyncd.web.handshake import RefusedError, TlsStream, say_farewell, shake_hands
from portsyncd.web.host import Host, Listener, Transport
from portsyncd.web.limits import Candidate, Limits, Stage, handshake_to_go

log = get_logger()

# Of a client's failed handshakes each kind is told once in so many seconds; the counter counts all.
_TOLD_AGAIN_SECONDS = 60.0
_TOLD_AT_MOST = 64
# No file descriptor is left, or no memory: who knocks waits in the kernel. Trio would do the same, with a traceback each time.
_NO_ROOM = (EMFILE, ENFILE, ENOMEM, ENOBUFS)
_NO_ROOM_SECONDS = 0.5


class Admitted(NamedTuple):
    """A client that is let in. stream: encrypted, with the handshake behind it."""

    stream: TlsStream
    who: peer.Peer


class _Handshake:
    """One that is under way, from accept on."""

    def __init__(self, client: str, seconds: float) -> None:
        self.candidate = Candidate(client, trio.current_time())
        self.scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self.stage = Stage.SILENT
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True
        self.scope.cancel()


class Door(trio.abc.Listener[Transport]):
    """A listener that accepts when there is a place, and waits where there is no descriptor."""

    def __init__(self, listener: Listener, has_place: Callable[[], Awaitable[object]]) -> None:
        self._listener = listener
        self._has_place = has_place
        self._told = Announcer()

    async def accept(self) -> Transport:
        while True:
            await self._has_place()
            try:
                stream = await self._listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                if self._told.changed("accept", error.errno):
                    log.warning("the metrics endpoint can let nobody in", problem=str(error))
                await trio.sleep(_NO_ROOM_SECONDS)
            else:
                self._told.changed("accept", None)
                return stream

    async def aclose(self) -> None:
        await self._listener.aclose()


class Gate:
    """One for the life of the process. context: what handshakes are made with, asked for each of them."""

    def __init__(
        self, context: Callable[[], ssl.SSLContext], allowed_sans: Sequence[str], limits: Limits, host: Host
    ) -> None:
        self._context = context
        self._allowed_sans = tuple(allowed_sans)
        self._limits = limits
        self._host = host
        self._failures: Counter[str] = Counter(dict.fromkeys(failures.REASONS, 0))
        self._handshakes: dict[_Handshake, None] = {}
        # How many of them wait for their arithmetic, and who waits for fewer of them.
        self._computing = 0
        self._door = trio.lowlevel.ParkingLot()
        # One handshake is computed at a time: all of them together take one core at most.
        self._limiter = trio.CapacityLimiter(1)
        # When which reason was told of which client, oldest first.
        self._told_at: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        """Handshakes under way."""
        return len(self._handshakes)

    @property
    def failed(self) -> Mapping[str, int]:
        """How many handshakes failed, by reason."""
        return self._failures

    async def admit(self, transport: Transport) -> Admitted | None:
        """The handshake, within its bounds; None where it failed, which has been counted."""
        try:
            client = self._host.client_of(transport)
        except OSError as error:  # reset before it was accepted
            self._refuse("unknown", failures.classify(trio.BrokenResourceError(str(error))))
            return None
        if len(self._handshakes) >= self._limits.handshakes:
            self._make_room()
        handshake = _Handshake(client, self._limits.handshake_seconds)
        self._handshakes[handshake] = None
        try:
            with handshake.scope:
                return await self._shake(handshake, transport)
        finally:
            self._handshakes.pop(handshake, None)
            if handshake.stage is Stage.COMPUTING:
                self._note(handshake, Stage.SILENT)
        if handshake.stage is not Stage.REFUSED:
            self._refuse(client, failures.EVICTED if handshake.evicted else failures.TIMEOUT)
        return None

    async def _shake(self, handshake: _Handshake, transport: Transport) -> Admitted | None:
        alert = b""
        try:
            stream, tls = await shake_hands(
                transport, self._context(), self._host, self._limiter, partial(self._note, handshake)
            )
            self._note(handshake, Stage.COMPUTING)
            # A certificate may have thousands of names.
            who = await self._host.compute(peer.identify, tls, limiter=self._limiter)
            refused = peer.refusal(who, self._allowed_sans)
            if refused is None:
                return Admitted(stream, who)
        except RefusedError as error:
            refused, alert = failures.classify(error.cause), error.alert
        except (EOFError, trio.BrokenResourceError) as error:
            refused = failures.classify(error)
        self._refuse(handshake.candidate.owner, refused)
        self._note(handshake, Stage.REFUSED)
        handshake.scope.deadline = trio.current_time() + self._limits.close_seconds
        await say_farewell(transport, alert)
        return None

    def _make_room(self) -> None:
        victim = handshake_to_go((each, each.stage, each.candidate) for each in self._handshakes)
        if victim is not None:
            del self._handshakes[victim]
            victim.evict()

    def _note(self, handshake: _Handshake, stage: Stage) -> None:
        self._computing += (stage is Stage.COMPUTING) - (handshake.stage is Stage.COMPUTING)
        handshake.stage = stage
        self._door.unpark_all()

    async def has_place(self) -> None:
        """Wait until another handshake has a place. Those that come meanwhile wait in the kernel."""
        # Half of the places: those that wait for their clients need some too, or quick ones would be ended for slow ones.
        while self._computing * 2 >= self._limits.handshakes:
            await self._door.park()

    def _refuse(self, client: str, failure: failures.Failure) -> None:
        self._failures[failure.reason] += 1
        now = trio.current_time()
        what = (failure.reason, client)
        is_news = now - self._told_at.get(what, -inf) >= _TOLD_AGAIN_SECONDS
        if is_news:
            self._told_at.pop(what, None)
            if len(self._told_at) >= _TOLD_AT_MOST:
                del self._told_at[next(iter(self._told_at))]
            self._told_at[what] = now
        (log.warning if is_news else log.debug)(
            "TLS handshake refused", reason=failure.reason, client=client, problem=failure.text
        )
