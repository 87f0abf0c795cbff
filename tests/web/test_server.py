"""The metrics server on a real socket, with real TLS clients: who is let in, what holds it up (nothing), rotation."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from portsyncd import logs
from portsyncd.errors import EndpointError
from portsyncd.rules import Listen
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.endpoint import Endpoint
from portsyncd.web.limits import Limits
from tests.web.serving import eventually, in_thread, make_server, serving


@pytest.fixture(autouse=True)
def debug_level() -> Iterator[None]:
    logs.set_level("debug")
    yield
    logs.set_level("info")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


async def test_a_client_with_a_certificate_is_served(certificates: Certificates) -> None:
    with capture_logs() as said:
        async with serving(certificates) as (server, endpoint):
            assert await in_thread(endpoint.scrape) == "portsyncd_build_info 1\n"
            assert await in_thread(endpoint.health) == {"status": "healthy"}
            facts = server.statistics()
    (opened,) = (line for line in said if line["event"] == "metrics endpoint is open")
    assert opened["url"] == f"https://[::1]:{endpoint.port}/metrics"
    assert opened["client_certificate"] == "required"
    assert opened["profile"]
    assert facts.problem == ""
    assert facts.tls_profile
    assert facts.certificate_expiries.keys() == {"server", "ca"}
    assert not any(facts.handshake_failures.values())
    served = [line for line in said if line["event"] == "served"]
    assert [(line["path"], line["status"], line["subject"]) for line in served] == [
        ("/metrics", 200, "CN=client"),
        ("/health", 200, "CN=client"),
    ]


async def test_a_connection_serves_many_requests_and_is_forgotten(certificates: Certificates) -> None:
    def scrape_often(endpoint: Endpoint) -> list[int]:
        with endpoint.client() as client:
            return [client.get("/metrics")[0].status for _ in range(20)]

    async with serving(certificates, limits=Limits(requests=8)) as (server, endpoint):
        assert await in_thread(scrape_often, endpoint) == [200] * 20
        await eventually(lambda: server.statistics().connections == 0)
        assert server.statistics().handshakes == 0


async def test_a_client_that_is_not_on_the_list_is_refused(certificates: Certificates) -> None:
    listed = certificates.client("listed", sans=("prometheus.lan",))
    with capture_logs() as said:
        async with serving(certificates, allowed_sans=("prometheus.lan",)) as (server, endpoint):
            assert await in_thread(endpoint.exchange, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == b""
            with endpoint.client(endpoint.context(*listed)) as client:
                assert (await in_thread(client.get, "/metrics"))[0].status == 200
            assert server.statistics().handshake_failures["name_not_allowed"] == 1
    (refused,) = (line for line in said if line["event"] == "TLS handshake refused")
    assert refused["reason"] == "name_not_allowed"
    assert refused["client"] == "::1"


async def test_a_failed_handshake_gets_its_alert(certificates: Certificates) -> None:
    def without_certificate(endpoint: Endpoint) -> str:
        with closing(endpoint.open(ssl.create_default_context(cafile=str(certificates.ca)))) as connection:
            try:
                connection.recv(1)
            except ssl.SSLError as error:
                return str(error.reason)
        return "no alert"

    async with serving(certificates) as (server, endpoint):
        assert "CERTIFICATE_REQUIRED" in await in_thread(without_certificate, endpoint)
        assert server.statistics().handshake_failures["no_certificate"] == 1


async def test_the_oldest_handshake_makes_room(certificates: Certificates) -> None:
    async with serving(certificates, limits=Limits(handshakes=3)) as (server, endpoint):
        waiting = [await in_thread(endpoint.connect) for _ in range(5)]
        try:
            await eventually(lambda: server.statistics().handshake_failures["evicted"] == 2)
            assert await in_thread(endpoint.scrape)
            assert server.statistics().handshakes <= 3
            assert waiting[0].recv(1) == b""
        finally:
            for connection in waiting:
                connection.close()
        await eventually(lambda: server.statistics().handshake_failures["closed"] == 2)


async def test_a_handshake_that_takes_too_long_ends(certificates: Certificates) -> None:
    async with serving(certificates, limits=Limits(handshake_seconds=0.1)) as (server, endpoint):
        with closing(await in_thread(endpoint.connect)) as connection:
            assert await in_thread(connection.recv, 1) == b""
        assert server.statistics().handshake_failures["timeout"] == 1


async def test_a_client_with_too_many_connections_loses_its_oldest(certificates: Certificates) -> None:
    other = certificates.client("other")
    async with serving(certificates, limits=Limits(connections=3)) as (server, endpoint):
        with endpoint.client(endpoint.context(*other)) as kept:
            assert (await in_thread(kept.get, "/metrics"))[0].status == 200
            opened = []
            for number in range(4):
                opened.append(await in_thread(endpoint.open))
                await eventually(lambda: server.statistics().connections >= min(number + 2, 3))  # noqa: B023
            assert await in_thread(opened[0].recv, 1) == b""
            # The one that was kept is still the same connection.
            sock = kept._http.sock if kept._http else None
            assert (await in_thread(kept.get, "/metrics"))[0].status == 200
            assert kept._http is not None
            assert kept._http.sock is sock
            for connection in opened:
                connection.close()


async def test_an_address_in_use_is_told_and_not_the_end(certificates: Certificates) -> None:
    async with serving(certificates) as (_, endpoint):
        second = make_server(certificates, listen=Listen("::1", endpoint.port))
        with pytest.raises(EndpointError, match="in use"):
            await second.run()
        assert "in use" in second.statistics().problem
        assert second.statistics().listening is None


async def test_an_address_of_another_machine_is_told(certificates: Certificates) -> None:
    with pytest.raises(EndpointError, match=r"\[2001:db8::1\]:1"):
        await make_server(certificates, listen=Listen("2001:db8::1", 1)).run()


@pytest.mark.parametrize("days", [-2, 400])
async def test_wrong_dates_keep_it_closed(certificates: Certificates, days: int) -> None:
    server = make_server(certificates, now=lambda: datetime.now(UTC) + timedelta(days=days))
    with pytest.raises(EndpointError):
        await server.run()
    assert server.statistics().problem


async def test_wrong_dates_are_one_piece_of_news_until_there_are_other_files(certificates: Certificates) -> None:
    days = 400
    server = make_server(certificates, now=lambda: datetime.now(UTC) + timedelta(days=days))
    told = []
    for days in (400, 401):  # noqa: B007 - the server's clock reads it
        with pytest.raises(EndpointError) as caught:
            await server.run()
        told.append(str(caught.value))
    assert told[0] == told[1]
    certificates.put("server", certificates.authority.issue_server(days=500))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        assert server.statistics().reloads["applied"] == 1
        nursery.cancel_scope.cancel()


async def test_all_of_ipv6_is_not_ipv4(certificates: Certificates) -> None:
    async with serving(certificates, listen=Listen("::", 0)) as (_, endpoint):
        assert await in_thread(endpoint.scrape)
        with pytest.raises(ConnectionRefusedError):
            await in_thread(socket.create_connection, ("127.0.0.1", endpoint.port))


async def test_a_fault_of_ours_ends_one_connection_only(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(*_: object) -> None:
        raise KeyError("fault")

    with capture_logs() as said:
        async with serving(certificates) as (_, endpoint):
            with monkeypatch.context() as patched:
                patched.setattr("portsyncd.web.http1.Server.run", fault)
                assert await in_thread(endpoint.exchange, b"GET / HTTP/1.1\r\n\r\n") == b""
                assert await in_thread(endpoint.exchange, b"GET / HTTP/1.1\r\n\r\n") == b""
            assert await in_thread(endpoint.scrape)
    assert [line["event"] for line in said].count("a connection to the metrics endpoint broke") == 1


# ---- rotation


def served_certificate(endpoint: Endpoint) -> bytes | None:
    with closing(endpoint.open()) as connection:
        return connection.getpeercert(binary_form=True)


async def test_new_files_are_taken_while_connections_go_on(certificates: Certificates) -> None:
    async with serving(certificates) as (server, endpoint):
        with endpoint.client() as kept:
            before = await in_thread(served_certificate, endpoint)
            assert (await in_thread(kept.get, "/metrics"))[0].status == 200
            certificates.put("server", certificates.authority.issue_server())
            await eventually(lambda: server.statistics().reloads["applied"] == 1)
            assert (await in_thread(kept.get, "/metrics"))[0].status == 200
            assert await in_thread(served_certificate, endpoint) != before


@pytest.mark.parametrize("result", ["applied", "refused"])
async def test_who_asks_for_a_reload_can_wait_for_its_end(certificates: Certificates, result: str) -> None:
    async with serving(certificates) as (server, endpoint):
        before = await in_thread(served_certificate, endpoint)
        if result == "applied":
            certificates.put("server", certificates.authority.issue_server())
        else:
            (certificates.folder / "server.crt").write_bytes(b"garbage")
        over = [server.credentials.request_reload() for _ in range(2)]
        with trio.fail_after(30):
            for each in over:
                await each.wait()
        assert server.statistics().reloads[result] >= 1
        assert (await in_thread(served_certificate, endpoint) != before) == (result == "applied")
        assert not server.credentials.request_reload().is_set()


async def test_a_new_ca_shuts_old_clients_out(certificates: Certificates, tmp_path: Path) -> None:
    other = Certificates(tmp_path / "other")
    async with serving(certificates) as (server, endpoint):
        kept = await in_thread(endpoint.open)
        await eventually(lambda: server.statistics().connections == 1)
        certificates.ca.write_bytes(other.authority.cert_pem)
        server.credentials.request_reload()
        await eventually(lambda: server.statistics().reloads["applied"] == 1)
        with closing(kept):
            assert await in_thread(kept.recv, 1) == b""
        # The server's own certificate is still of the first CA.
        trusting = ssl.create_default_context(cadata=certificates.authority.cert_pem.decode())
        trusting.load_cert_chain(other.client_cert, other.client_key)
        with endpoint.client(trusting) as client:
            assert (await in_thread(client.get, "/metrics"))[0].status == 200
        old = ssl.create_default_context(cadata=certificates.authority.cert_pem.decode())
        old.load_cert_chain(certificates.client_cert, certificates.client_key)
        assert await in_thread(endpoint.exchange, b"GET / HTTP/1.1\r\n\r\n", old) == b""


@pytest.mark.parametrize("name", ["server.crt", "server.key", "ca.crt"])
async def test_garbage_is_refused_and_the_old_set_stays(certificates: Certificates, name: str) -> None:
    with capture_logs() as said:
        async with serving(certificates) as (server, endpoint):
            context = endpoint.context()
            (certificates.folder / name).write_bytes(b"garbage")
            await eventually(lambda: server.statistics().reloads["refused"] == 1)
            with endpoint.client(context) as client:
                assert (await in_thread(client.get, "/metrics"))[0].status == 200
            (certificates.folder / name).unlink()
            await eventually(lambda: server.statistics().reloads["refused"] == 2)
    refused = [line for line in said if line["log_level"] == "error"]
    assert all(str(certificates.folder / name) in line["problems"][0] for line in refused)


async def test_a_set_with_wrong_dates_is_refused(certificates: Certificates) -> None:
    async with serving(certificates) as (server, _):
        past = datetime.now(UTC) - timedelta(days=1)
        certificates.put("server", certificates.authority.issue_server(not_after=past))
        await eventually(lambda: server.statistics().reloads["refused"] == 1)
        assert server.statistics().reloads["applied"] == 0


@pytest.mark.parametrize("restarted", [False, True], ids=["while it serves", "in the next life"])
async def test_a_set_whose_time_has_not_come_is_taken_when_it_has(certificates: Certificates, restarted: bool) -> None:
    days = 0
    server = make_server(certificates, now=lambda: datetime.now(UTC) + timedelta(days=days))
    soon = certificates.authority.issue_server(not_before=datetime.now(UTC) + timedelta(days=1))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        certificates.put("server", soon)
        await eventually(lambda: server.statistics().reloads["refused"] == 1)
        if restarted:
            nursery.cancel_scope.cancel()
        days = 2
        await eventually(lambda: restarted or server.statistics().reloads["applied"] == 1)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        assert server.statistics().reloads == {"applied": 1, "refused": 1}
        nursery.cancel_scope.cancel()


async def test_a_key_is_taken_once_its_mode_is_right(certificates: Certificates) -> None:
    async with serving(certificates) as (server, _):
        certificates.server_key.chmod(0o644)
        await eventually(lambda: server.statistics().reloads["refused"] == 1)
        certificates.server_key.chmod(0o600)
        await eventually(lambda: server.statistics().reloads["applied"] == 1)


async def test_a_life_that_fails_leaves_its_address(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(*_: object) -> None:
        raise KeyError("fault")

    async with serving(certificates) as (_, endpoint):
        port = endpoint.port
    server = make_server(certificates, listen=Listen("::1", port))
    with monkeypatch.context() as patched:
        patched.setattr("portsyncd.web.http1.Site.start", fault)
        with pytest.raises(ExceptionGroup) as caught:
            await server.run()
    assert server.statistics().problem
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        nursery.cancel_scope.cancel()
    # Its traceback, which the supervisor keeps, has held the listener until here.
    assert caught.group_contains(KeyError)
