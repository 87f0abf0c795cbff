"""A fake switch with supervisor and observer, as the daemon has them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from portsyncd.analytics.history import Restored
from portsyncd.metrics import Chronicle
from portsyncd.model.health import Status
from portsyncd.model.report import Thresholds
from portsyncd.model.restart import RestartPolicy
from portsyncd.services.guardian import GuardianStatistics
from portsyncd.services.keeper import KeeperStatistics
from portsyncd.services.observer import Observer, WebStatistics
from portsyncd.services.recorder import RecorderStatistics
from portsyncd.services.supervisor import Child, Supervisor
from tests.services.switch import FakeSwitch

PORTS = ("Ethernet0", "Ethernet4")
# 2026-01-01, as Unix seconds.
NEW_YEAR = 1_767_225_600.0
NOTHING_KEPT = KeeperStatistics(Chronicle(), {}, Restored.NONE, 0, "")
NOTHING_RECORDED = RecorderStatistics(None, {}, samples=0, exported=0, problem="")


@dataclass(slots=True)
class Web:
    """What a metrics server says of itself."""

    listening: str | None = "https://[::1]:9090"
    problem: str = ""
    handshake_failures: dict[str, int] = field(default_factory=lambda: {"no_certificate": 2})
    reloads: dict[str, int] = field(default_factory=lambda: {"applied": 1, "refused": 0})
    certificate_expiries: dict[str, float] = field(default_factory=lambda: {"server": NEW_YEAR + 365 * 86400})
    tls_profile: str = "profile"


class Wall:
    """The clock on the wall, which is NEW_YEAR at the test clock's 0 and can be set."""

    def __init__(self) -> None:
        self.offset = NEW_YEAR

    def __call__(self) -> float:
        return self.offset + trio.current_time()


class ObservedSwitch(FakeSwitch):
    """See ``observed``. wall: the clock on the wall."""

    observer: Observer
    supervisor: Supervisor

    def __init__(self) -> None:
        super().__init__()
        self.wall = Wall()
        self.load_config(PORTS)

    def change(self) -> None:
        """Something happens to both ports."""
        for name in PORTS:
            self.kernel.set(name, mtu=self.kernel.link(name).mtu + 1)

    def failing(self) -> set[str]:
        """The checks that are not healthy."""
        checks = self.observer.health().checks
        return {name for name, check in checks.items() if check.status is not Status.HEALTHY}

    async def statuses(
        self, seconds: float, meanwhile: Callable[[], object] = lambda: None, *, step: float = 0.5
    ) -> list[str]:
        """Let time pass; returns the changes of the status, the present one first. meanwhile: is done after each step."""
        seen: list[str] = []
        for _ in range(int(seconds / step)):
            status = self.observer.health().status.value
            if seen[-1:] != [status]:
                seen.append(status)
            meanwhile()
            await trio.sleep(step)
        return seen


@asynccontextmanager
async def observed(
    switch: ObservedSwitch,
    *others: Child,
    keeper: Callable[[], KeeperStatistics] = lambda: NOTHING_KEPT,
    recorder: Callable[[], RecorderStatistics] | None = None,
    web: Callable[[], WebStatistics] | None = None,
    guardian: Callable[[], GuardianStatistics] | None = None,
    reconcile_interval: float | None = None,
    ports: Sequence[str] = PORTS,
    brought_up: bool = True,
) -> AsyncIterator[Observer]:
    """Everything runs; the ports are up. It is cancelled at the end."""
    children = [
        Child("writer", switch.writer.run, essential=True),
        Child("reader", switch.reader.run, essential=True),
        *others,
    ]
    switch.supervisor = Supervisor(children, RestartPolicy(), exit_to_restart=False, random=lambda: 1.0)
    switch.observer = Observer(
        switch.reader,
        switch.writer,
        switch.supervisor,
        switch.inbox,
        keeper=keeper,
        recorder=recorder,
        web=web,
        guardian=guardian,
        reconcile_interval=reconcile_interval,
        thresholds=Thresholds(),
        version="1.2.3",
        wall=switch.wall,
        memory=lambda: 1 << 26,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.supervisor.run)
        await nursery.start(switch.observer.run)
        if brought_up:
            await switch.bring_up(ports)
        yield switch.observer
        nursery.cancel_scope.cancel()
