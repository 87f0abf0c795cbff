"""Hostile clients against the server in this process: a good one is served all the while, and nothing stays behind."""

import subprocess
from contextlib import ExitStack, closing

import pytest

from portsyncd.testing.attacks import ATTACKS, client_hello, reset
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.endpoint import Endpoint
from portsyncd.testing.odd_requests import SCRAPE
from portsyncd.testing.wait import hold, until
from portsyncd.tls import failures
from portsyncd.web.limits import Limits
from portsyncd.web.server import MetricsServer
from tests.web.serving import eventually, in_thread, serving
from tests.web.unharmed import count_files, unharmed


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("attacks") / "certificates")


@pytest.mark.parametrize("name", ATTACKS)
async def test_nobody_is_harmed_by(name: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = ATTACKS[name]
    async with unharmed(certificates, monkeypatch) as (_, endpoint):
        statuses = await in_thread(attack.run, endpoint, attack.times)
    assert statuses.total() >= attack.times
    assert set(statuses) <= attack.statuses


async def test_nobody_is_harmed_by_key_updates(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's ssl cannot ask for new keys; ``openssl s_client`` does for each K that it reads."""

    def ask_for_new_keys(endpoint: Endpoint) -> int:
        trust = ["-CAfile", str(certificates.ca), "-cert", str(certificates.client_cert)]
        trust += ["-key", str(certificates.client_key)]
        with subprocess.Popen(
            ["openssl", "s_client", "-connect", f"[::1]:{endpoint.port}", *trust],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stderr is not None
            for _ in range(100):
                client.stdin.write(b"K\n")
                hold(0.002)
            client.stdin.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while b"HTTP/1.1 200" not in answer and (piece := client.stdout.read(65536)):
                answer += piece
            client.stdin.close()
            while client.stdout.read(65536):
                pass
            updates = client.stderr.read().count(b"KEYUPDATE")
        assert b"HTTP/1.1 200" in answer
        return updates

    async with unharmed(certificates, monkeypatch) as (_, endpoint):
        assert await in_thread(ask_for_new_keys, endpoint) > 10


async def test_slow_headers_end_with_the_time_for_a_request(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    def a_byte_and_no_more(endpoint: Endpoint) -> bytes:
        with closing(endpoint.open()) as connection:
            connection.sendall(SCRAPE[:1])
            return connection.recv(100)

    async with unharmed(certificates, monkeypatch, Limits(request_seconds=0.3)) as (_, endpoint):
        assert await in_thread(a_byte_and_no_more, endpoint) == b""


async def test_refused_clients_that_stay_make_room(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no certificate keeps no more sockets open than handshakes may be under way."""
    most = 0

    def attack(server: MetricsServer, endpoint: Endpoint) -> None:
        nonlocal most
        before = count_files()
        with ExitStack() as stack:
            for number in range(100):
                connection = endpoint.connect()
                stack.callback(reset, connection)
                connection.sendall(SCRAPE)
                # This end of them is ours.
                most = max(most, count_files() - before - number - 1)
            until(lambda: sum(server.statistics().handshake_failures.values()) >= 100)
            most = max(most, count_files() - before - 100)

    limits = Limits(handshakes=8, close_seconds=10)
    async with unharmed(certificates, monkeypatch, limits) as (server, endpoint):
        await in_thread(attack, server, endpoint)
        # One that is being accepted, and the scraper's own two with both their ends.
        assert most <= 8 + 1 + 4


async def test_who_resets_before_being_accepted_counts_as_gone(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with unharmed(certificates, monkeypatch) as (server, endpoint):
        # Without a checkpoint: the server does not get to accept meanwhile.
        for _ in range(5):
            reset(endpoint.connect())
        closed = failures.classify(EOFError()).reason
        await eventually(lambda: server.statistics().handshake_failures[closed] == 5)


async def test_who_waits_for_us_is_not_evicted(certificates: Certificates) -> None:
    async with serving(certificates, limits=Limits(handshakes=1, handshake_seconds=2)) as (server, endpoint):
        hello = client_hello(endpoint)
        with ExitStack() as stack:
            async with server._gate._limiter:
                for number in (1, 2):
                    connection = stack.enter_context(closing(endpoint.connect()))
                    connection.sendall(hello)
                    await eventually(lambda: server._gate._computing == number)  # noqa: B023
                await eventually(lambda: server.statistics().handshake_failures["timeout"] == 2)
        assert server.statistics().handshake_failures["evicted"] == 0
        assert await in_thread(endpoint.scrape)


async def test_an_accept_header_out_of_proportion_is_not_read(certificates: Certificates) -> None:
    openmetrics = b"Accept: application/openmetrics-text" + b"," * 2000
    async with serving(certificates) as (_, endpoint):
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + openmetrics + b"\r\n\r\n"
        # The view there makes no OpenMetrics: that would be a 500.
        assert (await in_thread(endpoint.exchange, request)).startswith(b"HTTP/1.1 200")
