"""Dropped packets: nobody is told, and they come through again afterwards."""

import select
import socket
from contextlib import closing

import pytest

from portsyncd.testing.firewall import dropping
from portsyncd.testing.netns import NetworkNamespace

pytestmark = pytest.mark.root
SECONDS = 20.0


def test_what_is_dropped_comes_after_all_once_the_path_is_open() -> None:
    with NetworkNamespace() as namespace, namespace.enter(), closing(socket.create_server(("127.0.0.1", 0))) as server:
        client = socket.create_connection(server.getsockname(), timeout=SECONDS)
        other = socket.create_connection(server.getsockname(), timeout=SECONDS)
        with closing(client), closing(other), closing(server.accept()[0]) as one, closing(server.accept()[0]) as two:
            one.settimeout(SECONDS)
            two.settimeout(SECONDS)
            with dropping(namespace, client.getsockname()[1]), dropping(namespace, 1, 2):
                client.sendall(b"lost")
                other.sendall(b"heard")
                assert two.recv(10) == b"heard"
                assert select.select([one], [], [], 0)[0] == []
            # TCP sends it again.
            assert one.recv(10) == b"lost"
