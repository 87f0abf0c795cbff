"""A kernel's links in memory, and what it keeps for who listens to them. No threads, no sockets, no privileges."""

import errno
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from portsyncd.testing import frames
from portsyncd.wire.netlink import AF_UNSPEC, IFF_RUNNING, IFF_UP, IFNAMSIZ, LinkMessage

# IFF_BROADCAST and IFF_MULTICAST, as every Ethernet-like link has them.
_OTHER_FLAGS: Final = 0x1002
# What the kernel charges a socket for a datagram beyond its length (struct sk_buff and rounding), about.
_OVERHEAD_BYTES: Final = 768


@dataclass(slots=True)
class FakeLink:
    """One link. peer: the ifindex of a veth's other end, 0 for none. hidden: dumps pass it over, as they may do where
    links come and go meanwhile. stubborn: the kernel refuses to set it down."""

    ifindex: int
    name: str
    kind: str
    mtu: int = 1500
    up: bool = False
    carrier: bool = True
    master: int = 0
    peer: int = 0
    carrier_changes: int = 0
    carrier_down: int = 0
    altnames: set[str] = field(default_factory=set)
    hidden: bool = False
    stubborn: bool = False

    def message(self, *, removed: bool = False, family: int = AF_UNSPEC) -> LinkMessage:
        """What the kernel says of it."""
        flags = _OTHER_FLAGS | (IFF_UP if self.up else 0) | (IFF_RUNNING if self.up and self.carrier else 0)
        if family != AF_UNSPEC:
            return LinkMessage(removed, family, self.ifindex, flags, self.name, self.mtu, self.master)
        return LinkMessage(
            removed,
            family,
            self.ifindex,
            flags,
            self.name,
            self.mtu,
            self.master,
            self.carrier_changes,
            self.carrier_down,
            self.kind,
        )


class EventSocket:
    """The kernel's side of one socket in RTNLGRP_LINK: a bounded queue that overruns as ``af_netlink.c`` says.

    A datagram that comes when the buffer is full makes the socket *congested*: ENOBUFS is due once, and from then on
    everything is dropped and counted, silently, until a read has left the queue empty.
    """

    def __init__(self, buffer_bytes: int, changed: Callable[[], None]) -> None:
        self.buffer_bytes = buffer_bytes
        self.accepts: Callable[[LinkMessage], bool] | None = None
        self.drops = 0
        self.changed = changed
        self._queue: deque[bytes] = deque()
        self._used = 0
        self._congested = False
        self._enobufs = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def readable(self) -> bool:
        """Whether a read would give something, be it an error."""
        return bool(self._queue) or self._enobufs

    def deliver(self, datagram: bytes, said: LinkMessage | None) -> None:
        """Queue a datagram or drop it. The filter comes first: what it keeps out takes no room and is no drop."""
        if said is not None and self.accepts is not None and not self.accepts(said):
            return
        if self._congested or self._used > self.buffer_bytes:
            self._enobufs = self._enobufs or not self._congested
            self._congested = True
            self.drops += 1
        else:
            self._queue.append(datagram)
            self._used += len(datagram) + _OVERHEAD_BYTES
        self.changed()

    def read(self) -> bytes:
        """The oldest datagram. Raises ``BlockingIOError`` when there is none, ``OSError`` with ENOBUFS."""
        try:
            if self._enobufs:
                self._enobufs = False
                raise OSError(errno.ENOBUFS, "No buffer space available")
            if not self._queue:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            datagram = self._queue.popleft()
            self._used -= len(datagram) + _OVERHEAD_BYTES
            return datagram
        finally:
            if not self._queue:
                self._congested = False


class FakeKernel:
    """The links of one network namespace. Changing them has the same methods as ``testing.links.Links``.

    during_dump: called with the number of the dump (from 1) and of the chunk (from 0) before each chunk is read.
    before_ask: called with what is asked for. Both may change links, and may raise ``LinkSourceError``.
    permits: whether links may be set down. takes_filters: whether a socket filter is accepted. answers: whether questions
    are answered at all.
    chunk: links per chunk of a dump. sockets: those that listen. descriptors: what refers to them; a socket listens until
    the last of its descriptors is closed.
    """

    def __init__(self) -> None:
        self.links: dict[int, FakeLink] = {1: FakeLink(1, "lo", "", mtu=65536, up=True)}
        self.sockets: list[EventSocket] = []
        self.descriptors: dict[int, EventSocket] = {}
        self.during_dump: Callable[[int, int], None] = _nothing_happens
        self.before_ask: Callable[[Sequence[str | int]], None] = _nothing_is_said
        self.permits = True
        self.takes_filters = True
        self.answers = True
        self.chunk = 2
        self.dumps = 0
        self.asked: list[str | int] = []
        # dev_base_seq: moves when a link comes or goes, by which a dump knows that it is inconsistent.
        self._base_sequence = 0
        self._last_ifindex = 1
        self._last_descriptor = 2

    # ---- what an operator, orchagent or the hardware does

    def add_port(self, name: str) -> int:
        """A veth pair, both ends down; the peer is the far end of the cable. Returns the port's ifindex."""
        port, peer = self._make(name, "veth"), self._make(_peer_name(name), "veth")
        port.peer, peer.peer = peer.ifindex, port.ifindex
        for end in (peer, port):
            end.carrier, end.carrier_changes, end.carrier_down = False, 1, 1
            self._announce(end)
        return port.ifindex

    def add(self, name: str, kind: str, *, index: int = 0) -> int:
        """A link of any kind; returns its ifindex."""
        made = self._make(name, kind, index)
        self._announce(made)
        return made.ifindex

    def _make(self, name: str, kind: str, index: int = 0) -> FakeLink:
        if self.find(name) is not None:
            raise ValueError(f"a link is called {name} already")
        self._base_sequence += 1
        self._last_ifindex = index or self._last_ifindex + 1
        made = self.links[self._last_ifindex] = FakeLink(self._last_ifindex, name, kind)
        return made

    def delete(self, name: str) -> None:
        """Delete a link, and a veth's peer with it."""
        link = self.link(name)
        for ifindex in (link.ifindex, link.peer):
            gone = self.links.pop(ifindex, None)
            if gone is not None:
                self._base_sequence += 1
                if gone.up:
                    gone.up = False
                    self._announce(gone)
                self.multicast(gone.message(removed=True))

    def set(self, name: str, *, up: bool | None = None, master: str | None = None, mtu: int | None = None) -> None:
        """Change a link; what is so already causes no event."""
        link = self.link(name)
        if mtu is not None and mtu != link.mtu:
            link.mtu = mtu
            self._announce(link)
        if up is not None and up != link.up:
            link.up = up
            self._announce(link)
            self._settle_carrier(link)
        if master is not None:
            self._enslave(link, self.index(master) if master else 0)

    def _settle_carrier(self, link: FakeLink) -> None:
        """A veth pair has carrier while both its ends are up."""
        if not link.peer:
            return
        peer = self.links[link.peer]
        for end in (link, peer):
            if end.carrier != (link.up and peer.up):
                end.carrier = not end.carrier
                end.carrier_changes += 1
                end.carrier_down += not end.carrier
                self._announce(end)

    def _enslave(self, link: FakeLink, master: int) -> None:
        """To a bridge: the event is repeated with family AF_BRIDGE, whose removal means no more than that it left."""
        if link.master:
            self.multicast(link.message(removed=True, family=frames.AF_BRIDGE))
        link.master = master
        self._announce(link)
        if master:
            self.multicast(link.message(family=frames.AF_BRIDGE))

    def carrier(self, name: str, up: bool) -> None:
        """Plug or pull the cable of a port: its peer's admin state is its carrier."""
        self.set(_peer_name(name), up=up)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a link."""
        if self.find(new_name) is not None:
            raise ValueError(f"a link is called {new_name} already")
        link = self.link(name)
        link.name = new_name
        self._announce(link)

    def altname(self, name: str, alternative: str) -> None:
        """Give a link one more name; the kernel speaks of it only where the link is up."""
        link = self.link(name)
        link.altnames.add(alternative)
        if link.up:
            self._announce(link)

    def index(self, name: str) -> int:
        """A link's ifindex. Raises ``KeyError`` where there is none of that name."""
        return self.link(name).ifindex

    def link(self, name: str) -> FakeLink:
        """The link of this name. Raises ``KeyError``."""
        link = self.find(name)
        if link is None or link.name != name:
            raise KeyError(name)
        return link

    def find(self, name: str) -> FakeLink | None:
        """The link of this name or altname."""
        return next((link for link in self.links.values() if name == link.name or name in link.altnames), None)

    # ---- who listens

    def listen(self, events: EventSocket) -> int:
        """A new socket; returns its descriptor."""
        self.sockets.append(events)
        return self._refer(events)

    def _refer(self, events: EventSocket) -> int:
        self._last_descriptor += 1
        self.descriptors[self._last_descriptor] = events
        return self._last_descriptor

    def duplicate(self, descriptor: int) -> int:
        """As ``dup``. Raises ``OSError`` for one that is closed."""
        if descriptor not in self.descriptors:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return self._refer(self.descriptors[descriptor])

    def close(self, descriptor: int) -> None:
        """As ``close``."""
        closed = self.descriptors.pop(descriptor, None)
        if closed in self.sockets and closed not in self.descriptors.values():
            self.sockets.remove(closed)

    def drop_memberships(self) -> None:
        """Every socket that listens now is taken out of the group: it stays open and hears nothing more."""
        self.sockets.clear()

    def close_descriptors(self) -> None:
        """Close every descriptor behind its owner's back; who waits for one is not told."""
        self.descriptors.clear()
        self.sockets.clear()

    def same(self, one: int, other: int) -> bool:
        """Whether both refer to one socket."""
        return self.descriptors[one] is self.descriptors[other]

    # ---- what who listens gets

    def _announce(self, link: FakeLink) -> None:
        self.multicast(link.message())

    def multicast(self, said: LinkMessage) -> None:
        """Send a link message to who listens, whether it is true or not."""
        datagram = frames.link(said)
        for socket in self.sockets:
            socket.deliver(datagram, said)

    def inject(self, datagram: bytes) -> None:
        """Send these bytes to who listens, past every filter."""
        for socket in self.sockets:
            socket.deliver(datagram, None)

    def dump(self) -> Iterator[tuple[list[LinkMessage], bool]]:
        """Answer a dump chunk by chunk, in the order of ifindexes and as the links are when each chunk is read; with
        each, whether links have come or gone since the first. The last one is empty: NLMSG_DONE."""
        self.dumps += 1
        dump, base, last, chunk = self.dumps, self._base_sequence, 0, 0
        while True:
            self.during_dump(dump, chunk)
            after = sorted(ifindex for ifindex in self.links if ifindex > last)
            some = [self.links[ifindex] for ifindex in after if not self.links[ifindex].hidden][: self.chunk]
            yield [link.message() for link in some], self._base_sequence != base
            if not some:
                return
            last, chunk = some[-1].ifindex, chunk + 1

    def ask(self, target: str | int) -> LinkMessage | None:
        """Answer a question for one link, by ifindex, name or altname; None: ENODEV, or ERANGE for a longer name."""
        self.asked.append(target)
        if isinstance(target, int):
            link = self.links.get(target)
        else:
            link = self.find(target) if len(frames.text(target)) <= IFNAMSIZ else None
        return None if link is None else link.message()


def _nothing_happens(_dump: int, _chunk: int) -> None:
    pass


def _nothing_is_said(_targets: Sequence[str | int]) -> None:
    pass


def _peer_name(name: str) -> str:
    """As ``testing.links.peer_name``, which needs pyroute2."""
    return f"p{name}"[:15]
