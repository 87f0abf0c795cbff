"""Links that change all the time: a steady stream of changes, bursts of them, links that come and go."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from portsyncd.testing import burst
from portsyncd.testing.links import peer_name
from portsyncd.testing.switch import Switch

_TICK_SECONDS: Final = 0.01
# What could not be made in time is not made up for beyond this: the rate that was reached is told, not a flood.
_MOST_BEHIND_SECONDS: Final = 0.05
# Enough that no stale port looks right by chance; a switch has fewer.
_MTUS: Final = range(9000, 9200)
_BURST_EVERY_SECONDS: Final = (5.0, 10.0)
_BURST: Final = (2_000, 20_000)
_CHURN_EVERY_SECONDS: Final = (0.2, 0.8)
# Of the steady stream: MTU changes, changes of the admin state; the rest are carrier changes.
_MTU_SHARE, _ADMIN_SHARE = 0.9, 0.06
# Names that no port has and that never come again begin here.
_STRANGERS: Final = 100_000


@dataclass
class _Port:
    """What is known of one link: its ends' ifindexes, what its settings are."""

    ifindex: int
    peer: int
    mtu: int = 0
    up: bool = False
    plugged: bool = False


class Load:
    """Changes the links of a switch at ``rate`` per second, in a thread. A context manager.

    steady: ports that stay. others: ports that are deleted and made anew, as are links with ever new names.
    made: changes asked for so far, each of which is at least one event. steady: those of the steady stream. paused_seconds:
    for how long it has been paused. An error of the thread comes up in ``check``.
    """

    def __init__(self, switch: Switch, *, steady: Sequence[str], others: Sequence[str], rate: float, seed: int) -> None:
        self.made = self.steady = 0
        self.paused_seconds = 0.0
        self._switch = switch
        self._links = switch.links
        self._rate = rate
        self._random = random.Random(seed)
        index = switch.links.index
        self._ports = [_Port(index(name), index(peer_name(name))) for name in steady]
        self._others = dict.fromkeys(others, True)
        self._stranger = _STRANGERS
        self._strange: str | None = None
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load")

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No link changes until the block ends."""
        with self._turn:
            begin = time.monotonic()
            try:
                yield
            finally:
                self.paused_seconds += time.monotonic() - begin

    def flood(self, count: int) -> None:
        """So many changes at once, without a pause; for whoever has paused it."""
        self._send([self._mtu(self._ports[number % len(self._ports)]) for number in range(count)])

    # ---- the thread

    def _run(self) -> None:
        try:
            self._change_for_ever()
        except BaseException as failure:  # noqa: BLE001  check() raises it
            self._failure = failure

    def _change_for_ever(self) -> None:
        now = time.monotonic()
        behind, next_burst, next_churn = 0.0, now + self._random.uniform(*_BURST_EVERY_SECONDS), now
        while not self._stopping.wait(_TICK_SECONDS):
            with self._turn:
                before, now = now, time.monotonic()
                behind = min(behind + self._rate * (now - before), self._rate * _MOST_BEHIND_SECONDS)
                count, behind = int(behind), behind % 1
                self._send([self._request() for _ in range(count)])
                self.steady += count
                if now >= next_burst:
                    self.flood(self._random.randint(*_BURST))
                    next_burst = now + self._random.uniform(*_BURST_EVERY_SECONDS)
                if now >= next_churn:
                    self._churn()
                    next_churn = now + self._random.uniform(*_CHURN_EVERY_SECONDS)

    def _send(self, requests: Sequence[bytes]) -> None:
        self.made += self._switch.kernel.send(requests)

    def _request(self) -> bytes:
        port, kind = self._random.choice(self._ports), self._random.random()
        if kind < _MTU_SHARE:
            return self._mtu(port)
        if kind < _MTU_SHARE + _ADMIN_SHARE:
            port.up = not port.up
            return burst.set_admin(port.ifindex, port.up)
        port.plugged = not port.plugged
        return burst.set_admin(port.peer, port.plugged)

    def _mtu(self, port: _Port) -> bytes:
        # Never the same one: the kernel says nothing about a change that changes nothing.
        port.mtu += 1 if port.mtu + 1 in _MTUS else _MTUS.start - port.mtu
        return burst.set_mtu(port.ifindex, port.mtu)

    def _churn(self) -> None:
        """One of the others comes or goes, and now and then a link whose name was never seen before."""
        name = self._random.choice(list(self._others))
        self._toggle(name, there=self._others[name])
        self._others[name] = not self._others[name]
        if self._strange is not None:
            self._toggle(self._strange, there=True)
            self._strange = None
        elif self._random.random() < 0.3:
            self._stranger += 1
            self._strange = f"Ethernet{self._stranger}"
            self._toggle(self._strange, there=False)

    def _toggle(self, name: str, *, there: bool) -> None:
        self.made += 1
        if there:
            self._links.delete(name)
        else:
            self._switch.kernel.send([burst.add_port(name, up=True)])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
