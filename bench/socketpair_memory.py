"""Memory with more ports than a kernel should be asked for: the daemon unchanged, but what it hears is a socketpair.

``python -m bench.socketpair_memory [PORTS]``. The child is the whole daemon with another ``LinkSource``: raw RTM_NEWLINK
frames come in on one end of the pair, this program writes them into the other. This alone of the bench knows the daemon
from inside, and says nothing about other implementations.
"""

import os
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from struct import Struct
from typing import Final
from unittest import mock

import trio

from bench import databases
from bench.machine import assign_cores
from bench.stand import Setup, Stand
from portsyncd.backends.base import Received
from portsyncd.testing.wait import until
from portsyncd.wire.netlink import LinkMessage, decode

PORTS: Final = 100_000
_FD: Final = "BENCH_LINKS_FD"
_FIRST_IFINDEX: Final = 10
_MTUS: Final = (9100, 1500)
_DEADLINE_SECONDS: Final = 120
# Header and ifinfomsg; IFLA_IFNAME, IFLA_MTU, and IFLA_STATS64, which fills a frame up to the size of the kernel's.
_FRAME = Struct("=IHHIIBxHiII HH16s HHI HH1300x")
_RTM_NEWLINK, _UP_AND_RUNNING = 16, 0x1 | 0x40
_IFLA_IFNAME, _IFLA_MTU, _IFLA_STATS64 = 3, 4, 23
# A dump comes in chunks of about so many links.
_CHUNK: Final = 20


def frame(number: int, mtu: int) -> bytes:
    """What a kernel would say of port ``number``."""
    return _FRAME.pack(
        *(_FRAME.size, _RTM_NEWLINK, 0, 0, 0, 0, 1, _FIRST_IFINDEX + number, _UP_AND_RUNNING, 0),
        *(20, _IFLA_IFNAME, f"Ethernet{4 * number}".encode()),
        *(8, _IFLA_MTU, mtu),
        *(1304, _IFLA_STATS64),
    )


class SocketpairSource:
    """See ``backends.base.LinkSource``. Port ``n`` exists once its frame has been read, in the order of the numbers; the
    second time round it has the second MTU."""

    receive_buffer_bytes = 0
    filtering = True
    adopted = False

    def __init__(self, events: socket.socket, ports: int) -> None:
        self._events = events
        self._ports = ports
        self._read = 0

    def open(self) -> None:
        self._events.setblocking(False)

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._events)

    async def readable(self) -> None:
        await trio.lowlevel.wait_readable(self._events)

    def receive(self, limit: int) -> Received:
        datagrams: list[bytes] = []
        try:
            while len(datagrams) < limit:
                datagrams.append(self._events.recv(4096))
        except BlockingIOError:
            pass
        self._read += len(datagrams)
        return Received(datagrams, lost=False, drained=len(datagrams) < limit)

    def drops(self) -> int:
        return 0

    async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
        known = min(self._read, self._ports)
        for start in range(0, known, _CHUNK):
            handle([self._message(number) for number in range(start, min(start + _CHUNK, known))])
            await trio.lowlevel.checkpoint()
        return False

    async def ask(self, targets: Sequence[str | int]) -> list[LinkMessage | None]:
        await trio.lowlevel.checkpoint()
        numbers = (
            target - _FIRST_IFINDEX if isinstance(target, int) else int(target.removeprefix("Ethernet")) // 4
            for target in targets
        )
        return [self._message(number) if 0 <= number < self._read else None for number in numbers]

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """No link can be set down here; the bench adopts what it finds."""
        return list(ifindexes)

    def listen_to(self, first: int, last: int) -> None:
        """Nothing but ports comes in."""

    def _message(self, number: int) -> LinkMessage:
        mtu = _MTUS[self._read >= self._ports + number + 1]
        return decode(frame(number, mtu)).links[0]


def measure(ports: int = PORTS) -> dict[str, float]:
    """Resident memory in MB at rest after the first sync, and at its highest while every port then changes."""
    command = (sys.executable, "-m", "bench.socketpair_memory", str(ports), "run", "--config", "{config}")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, mock.patch.dict(os.environ, {_FD: str(theirs.fileno())}):
        os.set_inheritable(theirs.fileno(), True)
        with Stand(Setup(command, assign_cores()), databases.port_names(ports), metrics=False) as stand:
            stand.start(pass_fds=(theirs.fileno(),))
            databases.pop_ports(stand.redis)
            figures: dict[str, float] = {}
            for mtu in _MTUS:
                for number in range(ports):
                    ours.send(frame(number, mtu))
                _wait_for(stand, mtu)
                stand.calm()
                figures.setdefault("memory.100000", stand.daemon.resident_bytes() / 1e6)
            return figures | {"memory.100000_peak": stand.daemon.peak_bytes() / 1e6}


def _wait_for(stand: Stand, mtu: int) -> None:
    """Wait until every port of STATE_DB has this MTU. The last is written last, so only it is looked at often."""
    wanted = ("ok", "up", "up", str(mtu))

    def published(names: Sequence[str]) -> bool:
        stand.daemon.check()
        return all(row == wanted for row in databases.published(stand.redis, names))

    for names in (stand.names[-1:], stand.names):
        until(partial(published, names), _DEADLINE_SECONDS, f"{len(names)} ports published with MTU {mtu}")


def _be_the_daemon(ports: int) -> None:
    """``portsyncd`` with the rest of the command line, but for where its events come from."""
    from portsyncd import daemon
    from portsyncd.cli.main import main

    def source(**_: object) -> SocketpairSource:
        return SocketpairSource(events, ports)

    events = socket.socket(fileno=int(os.environ[_FD]))
    sys.argv[:2] = ["portsyncd"]
    with mock.patch.object(daemon, "NetlinkSource", source):
        main()


if __name__ == "__main__":
    if _FD in os.environ:
        _be_the_daemon(int(sys.argv[1]))
    else:
        for key, megabytes in measure(int(sys.argv[1]) if len(sys.argv) > 1 else PORTS).items():
            print(f"{key}: {megabytes:.1f} MB")
