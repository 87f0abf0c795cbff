"""Which sockets the real netlink source takes over from a former process, and which it does not.

What becomes of one that is taken over is held by ``tests/contract/test_link_source.py``.
"""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
import structlog.testing

from portsyncd.backends import inherited
from portsyncd.backends.inherited import socket_name
from portsyncd.backends.netlink import NetlinkSource
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.wire.netlink import RTNLGRP_LINK, decode
from tests.backends.capabilities import without_net_admin

pytestmark = pytest.mark.root

RTNLGRP_NEIGH = 3
# asm-generic/socket.h
SO_LOCK_FILTER = 44


class OneDescriptor:
    """A ``DescriptorStore`` that was left one descriptor. said: what it was told since."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.left = [(name, descriptor)]
        self.said: list[str] = []

    def keep(self, _descriptor: int, name: str) -> bool:
        self.said.append(f"keep {name}")
        return True

    def forget(self, name: str) -> None:
        self.said.append(f"forget {name}")

    def take(self) -> Sequence[tuple[str, int]]:
        taken, self.left = self.left, []
        return taken


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    # Trio runs in this thread, and sockets belong to the namespace in which they are made.
    with NetworkNamespace() as namespace, namespace.enter():
        yield namespace


def event_socket(*groups: int, protocol: int = socket.NETLINK_ROUTE, kind: int = socket.SOCK_RAW) -> int:
    """The descriptor of a netlink socket in these groups, blocking, and as a program that is executed would get it."""
    made = socket.socket(socket.AF_NETLINK, kind, protocol)
    made.bind((0, sum(1 << (group - 1) for group in groups)))
    made.set_inheritable(True)
    return made.detach()


@contextmanager
def opened(store: OneDescriptor) -> Iterator[tuple[NetlinkSource, list[Any]]]:
    """A source that has been opened, and the log of that."""
    source = NetlinkSource(receive_buffer_bytes=1 << 20, prefixes=("Ethernet",), store=store)
    with closing(source), structlog.testing.capture_logs() as lines:
        source.open()
        yield source, lines


def assert_hears(namespace: NetworkNamespace, source: NetlinkSource) -> None:
    with Links(namespace) as links:
        links.add("Ethernet0", "ifb")
    received = source.receive(100)
    assert [link.name for datagram in received.datagrams for link in decode(datagram).links] == ["Ethernet0"]


def assert_refused(namespace: NetworkNamespace, name: str, descriptor: int, why: str) -> None:
    """It is closed, forgotten and told of, and the source is as good with a socket of its own."""
    with ExitStack() as stack:
        kept = None
        with_file = _is_open(descriptor)
        if with_file:
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
        store = OneDescriptor(name, descriptor)
        source, lines = stack.enter_context(opened(store))
        assert not source.adopted
        if kept is not None:
            # The number may be in use again, for the source's own socket.
            assert not _is_open(descriptor) or not os.path.sameopenfile(descriptor, kept)
        assert_hears(namespace, source)
    (line,) = [line for line in lines if line["event"].startswith("an inherited descriptor")]
    assert (line["log_level"], line["name"]) == ("info", name)
    assert why in line["why"]
    assert store.said == [f"forget {name}", f"forget {socket_name()}", f"keep {socket_name()}"]


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", [socket.SOCK_RAW, socket.SOCK_DGRAM])
async def test_one_that_fits_is_made_ready_and_kept(namespace: NetworkNamespace, kind: int) -> None:
    store = OneDescriptor(socket_name(), event_socket(RTNLGRP_LINK, kind=kind))
    with opened(store) as (source, lines):
        assert source.adopted
        assert source._events is not None
        assert source._events.gettimeout() == 0
        assert not os.get_blocking(source._events.fileno())
        assert not source._events.get_inheritable()
        assert source.receive_buffer_bytes == 2 << 20
        assert_hears(namespace, source)
    assert lines == []
    assert store.said == [f"keep {socket_name()}"]


async def test_looking_at_one_leaves_no_descriptor_behind(namespace: NetworkNamespace) -> None:
    def of_namespaces() -> list[str]:
        files = (os.path.realpath(entry.path) for entry in os.scandir("/proc/self/fd"))
        return sorted(file for file in files if "net:[" in file)

    before = of_namespaces()
    with opened(OneDescriptor(socket_name(), event_socket(RTNLGRP_LINK))) as (source, _):
        assert source.adopted
        assert of_namespaces() == before


async def test_one_of_another_boot_is_refused(namespace: NetworkNamespace) -> None:
    assert_refused(namespace, "links-4711", event_socket(RTNLGRP_LINK), "another name")


async def test_one_of_another_network_namespace_is_refused(namespace: NetworkNamespace) -> None:
    with NetworkNamespace() as elsewhere, elsewhere.enter():
        descriptor = event_socket(RTNLGRP_LINK)
    assert_refused(namespace, socket_name(), descriptor, "another network namespace")


async def test_one_whose_network_namespace_cannot_be_told_is_refused(namespace: NetworkNamespace) -> None:
    descriptor = event_socket(RTNLGRP_LINK)
    store = OneDescriptor(socket_name(), descriptor)
    with without_net_admin(), opened(store) as (source, lines):
        assert not source.adopted
        assert "Operation not permitted" in lines[0]["why"]


@pytest.mark.parametrize("groups", [(), (RTNLGRP_NEIGH,), (RTNLGRP_LINK, RTNLGRP_NEIGH)])
async def test_one_of_other_groups_is_refused(namespace: NetworkNamespace, groups: tuple[int, ...]) -> None:
    assert_refused(namespace, socket_name(), event_socket(*groups), "RTNLGRP_LINK alone")


async def test_one_of_another_protocol_is_refused(namespace: NetworkNamespace) -> None:
    generic = 16
    assert_refused(namespace, socket_name(), event_socket(protocol=generic), "no rtnetlink socket")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(), "no rtnetlink socket"),
        (lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(), "no rtnetlink socket"),
        (lambda: os.open(os.devnull, os.O_RDONLY), "operation on non-socket"),
        (lambda: os.eventfd(0), "operation on non-socket"),
    ],
)
async def test_what_is_no_netlink_socket_is_refused(
    namespace: NetworkNamespace, make: Callable[[], int], why: str
) -> None:
    assert_refused(namespace, socket_name(), make(), why)


async def test_a_closed_number_is_refused(namespace: NetworkNamespace) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    assert_refused(namespace, socket_name(), descriptor, "Bad file descriptor")


async def test_one_whose_filter_is_locked_is_refused(namespace: NetworkNamespace) -> None:
    locked = socket.socket(fileno=event_socket(RTNLGRP_LINK))
    locked.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    assert_refused(namespace, socket_name(), locked.detach(), "Operation not permitted")


async def test_where_the_boot_cannot_be_told_none_is_taken_over_and_none_kept(
    namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OneDescriptor(socket_name(), event_socket(RTNLGRP_LINK))

    def hidden() -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(inherited, "here", hidden)
    with opened(store) as (source, lines):
        assert not source.adopted
        assert_hears(namespace, source)
    assert store.said == ["forget " + store_name for store_name in [line["name"] for line in lines if "name" in line]]
    assert len(lines) == 2
