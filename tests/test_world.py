"""The machine that the daemon runs on: what is not a backend's own matter."""

import errno
import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from portsyncd.backends.redis import RedisStore
from portsyncd.config import Config
from portsyncd.errors import StoreUnavailableError
from portsyncd.metrics import Metrics
from portsyncd.options import DatabaseConfig, MetricsConfig, WarmRestartConfig
from portsyncd.world import Machine
from tests.ops.catalogue import just_started

# So that its absence counts.
NAMED = {"database.database_config": "here"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        database=DatabaseConfig(database_config=""),
        warm_restart=WarmRestartConfig(state_file=str(tmp_path / "not" / "made" / "state.json")),
        metrics=MetricsConfig(enabled=False, storage_path=str(tmp_path / "metrics")),
    )


def test_nothing_is_kept_where_no_place_is_named(config: Config) -> None:
    machine = Machine(
        replace(
            config,
            warm_restart=WarmRestartConfig(state_file=""),
            metrics=MetricsConfig(enabled=False, storage_path=""),
        )
    )
    assert (machine.state, machine.counters, machine.history) == (None, None, None)
    assert trio.run(machine.disks) == {}


async def test_the_room_that_is_left_is_that_of_the_disk_before_the_folders_are_made(config: Config) -> None:
    status = os.statvfs(Path(config.metrics.storage_path).parent)
    disks = await Machine(config).disks()
    assert disks.keys() == {"port_state", "history"}
    for space in disks.values():
        assert space.size == status.f_blocks * status.f_frsize
        # Others write, too.
        assert abs(space.free - status.f_bavail * status.f_frsize) < 1 << 30


async def test_a_disk_that_cannot_be_asked_is_left_out(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Path.exists

    def exists(path: Path) -> bool:
        if path == Path(config.warm_restart.state_file):
            raise OSError(errno.ENOTCONN, "its server is gone")
        return ask(path)

    monkeypatch.setattr(Path, "exists", exists)
    assert (await Machine(config).disks()).keys() == {"history"}


async def test_an_export_makes_its_metrics_once(config: Config) -> None:
    made = []

    def make() -> Metrics:
        made.append(Metrics(just_started, version="1.2.3", process=False))
        return made[-1]

    export = Machine(config).export(make, dict)
    assert made == []
    await export()
    await export()
    assert len(made) == 1
    text = await trio.Path(config.metrics.storage_path, "portsyncd.prom").read_text()
    assert "portsyncd_uptime_seconds" in text


async def test_what_it_computes_runs_beside_the_event_loop(config: Config) -> None:
    machine = Machine(config)
    turned = trio.Event()

    def wait_for_the_loop(answer: int) -> int:
        trio.from_thread.run_sync(turned.set)
        return answer

    assert await machine.compute(wait_for_the_loop, 42) == 42
    assert turned.is_set()


def test_ids_and_lots_differ(config: Config) -> None:
    machine = Machine(config)
    assert len({machine.fresh_id() for _ in range(100)}) == 100
    assert len({machine.random() for _ in range(100)}) > 90


def test_a_session_is_with_the_redis_that_the_list_names_then(config: Config, tmp_path: Path) -> None:
    listing = tmp_path / "database_config.json"
    machine = Machine(replace(config, database=DatabaseConfig(database_config=str(listing)), given=NAMED))
    for content in (None, "{", '{"INSTANCES": {}, "DATABASES": {}}'):
        if content is not None:
            listing.write_text(content)
        with pytest.raises(StoreUnavailableError, match=r"database_config\.json"):
            machine.store()
    databases = {
        name: {"id": 1, "separator": "|", "instance": "redis"} for name in ("APPL_DB", "CONFIG_DB", "STATE_DB")
    }
    for port in (6380, 6381):
        instance = {"hostname": "127.0.0.1", "port": port}
        listing.write_text(json.dumps({"INSTANCES": {"redis": instance}, "DATABASES": databases}))
        with closing(machine.store()) as store:
            assert isinstance(store, RedisStore)
            assert store._databases["STATE_DB"].endpoint.port == port
