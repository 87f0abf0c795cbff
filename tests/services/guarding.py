"""A fake switch with supervisor and guardian, as the daemon has them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from portsyncd.errors import MemoryLimitError
from portsyncd.model.commands import PortWrite
from portsyncd.model.disk import HISTORY, Space
from portsyncd.model.healing import Healed, Kind
from portsyncd.model.restart import RestartPolicy
from portsyncd.services.guardian import Guardian, Settings
from portsyncd.services.supervisor import Child, Supervisor
from portsyncd.testing.fake_links import FakeLinkSource
from portsyncd.testing.fake_store import FakeStore
from portsyncd.wire.netlink import LinkMessage
from tests.services.switch import TIMEOUT, FakeSwitch
from tests.services.watching import NEW_YEAR, PORTS, Wall

MB = 1 << 20
DAY = 86400.0


class GuardedSwitch(FakeSwitch):
    """See ``guarded``. To be made where a Trio clock runs.

    resident: bytes; given_back: how much of it a trim takes away; trims: when there was one. left: why the process was to
    end. free: bytes of the history's disk, None: it does not answer. held: what the recorder was told. expiries: of
    certificates; reloads: when they were to be read again. wall: the clock on the wall. cancelled: children that were
    ended, with when. hung: while set, port writes hang in a way that no probe finds; deaf: likewise full reads of the links.
    """

    guardian: Guardian
    supervisor: Supervisor

    def __init__(self, settings: Settings | None = None, *, may_leave: bool = True) -> None:
        self.hung = self.deaf = False
        super().__init__()
        self.load_config(PORTS)
        self.wall = Wall()
        self.resident = 100 * MB
        self.given_back = 0
        self.trims: list[float] = []
        self.left: list[MemoryLimitError] = []
        self.free: int | None = 1 << 34
        self.held: list[str] = []
        self.expiries = {"server": NEW_YEAR + 400 * DAY, "ca": NEW_YEAR + 4000 * DAY}
        self.reloads: list[float] = []
        self.cancelled: list[tuple[float, str]] = []
        children = [
            Child("writer", self.writer.run, essential=True),
            Child("reader", self.reader.run, essential=True),
            Child("guardian", self._guard, essential=False),
        ]
        self.supervisor = Supervisor(children, RestartPolicy(), exit_to_restart=False, random=lambda: 1.0)
        self.guardian = Guardian(
            self.reader,
            self.writer,
            self.inbox,
            self._cancel,
            settings=settings or Settings(),
            resident=lambda: self.resident,
            wall=self.wall,
            trim=[self._trim],
            leave=self.left.append if may_leave else None,
            disks=self._disks,
            recorder=self,
            expiries=lambda: self.expiries,
            reload=lambda: self.reloads.append(trio.current_time()),
        )

    def begin_process(self) -> None:
        """With services that can be made to hang."""
        super().begin_process()
        self.writer._make_store = lambda: _HangingStore(self)

    def _make_source(self) -> FakeLinkSource:
        return _HangingSource(self)

    async def _guard(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self.guardian.run(task_status=task_status)

    def _cancel(self, name: str, reason: str) -> bool:
        self.cancelled.append((trio.current_time(), name))
        return self.supervisor.cancel_child(name, reason)

    def _trim(self) -> None:
        self.trims.append(trio.current_time())
        self.resident -= self.given_back

    async def _disks(self) -> Mapping[str, Space]:
        await trio.lowlevel.checkpoint()
        while self.free is None:
            await trio.sleep_forever()
        return {HISTORY: Space(self.free, 1 << 40), "port_state": Space(1 << 34, 1 << 40)}

    # ---- the recorder

    def hold_back(self, why: str) -> None:
        self.held.append(why)

    def go_on(self) -> None:
        self.held.append("")

    # ---- what is looked at

    def healed(self, kind: Kind) -> Healed:
        return self.guardian.statistics().healings.by_kind[kind]

    def counts(self) -> dict[Kind, int]:
        """How much of each kind was healed; kinds without any are left out."""
        by_kind = self.guardian.statistics().healings.by_kind
        return {kind: healed.count for kind, healed in by_kind.items() if healed.count}

    def is_true(self) -> bool:
        """Redis says what the kernel says."""
        return self.states() == self.expected_states()

    def restarts(self) -> dict[str, int]:
        children = self.supervisor.statistics().children
        return {child.name: child.restarts for child in children if child.restarts}

    def change(self) -> None:
        """Something happens to both ports."""
        for name in PORTS:
            self.kernel.set(name, mtu=self.kernel.link(name).mtu + 1)


class _HangingStore(FakeStore):
    def __init__(self, switch: GuardedSwitch) -> None:
        super().__init__(switch.redis, timeout=TIMEOUT)
        self._switch = switch

    async def write_ports(self, writes: Sequence[PortWrite]) -> list[bool]:
        while self._switch.hung:
            await trio.sleep_forever()
        return await super().write_ports(writes)


class _HangingSource(FakeLinkSource):
    def __init__(self, switch: GuardedSwitch) -> None:
        super().__init__(switch.kernel, receive_buffer_bytes=1 << 23, prefixes=switch.policy.prefixes)
        self._switch = switch

    async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
        while self._switch.deaf:
            await trio.sleep_forever()
        return await super().dump(handle)


def only(*kinds: Kind) -> Settings:
    """Settings with these kinds switched on."""
    return Settings(kinds=frozenset(kinds))


@asynccontextmanager
async def guarded(switch: GuardedSwitch) -> AsyncIterator[None]:
    """Everything runs; the ports are up, and the start is over. It is cancelled at the end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.supervisor.run)
        await switch.bring_up(PORTS)
        await trio.sleep(5)
        assert switch.counts() == {}
        yield
        nursery.cancel_scope.cancel()
