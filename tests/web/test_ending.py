"""How the server's life ends where clients do not, and a connection's where an answer fails: on a host in memory, whose buffers
are small."""

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from portsyncd.rules import Listen
from portsyncd.testing.fake_client import FakeClient, client_context
from portsyncd.testing.fake_host import FakeHost
from portsyncd.tls.authority import Authority
from portsyncd.tls.files import Files
from portsyncd.web.credentials import Credentials
from portsyncd.web.http1 import Protocol
from portsyncd.web.server import MetricsServer

FILES = Files(Path("server.crt"), Path("server.key"), Path("ca.crt"))
READERS_OF_NOTHING = 3


class LargeView:
    """More than any buffer holds."""

    def scrape(self, *, openmetrics: bool) -> Iterator[str]:
        assert not openmetrics
        for number in range(1000):
            yield f"portsyncd_{number:090} 1\n"

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        return True, {}


def a_server() -> tuple[MetricsServer, FakeHost, ssl.SSLContext]:
    """With the host that it is on, and what a client of it needs."""
    authority, host = Authority.make(), FakeHost()
    served = authority.issue_server()
    host.put({FILES.cert: served.cert_pem, FILES.key: served.key_pem, FILES.ca: authority.cert_pem})
    credentials = Credentials(FILES, lambda: datetime.now(UTC), host)
    server = MetricsServer(LargeView, Listen("::1", 9090), credentials, host, after=trio.lowlevel.checkpoint)
    return server, host, client_context(authority.cert_pem, authority.issue_client("client"))


@pytest.mark.parametrize("how", ["stopped", "broken"])
async def test_a_client_that_does_not_read_holds_up_no_end(autojump_clock: MockClock, how: str) -> None:
    server, host, context = a_server()

    async def live(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await server.run(task_status=task_status)
        except* OSError:
            assert how == "broken"

    async with trio.open_nursery() as nursery:
        await nursery.start(live)
        for _ in range(READERS_OF_NOTHING):
            await FakeClient(host, context).ask("/metrics")
        await trio.sleep(1)
        assert server.statistics().connections == READERS_OF_NOTHING
        ended_at = trio.current_time()
        if how == "broken":
            host.break_listener()
        else:
            nursery.cancel_scope.cancel()
    assert trio.current_time() == ended_at
    assert server.statistics().connections == 0
    assert not host.accepted


async def test_a_connection_whose_answer_failed_half_way_ends(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, host, context = a_server()
    recycle = Protocol._maybe_recycle

    async def fail(protocol: Protocol) -> None:
        monkeypatch.setattr(Protocol, "_maybe_recycle", recycle)
        await trio.lowlevel.checkpoint()
        # In the middle of what would let the connection go on.
        protocol.stream.closed = True  # type: ignore[union-attr]
        raise RuntimeError("a bug of somebody")

    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        client = FakeClient(host, context)
        monkeypatch.setattr(Protocol, "_maybe_recycle", fail)
        for _ in range(2):
            # The second one finds the connection closed, and makes another.
            with trio.fail_after(1):
                assert (await client.get("/health")).status == 200
            await trio.lowlevel.checkpoint()
        assert server.statistics().connections == 1
        nursery.cancel_scope.cancel()
