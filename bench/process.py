"""The daemon under test as an operator sees it: a process. Nothing is asked of the daemon itself."""

import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from portsyncd.testing.descriptor_store import DescriptorStoreParent
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.wait import until

_STOP_SECONDS: Final = 15
_LOG_CHARACTERS: Final = 4000
_RTNLGRP_LINK_BIT: Final = 1
# linux/posix-timers.h: the clock id of another process' CPU time is its inverted pid and CPUCLOCK_SCHED (2).
_CPUCLOCK_SCHED: Final = 2


class DaemonError(RuntimeError):
    """The daemon ended, or did not do in time what any portsyncd does. The message holds what it printed."""


@contextmanager
def running_on(cores: frozenset[int]) -> Iterator[None]:
    """Keep this thread on these cores; what it starts meanwhile stays there. Threads started before keep theirs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class DaemonProcess:
    """One run of the daemon in a namespace, pinned from its first instruction. A context manager; ends it on exit."""

    def __init__(
        self,
        command: Sequence[str],
        namespace: NetworkNamespace,
        cores: frozenset[int],
        log: Path,
        *,
        pass_fds: Collection[int] = (),
        store: DescriptorStoreParent | None = None,
    ) -> None:
        """store: who starts it and keeps its sockets, which adds the start of a bare interpreter; then no ``pass_fds``."""
        self._log = log
        with running_on(cores), log.open("wb") as output:
            self.started_at = time.perf_counter()
            if store is None:
                self._process = namespace.popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=pass_fds
                )
            else:
                self._process = store.popen(
                    namespace.popen,
                    command,
                    env=os.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        self.pid = self._process.pid
        self._proc = Path("/proc") / str(self.pid)
        self._cpu_clock = (~self.pid) << 3 | _CPUCLOCK_SCHED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough. Safe to call twice."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Raise ``DaemonError`` if it is no longer there."""
        code = self._process.poll()
        if code is not None:
            raise self.error(f"the daemon ended with exit code {code}")

    def error(self, what: str) -> DaemonError:
        """An error that also says what the daemon printed last."""
        return DaemonError(f"{what}; it said:\n{self.log()}")

    def log(self) -> str:
        """What it printed last."""
        return self._log.read_text(errors="replace")[-_LOG_CHARACTERS:]

    def stop(self) -> None:
        """SIGSTOP; it has stopped when this returns."""
        self._process.send_signal(signal.SIGSTOP)
        until(lambda: self._state() == "T", what="the daemon stops")

    def cont(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def _state(self) -> str:
        return (self._proc / "stat").read_text().rpartition(")")[2].split()[0]

    def cpu_seconds(self) -> float:
        """CPU time of all its threads so far, in user and kernel mode; exact, where ``/proc`` counts in 10 ms."""
        return time.clock_gettime(self._cpu_clock)

    def resident_bytes(self) -> int:
        """VmRSS."""
        return int(self._status(self._proc)["VmRSS"].split()[0]) * 1024

    def peak_bytes(self) -> int:
        """VmHWM: the most that was ever resident."""
        return int(self._status(self._proc)["VmHWM"].split()[0]) * 1024

    def voluntary_switches(self) -> dict[str, int]:
        """By thread, how often it has gone to sleep so far, which is how often something woke it."""
        tasks = list((self._proc / "task").iterdir())
        return {task.name: int(self._status(task)["voluntary_ctxt_switches"]) for task in tasks}

    def kernel_drops(self) -> int:
        """Events that the kernel has dropped on rtnetlink sockets of the namespace that hear RTNLGRP_LINK.

        Columns of /proc/net/netlink: sk, protocol, port id, groups, rmem, wmem, dump, locks, drops, inode. This program
        joins no group, so that these are the daemon's.
        """
        rows = [line.split() for line in (self._proc / "net" / "netlink").read_text().splitlines()[1:]]
        return sum(int(row[8]) for row in rows if row[1] == "0" and int(row[3], 16) & _RTNLGRP_LINK_BIT)

    @staticmethod
    def _status(folder: Path) -> dict[str, str]:
        lines = (folder / "status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
