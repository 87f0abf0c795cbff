"""Links that change all the time, by a seeded driver in a thread of its own."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from portsyncd.testing.burst import mtu_flips
from portsyncd.testing.switch import Switch

# No port by its name.
_AWAY: Final = "away-"
_LONGEST_PAUSE_SECONDS: Final = 0.02
_BURST: Final = 200


class Churn:
    """Changes the links of a switch. A context manager; an error of the thread comes up in ``paused`` or at the end.

    steady: ports that only lose and regain carrier, go down and up, and change their MTU, so that the kernel counts all of
    their flaps. others: those are deleted and made anew, and renamed and back, too; each may stay away for a while.
    """

    def __init__(self, switch: Switch, *, steady: Sequence[str], others: Sequence[str], seed: int) -> None:
        self._switch = switch
        self._links = switch.links
        self._steady = list(steady)
        self._random = random.Random(seed)
        self._steady_indexes = [self._links.index(name) for name in steady]
        # Where each of the others is now: under its name, under another one, or nowhere.
        self._places: dict[str, Callable[[str], None]] = dict.fromkeys(others, self._leave)
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="churn")

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._random.uniform(0, _LONGEST_PAUSE_SECONDS)):
                with self._turn:
                    self._step()
        except BaseException as failure:  # noqa: BLE001  the test's thread raises it
            self._failure = failure

    def _step(self) -> None:
        kind = self._random.random()
        if kind < 0.05:
            self._switch.kernel.send(mtu_flips(self._steady_indexes, _BURST))
        elif kind < 0.75:
            self._change(self._random.choice([*self._steady, *self._there()]))
        else:
            name = self._random.choice(list(self._places))
            self._places[name](name)

    def _there(self) -> list[str]:
        return [name for name, place in self._places.items() if place == self._leave]

    def _change(self, name: str) -> None:
        match self._random.randrange(4):
            case 0:
                self._links.carrier(name, up=self._random.random() < 0.7)
            case 1:
                self._links.carrier(name, up=False)
                self._links.carrier(name, up=True)
            case 2:
                self._links.set(name, up=self._random.random() < 0.8)
            case 3:
                self._links.set(name, mtu=self._random.choice((1400, 1500, 9100)))

    def _leave(self, name: str) -> None:
        if self._random.random() < 0.5:
            self._links.delete(name)
            self._places[name] = self._make
        else:
            self._links.set(name, up=False)
            self._links.rename(name, _AWAY + name[-8:])
            self._places[name] = self._rename_back

    def _make(self, name: str) -> None:
        self._switch.add_ports([name], up=True)
        self._places[name] = self._leave

    def _rename_back(self, name: str) -> None:
        self._links.rename(_AWAY + name[-8:], name)
        self._links.set(name, up=True)
        self._places[name] = self._leave

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing changes until the block ends, but for what the kernel has still to report."""
        with self._turn:
            self._check()
            yield

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if error is None:
            self._check()
