"""A switch whose daemon keeps what a restart has to know, in fakes of files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from portsyncd.services.flapbook import FlapBook
from portsyncd.services.keeper import Keeper
from portsyncd.services.watches import Calendar
from portsyncd.testing.fake_files import FakeKept
from tests.services.switch import FakeSwitch, running

NEW_YEAR = 1_767_225_600.0
PORTS = ["Ethernet0", "Ethernet4"]


class KeepingSwitch(FakeSwitch):
    """state, counters: what is kept. stepped: by how much the clock on the wall is wrong. To be made where a Trio clock
    runs."""

    def __init__(self, **options: Any) -> None:
        self.stepped = 0.0
        self.state = FakeKept(max_backups=2, max_age=3600.0, wall=self.unix)
        self.counters = FakeKept(max_backups=2, wall=self.unix)
        super().__init__(**options)
        self.load_config(PORTS)

    def begin_process(self) -> None:
        """With a keeper."""
        super().begin_process()
        self.keeper = Keeper(
            self.writer,
            self.reader,
            FlapBook(self.writer.sync.take_flaps),
            state=self.state,
            counters=self.counters,
            state_interval=30.0,
            counters_interval=300.0,
            max_age=3600.0,
            calendar=Calendar(trio.current_time, self.unix),
        )

    def unix(self) -> float:
        """The clock on the wall: it was New Year when the run began, but for what it was set to."""
        return NEW_YEAR + trio.current_time() + self.stepped

    def enable_warm_restart(self) -> None:
        """As ``config warm_restart enable swss`` does."""
        self.state_db.hset("WARM_RESTART_ENABLE_TABLE|swss", {"enable": "true"})


@asynccontextmanager
async def kept_running(switch: KeepingSwitch) -> AsyncIterator[None]:
    """A process of the daemon, from what the last one left to its sudden end."""
    await switch.keeper.restore()
    async with running(switch), trio.open_nursery() as nursery:
        await nursery.start(switch.keeper.run)
        await switch.settle()
        yield
        nursery.cancel_scope.cancel()
