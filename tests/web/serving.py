"""A metrics server on a real socket, in this process, and its clients."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import trio

from portsyncd.rules import Listen
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.endpoint import Endpoint
from portsyncd.testing.wait import until
from portsyncd.tls.files import Files
from portsyncd.web.credentials import Credentials
from portsyncd.web.host import RealHost
from portsyncd.web.server import MetricsServer

in_thread = trio.to_thread.run_sync


async def eventually(condition: Callable[[], bool]) -> None:
    await in_thread(until, condition)


class View:
    def scrape(self, *, openmetrics: bool) -> Iterator[str]:
        assert not openmetrics
        yield "portsyncd_build_info 1\n"

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        return True, {"status": "healthy"}


def files_of(certificates: Certificates) -> Files:
    return Files(certificates.server_cert, certificates.server_key, certificates.ca)


def make_server(certificates: Certificates, **options: Any) -> MetricsServer:
    files = files_of(certificates)
    now: Callable[[], datetime] = options.pop("now", lambda: datetime.now(UTC))
    listen = options.pop("listen", Listen("::1", 0))
    credentials = Credentials(files, now, RealHost(), look_seconds=0.05)
    return MetricsServer(View, listen, credentials, RealHost(), after=trio.lowlevel.checkpoint, **options)


@asynccontextmanager
async def serving(certificates: Certificates, **options: Any) -> AsyncIterator[tuple[MetricsServer, Endpoint]]:
    """A server that listens, and its clients."""
    server = make_server(certificates, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server, Endpoint(certificates, port=port_of(server))
        nursery.cancel_scope.cancel()
    assert server.statistics().listening is None


def port_of(server: MetricsServer) -> int:
    listening = server.statistics().listening
    assert listening is not None
    return int(listening.rpartition(":")[2])
