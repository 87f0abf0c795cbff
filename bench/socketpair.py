"""More ports than a kernel should be asked for: the daemon unchanged, but what it hears is a socketpair.

The child, ``python -m bench.socketpair PORTS run ...``, is the whole daemon with another ``LinkSource``: raw RTM_NEWLINK
frames come in on one end of the pair, this program writes them into the other. This alone of the bench knows the daemon
from inside, and says nothing about other implementations.
"""

import os
import socket
import sys
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from struct import Struct
from typing import Any, Final
from unittest import mock

import trio

from bench import databases
from bench.machine import assign_cores
from bench.stand import Setup, Stand
from portsyncd.backends.base import Received
from portsyncd.testing.wait import until
from portsyncd.tls import openssl
from portsyncd.wire.netlink import LinkMessage, decode

PORTS: Final = 100_000
_FD: Final = "BENCH_LINKS_FD"
_FIRST_IFINDEX: Final = 10
FIRST_MTU: Final = 9100
# For what takes ten seconds where nobody else uses the machine.
_DEADLINE_SECONDS: Final = 240.0
# Header and ifinfomsg; IFLA_IFNAME, IFLA_MTU, and IFLA_STATS64, which fills a frame up to the size of the kernel's.
_FRAME = Struct("=IHHIIBxHiII HH16s HHI HH1300x")
_RTM_NEWLINK, _UP_AND_RUNNING = 16, 0x1 | 0x40
_IFLA_IFNAME, _IFLA_MTU, _IFLA_STATS64 = 3, 4, 23
# A dump comes in chunks of about so many links.
_CHUNK: Final = 20
# What is no frame: the kernel has dropped events (and every port has this MTU now); tell the longest step.
_LOST, _TELL = b"lost", b"tell"


def frame(number: int, mtu: int) -> bytes:
    """What a kernel would say of port ``number``."""
    return _FRAME.pack(
        *(_FRAME.size, _RTM_NEWLINK, 0, 0, 0, 0, 1, _FIRST_IFINDEX + number, _UP_AND_RUNNING, 0),
        *(20, _IFLA_IFNAME, f"Ethernet{4 * number}".encode()),
        *(8, _IFLA_MTU, mtu),
        *(1304, _IFLA_STATS64),
    )


def read_frame(datagram: bytes) -> tuple[int, int]:
    """Number and MTU of a frame."""
    fields = _FRAME.unpack_from(datagram)
    return fields[7] - _FIRST_IFINDEX, fields[15]


class SocketpairSource:
    """See ``backends.base.LinkSource``. Port ``n`` exists once its frame has been read, in the order of the numbers; it has
    the MTU of its last one, unless the kernel said that events were lost: then every port has another one."""

    receive_buffer_bytes = 0
    filtering = True
    adopted = False

    def __init__(self, events: socket.socket, ports: int, clock: "StepClock") -> None:
        self._events = events
        self._mtus = array("H", bytes(2 * ports))
        self._known = 0
        self._clock = clock

    def open(self) -> None:
        self._events.setblocking(False)

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._events)

    async def readable(self) -> None:
        await trio.lowlevel.wait_readable(self._events)

    def receive(self, limit: int) -> Received:
        datagrams: list[bytes] = []
        lost = False
        try:
            while len(datagrams) < limit:
                datagram = self._events.recv(4096)
                if datagram == _TELL:
                    self._events.send(str(self._clock.take()).encode())
                elif datagram.startswith(_LOST):
                    self._mtus = array("H", (int(datagram.removeprefix(_LOST)),)) * len(self._mtus)
                    lost = True
                else:
                    number, mtu = read_frame(datagram)
                    self._mtus[number] = mtu
                    self._known = max(self._known, number + 1)
                    datagrams.append(datagram)
        except BlockingIOError:
            pass
        return Received(datagrams, lost=lost, drained=len(datagrams) < limit)

    def drops(self) -> int:
        return 0

    async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
        known = self._known
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
        return [self._message(number) if 0 <= number < self._known else None for number in numbers]

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """No link can be set down here; the bench adopts what it finds."""
        return list(ifindexes)

    def listen_to(self, first: int, last: int) -> None:
        """Nothing but ports comes in."""

    async def probe(self) -> None:
        """Nothing can be wrong with it."""
        await trio.lowlevel.checkpoint()

    def has_events(self) -> bool:
        """What there is to read is read at once."""
        return False

    def _message(self, number: int) -> LinkMessage:
        return decode(frame(number, self._mtus[number])).links[0]


class StepClock(trio.abc.Instrument):
    """Knows the longest step that a task of the daemon has taken, during which nothing else could run."""

    def __init__(self) -> None:
        self._began = self._longest = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  Trio's signature
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  likewise
        self._longest = max(self._longest, time.perf_counter() - self._began)

    def take(self) -> float:
        """In seconds, since this was last asked."""
        longest, self._longest = self._longest, 0.0
        return longest


class ManyPorts:
    """A stand whose daemon hears a socketpair. Its ports are there once ``say`` has said so."""

    def __init__(self, stand: Stand, ours: socket.socket, theirs: socket.socket) -> None:
        self.stand = stand
        self._ours = ours
        self._theirs = theirs

    def start(self) -> float:
        """Start the daemon, and play orchagent once; how long it took to PortConfigDone, in seconds."""
        seconds = self.stand.start(pass_fds=(self._theirs.fileno(),))
        databases.pop_ports(self.stand.redis)
        return seconds

    def say(self, numbers: Iterable[int], mtu: int) -> None:
        """Send a frame of each of these ports; they wait in the socket where the daemon cannot follow."""
        for number in numbers:
            self._ours.send(frame(number, mtu))

    def lose(self, mtu: int) -> None:
        """Every port has this MTU, and the kernel could not say so: the daemon has to read all links anew."""
        self._ours.send(_LOST + str(mtu).encode())

    def longest_step(self) -> float:
        """The longest time, in seconds, that a task has kept the event loop since this was last asked."""
        self._ours.send(_TELL)
        return float(self._ours.recv(100))

    def wait_for(self, mtu: int) -> None:
        """Wait until every port of STATE_DB has this MTU. The last is written last, so only it is looked at often."""
        wanted = ("ok", "up", "up", str(mtu))

        def published(names: Sequence[str]) -> bool:
            self.stand.daemon.check()
            return all(row == wanted for row in databases.published(self.stand.redis, names))

        for names in (self.stand.names[-1:], self.stand.names):
            until(partial(published, names), _DEADLINE_SECONDS, f"{len(names)} ports published with MTU {mtu}")


@contextmanager
def many_ports(ports: int, *, metrics: bool) -> Iterator[ManyPorts]:
    """A stand for so many; the daemon does not run yet."""
    command = (sys.executable, "-m", "bench.socketpair", str(ports), "run", "--config", "{config}")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The child imports more than ``portsyncd`` does before it could settle OpenSSL's settings itself.
    environment = {_FD: str(theirs.fileno()), openssl.VARIABLE: openssl.SETTINGS}
    with ours, theirs, mock.patch.dict(os.environ, environment):
        os.set_inheritable(theirs.fileno(), True)
        with Stand(
            Setup(command, assign_cores()),
            databases.port_names(ports),
            metrics=metrics,
            start_seconds=_DEADLINE_SECONDS,
        ) as stand:
            yield ManyPorts(stand, ours, theirs)


def _be_the_daemon(ports: int) -> None:
    """``portsyncd`` with the rest of the command line, but for where its events come from."""
    from portsyncd import daemon, world
    from portsyncd.cli.main import main

    events = socket.socket(fileno=int(os.environ[_FD]))
    clock = StepClock()
    serve = daemon.serve

    def source(**_: object) -> SocketpairSource:
        return SocketpairSource(events, ports, clock)

    async def watched(*arguments: Any) -> None:
        trio.lowlevel.add_instrument(clock)
        await serve(*arguments)

    sys.argv[:2] = ["portsyncd"]
    with mock.patch.object(world, "NetlinkSource", source), mock.patch.object(daemon, "serve", watched):
        main()


if __name__ == "__main__":
    _be_the_daemon(int(sys.argv[1]))
