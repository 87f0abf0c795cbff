"""Links of a namespace, made and changed as an operator, orchagent or the hardware would. Needs pyroute2."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from pyroute2 import IPRoute

from portsyncd.testing.netns import NetworkNamespace

# <linux/if.h>; an interface name holds 15 characters and a zero.
IFF_UP: Final = 0x1
IFF_RUNNING: Final = 0x40
NAME_CHARACTERS: Final = 15


class LinkState(NamedTuple):
    """What a link says of itself, as the daemon publishes it (IFF_RUNNING, IFF_UP, IFLA_MTU)."""

    oper_up: bool
    admin_up: bool
    mtu: int


def peer_name(name: str) -> str:
    """The other end of the veth pair that ``add_port`` makes."""
    return f"p{name}"[:NAME_CHARACTERS]


class Links:
    """The links of one namespace. A context manager; every call returns when the kernel has acknowledged it.

    Errors of the kernel come up as pyroute2's ``NetlinkError``, with ``code`` an errno. May be used from any thread.
    """

    def __init__(self, namespace: NetworkNamespace) -> None:
        self._namespace = namespace
        with namespace.enter():
            self._ipr: Any = IPRoute()

    def add_port(self, name: str) -> int:
        """Make a port as a veth pair, both ends down, and return its ifindex. Its peer is the far end of the cable."""
        self._link("add", ifname=name, kind="veth", peer={"ifname": peer_name(name)})
        return self.index(name)

    def add(self, name: str, kind: str, **attributes: Any) -> int:
        """Make a link of any kind (``bridge``, ``dummy``, ``ifb``, ...) and return its ifindex."""
        self._link("add", ifname=name, kind=kind, **attributes)
        return self.index(name)

    def delete(self, name: str) -> None:
        """Delete a link; a port's peer goes with it."""
        self._link("del", index=self.index(name))

    def set(self, name: str, *, up: bool | None = None, master: str | None = None, **attributes: Any) -> None:
        """Change a link: admin up or down, ``master`` (a name; an empty one leaves it), ``mtu`` and pyroute2's others."""
        if up is not None:
            attributes["state"] = "up" if up else "down"
        if master is not None:
            attributes["master"] = self.index(master) if master else 0
        self._link("set", index=self.index(name), **attributes)

    def carrier(self, name: str, up: bool) -> None:
        """Plug or pull the cable of a port: its peer's admin state is its carrier.

        IFF_RUNNING follows a little later: the kernel's linkwatch batches such changes, up to a second in a series.
        """
        self.set(peer_name(name), up=up)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a link (the kernel allows it for a link that is up from 6.3 on)."""
        self._link("set", index=self.index(name), ifname=new_name)

    def altname(self, name: str, alternative: str) -> None:
        """Give a link one more name."""
        self._link("property_add", index=self.index(name), altname=alternative)

    def add_address(self, name: str, address: str) -> None:
        """Give a link an IPv4 address, written as ``10.0.0.1/24``."""
        ip, _, length = address.partition("/")
        index = self.index(name)
        with self._namespace.enter():
            self._ipr.addr("add", index=index, address=ip, prefixlen=int(length))

    def index(self, name: str) -> int:
        """A link's ifindex. Raises ``KeyError`` where there is none of that name."""
        with self._namespace.enter():
            found = self._ipr.link_lookup(ifname=name)
        if not found:
            raise KeyError(name)
        return int(found[0])

    def states(self, prefixes: Iterable[str] = ("Ethernet", "PortChannel")) -> dict[str, LinkState]:
        """Every link whose name starts with one of these, read in one dump."""
        wanted = tuple(prefixes)
        with self._namespace.enter():
            messages = list(self._ipr.get_links())
        return {
            name: LinkState(bool(message["flags"] & IFF_RUNNING), bool(message["flags"] & IFF_UP), message.get("mtu"))
            for message in messages
            if (name := message.get("ifname")).startswith(wanted)
        }

    def _link(self, command: str, **attributes: Any) -> None:
        # pyroute2 opens a socket per thread, in the namespace where that thread is at its first use.
        with self._namespace.enter():
            self._ipr.link(command, **attributes)

    def close(self) -> None:
        """Close the socket; the links stay."""
        with self._namespace.enter():
            self._ipr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
