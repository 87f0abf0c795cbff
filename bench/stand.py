"""One run of one scenario: a fresh namespace, Redis, daemon and links."""

import math
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from bench import databases
from bench.machine import Cores
from bench.process import DaemonProcess, running_on
from bench.rtnetlink import LinkDriver
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.daemon_process import to_toml
from portsyncd.testing.descriptor_store import DescriptorStoreParent
from portsyncd.testing.endpoint import Endpoint
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.wait import until

# Longer than any pause between two writes of one and the same piece of work.
_QUIET_SECONDS: Final = 0.05
# Longer than what a daemon may read or think before it writes the first port.
_FIRST_WRITE_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 20.0
_START_SECONDS: Final = 60.0
# Below one per cent of a core for a quarter of a second: whatever belongs to the start is over.
_CALM_WINDOW_SECONDS, _CALM_CPU_SECONDS = 0.25, 0.0025
FRESHNESS_SECONDS: Final = 0.2
OWN_COMMAND: Final = (sys.executable, "-m", "portsyncd", "run", "--config", "{config}")


@dataclass(frozen=True)
class Setup:
    """What all runs share. command: the daemon's, with ``{config}`` and ``{redis_socket}`` to be filled in."""

    command: tuple[str, ...]
    cores: Cores


class Stand:
    """A context manager. Redis runs on entry, and CONFIG_DB holds ``names``; daemon and links come when asked for."""

    def __init__(
        self,
        setup: Setup,
        names: Sequence[str],
        *,
        netlink: str = "",
        metrics: bool = True,
        start_seconds: float = _START_SECONDS,
    ) -> None:
        """netlink: lines for the [netlink] section of the daemon's configuration. metrics: with the metrics endpoint,
        which is how it is run unless somebody turns that off. start_seconds: so long it may take to start."""
        self._setup = setup
        self._start_seconds = start_seconds
        self._netlink = netlink
        self._metrics = metrics
        self._stack = ExitStack()
        self._daemon: DaemonProcess | None = None
        self._last_write = 0.0
        self.names = list(names)
        self.ifindexes: list[int] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="portsyncd-bench-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.namespace = stack.enter_context(NetworkNamespace())
            with running_on(self._setup.cores.redis):
                self.redis = stack.enter_context(RedisServer(self.folder))
            self.links = LinkDriver(self.namespace)
            stack.callback(self.links.close)
            self.config_done = stack.enter_context(databases.Notifications(self.redis, databases.CONFIG_DONE_PATTERN))
            self.writes = stack.enter_context(databases.Notifications(self.redis, databases.STATE_PATTERN))
            stack.enter_context(running_on(self._setup.cores.driver))
            databases.configure_ports(self.redis, self.names)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def certificates(self) -> Certificates:
        """What the metrics endpoint is served with."""
        return Certificates(self.folder / "certificates")

    @property
    def endpoint(self) -> Endpoint:
        """The metrics endpoint, for clients in this process."""
        return Endpoint(self.certificates, namespace=self.namespace)

    @property
    def daemon(self) -> DaemonProcess:
        """The daemon that ``start`` started."""
        if self._daemon is None:
            raise RuntimeError("the daemon has not been started")
        return self._daemon

    def start(self, *, pass_fds: Collection[int] = ()) -> float:
        """Start the daemon and wait for PortConfigDone; how long that took, in seconds, from before the fork."""
        daemon = self._launch(pass_fds=pass_fds)
        return self._arrival(self.config_done, "PortConfigDone") - daemon.started_at

    def restart(self, store: DescriptorStoreParent | None = None) -> float:
        """Start the daemon warm, another one having ended, and wait until it has reconciled; how long that took."""
        client = self.redis.client(databases.STATE_DB)
        # That of the process before.
        client.hdel(databases.WARM_KEY, "state")
        with databases.Notifications(self.redis, databases.WARM_PATTERN) as changes:
            daemon = self._launch(store=store)
            while True:
                arrived = self._arrival(changes, "warm start that reconciled")
                if client.hget(databases.WARM_KEY, "state") == "reconciled":
                    return arrived - daemon.started_at

    def _launch(self, *, pass_fds: Collection[int] = (), store: DescriptorStoreParent | None = None) -> DaemonProcess:
        config = self.folder / "portsyncd.conf"
        metrics = self.certificates.config()["metrics"] if self._metrics else {"enabled": False}
        config.write_text(
            f'[database]\nunix_socket_path = "{self.redis.socket_path}"\n'
            f'[netlink]\nrun_dir = "{self.folder / "run"}"\n{self._netlink}\n'
            f'[warm_restart]\nstate_file = "{self.folder / "state" / "port_state.json"}"\n'
            + to_toml({"metrics": {**metrics, "storage_path": str(self.folder / "state" / "metrics")}})
        )
        filled = {"config": str(config), "redis_socket": self.redis.socket_path}
        command = [word.format_map(filled) for word in self._setup.command]
        daemon = DaemonProcess(
            command,
            self.namespace,
            self._setup.cores.daemon,
            self.folder / "daemon.log",
            pass_fds=pass_fds,
            store=store,
        )
        self._stack.push(daemon)
        self._daemon = daemon
        return daemon

    def _arrival(self, changes: databases.Notifications, what: str) -> float:
        """When the next of these notifications came; raises ``DaemonError`` if the daemon does not make it come."""
        end = self.daemon.started_at + self._start_seconds
        while time.perf_counter() < end:
            arrived = changes.wait(0.2)
            if arrived is not None:
                return arrived
            self.daemon.check()
        raise self.daemon.error(f"no {what} within {self._start_seconds:g} s")

    def bring_up(self, links: int | None = None) -> None:
        """Start the daemon, play orchagent, make the first ``links`` ports (all by default), wait until all is calm."""
        self.start()
        databases.pop_ports(self.redis)
        self.ifindexes = self.links.create(self.names[:links])
        if math.isinf(self.settle(time.perf_counter())):
            raise self.daemon.error(f"{self.stale()} of {len(self.ifindexes)} ports are not published")
        self.calm()

    def calm(self) -> None:
        """Wait until the daemon sleeps."""

        def sleeps() -> bool:
            before = self.daemon.cpu_seconds()
            time.sleep(_CALM_WINDOW_SECONDS)
            return self.daemon.cpu_seconds() - before < _CALM_CPU_SECONDS

        until(sleeps, self._start_seconds, "the daemon comes to rest")

    def stale(self) -> int:
        """How many ports of STATE_DB differ from the kernel, or are in one of the two only."""
        rows = dict(zip(self.names, databases.published(self.redis, self.names), strict=True))
        links = self.links.links()
        wanted = {name: _row(links[name].admin_up, links[name].oper_up, links[name].mtu) for name in links}
        return sum(rows[name] != wanted.get(name, (None, None, None, None)) for name in self.names)

    def settle(self, begin: float) -> float:
        """When the last write came that made all ports equal to the kernel (``perf_counter``); infinite if none did.

        ``begin`` stands for that moment if nothing had to be written. Comparing waits until writes have stopped, so
        that it disturbs none.
        """
        end = begin + _SETTLE_SECONDS
        while time.perf_counter() < end:
            self.daemon.check()
            if self._listen(_QUIET_SECONDS if self._last_write > begin else _FIRST_WRITE_SECONDS):
                continue
            # What came while the two were compared is news: its moment is taken again.
            if self.stale() == 0 and not self._listen(0):
                return max(begin, self._last_write)
        return math.inf

    def stale_after(self, moment: float) -> int:
        """How many ports are stale ``FRESHNESS_SECONDS`` after ``moment``."""
        while (left := moment + FRESHNESS_SECONDS - time.perf_counter()) > 0:
            self._listen(left)
        return self.stale()

    def _listen(self, seconds: float) -> bool:
        """Wait for the next write and remember when it came; False if none did."""
        arrived = self.writes.wait(seconds)
        if arrived is not None:
            self._last_write = arrived
        return arrived is not None


def _row(admin_up: bool, oper_up: bool, mtu: int) -> databases.Row:
    return ("ok", "up" if admin_up else "down", "up" if oper_up else "down", str(mtu))
