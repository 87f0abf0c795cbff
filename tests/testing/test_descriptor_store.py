"""The parent that plays systemd, tried with services of a few lines, one of which has the daemon's link source."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portsyncd.backends.inherited import socket_name
from portsyncd.backends.systemd import Systemd
from portsyncd.testing.daemon_process import DaemonProcess
from portsyncd.testing.descriptor_store import DescriptorStoreParent
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.redis_server import RedisServer

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

# Says what it was passed: the names, and what each descriptor holds.
READER = """
import json, os
from portsyncd.backends.systemd import Systemd
systemd = Systemd.from_environment(os.environ, os.getpid())
print(json.dumps([(name, number, os.read(number, 100).decode()) for name, number in systemd.take()]))
"""

# Opens the daemon's link source, and logs all that it hears at once and then nothing more.
LISTENER = """
import json, os, trio
from portsyncd.backends.netlink import NetlinkSource
from portsyncd.backends.systemd import Systemd
from portsyncd.wire.netlink import decode

async def main():
    systemd = Systemd.from_environment(os.environ, os.getpid())
    source = NetlinkSource(receive_buffer_bytes=1 << 20, prefixes=("Ethernet",), store=systemd)
    source.open()
    received = source.receive(1000)
    mtus = [link.mtu for datagram in received.datagrams for link in decode(datagram).links]
    source.listen_to(1, 0)
    print(json.dumps({"event": "in sync", "adopted": source.adopted, "lost": received.lost, "mtus": mtus}), flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[DescriptorStoreParent]:
    with DescriptorStoreParent(tmp_path) as parent:
        yield parent


@pytest.fixture
def service(parent: DescriptorStoreParent) -> Systemd:
    """The service, which for once is this process."""
    return Systemd(parent.address)


def pipe_with(text: str) -> int:
    """The descriptor of a pipe's end to read, in which there is this text."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return reading


def keep(service: Systemd, name: str, text: str) -> None:
    descriptor = pipe_with(text)
    assert service.keep(descriptor, name)
    os.close(descriptor)


def passed(parent: DescriptorStoreParent) -> Any:
    process = parent.popen(subprocess.Popen, [sys.executable, "-c", READER], env=ENVIRONMENT, stdout=subprocess.PIPE)
    said, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(said)


def test_a_service_without_a_past_is_passed_nothing(parent: DescriptorStoreParent) -> None:
    assert passed(parent) == []


def test_what_is_kept_is_passed_from_three_on_with_its_name(parent: DescriptorStoreParent, service: Systemd) -> None:
    for number in range(5):
        keep(service, f"name{number}", f"text {number}")
    assert parent.names == [f"name{number}" for number in range(5)]
    assert passed(parent) == [[f"name{number}", 3 + number, f"text {number}"] for number in range(5)]
    # Kept until it is forgotten. The pipes are read empty.
    assert passed(parent) == [[f"name{number}", 3 + number, ""] for number in range(5)]


def test_what_is_forgotten_is_closed(parent: DescriptorStoreParent, service: Systemd) -> None:
    mine, other = socket.socketpair()
    with mine:
        with other:
            service.keep(other.fileno(), "one")
        parent.wait_for("one")
        mine.send(b"there")
        keep(service, "two", "text")
        service.forget("one")
        service.forget("three")
        assert parent.names == ["two"]
        with pytest.raises(BrokenPipeError):
            mine.send(b"gone")


def test_one_file_is_kept_once_and_a_name_may_have_several(parent: DescriptorStoreParent, service: Systemd) -> None:
    descriptor = pipe_with("first")
    assert service.keep(descriptor, "name")
    assert service.keep(descriptor, "name")
    os.close(descriptor)
    keep(service, "name", "second")
    assert passed(parent) == [["name", 3, "first"], ["name", 4, "second"]]
    service.forget("name")
    assert passed(parent) == []


def test_all_that_is_said_is_there_to_be_asserted(parent: DescriptorStoreParent, service: Systemd) -> None:
    # Many more than the kernel queues for a Unix socket.
    for number in range(1000):
        parent_reads = service.notify(STATUS=number)
        while not parent_reads:
            parent_reads = service.notify(STATUS=number)
    keep(service, "name", "text")
    assert parent.messages[:1000] == [f"STATUS={number}" for number in range(1000)]
    assert parent.messages[1000] == "FDSTORE=1\nFDNAME=name\nFDPOLL=0"
    assert parent.names == ["name"]


def test_at_its_end_it_closes_what_it_keeps(tmp_path: Path) -> None:
    mine, other = socket.socketpair()
    with mine:
        with DescriptorStoreParent(tmp_path) as parent:
            with other:
                Systemd(parent.address).keep(other.fileno(), "one")
            mine.send(b"there")
        with pytest.raises(BrokenPipeError):
            mine.send(b"gone")
    assert not Systemd(parent.address).notify(READY=1)


@pytest.mark.root
def test_a_killed_service_misses_no_event(tmp_path: Path, parent: DescriptorStoreParent) -> None:
    server = RedisServer(tmp_path)  # only its socket's path is needed
    argv = [sys.executable, "-c", LISTENER]
    with NetworkNamespace() as namespace, Links(namespace) as links:
        links.add_port("Ethernet0")
        with DaemonProcess(namespace, server, tmp_path, argv=argv, store=parent) as daemon:
            daemon.wait_in_sync()
            for mtus in ([1400, 1300], [1200], []):
                daemon.kill()
                for mtu in mtus:
                    links.set("Ethernet0", mtu=mtu)
                daemon.start()
                daemon.wait_in_sync()
                (record,) = daemon.events("in sync")
                assert (record["adopted"], record["lost"], record["mtus"]) == (True, False, mtus)
    assert parent.names == [socket_name()]
