"""A service manager in memory, which understands what it is told as systemd does (sd_notify(3))."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import trio

from portsyncd.backends.base import DescriptorStore
from portsyncd.model.service_state import Fields

# As systemd's NOTIFY_BUFFER_MAX.
_MESSAGE_BYTES: Final = 4096


class UnitState(StrEnum):
    """As ``systemctl is-active`` has it."""

    ACTIVATING = "activating"
    ACTIVE = "active"
    RELOADING = "reloading"
    DEACTIVATING = "deactivating"


class FakeServiceManager:
    """See ``backends.base.ServiceManager``.

    watchdog: seconds. store: where descriptors are kept; None: nowhere.

    listens: as in the Protocol. deaf: what is sent now is lost, and the sender knows. heard: every message, oldest first.
    state, status: of the unit. fed_at, extended_at: when WATCHDOG=1 and EXTEND_TIMEOUT_USEC came last (seconds of
    Trio's clock); extension: by how much.
    """

    def __init__(self, *, watchdog: float | None = None, store: DescriptorStore | None = None) -> None:
        self.listens = True
        self.deaf = False
        self.heard: list[Fields] = []
        self._watchdog = watchdog
        self._store = store
        self.restart()

    def restart(self) -> None:
        """The service is started (again)."""
        self.state, self.status = UnitState.ACTIVATING, ""
        self.watchdog = self._watchdog
        self.fed_at = self.extended_at = trio.current_time()
        self.extension = 0.0
        self._armed = False

    def says(self) -> str:
        """State and status, as an operator sees them."""
        return f"{self.state.value}: {self.status}"

    def starved_for(self) -> float:
        """Seconds beyond those that the watchdog allows; it kills the process when they are more than 0. It is armed by the
        first WATCHDOG=1, and by READY=1 at the latest; EXTEND_TIMEOUT_USEC puts it off, too."""
        if self.watchdog is None or not self._armed or self.state is UnitState.DEACTIVATING:
            return 0.0
        bites_at = max(self.fed_at + self.watchdog, self.extended_at + self.extension)
        return max(0.0, trio.current_time() - bites_at)

    def notify(self, **fields: str | int) -> bool:
        """Heed one message. A longer one than systemd takes is not sent."""
        length = sum(len(f"{key}={value}\n".encode()) for key, value in fields.items())
        if self.deaf or length > _MESSAGE_BYTES:
            return False
        self.heard.append(fields)
        now = trio.current_time()
        self.status = str(fields.get("STATUS", self.status))
        match fields:
            case {"STOPPING": 1}:
                self.state = UnitState.DEACTIVATING
            case {"RELOADING": 1, "MONOTONIC_USEC": _} if self.state is UnitState.ACTIVE:
                self.state = UnitState.RELOADING
            case {"READY": 1} if self.state is not UnitState.DEACTIVATING:
                self.state = UnitState.ACTIVE
                if not self._armed:
                    self.fed_at, self._armed = now, True
        if "WATCHDOG" in fields:
            self.fed_at, self._armed = now, True
        if "WATCHDOG_USEC" in fields:
            self.watchdog = int(fields["WATCHDOG_USEC"]) / 1e6 or None
        if "EXTEND_TIMEOUT_USEC" in fields:
            self.extended_at, self.extension = now, int(fields["EXTEND_TIMEOUT_USEC"]) / 1e6
        return True

    def monotonic_usec(self) -> int:
        """Trio's clock."""
        return round(trio.current_time() * 1e6)

    def keep(self, descriptor: int, name: str) -> bool:
        """Where there is a store."""
        return self._store is not None and self._store.keep(descriptor, name)

    def forget(self, name: str) -> None:
        """Likewise."""
        if self._store is not None:
            self._store.forget(name)

    def take(self) -> Sequence[tuple[str, int]]:
        """Likewise."""
        return [] if self._store is None else self._store.take()
