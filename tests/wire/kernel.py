"""A kernel in miniature: links that change, and the messages that the real one sends for it, in its order.

The orders were seen on captured frames (``tests/data/frames``). Every name belongs to one link at most; an operation that
the kernel would refuse changes nothing and sends nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP, LinkMessage
from tests.wire.frames import AF_BRIDGE

BRIDGE: Final = 1
NAMES: Final = ("Ethernet0", "Ethernet4", "PortChannel1", "eth0", "tmp")
IFINDEXES: Final = (2, 3, 4, 5)
# What a populated one begins with.
BEGINNING: Final = {2: "Ethernet0", 3: "Ethernet4", 4: "PortChannel1"}
KINDS: Final = ("veth", "", "team")
MTUS: Final = (1500, 9100)


@dataclass
class SimulatedLink:
    """One link as the kernel has it."""

    name: str
    kind: str
    mtu: int = 1500
    up: bool = False
    carrier: bool = False
    master: int = 0
    losses: int = 0


class SimulatedKernel:
    """Each operation returns the messages that it causes. populated: with the links of ``BEGINNING``, all up."""

    def __init__(self, *, populated: bool = False) -> None:
        beginning = BEGINNING if populated else {}
        self.links = {index: SimulatedLink(name, "veth", up=True) for index, name in beginning.items()}

    def message(self, ifindex: int, *, removed: bool = False, family: int = 0) -> LinkMessage:
        """What the kernel says of a link now."""
        link = self.links[ifindex]
        flags = (IFF_UP if link.up else 0) | (IFF_RUNNING if link.up and link.carrier else 0)
        if family:
            return LinkMessage(removed, family, ifindex, flags, link.name, link.mtu, link.master)
        counts = (2 * link.losses + link.carrier, link.losses)
        return LinkMessage(removed, 0, ifindex, flags, link.name, link.mtu, link.master, *counts, link.kind)

    def dump(self) -> list[LinkMessage]:
        """What the kernel answers to a dump."""
        return [self.message(ifindex) for ifindex in sorted(self.links)]

    def by_name(self, name: str) -> LinkMessage | None:
        """What the kernel answers when asked for a name."""
        return next((self.message(ifindex) for ifindex, link in self.links.items() if link.name == name), None)

    def create(self, ifindex: int, name: str, kind: str) -> list[LinkMessage]:
        """Make a link; an ifindex may be used again."""
        if ifindex in self.links or self.by_name(name):
            return []
        self.links[ifindex] = SimulatedLink(name, kind)
        return [self.message(ifindex)]

    def delete(self, ifindex: int) -> list[LinkMessage]:
        """Delete a link; it goes down and leaves its bridge first."""
        if ifindex not in self.links:
            return []
        said = self.set_up(ifindex, False) + self.leave(ifindex)
        said.append(self.message(ifindex, removed=True))
        del self.links[ifindex]
        return said

    def rename(self, ifindex: int, name: str) -> list[LinkMessage]:
        """Give a link another name."""
        if ifindex not in self.links or self.by_name(name):
            return []
        self.links[ifindex].name = name
        return [self.message(ifindex)]

    def swap(self, one: int, other: int) -> list[LinkMessage]:
        """Two links swap their names, by way of a third name."""
        if one == other or not {one, other} <= self.links.keys() or self.by_name("swapping"):
            return []
        first, second = self.links[one].name, self.links[other].name
        return self.rename(one, "swapping") + self.rename(other, first) + self.rename(one, second)

    def set_up(self, ifindex: int, up: bool) -> list[LinkMessage]:
        """Admin up or down."""
        return self._set(ifindex, "up", up)

    def set_mtu(self, ifindex: int, mtu: int) -> list[LinkMessage]:
        """Another MTU."""
        return self._set(ifindex, "mtu", mtu)

    def set_carrier(self, ifindex: int, carrier: bool) -> list[LinkMessage]:
        """The cable is plugged in or pulled."""
        said = self._set(ifindex, "carrier", carrier)
        if said and not carrier:
            self.links[ifindex].losses += 1
            return [self.message(ifindex)]
        return said

    def repeat(self, ifindex: int) -> list[LinkMessage]:
        """Something else about the link changed: the message says nothing new."""
        return [self.message(ifindex)] if ifindex in self.links else []

    def join(self, ifindex: int) -> list[LinkMessage]:
        """Join the bridge."""
        if ifindex not in self.links or self.links[ifindex].master:
            return []
        self.links[ifindex].master = BRIDGE
        said = self.message(ifindex)
        return [said, said, self.message(ifindex, family=AF_BRIDGE)]

    def leave(self, ifindex: int) -> list[LinkMessage]:
        """Leave the bridge."""
        if ifindex not in self.links or not self.links[ifindex].master:
            return []
        repeat = self.message(ifindex, family=AF_BRIDGE)
        said = [self.message(ifindex), repeat, repeat._replace(removed=True)]
        self.links[ifindex].master = 0
        return [*said, self.message(ifindex)]

    def _set(self, ifindex: int, attribute: str, value: object) -> list[LinkMessage]:
        link = self.links.get(ifindex)
        if link is None or getattr(link, attribute) == value:
            return []
        setattr(link, attribute, value)
        return [self.message(ifindex)]


Operation = Callable[[SimulatedKernel], list[LinkMessage]]

_links = st.sampled_from(IFINDEXES)
_names = st.sampled_from(NAMES)


class Call:
    """A method of ``SimulatedKernel`` with its arguments; an ``Operation`` that shows what it is."""

    def __init__(self, method: Callable[..., list[LinkMessage]], *arguments: object) -> None:
        self._method, self._arguments = method, arguments

    def __call__(self, kernel: SimulatedKernel) -> list[LinkMessage]:
        return self._method(kernel, *self._arguments)

    def __repr__(self) -> str:
        return f"{self._method.__name__}{self._arguments}"


def _operation(
    method: Callable[..., list[LinkMessage]], *arguments: st.SearchStrategy[object]
) -> st.SearchStrategy[Operation]:
    return st.builds(Call, st.just(method), *arguments)


operations: Final[st.SearchStrategy[Operation]] = st.one_of(
    _operation(SimulatedKernel.create, _links, _names, st.sampled_from(KINDS)),
    _operation(SimulatedKernel.create, _links, _names, st.just("veth")),
    _operation(SimulatedKernel.delete, _links),
    _operation(SimulatedKernel.rename, _links, _names),
    _operation(SimulatedKernel.swap, _links, _links),
    _operation(SimulatedKernel.set_up, _links, st.booleans()),
    _operation(SimulatedKernel.set_mtu, _links, st.sampled_from(MTUS)),
    _operation(SimulatedKernel.set_carrier, _links, st.booleans()),
    _operation(SimulatedKernel.repeat, _links),
    _operation(SimulatedKernel.join, _links),
    _operation(SimulatedKernel.leave, _links),
)


def played(kernel: SimulatedKernel, steps: Iterable[Operation]) -> list[LinkMessage]:
    """The messages of these operations, one after the other."""
    return [said for step in steps for said in step(kernel)]


def ports(kernel: SimulatedKernel, prefixes: Sequence[str]) -> dict[str, int]:
    """The ports that the kernel has, by name: their ifindexes."""
    return {
        link.name: ifindex
        for ifindex, link in kernel.links.items()
        if link.name.startswith(tuple(prefixes)) and link.kind != "team"
    }
