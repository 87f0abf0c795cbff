"""The app by itself: what it answers to whom."""

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from werkzeug.datastructures import MIMEAccept

from portsyncd.web.app import OPENMETRICS, TEXT, make_app, prefers_openmetrics


class View:
    """A daemon with 3 slices of metrics. fails_at: the slice that cannot be made."""

    def __init__(self, *, serving: bool = True, fails_at: int = -1) -> None:
        self.serving = serving
        self.fails_at = fails_at
        self.checkpoints = 0

    def scrape(self, *, openmetrics: bool) -> Iterator[str]:
        for number in range(3):
            if number == self.fails_at:
                raise ValueError("no such number")
            yield f"{'open' if openmetrics else 'plain'} {number} " + "ü" * 10000 + "\n"

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        if self.fails_at == 0:
            raise KeyError("health")
        return self.serving, {"status": "healthy" if self.serving else "unhealthy", "port": "Ethernet0 ü"}


async def ask(path: str, view: View | None = None, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    client: Any = make_app(view or View()).test_client()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.open(path, method=method, headers=named)
    return response.status_code, response.headers, await response.get_data(as_text=False)


BODY = "".join(View().scrape(openmetrics=False)).encode()


async def test_metrics_are_prometheus_text() -> None:
    status, headers, body = await ask("/metrics")
    assert (status, body) == (200, BODY)
    assert headers["Content-Type"] == TEXT


async def test_metrics_are_openmetrics_for_who_asks() -> None:
    status, headers, body = await ask("/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert status == 200
    assert headers["Content-Type"] == OPENMETRICS
    assert body.startswith(b"open 0")


async def test_metrics_are_compressed_for_who_asks() -> None:
    _, headers, body = await ask("/metrics", accept_encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == BODY
    _, headers, body = await ask("/metrics", accept_encoding="gzip;q=0, identity")
    assert "Content-Encoding" not in headers
    assert body == BODY


async def test_other_tasks_run_while_metrics_are_made() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await ask("/metrics")
        nursery.cancel_scope.cancel()
    assert turns > 3


@pytest.mark.parametrize(("serving", "status"), [(True, 200), (False, 503)])
async def test_health_is_json_and_its_status_says_whether_to_worry(serving: bool, status: int) -> None:
    answered, headers, body = await ask("/health", View(serving=serving))
    assert answered == status
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"status": "healthy" if serving else "unhealthy", "port": "Ethernet0 ü"}


async def test_a_name_that_is_no_text_is_shown_all_the_same() -> None:
    class Odd(View):
        def health(self) -> tuple[bool, Mapping[str, Any]]:
            return True, {"port": "Ethernet\udcff"}

    status, _, body = await ask("/health", Odd())
    assert status == 200
    assert json.loads(body) == {"port": "Ethernet\udcff"}


@pytest.mark.parametrize("path", ["/metrics", "/health"])
async def test_head_has_the_headers_of_get(path: str) -> None:
    status, headers, _ = await ask(path, method="HEAD")
    assert status == 200
    assert headers["Content-Type"] == (await ask(path))[1]["Content-Type"]


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/health/x", "/static/x", "/%00", "/%ff%fe"])
async def test_other_paths_are_not_found(path: str) -> None:
    status, _, body = await ask(path)
    assert (status, body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
async def test_other_methods_are_not_allowed(method: str) -> None:
    status, headers, _ = await ask("/metrics", method=method)
    assert status == 405
    assert set(headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/metrics", "/health"])
async def test_a_failure_is_a_500_and_told(path: str) -> None:
    with capture_logs() as said:
        status, _, body = await ask(path, View(fails_at=0))
    assert (status, body) == (500, b"500 Internal Server Error\n")
    assert [line["path"] for line in said if line["log_level"] == "error"] == [path]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ([], False),
        ([("*/*", 1)], False),
        ([("text/plain", 1)], False),
        ([("application/openmetrics-text", 1)], True),
        ([("application/openmetrics-text;version=1.0.0", 0.5), ("text/plain;version=0.0.4", 0.3)], True),
        ([("application/openmetrics-text", 0.3), ("text/plain", 0.5)], False),
        (
            [("application/openmetrics-text", 0.6), ("application/openmetrics-text;version=0.0.1", 0.5), ("*/*", 0.1)],
            True,
        ),
        ([("application/openmetrics-text", 0)], False),
        ([("application/json", 1)], False),
    ],
)
def test_openmetrics_is_for_who_likes_it_no_less(accept: list[tuple[str, float]], wanted: bool) -> None:
    assert prefers_openmetrics(MIMEAccept(accept)) is wanted
