"""ops/nginx/portsyncd.conf in a real nginx, before a real daemon, asked by real clients.

All three live in a network namespace, so that ports and addresses are those of the file; only its folders are changed.
"""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.children import dying_with_parent
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import until
from portsyncd.tls.authority import Authority
from tests.e2e.clients import Pair, curl, odd_client, s_client, unrestricted

pytestmark = pytest.mark.root

CONF = Path(__file__).parents[2] / "ops" / "nginx" / "portsyncd.conf"
FOLDER = "/etc/portsyncd/nginx"
LOGS = "/var/log/nginx"
PORT, DAEMON_PORT = 9443, 9090
URL = f"https://[::1]:{PORT}"
METRICS, HEALTH = f"{URL}/metrics", f"{URL}/health"
GET = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

SOONER = {"proxy_connect_timeout    2s": "proxy_connect_timeout 200ms"}

# Around the file, as Debian's nginx.conf is; in one process, which ends with the test's.
MAIN = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 256; }}
http {{
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    gzip on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/portsyncd.conf;
}}
"""


class Nginx:
    """nginx with our file, in ``namespace``, with certificates signed by the CA of ``certificates``.

    changes: what else is replaced in the file, by what.
    A context manager: it listens when the block begins.
    """

    def __init__(
        self,
        folder: Path,
        namespace: NetworkNamespace,
        certificates: Certificates,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.certificates = certificates
        self.client = certificates.client_cert, certificates.client_key
        self._namespace = namespace
        authority = certificates.authority
        (folder / "ca.crt").write_bytes(authority.cert_pem)
        for name, issued in (
            ("server", authority.issue_server(("localhost", "::1"), common_name="nginx")),
            ("nginx", authority.issue_client("nginx", ("nginx",))),
        ):
            (folder / f"{name}.crt").write_bytes(issued.cert_pem)
            (folder / f"{name}.key").write_bytes(issued.key_pem)
        text = CONF.read_text()
        for old, new in {FOLDER: str(folder), LOGS: str(folder), **(changes or {})}.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "portsyncd.conf").write_text(text)
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
        self._errors = folder / "errors"
        self._process: subprocess.Popen[Any] | None = None

    def argv(self, *options: str) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-e", "stderr", "-c", str(self.folder / "nginx.conf"), *options]

    def errors(self) -> str:
        """The error log so far."""
        return self._errors.read_text()

    def log(self) -> list[dict[str, Any]]:
        """The access log, a record a request."""
        lines = (self.folder / "portsyncd.log").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def logged(self, url: str, *options: str, **changes: Pair | None) -> tuple[str, dict[str, Any]]:
        """``curl``, and the record of its (one) request."""
        before = len(self.log())
        answer = self.curl(url, *options, **changes)
        return answer, until(lambda: self.log()[before:], what="the request is logged")[0]

    def curl(self, url: str, *options: str, **changes: Pair | None) -> str:
        """Status and body of a good client's request; ``client`` names another one."""
        return curl(self._namespace, self.folder / "ca.crt", url, *options, **{"client": self.client, **changes}).stdout

    def s_client(self, *options: str, **changes: Any) -> str:
        """What ``openssl s_client`` prints."""
        ca, address = self.folder / "ca.crt", f"[::1]:{PORT}"
        return s_client(self._namespace, address, ca, *options, **{"client": self.client, **changes}).stdout

    def __enter__(self) -> Self:
        with self._errors.open("wb") as errors:
            self._process = self._namespace.popen(dying_with_parent(self.argv()), stderr=errors, env=unrestricted())
        until(self._listens, what=lambda: f"nginx listens; it said:\n{self.errors()}")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.errors()
        with self._namespace.enter():
            return reachable(PORT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()


class Pretender:
    """What listens in the daemon's place, with this certificate; answers whoever goes on. A context manager."""

    def __init__(self, namespace: NetworkNamespace, pair: Pair) -> None:
        self.requests: list[bytes] = []
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(*pair)
        with namespace.enter():
            self._listener = socket.create_server(("::1", DAEMON_PORT), family=socket.AF_INET6)
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        # shutdown() of the listener ends accept().
        with suppress(OSError):
            connection = self._listener.accept()[0]
            with self._context.wrap_socket(connection, server_side=True) as tls:
                if request := tls.recv(65536):
                    self.requests.append(request)
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def reachable(port: int) -> bool:
    """Whether something listens on [::1], in this thread's namespace."""
    with closing(socket.socket(socket.AF_INET6)) as probe:
        return probe.connect_ex(("::1", port)) == 0


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    """A switch whose daemon serves its metrics to nginx alone."""
    with Switch(tmp_path_factory.mktemp("switch"), metrics=True) as switch:
        switch.daemon.configure({"metrics": {"client_allowed_sans": ["nginx"]}})
        switch.start()
        switch.daemon.wait_for("metrics endpoint is open")
        yield switch


@pytest.fixture(scope="module")
def proxy(
    switch: Switch, tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> Iterator[Nginx]:
    """nginx before that daemon."""
    require_program("nginx")
    require_program("curl")
    certificates = switch.endpoint.certificates
    with Nginx(tmp_path_factory.mktemp("proxy") / "nginx", switch.namespace, certificates) as nginx:
        yield nginx


@pytest.fixture
def nginx(proxy: Nginx) -> Nginx:
    """The same, with a client of the test's own: what each may ask for is bounded."""
    proxy.client = proxy.certificates.client("client")
    return proxy


@pytest.fixture
def alone(tmp_path: Path, require_program: Callable[[str], str]) -> Iterator[tuple[Nginx, NetworkNamespace]]:
    """nginx without a daemon; whatever listens on [::1]:9090 of its namespace is taken for one."""
    require_program("nginx")
    require_program("curl")
    with NetworkNamespace() as namespace:
        certificates = Certificates(tmp_path / "certificates")
        with Nginx(tmp_path / "nginx", namespace, certificates, SOONER) as nginx:
            yield nginx, namespace


def test_nginx_finds_nothing_to_complain_about(nginx: Nginx, switch: Switch) -> None:
    said = switch.namespace.run(nginx.argv("-t", "-q"), env=unrestricted())
    assert said.stderr == ""


def test_a_client_of_nginx_gets_the_metrics(nginx: Nginx) -> None:
    answer, record = nginx.logged(METRICS)
    assert answer.startswith("200 ")
    assert "portsyncd_build_info{" in answer
    # Its own certificate would not have been enough for the daemon; nginx says who it was.
    assert (record["subject"], record["verified"], record["status"]) == ("CN=client", "SUCCESS", 200)


def test_health_passes_too(nginx: Nginx) -> None:
    status, _, body = nginx.curl(HEALTH).partition(" ")
    assert status == "200"
    assert json.loads(body)["status"] == "healthy"


def test_head_and_what_a_client_accepts_pass(nginx: Nginx) -> None:
    head = nginx.curl(
        METRICS, "--head", "--header", "Accept: application/openmetrics-text", "--header", "Accept-Encoding: gzip"
    )
    assert head.startswith("200 HTTP/1.1 200")
    assert "Content-Type: application/openmetrics-text; version=1.0.0" in head
    assert "content-encoding: gzip" in head.lower()


def test_headers_name_no_version(nginx: Nginx) -> None:
    for url in (METRICS, f"{URL}/other"):
        head = nginx.curl(url, "--include")
        assert "\nServer: nginx\n" in head
        assert "nginx/" not in head
        assert "hypercorn" not in head.lower()


def test_the_connection_to_the_daemon_is_kept(nginx: Nginx, switch: Switch) -> None:
    assert nginx.curl(METRICS).startswith("200")
    before = connections(switch.namespace)
    assert before
    for _ in range(3):
        assert nginx.curl(METRICS).startswith("200")
    assert connections(switch.namespace) == before


def connections(namespace: NetworkNamespace) -> set[str]:
    """The local addresses of established connections to [::1]:9090 (state 01 in /proc/net/tcp6, port 0x2382)."""
    lines = namespace.run(["cat", "/proc/net/tcp6"]).stdout.splitlines()[1:]
    fields = (line.split() for line in lines)
    return {local for _, local, remote, state, *_ in fields if state == "01" and remote.endswith(":2382")}


def test_other_paths_are_not_found(nginx: Nginx) -> None:
    for path in ("/", "/other", "/metrics/", "/metrics/x", "/metricsx", "/health/", "/METRICS", "/..%2fmetrics"):
        answer, record = nginx.logged(f"{URL}{path}", "--path-as-is")
        assert answer[:4] in ("404 ", "400 ")
        assert record["upstream"] == ""


def test_a_path_is_what_nginx_takes_it_for(nginx: Nginx) -> None:
    assert nginx.curl(f"{URL}/x/../%6detrics", "--path-as-is").startswith("200 ")


def test_other_methods_are_refused_by_nginx(nginx: Nginx) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "NONSENSE"):
        answer, record = nginx.logged(METRICS, "--request", method)
        assert answer[:4] in ("405 ", "400 ")
        assert record["upstream"] == ""


def test_a_body_and_headers_beyond_the_bounds_are_refused(nginx: Nginx) -> None:
    for options, status in (
        (("--request", "GET", "--data", "xx"), "413 "),
        (("--header", f"X: {20000 * 'x'}"), "400 "),
    ):
        answer, record = nginx.logged(METRICS, *options)
        assert answer.startswith(status)
        assert record["upstream"] == ""


def test_headers_of_a_client_do_not_reach_the_daemon(nginx: Nginx) -> None:
    upgrade = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: !")
    assert nginx.curl(METRICS, *(part for header in upgrade for part in ("--header", header))).startswith("200 ")


def test_without_a_certificate_there_is_nothing(nginx: Nginx) -> None:
    answer, record = nginx.logged(METRICS, client=None)
    assert answer.startswith("400 ")
    assert record["upstream"] == ""


@pytest.mark.parametrize(
    "kind", ["self-signed", "other-ca", "expired", "not-yet-valid", "no-client-auth", "p256", "sha256"]
)
def test_a_wrong_certificate_is_refused(nginx: Nginx, switch: Switch, kind: str) -> None:
    # The handshake ends well, and nginx then says no to whatever is asked.
    answer, record = nginx.logged(METRICS, client=odd_client(switch.endpoint.certificates, kind))
    assert answer.startswith("400 ")
    assert (record["upstream"], record["verified"]) == ("", "NONE" if kind == "p256" else record["verified"])
    assert record["verified"] != "SUCCESS"
    assert nginx.curl(METRICS).startswith("200 ")


@pytest.mark.parametrize(
    "offer",
    [
        ("--tlsv1.2", "--tls-max", "1.2"),
        ("--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"),
        ("--tls13-ciphers", "TLS_AES_128_GCM_SHA256"),
        ("--curves", "X25519"),
        ("--curves", "prime256v1"),
    ],
    ids=" ".join,
)
def test_below_the_profile_there_is_no_handshake(nginx: Nginx, offer: tuple[str, ...]) -> None:
    assert nginx.curl(METRICS, *offer) == "000 "
    assert "handshake" in nginx.errors() or "SSL_do_handshake() failed" in nginx.errors()


def test_what_is_agreed_upon_is_the_profile(nginx: Nginx) -> None:
    said = nginx.s_client(request=GET)
    assert "New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384" in said
    assert "Server Temp Key: ECDH, secp384r1, 384 bits" in said


def test_no_ticket_is_given(nginx: Nginx) -> None:
    said = nginx.s_client(request=GET)
    assert "\nHTTP/1.1 200" in said
    assert "Post-Handshake New Session Ticket" not in said


def test_it_speaks_no_plain_http_and_no_ipv4(nginx: Nginx, switch: Switch) -> None:
    assert nginx.curl(METRICS.replace("https", "http")).startswith("400 ")
    with switch.namespace.enter(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", PORT))


def test_one_client_cannot_ask_without_end(nginx: Nginx, switch: Switch) -> None:
    other = switch.endpoint.certificates.client("greedy")
    answers = nginx.curl(f"{METRICS}?[1-100]", "--head", client=other)
    assert "HTTP/1.1 429" in answers
    assert nginx.curl(METRICS).startswith("200 ")


def test_a_daemon_that_is_down_is_a_502(alone: tuple[Nginx, NetworkNamespace]) -> None:
    nginx, _ = alone
    assert nginx.curl(METRICS).startswith("502 ")
    assert "Connection refused" in nginx.errors()


@pytest.mark.parametrize(
    ("whose", "complaint"),
    [
        ("of another CA", "unable to verify the first certificate"),
        ("a client's", "unsuitable certificate purpose"),
        ("for another name", 'does not match "localhost"'),
        # nginx offers no signature that this certificate could make.
        ("on P-256", "SSL_do_handshake() failed"),
    ],
)
def test_who_is_not_the_daemon_is_not_believed(
    alone: tuple[Nginx, NetworkNamespace], whose: str, complaint: str
) -> None:
    nginx, namespace = alone
    authority = Authority.make() if whose == "of another CA" else nginx.certificates.authority
    match whose:
        case "a client's":
            issued = authority.issue_client("thief", ("localhost",))
        case "for another name":
            issued = authority.issue_server(("::1", "other.example"))
        case "on P-256":
            issued = authority.issue_server(curve="secp256r1")
        case _:
            issued = authority.issue_server()
    with Pretender(namespace, nginx.certificates.put("pretender", issued)) as pretender:
        assert nginx.curl(METRICS).startswith("502 ")
    assert complaint in nginx.errors()
    assert pretender.requests == []


def test_of_what_a_client_sends_the_daemon_sees_what_it_needs(alone: tuple[Nginx, NetworkNamespace]) -> None:
    nginx, namespace = alone
    options = [part for header in ("X-Forged: yes", "Cookie: a=b", "Accept: text/plain") for part in ("-H", header)]
    with Pretender(
        namespace, nginx.certificates.put("pretender", nginx.certificates.authority.issue_server())
    ) as daemon:
        assert nginx.curl(f"{URL}/x/../%6detrics", "--path-as-is", *options) == "200 fine"
    (request,) = daemon.requests
    assert sorted(request.decode().split("\r\n")) == [
        "",
        "",
        "Accept: text/plain",
        "GET /metrics HTTP/1.1",
        "Host: localhost",
    ]


def test_a_daemon_that_hangs_is_a_504(alone: tuple[Nginx, NetworkNamespace]) -> None:
    nginx, namespace = alone
    with namespace.enter(), closing(socket.create_server(("::1", DAEMON_PORT), family=socket.AF_INET6)):
        assert nginx.curl(METRICS).startswith("504 ")
