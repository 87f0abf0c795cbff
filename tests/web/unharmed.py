"""A server that is under attack, and what has to be true of it meanwhile and afterwards."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.endpoint import Endpoint
from portsyncd.testing.scraper import Scraper
from portsyncd.web.limits import Limits
from portsyncd.web.server import MetricsServer
from tests.web import serving
from tests.web.serving import eventually, in_thread

# What takes long in real life; the rest is as it is there.
LIMITS = Limits(handshake_seconds=5, request_seconds=1, idle_seconds=3, send_seconds=1)
LINES = 300


class View:
    """A few hundred kilobytes of metrics, so that an answer does not fit into a socket's buffer."""

    def scrape(self, *, openmetrics: bool) -> Iterator[str]:
        assert not openmetrics
        for number in range(LINES):
            yield f"portsyncd_test {number} {'x' * 1000}\n"

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        return True, {}


def count_tasks(root: trio.lowlevel.Task) -> int:
    return 1 + sum(count_tasks(task) for nursery in root.child_nurseries for task in nursery.child_tasks)


def count_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def unharmed(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, limits: Limits = LIMITS
) -> AsyncIterator[tuple[MetricsServer, Endpoint]]:
    """A server beside which a good client scrapes until the block ends; then all is as it was before."""
    monkeypatch.setattr(serving, "View", View)
    with capture_logs() as said:
        async with serving.serving(certificates, limits=limits) as (server, endpoint):
            root = trio.lowlevel.current_root_task()
            assert root is not None
            tasks, files = count_tasks(root), count_files()
            scraper = Scraper(endpoint)
            await in_thread(scraper.__enter__)
            try:
                yield server, endpoint
            finally:
                await in_thread(scraper.__exit__)
            assert scraper.failures == [], scraper.failures
            assert scraper.scrapes >= 2

            await eventually(lambda: server.statistics().connections == server.statistics().handshakes == 0)
            await eventually(lambda: count_tasks(root) <= tasks and count_files() <= files)
    assert [line for line in said if line["log_level"] in ("error", "critical")] == []
