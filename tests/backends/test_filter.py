"""The kernel runs the socket filter: on any datagram over a socket pair, and on its own events in a namespace."""

import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given

from portsyncd.backends.netlink import NetlinkSource
from portsyncd.testing import burst
from portsyncd.testing.burst import Burst
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.wire.bpf import link_filter
from portsyncd.wire.netlink import decode
from tests.wire import frames
from tests.wire.filtering import Case, cases, has_to_pass

SO_ATTACH_FILTER = 26
MARK = b"this one always passes"


def attach(receiver: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)


@given(cases())
def test_the_kernel_runs_the_program_as_it_is_meant(case: Case) -> None:
    # Socket filters run on Unix sockets too, so that any datagram can be shown to the kernel's own interpreter.
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach(receiver, link_filter(case.prefixes, case.first, case.last))
        sender.send(case.datagram)
        # As type of a message, its bytes are those of no link message.
        sender.send(MARK)
        received = receiver.recv(4096)
    assert (received == case.datagram) is has_to_pass(case)


def test_the_kernel_takes_a_program_for_as_many_prefixes_as_anybody_configures() -> None:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach(receiver, link_filter([f"p{number:02}" for number in range(60)], 1, 0))


# ---- events of the kernel

PREFIXES = ("Ethernet", "PortChannel", "et")


class Ear:
    """An event socket of a namespace."""

    def __init__(self, source: NetlinkSource) -> None:
        self.source = source

    def heard(self) -> list[tuple[str, bool]]:
        """Name and removal of every link message since the last time; the kernel sends events before it answers."""
        received = self.source.receive(10000)
        assert received.drained
        assert not received.lost
        return [(link.name, link.removed) for datagram in received.datagrams for link in decode(datagram).links]


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    with NetworkNamespace() as namespace:
        yield namespace


@pytest.fixture
def links(namespace: NetworkNamespace) -> Iterator[Links]:
    with Links(namespace) as links:
        yield links


@pytest.fixture
async def ear(namespace: NetworkNamespace) -> AsyncIterator[Ear]:
    source = NetlinkSource(receive_buffer_bytes=1 << 22, prefixes=PREFIXES)
    with namespace.enter():
        source.open()
    yield Ear(source)
    source.close()


@pytest.mark.root
async def test_without_a_filter_every_link_is_heard(ear: Ear, links: Links) -> None:
    links.add("noise0", "ifb")
    assert not ear.source.filtering
    assert ear.heard() == [("noise0", False)]


@pytest.mark.root
async def test_names_of_the_prefixes_are_heard_and_no_others(ear: Ear, links: Links) -> None:
    ear.source.listen_to(1, 0)
    assert ear.source.filtering
    for name in ("Ethernet0", "PortChannel1", "et7", "e8", "ethernet0", "eth0", "lan0", "Eth0"):
        links.add(name, "ifb")
    assert ear.heard() == [(name, False) for name in ("Ethernet0", "PortChannel1", "et7", "ethernet0", "eth0")]


@pytest.mark.root
async def test_a_rename_away_and_a_removal_under_the_new_name_are_heard_by_the_ifindex(ear: Ear, links: Links) -> None:
    port = links.add("Ethernet0", "ifb")
    ear.source.listen_to(port, port)
    assert ear.heard() == [("Ethernet0", False)]
    links.rename("Ethernet0", "away")
    links.set("away", mtu=1400)
    assert ear.heard() == [("away", False)] * 2
    links.delete("away")
    assert ear.heard() == [("away", True)]


@pytest.mark.root
async def test_with_an_empty_range_a_rename_away_is_not_heard(ear: Ear, links: Links) -> None:
    links.add("Ethernet0", "ifb")
    ear.source.listen_to(1, 0)
    ear.heard()
    links.rename("Ethernet0", "away")
    assert ear.heard() == []
    # And one to a port's name is.
    links.rename("away", "Ethernet4")
    assert ear.heard() == [("Ethernet4", False)]


@pytest.mark.root
async def test_the_range_includes_its_ends_and_grows_with_a_new_filter(ear: Ear, links: Links) -> None:
    indexes = {links.add(f"noise{number}", "ifb"): f"noise{number}" for number in range(4)}
    first, second, third, fourth = sorted(indexes)
    ear.source.listen_to(second, third)
    ear.heard()

    def touch(mtu: int) -> list[str]:
        for name in indexes.values():
            links.set(name, mtu=mtu)
        return [name for name, _ in ear.heard()]

    assert touch(1400) == [indexes[second], indexes[third]]
    ear.source.listen_to(first, third)
    assert touch(1300) == [indexes[first], indexes[second], indexes[third]]
    ear.source.listen_to(fourth, fourth)
    assert touch(1200) == [indexes[fourth]]


@pytest.mark.root
async def test_removals_of_ports_are_heard_and_of_other_links_are_not(ear: Ear, links: Links) -> None:
    links.add_port("Ethernet0")
    links.add_port("noise0")
    ear.source.listen_to(1, 0)
    ear.heard()
    links.delete("noise0")
    links.delete("Ethernet0")
    assert ear.heard() == [("Ethernet0", True)]


@pytest.mark.root
async def test_a_bridges_repeats_about_a_port_are_heard(ear: Ear, links: Links) -> None:
    links.add_port("Ethernet0")
    links.add("bridge0", "bridge")
    ear.source.listen_to(1, 0)
    ear.heard()
    links.set("Ethernet0", master="bridge0")
    links.set("Ethernet0", master="")
    said = ear.heard()
    assert {name for name, _ in said} == {"Ethernet0"}
    assert ("Ethernet0", True) in said


@pytest.mark.root
async def test_a_storm_of_another_link_takes_no_room_in_the_socket(
    ear: Ear, links: Links, namespace: NetworkNamespace
) -> None:
    noise, port = links.add("noise0", "ifb"), links.add("Ethernet0", "ifb")
    ear.source.listen_to(port, port)
    ear.heard()
    # 5,000 events would take about 4 KiB each; the socket holds 8 MiB.
    with Burst(namespace) as kernel:
        kernel.send(burst.mtu_flips([noise], 5000))
    links.set("Ethernet0", mtu=1400)
    assert ear.heard() == [("Ethernet0", False)]
    assert ear.source.drops() == 0


@pytest.mark.root
async def test_without_the_filter_that_storm_overruns_the_socket(
    ear: Ear, links: Links, namespace: NetworkNamespace
) -> None:
    # Or the test before this one would show nothing.
    noise = links.add("noise0", "ifb")
    with Burst(namespace) as kernel:
        kernel.send(burst.mtu_flips([noise], 5000))
    assert ear.source.receive(10000).lost
    assert ear.source.drops() > 0


def test_the_datagram_that_marks_the_end_is_no_link_message() -> None:
    assert struct.unpack_from("=H", MARK, 4)[0] not in (frames.NEWLINK, frames.DELLINK)
