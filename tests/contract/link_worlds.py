"""Kernels to hold link sources against: one in memory, and the real one in a namespace of its own."""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from typing import Any, NamedTuple

import trio

from portsyncd.backends.base import LinkSource
from portsyncd.backends.inherited import socket_name
from portsyncd.backends.netlink import NetlinkSource
from portsyncd.testing.fake_kernel import FakeKernel
from portsyncd.testing.fake_links import SOCKET_NAME, FakeDescriptorStore, FakeLinkSource
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.wire.netlink import RTNLGRP_LINK, LinkMessage, decode
from tests.backends.capabilities import without_net_admin

# linux/netlink.h
_SOL_NETLINK = 270
_NETLINK_DROP_MEMBERSHIP = 2
DEADLINE_SECONDS = 20.0
ODD_NAME = "Ethernet\udcff0"


class World(NamedTuple):
    """A kernel, and what makes sources on it.

    kernel: ``Links``, or ``FakeKernel`` with the same methods. forbid: gives a context in which links may not be set
    down. add_odd: makes a link with a name that is no UTF-8. store: keeps event sockets, if a source is given it;
    socket_name: what they are called there. drop_memberships: takes a source's event socket out of the group;
    close_descriptor: closes it behind its back.
    """

    kernel: Any
    make: Callable[..., LinkSource]
    forbid: Callable[[], AbstractContextManager[object]]
    add_odd: Callable[[], object]
    store: FakeDescriptorStore
    socket_name: str
    drop_memberships: Callable[[LinkSource], object]
    close_descriptor: Callable[[LinkSource], object]


class RealDescriptors:
    """Those of this process, for a ``FakeDescriptorStore``."""

    duplicate = staticmethod(os.dup)
    close = staticmethod(os.close)
    same = staticmethod(os.path.sameopenfile)


def fake_world(_stack: ExitStack) -> World:
    kernel = FakeKernel()

    def forbid() -> ExitStack:
        kernel.permits = False
        return ExitStack()

    make_source = partial(FakeLinkSource, kernel)
    return World(
        kernel,
        make_source,
        forbid,
        lambda: kernel.add(ODD_NAME, "ifb"),
        FakeDescriptorStore(kernel),
        SOCKET_NAME,
        lambda _source: kernel.drop_memberships(),
        lambda _source: kernel.close_descriptors(),
    )


def real_world(stack: ExitStack) -> World:
    namespace = stack.enter_context(NetworkNamespace())
    links = stack.enter_context(Links(namespace))
    # Trio runs in this thread, and sockets belong to the namespace in which they are made.
    stack.enter_context(namespace.enter())
    # pyroute2 takes odd bytes as bytes only.
    raw = ODD_NAME.encode("utf-8", "surrogateescape")
    store = stack.enter_context(closing(FakeDescriptorStore(RealDescriptors())))
    return World(
        links,
        NetlinkSource,
        without_net_admin,
        lambda: links._link("add", ifname=raw, kind="ifb"),
        store,
        socket_name(),
        lambda source: _events(source).setsockopt(_SOL_NETLINK, _NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK),
        lambda source: os.close(_events(source).fileno()),
    )


def _events(source: LinkSource) -> socket.socket:
    assert isinstance(source, NetlinkSource)
    assert source._events is not None
    return source._events


def make(
    world: World,
    *,
    buffer_bytes: int = 1 << 20,
    prefixes: Sequence[str] = ("Ethernet", "PortChannel"),
    kept: bool = False,
) -> LinkSource:
    store = world.store if kept else None
    return world.make(receive_buffer_bytes=buffer_bytes, prefixes=prefixes, store=store)


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
