"""The TCP address that leads to a Unix socket."""

import socket
from pathlib import Path

import pytest

from portsyncd.testing.forwarder import Forwarder
from portsyncd.testing.redis_server import RedisServer


def ask(connection: socket.socket) -> bytes:
    connection.sendall(b"CLIENT ID\r\n")
    return connection.recv(100)


def test_who_is_connected_stays_where_it_is_and_who_comes_later_finds_who_is_there_then(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path) as server,
        Forwarder(server.socket_path) as forwarder,
        socket.create_connection(("127.0.0.1", forwarder.port)) as first,
    ):
        before = ask(first)
        server.supersede()
        server.client(0).set("where", "there")
        with socket.create_connection(("127.0.0.1", forwarder.port)) as second:
            second.sendall(b"GET where\r\n")
            assert second.recv(100) == b"$5\r\nthere\r\n"
        assert ask(first) == before
        server.kill_former()
        assert first.recv(100) == b""


def test_where_nobody_listens_it_hangs_up_and_goes_on(tmp_path: Path) -> None:
    with Forwarder(str(tmp_path / "redis.sock")) as forwarder:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", forwarder.port)) as connection:
                assert connection.recv(100) == b""


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Forwarder("/nowhere", taken.getsockname()[1])
