"""The metrics server: listens, shakes hands, and serves each connection in a scope of its own.

::

    MetricsServer.run                  one life; the supervisor begins another one when it fails
    ├── credentials.watch              new certificates
    ├── tidier                         memory, after a flood of connections
    ├── the app's lifespan
    └── accept                         when the gate has a place
        └── one task a connection      through the gate, then Hypercorn; whatever goes wrong ends there
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import trio

from portsyncd.errors import EndpointError
from portsyncd.logs import get_logger
from portsyncd.rules import Listen
from portsyncd.tls.files import Material
from portsyncd.tls.profile import in_force
from portsyncd.web.connection import Connection, ConnectionStream
from portsyncd.web.credentials import Credentials
from portsyncd.web.gate import Admitted, Door, Gate
from portsyncd.web.host import Host, Listener, Transport
from portsyncd.web.limits import Limits, first_to_go
from portsyncd.web.memory import Tidier
from portsyncd.web.view import View

if TYPE_CHECKING:
    from portsyncd.web.http1 import Site

log = get_logger()

# The port sync goes first: the web stack is imported, and listens, when it has caught up or after this long.
_PATIENCE_SECONDS = 5.0
_TOLD_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WebStatistics:
    """What the metrics server has done since the process began, and where it stands.

    listening: its address, None while it is closed; problem: why, "" when it is open. connections: authenticated ones
    now; handshakes: those under way. handshake_failures: by reason; reloads: of certificates, by result.
    certificate_expiries: Unix seconds by role. tls_profile: its name.
    """

    listening: str | None
    problem: str
    connections: int
    handshakes: int
    handshake_failures: Mapping[str, int]
    reloads: Mapping[str, int]
    certificate_expiries: Mapping[str, float]
    tls_profile: str


class MetricsServer:
    """One for the life of the process; ``run`` is called anew after a failure, and the counts go on.

    make_view: called in each life, in a worker thread, since it may import much. after: waits for what shall come first,
    the first sync.
    """

    def __init__(
        self,
        make_view: Callable[[], View],
        listen: Listen,
        credentials: Credentials,
        host: Host,
        *,
        allowed_sans: Sequence[str] = (),
        after: Callable[[], Awaitable[object]],
        limits: Limits | None = None,
    ) -> None:
        self.credentials = credentials
        self._make_view = make_view
        self._listen = listen
        self._host = host
        self._after = after
        self._limits = limits or Limits()
        self._gate = Gate(lambda: credentials.context, allowed_sans, self._limits, host)
        self._connections: dict[Connection, None] = {}
        self._tidier = Tidier(host.tidy)
        self._listening: str | None = None
        self._problem = "not open yet"
        # What was wrong with the dates of this material when it was first found wrong.
        self._closed_for: Material | None = None
        self._dates = ""
        self._frozen = False
        self._told_at = -inf

    def statistics(self) -> WebStatistics:
        """A snapshot."""
        return WebStatistics(
            listening=self._listening,
            problem=self._problem,
            connections=len(self._connections),
            handshakes=len(self._gate),
            handshake_failures=dict(self._gate.failed),
            reloads=dict(self.credentials.reloads),
            certificate_expiries=self.credentials.material.expiries(),
            tls_profile=in_force().name,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. ``started`` comes when the address listens. Raises ``EndpointError``."""
        with trio.move_on_after(_PATIENCE_SECONDS):
            await self._after()
        try:
            await self.credentials.refresh()
            self._check_dates()
            listener, address = self._host.listen(self._listen)
            async with listener:
                await self._serve(listener, address, task_status)
        except Exception as error:
            self._problem = str(error) or type(error).__name__
            raise
        finally:
            self._listening = None

    def _check_dates(self) -> None:
        dates = self.credentials.date_problems()
        if not dates:
            return
        if self._closed_for is not self.credentials.material:
            # They tell the time; told the same way each time, they are one piece of news and not many.
            self._closed_for, self._dates = self.credentials.material, "; ".join(dates)
        raise EndpointError(self._dates)

    async def _serve(self, listener: Listener, address: str, task_status: trio.TaskStatus[None]) -> None:
        site = await self._host.compute(self._make_site)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.credentials.watch, self._retire_all)
            nursery.start_soon(self._tidier.run)
            await site.start(nursery)
            self._listening, self._problem = f"https://{address}", ""
            log.info(
                "metrics endpoint is open",
                url=f"{self._listening}/metrics",
                profile=in_force().description,
                client_certificate="required",
            )
            task_status.started()
            try:
                await trio.serve_listeners(
                    partial(self._handle, site), [Door(listener, self._gate.has_place)], handler_nursery=nursery
                )
            finally:
                # Or a client that does not read would hold up the end, and the next life, until its time is over.
                for connection in list(self._connections):
                    connection.give_up()

    def _make_site(self) -> "Site":
        """Import the web stack, which takes a quarter of a second and 25 MB, and build the app."""
        from portsyncd.web.app import make_app
        from portsyncd.web.http1 import Site

        site = Site(make_app(self._make_view()), self._limits)
        if not self._frozen:
            # Once: what a later life has left behind must remain to be collected.
            self._frozen = True
            self._host.settle()
        return site

    def _retire_all(self) -> None:
        """Other CAs are trusted: who is connected has to show again who they are."""
        for connection in list(self._connections):
            connection.retire()

    # ---- one connection

    async def _handle(self, site: "Site", transport: Transport) -> None:
        """From accept to close. Nothing that a client does gets out of here."""
        try:
            async with transport:
                admitted = await self._gate.admit(transport)
                if admitted is not None:
                    await self._converse(site, admitted)
        except Exception as error:  # One client's connection is not worth the server, whatever broke it.
            now = trio.current_time()
            if now - self._told_at >= _TOLD_AGAIN_SECONDS:
                self._told_at = now
                log.error("a connection to the metrics endpoint broke", exc_info=error)
        finally:
            self._tidier.connection_ended()

    async def _converse(self, site: "Site", admitted: Admitted) -> None:
        """Requests and answers, until either side has enough."""
        connection = Connection(admitted.who, self._limits)
        if len(self._connections) >= self._limits.connections:
            victim = first_to_go((each, each.candidate) for each in self._connections)
            del self._connections[victim]
            victim.give_up()
        self._connections[connection] = None
        try:
            with connection.scope:
                await site.serve(ConnectionStream(admitted.stream, connection), connection)
        finally:
            self._connections.pop(connection, None)
