"""Databases to hold stores against: Redis servers in memory and real ones, each as one instance and as two."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from portsyncd.backends.base import Notices, Store
from portsyncd.backends.connection import Access
from portsyncd.backends.redis import RedisStore
from portsyncd.testing.fake_redis import OOM, READONLY, FakeRedis
from portsyncd.testing.fake_store import FakeStore
from portsyncd.testing.orchagent import Orchagent
from portsyncd.testing.redis_server import RedisServer
from portsyncd.wire import schema
from portsyncd.wire.database_config import Database, Endpoint

DEADLINE_SECONDS = 20.0
CHANNEL = "PORT_TABLE_CHANNEL@0"


class World(Protocol):
    """One switch's databases.

    together: APPL_DB and STATE_DB share an instance. short: a time-out in seconds that opening a store does not reach,
    for tests that wait for it to pass.
    """

    together: bool
    short: float

    def make(self, *, timeout: float = 20.0) -> Store:
        """A store that is not open yet."""

    def client(self, db: str) -> Any:
        """A client of one database, with redis-py's methods."""

    def pop(self) -> list[tuple[str, dict[str, str]]]:
        """Take every waiting key, as orchagent does; in the order of names."""

    def heard(self) -> list[str]:
        """What has been published on APPL_DB's port channel so far."""

    def fault(self, name: str) -> None:
        """kill, start, pause, resume: every instance."""

    def refuse(self, how: str) -> None:
        """Let every instance answer writes with READONLY or OOM."""


class FakeWorld:
    """FakeRedis and FakeStore."""

    short = 0.02

    def __init__(self, *, together: bool, notify: bool) -> None:
        self.together = together
        appl = FakeRedis(notify=notify)
        state = appl if together else FakeRedis(notify=notify)
        self.servers = {schema.APPL_DB: appl, schema.CONFIG_DB: appl, schema.STATE_DB: state}

    def make(self, *, timeout: float = 20.0) -> Store:
        return FakeStore(self.servers, timeout=timeout)

    def client(self, db: str) -> Any:
        return self.servers[db].client(schema.DEFAULT_NUMBERS[db])

    def pop(self) -> list[tuple[str, dict[str, str]]]:
        return [(key, fields) for key, fields in self.servers[schema.APPL_DB].pop()]

    def heard(self) -> list[str]:
        return [text for channel, text in self.servers[schema.APPL_DB].published if channel == CHANNEL]

    def fault(self, name: str) -> None:
        for server in set(self.servers.values()):
            {"kill": server.stop, "start": server.start, "pause": server.pause, "resume": server.resume}[name]()

    def refuse(self, how: str) -> None:
        for server in set(self.servers.values()):
            server.refuses_writes = {"READONLY": READONLY, "OOM": OOM}[how]


class RealWorld:
    """redis-server and RedisStore."""

    short = 0.5

    def __init__(self, folder: Path, stack: ExitStack, *, together: bool, notify: bool) -> None:
        self.together = together
        self._stack = stack
        flags = "AKE" if notify else ""
        appl = stack.enter_context(RedisServer(folder, notify=flags))
        state = appl
        if not together:
            (folder / "2").mkdir()
            state = stack.enter_context(RedisServer(folder / "2", notify=flags))
        self.servers: Mapping[str, RedisServer] = {
            schema.APPL_DB: appl,
            schema.CONFIG_DB: appl,
            schema.STATE_DB: state,
        }
        self.orchagent = Orchagent(self.client(schema.APPL_DB))
        pubsub: Any = self.client(schema.APPL_DB)  # redis-py gives pubsub() no types
        self._pubsub = stack.enter_context(pubsub.pubsub())
        self._pubsub.subscribe(CHANNEL)
        self._heard: list[str] = []
        self.heard()

    def make(self, *, timeout: float = 20.0) -> Store:
        return RedisStore(self.databases(), Access(timeout=timeout))

    def databases(self) -> dict[str, Database]:
        return {
            name: Database(
                name,
                Endpoint(unix_socket=server.socket_path),
                schema.DEFAULT_NUMBERS[name],
                schema.DEFAULT_SEPARATORS[name],
            )
            for name, server in self.servers.items()
        }

    def client(self, db: str) -> Any:
        # Unlike the server's own clients, these read names that are no UTF-8.
        return self._stack.enter_context(
            redis.Redis(
                unix_socket_path=self.servers[db].socket_path,
                db=schema.DEFAULT_NUMBERS[db],
                decode_responses=True,
                encoding_errors="surrogateescape",
                protocol=2,
                retry=Retry(NoBackoff(), 0),
            )
        )

    def pop(self) -> list[tuple[str, dict[str, str]]]:
        return sorted((pop.key, pop.fields) for pop in self.orchagent.pop_all())

    def heard(self) -> list[str]:
        # What Redis sent before the answer to a ping has come when that has.
        self._pubsub.ping()
        while (message := self._pubsub.get_message(timeout=20))["type"] != "pong":
            if message["type"] == "message":
                self._heard.append(message["data"])
        return self._heard

    def fault(self, name: str) -> None:
        for server in set(self.servers.values()):
            getattr(server, name)()

    def refuse(self, how: str) -> None:
        for server in set(self.servers.values()):
            if how == "READONLY":
                # The replica of a master that does not exist serves what it has.
                server.client(0).replicaof("127.0.0.1", "1")
            else:
                server.client(0).config_set("maxmemory", 1)


class Seen:
    """What a store's ``watch`` has reported."""

    def __init__(self) -> None:
        self.ports: set[str] = set()
        self.config_ports: set[str] = set()
        self.logger = False
        self._changed = trio.Event()

    def take(self, notices: Notices) -> None:
        assert notices != Notices()
        self.ports |= notices.ports
        self.config_ports |= notices.config_ports
        self.logger = self.logger or notices.logger
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            while not condition():
                await self._changed.wait()
                self._changed = trio.Event()


@asynccontextmanager
async def watching(store: Store) -> AsyncIterator[Seen]:
    seen = Seen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.watch, seen.take)
        yield seen
        nursery.cancel_scope.cancel()
