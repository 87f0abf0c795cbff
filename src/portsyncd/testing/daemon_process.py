"""The real daemon as a process: started in a namespace against a Redis, watched through its log and through /proc."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from portsyncd.errors import PortsyncdError
from portsyncd.testing.children import dying_with_parent
from portsyncd.testing.descriptor_store import DescriptorStoreParent
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.wait import until

IN_SYNC: Final = "in sync"
DEADLINE_SECONDS: Final = 30.0
_SOURCES: Final = Path(__file__).parents[2]
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

Config = Mapping[str, Mapping[str, Any]]


class DaemonNotRunningError(PortsyncdError):
    """The daemon was asked about or signalled, and there is no process. Caused by the test, or by a daemon that ended."""


class _Life(NamedTuple):
    process: subprocess.Popen[bytes]
    out: Path
    err: Path


class DaemonProcess:
    """``portsyncd run`` with a configuration file of its own.

    config: sections over what is set here (Redis' socket, a JSON log, all that it keeps in
        ``folder``, no metrics endpoint).
    argv: another command line; ``{config}`` in an argument stands for the configuration file's path.
    environment: variables on top of this process' own.
    store: plays systemd, for messages and kept descriptors.

    It may be started again after it ended; each life has its own log. As a context manager it starts on entry, without
    waiting for anything, and is killed on exit. It gets SIGKILL when the thread that started it ends.
    """

    def __init__(
        self,
        namespace: NetworkNamespace,
        redis: RedisServer,
        folder: Path,
        *,
        config: Config | None = None,
        argv: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        store: DescriptorStoreParent | None = None,
    ) -> None:
        self.folder = folder
        self.config_path = folder / "portsyncd.toml"
        self.argv = tuple(argv or (sys.executable, "-m", "portsyncd", "run", "--config", "{config}"))
        self._popen = namespace.popen if store is None else partial(store.popen, namespace.popen)
        self._environment = dict(environment or {})
        self._lives: list[_Life] = []
        self._config: dict[str, dict[str, Any]] = {
            "daemon": {"log_level": "debug", "log_format": "json"},
            "database": {"unix_socket_path": redis.socket_path, "database_config": ""},
            "netlink": {"run_dir": str(folder / "run")},
            "warm_restart": {"state_file": str(folder / "state" / "port_state.json")},
            "metrics": {"enabled": False, "storage_path": str(folder / "state" / "metrics")},
        }
        self.configure(config or {})

    def configure(self, config: Config) -> None:
        """Set further keys and write the file; a running daemon sees them at its next start (or HUP)."""
        for section, keys in config.items():
            self._config.setdefault(section, {}).update(keys)
        self.config_path.write_text(to_toml(self._config))

    def start(self) -> None:
        """Start the process inside the namespace; returns at once."""
        number = len(self._lives) + 1
        out, err = self.folder / f"daemon-{number}.out", self.folder / f"daemon-{number}.err"
        argv = [argument.replace("{config}", str(self.config_path)) for argument in self.argv]
        path = os.pathsep.join(filter(None, (str(_SOURCES), os.environ.get("PYTHONPATH", ""))))
        environment = {**os.environ, "PYTHONPATH": path, **self._environment}
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = self._popen(
                dying_with_parent(argv), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment
            )
        self._lives.append(_Life(process, out, err))

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process of the present (or last) life."""
        if not self._lives:
            raise DaemonNotRunningError("the daemon was never started")
        return self._lives[-1].process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (a paused one is)."""
        return bool(self._lives) and self.process.poll() is None

    def log(self) -> str:
        """All that the present life has printed: standard output, then standard error."""
        if not self._lives:
            return ""
        life = self._lives[-1]
        return life.out.read_text(errors="replace") + life.err.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON lines of the present life's log, oldest first; those of one event only, where it is named."""
        found: list[dict[str, Any]] = []
        for line in self.log().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # a line still being written, or a crash's traceback
            if isinstance(record, dict) and name in (None, record.get("event")):
                found.append(record)
        return found

    def wait_for(self, event: str, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """Wait until the present life has logged an event, and return its first record. Raises ``DeadlineError``, or
        ``DaemonNotRunningError`` where the daemon ends instead."""

        def logged() -> list[dict[str, Any]]:
            ended = not self.running
            found = self.events(event)
            if ended and not found:
                raise DaemonNotRunningError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            return found

        return until(logged, deadline_seconds, lambda: f"the daemon logs {event!r}; it said:\n{self.log()}")[0]

    def wait_in_sync(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait for the present life's first sync."""
        self.wait_for(IN_SYNC, deadline_seconds)

    def wait_ended(self, deadline_seconds: float = DEADLINE_SECONDS) -> int:
        """Wait until the process has ended, and return its exit code (negative: the signal)."""
        until(lambda: not self.running, deadline_seconds, lambda: f"the daemon ends; it said:\n{self.log()}")
        return int(self.process.returncode)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        if not self.running:
            raise DaemonNotRunningError("the daemon is not running")
        self.process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_ended()

    def kill(self) -> None:
        """SIGKILL, and wait for the end. Nothing happens where it does not run."""
        if self.running:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """SIGSTOP, and wait until it has stopped: what the kernel says meanwhile stays in the socket."""
        self.signal(signal.SIGSTOP)
        until(lambda: self._stat()[0] == "T", what="the daemon has stopped")

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """CPU time used so far, user and system, all threads; its resolution is the clock tick, usually 10 ms."""
        fields = self._stat()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Memory resident now."""
        return int(self._stat()[21]) * os.sysconf("SC_PAGE_SIZE")

    def _stat(self) -> list[str]:
        """The fields of /proc/PID/stat from the third (state) on; the second may hold spaces and parentheses."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def to_toml(config: Config) -> str:
    """A configuration as TOML: sections of strings, numbers, truth values, lists of them and flat tables."""
    sections = (
        f"[{section}]\n" + "".join(f"{key} = {_toml_value(value)}\n" for key, value in keys.items())
        for section, keys in config.items()
    )
    return "\n".join(sections)


def _toml_value(value: Any) -> str:
    match value:
        case Mapping():
            return "{ " + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_toml_value, value)) + "]"
        case _:
            # JSON's strings, numbers and truth values are TOML's too.
            return json.dumps(value, ensure_ascii=False)
