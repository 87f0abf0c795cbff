"""The event socket beyond the life of a process: kept in the descriptor store, and taken over by the next one.

A socket goes on listening while its former process is gone; what the kernel says meanwhile waits in its queue.
"""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from portsyncd.backends.base import DescriptorStore
from portsyncd.backends.files import here
from portsyncd.logs import get_logger
from portsyncd.wire.netlink import RTNLGRP_LINK

log = get_logger()

# linux/netlink.h, linux/sockios.h, asm-generic/socket.h; not in Python's modules.
_SOL_NETLINK: Final = 270
_NETLINK_LIST_MEMBERSHIPS: Final = 9
_SIOCGSKNS: Final = 0x894C
_SO_DETACH_FILTER: Final = 27
# Bits of the groups from 1 on, in words of 32; rtnetlink has fewer groups than this has room for.
_MEMBERSHIP_BYTES: Final = 64
LINKS_ALONE: Final = 1 << (RTNLGRP_LINK - 1)
_NETWORK_NAMESPACE: Final = Path("/proc/thread-self/ns/net")


def socket_name() -> str:
    """What the event socket is called in the store: ifindexes and names mean something in one boot only."""
    return f"links-{here().boot_id}"


def adopt(store: DescriptorStore) -> socket.socket | None:
    """The event socket of the former process, or None where there is none that fits.

    It has the queue of what happened since, and no filter. Whatever else the former process left is closed and forgotten.
    """
    adopted: socket.socket | None = None
    for name, descriptor in store.take():
        why = _make_ready(name, descriptor) if adopted is None else "there is one already"
        if not why:
            adopted = socket.socket(fileno=descriptor)
            adopted.setblocking(False)
            continue
        log.info("an inherited descriptor is not taken over", name=name, why=why)
        _give_up(store, name, descriptor)
    return adopted


def give_up(store: DescriptorStore) -> None:
    """Nobody will read what the former process left."""
    for name, descriptor in store.take():
        _give_up(store, name, descriptor)


def _give_up(store: DescriptorStore, name: str, descriptor: int) -> None:
    store.forget(name)
    with suppress(OSError):
        os.close(descriptor)


def keep(store: DescriptorStore, events: socket.socket, *, adopted: bool) -> None:
    """Have this event socket kept, and no other. Where /proc does not tell the boot, none is."""
    try:
        name = socket_name()
    except OSError as problem:
        log.info("the event socket is not kept for the next start", why=str(problem))
        return
    if not adopted:
        # One that failed in this process would fill for nobody.
        store.forget(name)
    # An adopted one may have been forgotten with a namesake; systemd knows the same file again, and keeps it once.
    store.keep(events.fileno(), name)


def _make_ready(name: str, descriptor: int) -> str:
    """Have the event socket as if it were new, but for its queue; or say why it cannot be taken over."""
    try:
        if name != socket_name():
            return "it has another name than this boot's event socket"
        events = socket.socket(fileno=descriptor)
        try:
            if why := _unfit(events):
                return why
            _detach_filter(events)
            events.set_inheritable(False)
        finally:
            events.detach()
    except OSError as problem:
        return str(problem)
    return ""


def memberships(events: socket.socket) -> int:
    """The multicast groups that a netlink socket hears, group n as bit n - 1. Raises ``OSError``."""
    words = memoryview(events.getsockopt(_SOL_NETLINK, _NETLINK_LIST_MEMBERSHIPS, _MEMBERSHIP_BYTES)).cast("I")
    return sum(word << 32 * number for number, word in enumerate(words))


def _unfit(events: socket.socket) -> str:
    """What is wrong with it, if anything. Raises ``OSError``, also where the network namespace cannot be told: the kernel
    says it to who has CAP_NET_ADMIN."""
    if (events.family, events.proto) != (socket.AF_NETLINK, socket.NETLINK_ROUTE):
        return "it is no rtnetlink socket"
    if memberships(events) != LINKS_ALONE:
        return "it is not a member of RTNLGRP_LINK alone"
    namespace = fcntl.ioctl(events, _SIOCGSKNS)
    try:
        here_too = os.path.samestat(os.fstat(namespace), _NETWORK_NAMESPACE.stat())
    finally:
        os.close(namespace)
    return "" if here_too else "it belongs to another network namespace"


def _detach_filter(events: socket.socket) -> None:
    """What the former process wanted to hear may be too little for this one."""
    try:
        events.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as problem:
        if problem.errno != errno.ENOENT:
            raise
