"""A ``HistoryStore`` in memory."""

from collections.abc import Mapping, Sequence

import trio

from portsyncd.analytics.history import LATEST, History, PortFlaps, Sample, Start
from portsyncd.errors import FileError


class FakeHistory:
    """See ``backends.base.HistoryStore``. It never sums up.

    starts, samples, flaps: what it holds, in the order of writing. broken: every request but ``close`` fails.
    damaged: how many files it says that it has set aside. closed: ``close`` was called last.
    """

    def __init__(self) -> None:
        self.starts: list[Start] = []
        self.samples: list[Sample] = []
        self.flaps: list[PortFlaps] = []
        self.broken = False
        self.damaged = 0
        self.closed = False
        self._living = False

    async def counted(self) -> Mapping[str, int]:
        await self._request()
        return {flaps.port: flaps.total for flaps in self.flaps}

    async def begin(self, start: Start) -> None:
        await self._request()
        self.starts.append(start)
        self._living = True

    async def update(self, start: Start) -> None:
        await self._request()
        if self._living:
            self.starts.pop()
        self.starts.append(start)
        self._living = True

    async def append(self, sample: Sample, flaps: Sequence[PortFlaps]) -> None:
        await self._request()
        self.samples.append(sample)
        self.flaps += flaps

    async def trim(self, before: float) -> None:
        await self._request()
        last = len(self.starts) - 1 if self._living else None
        self.starts = [
            start for number, start in enumerate(self.starts) if number == last or before <= max(start.at, start.seen)
        ]
        self.samples = [sample for sample in self.samples if before <= sample.at]
        self.flaps = [flap for flap in self.flaps if before <= flap.at]

    async def read(self, since: float, until: float = LATEST) -> History:
        await self._request()
        first, last = max(0.0, since), min(until, LATEST)
        return History(
            since,
            [
                start
                for start in self.starts
                if first <= max(start.at, start.seen) <= LATEST and min(start.at, start.seen) >= 0
            ],
            sorted((sample for sample in self.samples if first <= sample.at <= last), key=lambda sample: sample.at),
            sorted((flap for flap in self.flaps if first <= flap.at <= last), key=lambda flap: flap.at),
        )

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True

    async def _request(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise FileError("could not use the history: no space left on the fake device")
        self.closed = False
