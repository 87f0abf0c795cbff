"""A real Prometheus in a namespace of its own making, with our configuration, at a pace that suits a test."""

import http.client
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.children import dying_with_parent
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.wait import until
from tests.ops.rules import PROMETHEUS, RULES

T = TypeVar("T")

# A namespace has all ports to itself.
PORT: Final = 9091
DEADLINE_SECONDS: Final = 60.0


class Prometheus:
    """Scrapes ``[::1]:9090`` of a namespace each second, as a client of ``certificates``; alerts wait a second.

    program: the path of ``prometheus``. A context manager: on entry it is started, and awaited until it answers.
    """

    def __init__(self, program: str, folder: Path, namespace: NetworkNamespace, certificates: Certificates) -> None:
        self._program = program
        self._folder = folder
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "portsyncd").mkdir(parents=True)
        own = (
            (certificates.ca, "ca.crt"),
            (certificates.client_cert, "prometheus.crt"),
            (certificates.client_key, "prometheus.key"),
        )
        for source, name in own:
            shutil.copy(source, folder / "portsyncd" / name)
        config = (PROMETHEUS / "prometheus.yml").read_text("utf-8")
        config = config.replace("scrape_timeout: 10s", "scrape_timeout: 1s").replace(": 15s", ": 1s")
        (folder / "prometheus.yml").write_text(config)
        rules = re.sub(r"^( +for: )\w+$", r"\g<1>1s", RULES.read_text("utf-8"), flags=re.MULTILINE)
        (folder / "rules.yml").write_text(rules)

    def log(self) -> str:
        """What it has printed."""
        return (self._folder / "prometheus.log").read_text("utf-8", errors="replace")

    def ask(self, path: str, **parameters: str) -> Any:
        """``data`` of an answer of its HTTP API, such as that to ``query``. None where it does not answer yet."""
        connection = http.client.HTTPConnection("::1", PORT, timeout=DEADLINE_SECONDS)
        try:
            with self._namespace.enter():
                connection.connect()
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        except ConnectionError:
            return None
        except json.JSONDecodeError:
            return None  # "Service Unavailable" while it starts
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, query: str) -> float | None:
        """The value of a query that has one series; None while there is none."""
        result = self.ask("query", query=query)["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def targets(self) -> list[dict[str, Any]]:
        """The targets that it scrapes, with how they are."""
        active: list[dict[str, Any]] = self.ask("targets")["activeTargets"]
        return active

    def firing(self) -> dict[str, dict[str, Any]]:
        """Alerts that fire, by their names."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """``until``, with what Prometheus said."""
        return until(condition, DEADLINE_SECONDS, lambda: f"{what}; Prometheus said:\n{self.log()}")

    def __enter__(self) -> Self:
        argv = [
            self._program,
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            "--storage.tsdb.retention.time=1h",
            f"--web.listen-address=[::1]:{PORT}",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = self._namespace.popen(
                dying_with_parent(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self.wait(lambda: self._running() and self.ask("status/buildinfo"), "Prometheus answers")
        except BaseException:
            # Also on an interrupt: nobody else could end the process then.
            self.close()
            raise
        return self

    def _running(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Prometheus ended:\n{self.log()}"
        return True

    def close(self) -> None:
        """End it; what it has stored is of no further use."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
