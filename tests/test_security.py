"""What an attacker looks for in a running daemon, and what docs/security.md says is not there."""

import os
import random
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from portsyncd.backends.connection import Access
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.daemon_process import DaemonProcess
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import until
from portsyncd.tls import files, profile

PASSWORD = "correct-horse-battery-staple"
PORTS = ["Ethernet0", "Ethernet4"]


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    """One in service, with all that is secret: a Redis with a password, an endpoint with a key; its log tells everything."""
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    config: dict[str, dict[str, Any]] = {
        "database": {"password_file": str(password)},
        "metrics": {"export_format": "both", "save_interval_secs": 1, "sample_interval_secs": 1},
    }
    with Switch(tmp_path, server=RedisServer(tmp_path, password=PASSWORD), metrics=True, config=config) as made:
        made.bring_up(PORTS)
        made.daemon.wait_for("metrics endpoint is open")
        yield made


@pytest.mark.root
def test_what_a_running_daemon_can_be_asked_for_holds_no_secret(switch: Switch) -> None:
    daemon = switch.daemon
    told = [switch.endpoint.scrape(), str(switch.endpoint.health())]
    daemon.signal(signal.SIGHUP)
    kept = [daemon.folder / "state" / "metrics" / name for name in ("portsyncd.prom", "portsyncd.json", "history.db")]
    until(lambda: all(path.exists() for path in kept), what="everything has been exported")
    proc = Path(f"/proc/{daemon.pid}")
    told += [(proc / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
    assert daemon.terminate() == 0
    written = [path for root in ("state", "run") for path in (daemon.folder / root).rglob("*") if path.is_file()]
    assert {path.name for path in kept} <= {path.name for path in written}
    told += [daemon.log(), *(path.read_bytes().decode(errors="replace") for path in written)]
    key = switch.endpoint.certificates.server_key.read_text().splitlines()[1]
    for secret in (PASSWORD, key, "PRIVATE KEY"):
        assert not [text for text in told if secret in text], secret


@pytest.mark.root
def test_what_a_running_daemon_holds_open_and_runs(switch: Switch) -> None:
    proc = Path(f"/proc/{switch.daemon.pid}")
    assert [thread for thread in (proc / "task").iterdir() if (thread / "children").read_text()] == []
    # Nothing that is written can be executed: the unit forbids it, too.
    assert [line for line in (proc / "maps").read_text().splitlines() if line.split()[1].startswith("rwx")] == []
    own = switch.daemon.folder.resolve()
    files_open = [os.readlink(link) for link in (proc / "fd").iterdir()]
    paths = {path for path in files_open if path.startswith("/") and not path.startswith(("/dev/null", "/proc/"))}
    assert {path for path in paths if not Path(path).is_relative_to(own)} == set()
    assert not any(path.endswith(".key") or "memfd" in path for path in files_open)
    # Of IP sockets that listen there is the endpoint's alone; state 0A is TCP_LISTEN, [::1]:9090 in hexadecimal words.
    mine = {path.removeprefix("socket:[").removesuffix("]") for path in files_open if path.startswith("socket:")}
    rows = [
        row.split() for name in ("tcp", "tcp6", "udp", "udp6") for row in (proc / "net" / name).read_text().splitlines()
    ]
    listening = [row[1] for row in rows if len(row) > 9 and row[9] in mine and row[3] != "01"]
    assert listening == [f"{'0' * 24}01000000:2382"]


def random_reply(choice: random.Random, depth: int = 0) -> bytes:
    """One of Redis' kinds of reply, that suits no request."""
    match choice.randrange(8 if depth < 3 else 6):
        case 0:
            return b"+OK\r\n"
        case 1:
            return b":%d\r\n" % choice.choice([0, 1, -1, 2**63 - 1])
        case 2:
            return choice.choice([b"$-1\r\n", b"*-1\r\n", b"$0\r\n\r\n"])
        case 3:
            return b"$15\r\nPORT|\n\x1b[2J\xff*[?]\r\n"
        case 4:
            return choice.choice([b"-ERR x\r\n", b"-WRONGTYPE y\r\n", b"-NOSCRIPT z\r\n", b"-MOVED 1 a:1\r\n"])
        case 5:
            return choice.choice([b"$9999999999\r\nx", b"*9999999999\r\n", b"*1\r\n" * 50, choice.randbytes(9)])
    return b"*3\r\n" + b"".join(random_reply(choice, depth + 1) for _ in range(3))


class LyingRedis:
    """Answers each request at random. A context manager."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.socket_path = str(folder / "redis.sock")
        self.lies = 0
        self._random = random.Random(seed)
        self._stack = ExitStack()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while request := client.recv(65536):
                for _ in range(1 + request.count(b"\r\n*")):
                    client.sendall(self._reply(request))

    def _reply(self, request: bytes) -> bytes:
        # What comes first is answered as it should be, so that lies reach the rest.
        if b"SELECT" in request:
            return b"+OK\r\n"
        if b"CONFIG_DB_INITIALIZED" in request:
            return b"$1\r\n1\r\n"
        self.lies += 1
        return random_reply(self._random)

    def __enter__(self) -> Self:
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(self.socket_path)
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.mark.root
def test_a_redis_that_lies_neither_ends_the_daemon_nor_keeps_it_from_stopping(tmp_path: Path) -> None:
    with LyingRedis(tmp_path, seed=1) as redis, NetworkNamespace() as namespace:
        # DaemonProcess wants no more of a Redis than where it is.
        with DaemonProcess(namespace, redis, tmp_path) as daemon:  # type: ignore[arg-type]
            until(lambda: redis.lies > 8, what="the daemon has been lied to many times")
            assert daemon.running
            assert daemon.terminate() == 0
        assert "\x1b" not in daemon.log()


def test_the_password_is_not_part_of_how_access_is_shown() -> None:
    assert PASSWORD not in repr(Access(password=PASSWORD))


def test_the_key_is_not_part_of_how_certificates_are_shown(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "certificates")
    assert "PRIVATE" not in repr(files.read(files.Files(made.server_cert, made.server_key, made.ca)))


def test_the_endpoint_s_secrets_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSLKEYLOGFILE has Python's default contexts write the keys of each session to a file; that of the endpoint is none."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    made = Certificates(tmp_path / "certificates")
    context = profile.server_context(files.read(files.Files(made.server_cert, made.server_key, made.ca)))
    kept_in = [str(each.keylog_filename) for each in (ssl.create_default_context(), context)]
    assert kept_in == [str(tmp_path / "keys"), "None"]
