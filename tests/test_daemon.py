"""The composition root in process: its services on fakes, its signals real. As a process of its own: ``tests/e2e``."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portsyncd import daemon, inputs, logs
from portsyncd.backends.base import ServiceManager
from portsyncd.backends.connection import Access
from portsyncd.config import Config
from portsyncd.errors import EXIT_OK, BudgetExhaustedError, ConfigError, MemoryLimitError, NoPermissionError
from portsyncd.model.links import Change
from portsyncd.options import (
    DaemonConfig,
    DatabaseConfig,
    HealthConfig,
    MetricsConfig,
    NetlinkConfig,
    SelfHealingConfig,
    WarmRestartConfig,
)
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.fake_kernel import FakeKernel
from portsyncd.testing.fake_links import FakeLinkSource
from portsyncd.testing.fake_manager import FakeServiceManager
from portsyncd.testing.fake_redis import FakeRedis
from portsyncd.testing.fake_world import FakeWorld
from portsyncd.wire.database_config import Database, Endpoint
from portsyncd.world import Machine

# Nothing of this machine counts.
ALONE = Config(
    database=DatabaseConfig(database_config=""),
    warm_restart=WarmRestartConfig(state_file=""),
    metrics=MetricsConfig(enabled=False, storage_path=""),
)
KEEPING = replace(
    ALONE,
    warm_restart=WarmRestartConfig(state_file="state.json"),
    metrics=MetricsConfig(enabled=False, storage_path="metrics", sample_interval_secs=10.0),
)
PORT = "Ethernet0"


class World:
    """What the daemon meets, and its log. fake: the whole of it, from the first process on."""

    fake: FakeWorld

    def __init__(self, log: list[Any]) -> None:
        self.kernel = FakeKernel()
        self.redis = FakeRedis()
        self.log = log

    def meet(self, config: Config, manager: ServiceManager | None) -> FakeWorld:
        """Another process begins: what the last one has left is there."""
        if not hasattr(self, "fake"):
            self.fake = FakeWorld(config, kernel=self.kernel, redis=self.redis)
        self.fake.manager = manager
        return self.fake

    def load_config(self) -> None:
        self.redis.client(4).hset(f"PORT|{PORT}", {"mtu": "9100"})
        self.redis.client(4).hset("LOGGER|portsyncd", {"LOGLEVEL": "NOTICE"})
        self.redis.client(4).set("CONFIG_DB_INITIALIZED", "1")

    def bring_up(self) -> None:
        self.redis.pop()
        self.kernel.add_port(PORT)

    def said(self, event: str) -> list[Any]:
        return [line for line in self.log if line["event"].startswith(event)]

    def mtu(self) -> str:
        return self.redis.client(6).hgetall(f"PORT_TABLE|{PORT}").get("mtu", "")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with structlog.testing.capture_logs() as log:
        made = World(log)
        monkeypatch.setattr(daemon, "Machine", made.meet)
        yield made
    logs.set_level("info")


@asynccontextmanager
async def serving(
    config: Config = ALONE, reloaded: Config | Exception = ALONE, manager: ServiceManager | None = None
) -> AsyncIterator[None]:
    """``serve`` runs, and has done all that it can do now. It must have ended by itself when the block ends."""

    def reload() -> Config:
        if isinstance(reloaded, Exception):
            raise reloaded
        return reloaded

    ended = trio.Event()

    async def serve() -> None:
        await daemon.serve(config, reload, manager)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await trio.sleep(1)
        yield
        with trio.fail_after(60):
            await ended.wait()


async def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        signal.raise_signal(number)
        await trio.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_writes_what_it_has_heard_and_leaves_the_keys(
    autojump_clock: MockClock, world: World, number: signal.Signals
) -> None:
    world.load_config()
    async with serving():
        world.bring_up()
        await trio.sleep(1)
        world.redis.latency = 0.1
        for mtu in (9000, 9001, 9002):
            world.kernel.set(PORT, mtu=mtu)
            await wait_all_tasks_blocked()
        before = trio.current_time()
        await send(number)
    assert 0 < trio.current_time() - before <= 1.1
    assert world.mtu() == "9002"
    assert world.said("stopped")
    assert not world.said("left before")
    assert world.kernel.sockets == []
    assert world.redis.connections == 0


async def test_a_redis_that_does_not_answer_holds_it_up_for_a_second(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    async with serving():
        world.bring_up()
        await trio.sleep(1)
        world.redis.pause()
        world.kernel.set(PORT, mtu=9000)
        await wait_all_tasks_blocked()
        before = trio.current_time()
        await send(signal.SIGTERM)
    assert trio.current_time() - before == pytest.approx(1, abs=0.1)
    assert world.said("left before everything was written")


async def test_a_redis_that_is_not_there_holds_it_up_not_at_all(autojump_clock: MockClock, world: World) -> None:
    world.redis.stop()
    async with serving():
        before = trio.current_time()
        await send(signal.SIGTERM)
    assert trio.current_time() - before < 0.1


async def test_told_twice_it_leaves_at_once(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    async with serving():
        world.bring_up()
        await trio.sleep(1)
        world.redis.pause()
        world.kernel.set(PORT, mtu=9000)
        await wait_all_tasks_blocked()
        before = trio.current_time()
        await send(signal.SIGTERM, signal.SIGINT)
    assert trio.current_time() - before < 0.1
    assert world.said("told to stop twice")


async def test_usr1_releases_port_init_done(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    async with serving():
        world.redis.pop()
        await send(signal.SIGUSR1)
        await trio.sleep(0.1)
        assert [pop.key for pop in world.redis.pop()] == ["PortInitDone"]
        await send(signal.SIGTERM)


async def test_usr2_compares_redis_with_the_kernel(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    async with serving():
        world.bring_up()
        await trio.sleep(1)
        world.redis.client(6).delete(f"PORT_TABLE|{PORT}")
        await trio.sleep(10)
        assert world.mtu() == ""
        await send(signal.SIGUSR2)
        await trio.sleep(0.1)
        assert world.mtu() == "1500"
        await send(signal.SIGTERM)


@pytest.mark.parametrize("exits", [True, False])
async def test_memory_that_cannot_be_given_back_ends_it_where_it_may_end(
    autojump_clock: MockClock, world: World, exits: bool
) -> None:
    world.load_config()
    config = replace(ALONE, daemon=DaemonConfig(exit_to_restart=exits))
    ended = pytest.RaisesGroup(pytest.RaisesExc(MemoryLimitError), flatten_subgroups=True) if exits else nullcontext()
    with ended:
        async with serving(config):
            world.bring_up()
            world.fake.resident = 1 << 30
            await trio.sleep(1000)
            assert not exits
            await send(signal.SIGTERM)
    assert world.fake.released > 0
    # It has left as if it had been told to.
    assert world.kernel.sockets == []
    assert world.redis.connections == 0


@pytest.mark.parametrize("stopped_first", [True, False])
async def test_a_stop_and_an_end_of_its_own_at_the_same_time_are_one(
    autojump_clock: MockClock, stopped_first: bool
) -> None:
    fake = FakeWorld(KEEPING)
    subject = daemon.Daemon(KEEPING, fake)
    stop, signals = trio.open_memory_channel[int](8)
    ends = nullcontext() if stopped_first else pytest.RaisesGroup(MemoryLimitError, flatten_subgroups=True)
    with ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subject.serve, signals, Config)
            await trio.sleep(5)
            # Draining takes a second.
            fake.redis.pause()
            subject.services.inbox.put([Change(PORT, None)], trio.current_time())
            before = fake.kept_state.saves
            steps: list[Callable[[], object]] = [
                lambda: stop.send_nowait(signal.SIGTERM),
                lambda: subject.leave(MemoryLimitError("too much")),
            ]
            for step in steps if stopped_first else reversed(steps):
                step()
                await trio.sleep(0.1)
    assert fake.kept_state.saves == before + 1


@pytest.mark.parametrize("enabled", [True, False])
async def test_hup_reads_the_log_level_again(autojump_clock: MockClock, world: World, enabled: bool) -> None:
    before = replace(ALONE, daemon=DaemonConfig(enabled=enabled))
    async with serving(before, replace(before, daemon=DaemonConfig(enabled=enabled, log_level="error"))):
        assert logs.is_enabled("info")
        await send(signal.SIGHUP)
        assert not logs.is_enabled("warning")
        await send(signal.SIGTERM)


async def test_a_wrong_configuration_changes_nothing_at_hup(autojump_clock: MockClock, world: World) -> None:
    async with serving(reloaded=ConfigError(["line 3: no such key"])):
        await send(signal.SIGHUP)
        await send(signal.SIGTERM)
    assert world.said("the configuration is wrong")[0]["problems"] == ["line 3: no such key"]
    assert logs.is_enabled("info")


class Passed(FakeServiceManager):
    """A service manager that has passed one descriptor. forgotten: names that it keeps no longer."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(watchdog=30.0)
        self._passed = [("links", descriptor)]
        self.forgotten: list[str] = []

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    def take(self) -> list[tuple[str, int]]:
        passed, self._passed = self._passed, []
        return passed


async def test_disabled_it_gives_up_what_a_former_process_left(autojump_clock: MockClock, world: World) -> None:
    reading, writing = os.pipe()
    manager = Passed(writing)
    async with serving(replace(ALONE, daemon=DaemonConfig(enabled=False)), manager=manager):
        await send(signal.SIGTERM)
    assert manager.forgotten == ["links"]
    # Nobody has the other end open any more.
    assert os.read(reading, 1) == b""
    os.close(reading)


async def test_disabled_it_is_a_service_that_is_well(autojump_clock: MockClock, world: World) -> None:
    manager = FakeServiceManager(watchdog=30.0)
    async with serving(replace(ALONE, daemon=DaemonConfig(enabled=False)), manager=manager):
        assert manager.says() == "active: idle: daemon.enabled is false"
        await trio.sleep(1000)
        assert not manager.starved_for()
        await send(signal.SIGHUP)
        assert manager.says().startswith("active")
        await send(signal.SIGTERM)
    assert manager.says() == "deactivating: stopping: told to"


async def test_the_service_manager_knows_how_it_stands(autojump_clock: MockClock, world: World) -> None:
    manager = FakeServiceManager(watchdog=30.0)
    world.redis.stop()
    async with serving(manager=manager):
        await trio.sleep(125)
        assert manager.says().startswith("activating: first sync: waiting for Redis for 2 min: ")
        world.redis.start()
        world.load_config()
        await trio.sleep(3)
        assert manager.says().startswith(f"active: 0 ports in sync, 1 awaited: {PORT} for ")
        world.bring_up()
        await trio.sleep(3)
        assert manager.says() == "active: 1 port in sync"
        world.redis.stop()
        await trio.sleep(600)
        assert manager.says().startswith("active: 1 port; degraded: Redis has been unusable for 10 min: ")
        assert not manager.starved_for()
        await send(signal.SIGHUP)
        assert {"RELOADING", "MONOTONIC_USEC"} == manager.heard[-2].keys()
        assert manager.says().startswith("active")
        await send(signal.SIGTERM)
    assert manager.says() == "deactivating: stopping: told to"


class SlowCredentials:
    """Certificates that are being read. over: set once they have been."""

    def __init__(self) -> None:
        self.over = trio.Event()

    def request_reload(self) -> trio.Event:
        return self.over


@pytest.mark.parametrize("closed", [False, True])
async def test_a_reload_is_over_when_the_certificates_have_been_read_or_nobody_reads_them(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    manager, credentials = FakeServiceManager(), SlowCredentials()
    made: list[daemon.Daemon] = []
    begin = daemon.Daemon.__init__

    def note(subject: daemon.Daemon, *arguments: Any) -> None:
        begin(subject, *arguments)
        made.append(subject)

    monkeypatch.setattr(daemon.Daemon, "__init__", note)
    world.load_config()
    async with serving(manager=manager):
        monkeypatch.setattr(made[0].services, "web", SimpleNamespace(credentials=credentials))
        await send(signal.SIGHUP)
        await trio.sleep(1)
        assert manager.says().startswith("reloading")
        if closed:
            await trio.sleep(1)
        else:
            credentials.over.set()
        await trio.sleep(0.1)
        assert manager.says().startswith("active")
        await send(signal.SIGTERM)


async def test_a_reload_that_fails_in_a_way_that_nobody_foresaw_ends_nothing(
    autojump_clock: MockClock, world: World
) -> None:
    manager = FakeServiceManager()
    world.load_config()
    async with serving(reloaded=RecursionError("too deep"), manager=manager):
        await send(signal.SIGHUP)
        assert manager.says().startswith("active")
        await send(signal.SIGTERM)
    assert world.said("the configuration cannot be read")


async def test_the_service_manager_hears_why_it_ends_by_itself(autojump_clock: MockClock, world: World) -> None:
    manager = FakeServiceManager()
    world.load_config()
    with pytest.RaisesGroup(pytest.RaisesExc(MemoryLimitError), flatten_subgroups=True):
        async with serving(replace(ALONE, daemon=DaemonConfig(exit_to_restart=True)), manager=manager):
            world.fake.resident = 1 << 30
            await trio.sleep(1000)
    assert manager.says().startswith("deactivating: stopping: memory")


async def test_the_service_manager_hears_what_only_the_operator_can_mend(
    autojump_clock: MockClock, world: World
) -> None:
    manager = FakeServiceManager()
    world.load_config()
    world.kernel.add_port(PORT)
    world.kernel.permits = False
    reset = replace(ALONE, netlink=NetlinkConfig(existing_links="reset"))
    with pytest.RaisesGroup(pytest.RaisesExc(NoPermissionError), flatten_subgroups=True):
        async with serving(reset, manager=manager):
            pass
    assert manager.says().startswith("deactivating: stopping: ")


@pytest.mark.parametrize(("max_stall", "starves"), [(3.0, True), (300.0, False)])
async def test_the_watchdog_goes_by_the_configuration(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch, max_stall: float, starves: bool
) -> None:
    manager = FakeServiceManager(watchdog=10.0)
    config = replace(
        ALONE,
        health=HealthConfig(max_stall_seconds=max_stall, watchdog_interval_secs=2.0),
        self_healing=SelfHealingConfig(enabled=False),
    )
    world.load_config()
    async with serving(config, manager=manager):
        world.bring_up()
        await trio.sleep(5)
        assert trio.current_time() - manager.fed_at <= 2.0

        async def deaf(_: FakeLinkSource) -> None:
            await trio.sleep_forever()

        monkeypatch.setattr(FakeLinkSource, "readable", deaf)
        # The first is still read; the second nobody reads.
        for mtu in (9000, 9001):
            world.kernel.set(PORT, mtu=mtu)
            await trio.sleep(1)
        await trio.sleep(60)
        assert bool(manager.starved_for()) == starves
        await send(signal.SIGTERM)


async def test_nobody_is_told_where_nobody_listens(autojump_clock: MockClock, world: World) -> None:
    manager = FakeServiceManager()
    manager.listens = False
    async with serving(manager=manager):
        await trio.sleep(100)
        await send(signal.SIGHUP, signal.SIGTERM)
    assert manager.heard == []


async def test_disabled_it_is_idle_until_told_to_stop(autojump_clock: MockClock, world: World) -> None:
    async with serving(replace(ALONE, daemon=DaemonConfig(enabled=False))):
        await send(signal.SIGUSR1)
        await trio.sleep(1000)
        await send(signal.SIGTERM)
    assert world.redis.attempts == []
    assert world.kernel.sockets == []


async def test_a_level_in_config_db_is_heeded_and_an_unknown_one_told(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    async with serving():
        world.redis.client(4).hset("LOGGER|portsyncd", {"LOGLEVEL": "LOUD"})
        await trio.sleep(0.1)
        assert world.said("CONFIG_DB LOGGER|portsyncd has an unknown LOGLEVEL")
        world.redis.client(4).hset("LOGGER|portsyncd", {"LOGLEVEL": "ERROR"})
        await trio.sleep(0.1)
        assert not logs.is_enabled("warning")
        await send(signal.SIGTERM)


async def test_a_reader_that_fails_is_started_again(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    async with serving():
        world.bring_up()
        await trio.sleep(1)
        broken = world.kernel.sockets.pop()

        def fail() -> bytes:
            raise OSError(5, "Input/output error")

        world.kernel.sockets.append(broken)
        broken.read = fail  # type: ignore[method-assign]
        world.kernel.set(PORT, mtu=9000)
        await trio.sleep(5)
        assert world.mtu() == "9000"
        assert world.kernel.sockets != [broken]
        await send(signal.SIGTERM)


async def test_what_only_the_operator_can_mend_ends_it(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    world.kernel.add_port(PORT)
    world.kernel.permits = False
    reset = replace(ALONE, netlink=NetlinkConfig(existing_links="reset"))
    with pytest.RaisesGroup(pytest.RaisesExc(NoPermissionError), flatten_subgroups=True):
        async with serving(reset):
            pass


def test_its_end_is_an_exit_code_or_the_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[BaseException] = []

    async def serve(_config: Config, _reload: object, _manager: object) -> None:
        if raised:
            raise raised[0]

    monkeypatch.setattr(daemon, "serve", serve)
    assert daemon.main(ALONE, reload=Config) == EXIT_OK
    ours, theirs = BudgetExhaustedError("writer failed"), ZeroDivisionError()
    for group, leaf in (
        (ExceptionGroup("", [theirs, ExceptionGroup("", [ours])]), ours),
        (ExceptionGroup("", [ExceptionGroup("", [theirs])]), theirs),
    ):
        raised[:] = [group]
        with pytest.raises(type(leaf)) as caught:
            daemon.main(ALONE, reload=Config)
        assert caught.value is leaf


@pytest.mark.parametrize(
    ("endpoints", "cap"),
    [
        ([Endpoint(unix_socket="/run/redis.sock"), Endpoint(host="127.0.0.1")], 0.5),
        ([Endpoint(host="::1"), Endpoint(host="localhost")], 0.5),
        ([Endpoint(unix_socket="/run/redis.sock"), Endpoint(host="192.0.2.1")], 5.0),
        ([Endpoint(host="127.example.org")], 5.0),
    ],
)
def test_a_redis_on_this_machine_is_asked_again_soon(endpoints: list[Endpoint], cap: float) -> None:
    databases = [Database("APPL_DB", endpoint, 0, ":") for endpoint in endpoints]
    assert inputs.retry_cap(ALONE, databases) == cap
    hasty = replace(ALONE, database=DatabaseConfig(retry_max_secs=0.2))
    assert inputs.retry_cap(hasty, databases) == 0.2


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"

    def access() -> Access:
        return inputs.read_access(replace(ALONE, database=DatabaseConfig(username="sonic", password_file=str(file))))

    file.touch(mode=0o600)
    for content in (b"secret", b"secret\n", b"secret\r\nand more\n"):
        file.write_bytes(content)
        assert (access().username, access().password) == ("sonic", "secret")
    assert inputs.read_access(ALONE) == Access(timeout=2.0)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="password_file"):
        access()
    file.unlink()
    with pytest.raises(ConfigError, match="password_file"):
        access()


def oversized(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_bytes(bytes(inputs.MAX_PASSWORD_BYTES + 1))


def no_text_for_all(path: Path) -> None:
    path.write_bytes(b"hunter2\xff")
    path.chmod(0o604)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, ["cannot be read: it is no regular file; a pipe"]),
        (oversized, ["cannot be read: it is larger than 64 KiB"]),
        (no_text_for_all, ["mode 0604 gives everybody access; allowed is 0600", "cannot be read: it is not UTF-8"]),
    ],
    ids=["pipe", "too large", "two problems"],
)
def test_a_password_s_file_that_will_not_do(tmp_path: Path, make: Callable[[Path], None], said: list[str]) -> None:
    """All that is wrong with it is told, and nothing of what it holds."""
    make(tmp_path / "password")
    with pytest.raises(ConfigError) as caught:
        inputs.read_access(Config(database=DatabaseConfig(password_file=str(tmp_path / "password"))))
    for problem, text in zip(caught.value.problems, said, strict=True):
        assert problem.startswith(f"database.password_file: {tmp_path / 'password'}: {text}")
    assert not any(text in str(caught.value) for text in ("hunter2", "0xff"))


def test_a_password_for_a_group_is_for_one_of_the_service_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """root:portsyncd 0640, as the unit's service reads it: its group, or one that it has besides."""
    file = tmp_path / "password"
    file.write_text("secret")
    file.chmod(0o640)
    config = Config(database=DatabaseConfig(password_file=str(file)))
    if os.geteuid() == 0:
        # Root's group is nobody else's.
        os.chown(file, -1, 54321)
    group = file.stat().st_gid
    for own, others, allowed in ((group, [], True), (group + 1, [group], True), (group + 1, [group + 2], False)):
        monkeypatch.setattr(os, "getegid", lambda own=own: own)
        monkeypatch.setattr(os, "getgroups", lambda others=others: others)
        if allowed:
            assert inputs.read_access(config).password == "secret"
        else:
            with pytest.raises(ConfigError, match=r"which is not the service's, access"):
                inputs.read_access(config)


def test_what_the_files_of_all_sections_lack_is_told_at_once(tmp_path: Path) -> None:
    names: dict[str, Any] = {name: str(tmp_path / name) for name in ("cert", "key", "ca")}
    database = DatabaseConfig(database_config="", password_file=str(tmp_path / "password"))
    with pytest.raises(ConfigError) as caught:
        Machine(Config(database=database, metrics=MetricsConfig(**names)))
    assert len(caught.value.problems) == 4
    for problem, name in zip(caught.value.problems, ("password", "cert", "key", "ca"), strict=True):
        assert str(tmp_path / name) in problem


def test_an_endpoint_that_would_let_in_whom_it_should_not_is_no_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Certificates(tmp_path).config()["metrics"]
    monkeypatch.setattr("portsyncd.tls.selftest.problems", lambda: ["AES-128 would be accepted"])
    with pytest.raises(ConfigError, match="AES-128"):
        Machine(Config(database=DatabaseConfig(database_config=""), metrics=MetricsConfig(**files)))


# ---- what outlives it


async def test_what_a_stop_has_left_the_next_process_takes_up(autojump_clock: MockClock, world: World) -> None:
    world.load_config()
    async with serving(KEEPING):
        world.bring_up()
        await trio.sleep(15)
        world.kernel.set(PORT, mtu=9001)
        await wait_all_tasks_blocked()
        await send(signal.SIGTERM)
    fake = world.fake
    assert fake.kept_state.content["ports"][PORT][0][3] == "9001"
    assert fake.kept_counters.content["cold_starts"] == 1
    assert [(start.stopped, start.outcome, start.healthy) for start in fake.kept_history.starts] == [
        (True, "eoiu", True)
    ]
    assert sum(sample.events for sample in fake.kept_history.samples) == fake.kept_history.starts[0].events > 0
    assert fake.kept_history.samples[-1].health == 1.0
    assert fake.kept_history.closed
    assert fake.exports == 1
    async with serving(KEEPING):
        await trio.sleep(1)
        await send(signal.SIGTERM)
    assert [line["ports"] for line in world.said("restored the state of the ports")] == [1]
    assert fake.kept_counters.content["cold_starts"] == 2
    assert [start.restored for start in fake.kept_history.starts] == ["none", "file"]
