"""The process around the daemon, tried with a stand-in that is a few lines of Python."""

import os
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from portsyncd.testing.daemon_process import DaemonNotRunningError, DaemonProcess, to_toml
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.redis_server import RedisServer

pytestmark = pytest.mark.root

STAND_IN = """
import json, os, signal, sys, tomllib
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
config = tomllib.load(open(sys.argv[1], "rb"))
print(json.dumps({"event": "in sync", "net": os.readlink("/proc/self/ns/net"), "config": config}), flush=True)
print("not json", file=sys.stderr, flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    server = RedisServer(tmp_path)  # only its socket's path is needed
    argv = [sys.executable, "-c", STAND_IN, "{config}"]
    with (
        NetworkNamespace() as namespace,
        DaemonProcess(namespace, server, tmp_path, argv=argv, config={"daemon": {"log_level": "info"}}) as daemon,
    ):
        yield daemon


def test_runs_inside_with_its_configuration(daemon: DaemonProcess) -> None:
    daemon.wait_in_sync()
    record = daemon.events("in sync")[0]
    assert record["net"] != os.readlink("/proc/self/ns/net")
    assert record["config"]["database"]["unix_socket_path"].endswith("redis.sock")
    assert record["config"]["daemon"] == {"log_level": "info", "log_format": "json"}
    assert "not json" in daemon.log()


def test_terminates_with_its_exit_code_and_starts_anew_with_an_empty_log(daemon: DaemonProcess) -> None:
    daemon.wait_in_sync()
    assert daemon.terminate() == 0
    daemon.start()
    daemon.wait_in_sync()
    assert len(daemon.events()) == 1


def test_pause_stops_it(daemon: DaemonProcess) -> None:
    daemon.wait_in_sync()
    daemon.pause()
    daemon.resume()
    assert daemon.cpu_seconds() < 5
    assert 1_000_000 < daemon.resident_bytes() < 100_000_000
    daemon.kill()
    assert daemon.wait_ended() == -signal.SIGKILL
    with pytest.raises(DaemonNotRunningError):
        daemon.pause()


def test_an_end_while_waiting_is_said_at_once(daemon: DaemonProcess) -> None:
    daemon.wait_in_sync()
    daemon.kill()
    with pytest.raises(DaemonNotRunningError, match="not json"):
        daemon.wait_for("something else")


def test_toml_of_every_type_in_use() -> None:
    config = {
        "a": {"text": 'quo"te\\', "number": 3, "real": 1.5, "truth": True, "list": ["x", "y"], "table": {"k": "v"}}
    }
    assert tomllib.loads(to_toml(config)) == config
