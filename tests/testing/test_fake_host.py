"""The endpoint on a ``FakeHost``: the real server and real TLS, without a socket, a thread, or time that passes."""

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from portsyncd.errors import ConfigError, EndpointError
from portsyncd.rules import Listen
from portsyncd.testing.fake_client import FakeClient, UnansweredError, client_context
from portsyncd.testing.fake_host import BUFFER_BYTES, FakeHost
from portsyncd.tls.authority import Authority
from portsyncd.tls.files import Files
from portsyncd.web.credentials import Credentials
from portsyncd.web.server import MetricsServer
from tests.web.serving import View

FILES = Files(Path("server.crt"), Path("server.key"), Path("ca.crt"))


class Place:
    """A host with certificates, a server on it, and a client that it lets in."""

    def __init__(self) -> None:
        self.authority = Authority.make()
        self.host = FakeHost()
        server = self.authority.issue_server()
        self.host.put({FILES.cert: server.cert_pem, FILES.key: server.key_pem, FILES.ca: self.authority.cert_pem})
        credentials = Credentials(FILES, lambda: datetime.now(UTC), self.host)
        self.server = MetricsServer(View, Listen("::1", 9090), credentials, self.host, after=trio.lowlevel.checkpoint)
        self.client = FakeClient(
            self.host, client_context(self.authority.cert_pem, self.authority.issue_client("client"))
        )


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_client_is_answered_over_one_connection(autojump_clock: MockClock, place: Place) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(place.server.run)
        assert place.server.statistics().listening == "https://[::1]:9090"
        begun = trio.current_time()
        for path, encoding in (("/metrics", "identity"), ("/metrics", "gzip"), ("/health", "gzip")):
            answer = await place.client.get(path, accept_encoding=encoding)
            assert answer.status == 200
            assert answer.headers.get("content-encoding", "identity") == (
                encoding if path == "/metrics" else "identity"
            )
            assert answer.body.startswith(b"portsyncd_build_info 1" if path == "/metrics" else b"{")
        assert trio.current_time() == begun
        assert len(place.host.accepted) == place.server.statistics().connections == 1
        await place.client.aclose()
        await trio.sleep(0.1)
        assert not place.host.accepted
        nursery.cancel_scope.cancel()
    assert place.host.listener is None


async def test_a_kept_connection_that_the_server_has_closed_is_made_anew(
    autojump_clock: MockClock, place: Place
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(place.server.run)
        assert (await place.client.get("/metrics")).status == 200
        await trio.sleep(130)
        assert not place.host.accepted
        assert (await place.client.get("/metrics")).status == 200
        nursery.cancel_scope.cancel()


async def test_where_nobody_listens_nobody_answers(autojump_clock: MockClock, place: Place) -> None:
    with pytest.raises(UnansweredError, match="refused"):
        await place.client.get("/metrics")


async def test_a_stranger_is_not_answered(autojump_clock: MockClock, place: Place) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(place.server.run)
        with pytest.raises(UnansweredError):
            await FakeClient(place.host, client_context(place.authority.cert_pem)).get("/metrics")
        assert place.server.statistics().handshake_failures["no_certificate"] == 1
        nursery.cancel_scope.cancel()


async def test_an_address_can_be_taken_or_ours_already(autojump_clock: MockClock, place: Place) -> None:
    place.host.taken = True
    with pytest.raises(EndpointError, match="taken"):
        await place.server.run()
    place.host.taken = False
    assert place.host.refused == 1
    place.host.listen(Listen("::1", 9090))
    with pytest.raises(EndpointError, match="already"):
        await place.server.run()


async def test_a_listener_breaks_and_starves_as_it_is_told(autojump_clock: MockClock, place: Place) -> None:
    listener, _ = place.host.listen(Listen("::1", 9090))
    place.host.accept_error = errno.EMFILE
    with pytest.raises(OSError, match="Too many"):
        await listener.accept()
    place.host.accept_error = 0
    waiting = await place.host.connect()
    place.host.break_listener()
    with pytest.raises(OSError, match="Invalid"):
        await listener.accept()
    await listener.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    # Who had not been accepted is told.
    with pytest.raises(trio.BrokenResourceError):
        await waiting.receive_some()
    place.host.break_listener()
    assert (place.host.starved, place.host.breaks) == (1, 1)


async def test_a_connection_has_buffers_and_an_end(autojump_clock: MockClock) -> None:
    host = FakeHost()
    listener, _ = host.listen(Listen("::1", 9090))
    there = await host.connect("2001:db8::5")
    here = await listener.accept()
    assert host.client_of(here) == "2001:db8::5"
    with trio.move_on_after(1) as scope:
        await there.send_all(bytes(BUFFER_BYTES + 1))
    assert scope.cancelled_caught
    with trio.move_on_after(1) as scope:
        await there.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    assert len(await here.receive_some()) == BUFFER_BYTES
    await there.wait_send_all_might_not_block()
    await there.send_eof()
    assert await here.receive_some(10) == b""
    with pytest.raises(trio.ClosedResourceError):
        await there.send_all(b"x")
    # What nobody has read is lost, and the other side hears of it.
    await here.send_all(b"unread")
    await there.aclose()
    there.close()
    with pytest.raises(trio.ClosedResourceError):
        await there.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await here.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await here.send_all(b"x")
    await here.aclose()
    assert not host.accepted
    (await host.connect()).abort()
    with pytest.raises(trio.BrokenResourceError):
        await (await listener.accept()).receive_some()


def test_files_that_are_not_there_are_told(place: Place) -> None:
    before = place.host.signature(FILES)
    place.host.put({FILES.key: b"garbage"})
    assert place.host.signature(FILES) != before
    with pytest.raises(ConfigError, match=r"server\.key"):
        place.host.read(FILES)
    with pytest.raises(ConfigError, match="does not exist"):
        place.host.read(Files(Path("nowhere"), FILES.key, FILES.ca))
