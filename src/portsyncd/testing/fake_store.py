"""The ``Store`` of the daemon on ``FakeRedis`` servers: its own sessions, over connections that no socket carries."""

from collections.abc import Mapping

from portsyncd.backends.connection import Access
from portsyncd.backends.redis import RedisStore
from portsyncd.testing.fake_connection import FakeConnection
from portsyncd.testing.fake_redis import NOTIFICATIONS, FakeRedis
from portsyncd.wire import schema
from portsyncd.wire.database_config import Database, Endpoint


class FakeStore(RedisStore):
    """See ``backends.base.Store``. servers: by SONiC name, which may be one and the same; timeout: seconds."""

    def __init__(self, servers: FakeRedis | Mapping[str, FakeRedis], *, timeout: float = 2.0) -> None:
        if isinstance(servers, FakeRedis):
            servers = dict.fromkeys(schema.DEFAULT_NUMBERS, servers)
        numbers = {id(server): number for number, server in enumerate(servers.values())}
        databases = {
            db: Database(
                db,
                Endpoint(unix_socket=f"fake {numbers[id(servers[db])]}"),
                schema.DEFAULT_NUMBERS[db],
                schema.DEFAULT_SEPARATORS[db],
            )
            for db in schema.DEFAULT_NUMBERS
        }
        named: set[str] = set()

        def connect(database: Database, access: Access) -> FakeConnection:
            # A session has one for each database, and then those for notifications.
            name = NOTIFICATIONS if database.name in named else database.name
            named.add(database.name)
            return FakeConnection(servers[database.name], database, name, access.timeout)

        super().__init__(databases, Access(timeout=timeout), connect)
