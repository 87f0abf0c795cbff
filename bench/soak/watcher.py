"""A thread that looks at the daemon from outside: its process, and its metrics over mutual TLS."""

import http.client
import socket
import threading
import time
from pathlib import Path
from typing import Final, Self

from bench.soak.load import Load
from bench.soak.samples import Sample, parse
from portsyncd.testing.endpoint import Client, Endpoint
from portsyncd.testing.switch import Switch

# Each time over a kept connection, and every so often over a new one as well.
_NEW_CONNECTION_EVERY: Final = 5
# The daemon may be stopped for a fault; there is more to look at than its metrics.
_PATIENCE_SECONDS: Final = 3.0


class _Impatient(Endpoint):
    def connect(self) -> socket.socket:
        connection = super().connect()
        connection.settimeout(_PATIENCE_SECONDS)
        return connection


class Watcher:
    """Takes a sample each ``interval`` seconds until the block ends. begin: when the load began (monotonic).

    failed_scrapes: what was not answered with 200, a daemon that was stopped for a fault among it. An error of the thread
    comes up in ``check``.
    """

    def __init__(self, switch: Switch, load: Load, *, interval: float, begin: float) -> None:
        self.samples: list[Sample] = []
        self.failed_scrapes = 0
        self._switch = switch
        self._endpoint = _Impatient(switch.endpoint.certificates, namespace=switch.namespace)
        self._load = load
        self._interval = interval
        self._begin = begin
        self._proc = Path(f"/proc/{switch.daemon.pid}")
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="watcher")

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._endpoint.client() as kept:
                while not self._ended.wait(self._interval):
                    self.samples.append(self._look(kept))
        except BaseException as failure:  # noqa: BLE001  check() raises it
            self._failure = failure

    def _look(self, kept: Client) -> Sample:
        metrics = self._scrape(kept)
        if len(self.samples) % _NEW_CONNECTION_EVERY == 0:
            with self._endpoint.client() as fresh:
                self._scrape(fresh)
        status = dict(line.split(":", 1) for line in (self._proc / "status").read_text().splitlines())
        return Sample(
            at=time.monotonic() - self._begin,
            resident=_bytes(status["VmRSS"]),
            anonymous=_bytes(status["RssAnon"]),
            descriptors=len(list((self._proc / "fd").iterdir())),
            threads=int(status["Threads"]),
            cpu=self._switch.daemon.cpu_seconds(),
            made=self._load.made,
            steady=self._load.steady,
            paused=self._load.paused_seconds,
            metrics=metrics,
        )

    def _scrape(self, client: Client) -> dict[str, float]:
        try:
            response, body = client.get("/metrics")
        except (OSError, http.client.HTTPException):
            client.close()
        else:
            if response.status == http.client.OK:
                return parse(body.decode())
        self.failed_scrapes += 1
        return {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _bytes(kilobytes: str) -> int:
    return int(kilobytes.split(maxsplit=1)[0]) * 1024
