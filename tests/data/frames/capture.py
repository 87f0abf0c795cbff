"""Capture the frames of this folder anew from the running kernel: ``python -m tests.data.frames.capture`` as root.

Each sample is a step in the life of some links in a namespace of their own, with the datagrams that the kernel sent for
it. What a datagram says is written beside it as pyroute2 reads it, never as the decoder under test does.
"""

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from portsyncd.testing.links import Links, LinkState
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.wait import until
from portsyncd.wire import netlink
from tests.wire.oracle import decode_by_pyroute2

FOLDER = Path(__file__).parent
BYTES_PER_LINE = 48
RECEIVE_BYTES = 64 * 1024


class Camera:
    """Hears a namespace's link events, and writes those of each step to a file."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        with namespace.enter():
            self._events = _socket()
            self._questions = _socket()
        self._events.bind((0, 1 << (netlink.RTNLGRP_LINK - 1)))
        self._number = 0

    def step(self, name: str, about: str, act: Callable[[], object]) -> None:
        """Do it, and keep what the kernel said. ``act`` returns only when the kernel has said everything."""
        act()
        self._write(name, about, _received(self._events))

    def skip(self, act: Callable[[], object]) -> None:
        """Do it, and forget what the kernel said."""
        act()
        for _ in _received(self._events):
            pass

    def ask(self, name: str, about: str, request: bytes) -> None:
        """Ask, and keep the answer."""
        self._questions.send(request)
        self._write(name, about, _received(self._questions))

    def _write(self, name: str, about: str, datagrams: Iterable[bytes]) -> None:
        self._number += 1
        kernel = os.uname().release.partition("-")[0]
        texts = ",\n".join(map(_described, datagrams))
        path = FOLDER / f"{self._number:02}-{name}.json"
        path.write_text(f'{{"about": "{about}",\n "kernel": "{kernel}",\n "datagrams": [\n{texts}]}}\n')

    def close(self) -> None:
        self._events.close()
        self._questions.close()


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    made.setblocking(False)
    return made


def _received(source: socket.socket) -> Iterator[bytes]:
    """What is there. Events and answers are, when the request that causes them returns; a dump is made by reading it."""
    with suppress(BlockingIOError):
        while True:
            yield source.recv(RECEIVE_BYTES)


def _described(datagram: bytes) -> str:
    """A datagram as JSON: a line a link, what else it says, and its bytes."""
    said = decode_by_pyroute2(datagram)
    links = ",\n    ".join(json.dumps(link._asdict()) for link in said.links)
    status = {name: value for name, value in said._asdict().items() if value and name != "links"}
    lines = [f'"{datagram[at : at + BYTES_PER_LINE].hex()}"' for at in range(0, len(datagram), BYTES_PER_LINE)]
    text = ",\n    ".join(lines)
    return f'  {{"links": [\n    {links}],\n   "status": {json.dumps(status)},\n   "hex": [\n    {text}]}}'


def capture(links: Links, camera: Camera) -> None:
    """The life of a port, a bridge, an ifb and a macvlan."""

    def carrier(up: bool) -> None:
        links.carrier("Ethernet0", up=up)
        # IFF_RUNNING follows when the kernel's linkwatch gets to it.
        wanted = LinkState(oper_up=up, admin_up=True, mtu=1500)
        until(lambda: links.states(("Ethernet0",))["Ethernet0"] == wanted, what=f"carrier {up}")

    step = camera.step
    step("veth-created", "A veth pair is made: each end is announced.", lambda: links.add_port("Ethernet0"))
    step("admin-up", "Admin up, without carrier.", lambda: links.set("Ethernet0", up=True))
    step("oper-up", "The peer goes up: carrier on both ends, then IFF_RUNNING.", lambda: carrier(up=True))
    step("oper-down", "The peer goes down: the carrier counters count.", lambda: carrier(up=False))
    step("mtu", "Another MTU.", lambda: links.set("Ethernet0", mtu=9100))
    step("altname", "An altname is added.", lambda: links.altname("Ethernet0", "first-port"))
    step("admin-down", "Admin down.", lambda: links.set("Ethernet0", up=False))
    step("rename", "Renamed.", lambda: links.rename("Ethernet0", "Ethernet4"))
    step("bridge-created", "A bridge is made.", lambda: links.add("Bridge", "bridge"))
    step(
        "bridge-joined", "A port joins the bridge: AF_BRIDGE repeats.", lambda: links.set("Ethernet4", master="Bridge")
    )
    step("port-up-in-bridge", "A bridge's port goes up.", lambda: links.set("Ethernet4", up=True))
    step("bridge-left", "It leaves: an AF_BRIDGE removal.", lambda: links.set("Ethernet4", master=""))
    step("ifb-created", "An ifb is made.", lambda: links.add("ifb9", "ifb"))
    step(
        "macvlan-created",
        "A macvlan on the port is made.",
        lambda: links.add("macvlan9", "macvlan", link=links.index("Ethernet4"), macvlan_mode="bridge"),
    )
    camera.ask("dump", "All links, then NLMSG_DONE.", netlink.dump_request(7))
    camera.ask("answer", "One link, asked for by name.", netlink.link_request(8, "Ethernet4"))
    camera.ask("no-such-link", "ENODEV to the same question.", netlink.link_request(9, "Ethernet8"))
    down = netlink.set_down_request(10, links.index("Ethernet4"))
    camera.ask("acknowledged", "The answer to a request to set a link down.", down)
    step("set-down", "What that request brought about.", lambda: None)
    step("deleted", "The port is deleted, and with it its peer and the macvlan.", lambda: links.delete("Ethernet4"))
    camera.skip(lambda: links.add_port("Ethernet8"))
    camera.skip(lambda: links.set("Ethernet8", master="Bridge"))
    step("deleted-in-bridge", "A bridge's port is deleted.", lambda: links.delete("Ethernet8"))


def main() -> None:
    """Replace every sample."""
    for old in FOLDER.glob("*.json"):
        old.unlink()
    with NetworkNamespace() as namespace, Links(namespace) as links:
        camera = Camera(namespace)
        try:
            capture(links, camera)
        finally:
            camera.close()


if __name__ == "__main__":
    main()
