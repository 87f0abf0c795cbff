"""What is refused before Hypercorn sees it, and the names of Hypercorn's own that all of it leans on."""

import inspect
from importlib.metadata import version

import h11
import pytest
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer

from portsyncd.web.http1 import origin_form, refusal


def request(line: str, *headers: tuple[str, str]) -> h11.Request:
    method, target, http_version = line.split(" ")
    return h11.Request(
        method=method,
        target=target,
        headers=[("Host", "switch"), *headers],
        http_version=http_version.removeprefix("HTTP/"),
    )


@pytest.mark.parametrize(
    "line",
    [
        "GET /metrics HTTP/1.1",
        "GET /metrics HTTP/1.0",
        "HEAD /health?x=1 HTTP/1.1",
        "GET https://switch:9090/metrics HTTP/1.1",
        "DELETE / HTTP/1.1",
    ],
)
def test_the_app_sees_plain_requests(line: str) -> None:
    assert refusal(request(line)) is None


@pytest.mark.parametrize(
    ("line", "header", "status"),
    [
        ("PRI * HTTP/2.0", ("X", "y"), 505),
        ("GET / HTTP/1.2", ("X", "y"), 505),
        ("CONNECT switch:22 HTTP/1.1", ("X", "y"), 405),
        ("GET / HTTP/1.1", ("Upgrade", "h2c"), 501),
        ("GET / HTTP/1.1", ("Upgrade", "websocket"), 501),
        ("GET / HTTP/1.1", ("Content-Length", "3"), 413),
        ("GET / HTTP/1.1", ("Transfer-Encoding", "chunked"), 413),
        ("OPTIONS * HTTP/1.1", ("X", "y"), 400),
        ("GET metrics HTTP/1.1", ("X", "y"), 400),
        ("GET ftp://switch/metrics HTTP/1.1", ("X", "y"), 400),
    ],
)
def test_anything_but_a_plain_request_is_refused(line: str, header: tuple[str, str], status: int) -> None:
    assert refusal(request(line, header)) == status


def test_an_empty_body_is_no_body() -> None:
    assert refusal(request("GET / HTTP/1.1", ("Content-Length", "0"))) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/metrics?a=b", b"/metrics?a=b"),
        (b"https://[::1]:9090/metrics", b"/metrics"),
        (b"HTTP://switch", b"/"),
        (b"https://switch//x", b"//x"),
        (b"*", None),
        (b"://x", None),
    ],
)
def test_the_absolute_form_means_its_path(target: bytes, path: bytes | None) -> None:
    assert origin_form(target) == path


def test_hypercorn_is_the_version_whose_names_are_used() -> None:
    assert version("hypercorn") == "0.18.0"
    assert list(inspect.signature(H11Protocol._check_protocol).parameters) == ["self", "event"]
    assert list(inspect.signature(H11Protocol._create_stream).parameters) == ["self", "request"]
    assert list(inspect.signature(H11Protocol._send_error_response).parameters) == ["self", "status_code"]
    assert list(inspect.signature(TCPServer.protocol_send).parameters) == ["self", "event"]
    assert list(inspect.signature(TCPServer.__init__).parameters) == [
        "self",
        "app",
        "config",
        "context",
        "state",
        "stream",
    ]
    source = inspect.getsource(TCPServer)
    assert all(
        name in source for name in ("self._read_data()", "self._close()", "self._task_group", "self.protocol.handle")
    )
