"""Kernels to hold link sources against: one in memory, and the real one in a namespace of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, NamedTuple

import trio

from portsyncd.backends.base import LinkSource
from portsyncd.backends.netlink import NetlinkSource
from portsyncd.testing.fake_kernel import FakeKernel
from portsyncd.testing.fake_links import FakeLinkSource
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.wire.netlink import LinkMessage, decode
from tests.backends.capabilities import without_net_admin

DEADLINE_SECONDS = 20.0
ODD_NAME = "Ethernet\udcff0"


class World(NamedTuple):
    """A kernel, and what makes sources on it.

    kernel: ``Links``, or ``FakeKernel`` with the same methods. forbid: gives a context in which links may not be set
    down. add_odd: makes a link with a name that is no UTF-8.
    """

    kernel: Any
    make: Callable[..., LinkSource]
    forbid: Callable[[], AbstractContextManager[object]]
    add_odd: Callable[[], object]


def fake_world(_stack: ExitStack) -> World:
    kernel = FakeKernel()

    def forbid() -> ExitStack:
        kernel.permits = False
        return ExitStack()

    return World(kernel, partial(FakeLinkSource, kernel), forbid, lambda: kernel.add(ODD_NAME, "ifb"))


def real_world(stack: ExitStack) -> World:
    namespace = stack.enter_context(NetworkNamespace())
    links = stack.enter_context(Links(namespace))
    # Trio runs in this thread, and sockets belong to the namespace in which they are made.
    stack.enter_context(namespace.enter())
    # pyroute2 takes odd bytes as bytes only.
    raw = ODD_NAME.encode("utf-8", "surrogateescape")
    return World(links, NetlinkSource, without_net_admin, lambda: links._link("add", ifname=raw, kind="ifb"))


def make(world: World, *, buffer_bytes: int = 1 << 20) -> LinkSource:
    return world.make(receive_buffer_bytes=buffer_bytes, prefixes=("Ethernet", "PortChannel"))


def heard(source: LinkSource) -> list[LinkMessage]:
    """All link messages that wait."""
    return [link for datagram in source.receive(100_000).datagrams for link in decode(datagram).links]


async def hear(source: LinkSource, what: Callable[[LinkMessage], bool]) -> list[LinkMessage]:
    """All link messages up to the read that brought the one that is waited for."""
    messages: list[LinkMessage] = []
    with trio.fail_after(DEADLINE_SECONDS):
        while not any(what(message) for message in messages):
            await source.readable()
            messages += heard(source)
    return messages
