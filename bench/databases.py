"""Redis as a switch has it: CONFIG_DB's ports, a stand-in for orchagent, what STATE_DB says, notifications."""

import select
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Final, Self

from portsyncd.testing.redis_server import RedisServer

APPL_DB, CONFIG_DB, STATE_DB = 0, 4, 6
CONFIG_DONE_KEY: Final = "_PORT_TABLE:PortConfigDone"
STATE_PATTERN: Final = f"__keyspace@{STATE_DB}__:PORT_TABLE|*"
CONFIG_DONE_PATTERN: Final = f"__keyspace@{APPL_DB}__:{CONFIG_DONE_KEY}"
WARM_KEY: Final = "WARM_RESTART_TABLE|portsyncd"
WARM_PATTERN: Final = f"__keyspace@{STATE_DB}__:{WARM_KEY}"
PROBE_KEY: Final = "BENCH|probe"
PROBE_PATTERN: Final = f"__keyspace@{STATE_DB}__:{PROBE_KEY}"

# Of more ports one script would keep Redis from everybody else for too long.
_AT_ONCE: Final = 5_000
# What orchagent's ConsumerStateTable does with the keys that wait (never mind its 128 at a time).
_POP: Final = """
for _, key in ipairs(redis.call('SPOP', 'PORT_TABLE_KEY_SET', ARGV[1])) do
  redis.call('SREM', 'PORT_TABLE_DEL_SET', key)
  local staged = '_PORT_TABLE:' .. key
  if redis.call('EXISTS', staged) == 1 then redis.call('RENAME', staged, 'PORT_TABLE:' .. key) end
end
return redis.call('SCARD', 'PORT_TABLE_KEY_SET')
"""
# All ports at one instant, in one round trip; more than ``_AT_ONCE`` in several.
_READ: Final = """
local rows = {}
for i, name in ipairs(ARGV) do
  rows[i] = redis.call('HMGET', 'PORT_TABLE|' .. name, 'state', 'admin_status', 'netdev_oper_status', 'mtu')
end
return rows
"""

Row = tuple[str | None, str | None, str | None, str | None]


def port_names(count: int) -> list[str]:
    """Ethernet0, Ethernet4, ..."""
    return [f"Ethernet{4 * number}" for number in range(count)]


def configure_ports(server: RedisServer, names: Iterable[str]) -> None:
    """Write CONFIG_DB PORT rows and mark CONFIG_DB as loaded."""
    pipeline = server.client(CONFIG_DB).pipeline(transaction=False)
    for number, name in enumerate(names):
        lanes = ",".join(str(4 * number + lane) for lane in range(4))
        fields = ["alias", f"etp{number + 1}", "lanes", lanes, "speed", "100000", "mtu", "9100"]
        pipeline.hset(f"PORT|{name}", items=[*fields, "index", str(number + 1), "admin_status", "up"])
    pipeline.set("CONFIG_DB_INITIALIZED", "1")
    pipeline.execute()


def pop_ports(server: RedisServer) -> None:
    """Play orchagent once: move what is staged for it into APPL_DB PORT_TABLE."""
    while server.client(APPL_DB).eval(_POP, 0, str(_AT_ONCE)):
        pass


def config_done(server: RedisServer) -> bool:
    """Whether PortConfigDone is in APPL_DB, staged or popped."""
    return bool(server.client(APPL_DB).exists(CONFIG_DONE_KEY, "PORT_TABLE:PortConfigDone"))


def enable_warm_restart(server: RedisServer) -> None:
    """What ``config warm_restart enable system`` leaves in STATE_DB."""
    server.client(STATE_DB).hset("WARM_RESTART_ENABLE_TABLE|system", "enable", "true")


def published(server: RedisServer, names: Sequence[str]) -> list[Row]:
    """state, admin_status, netdev_oper_status and mtu of each port in STATE_DB."""
    client = server.client(STATE_DB)
    parts = (client.eval(_READ, 0, *names[start : start + _AT_ONCE]) for start in range(0, len(names), _AT_ONCE))
    return [(row[0], row[1], row[2], row[3]) for part in parts for row in part]


class _Connection:
    """A bare connection: a client library would add its own time to what is measured. A context manager."""

    def __init__(self, server: RedisServer) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.connect(server.socket_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


_NOTIFICATION: Final = b"*4\r\n$8\r\npmessage\r\n"


class Notifications(_Connection):
    """A subscriber to keyspace notifications.

    Redis pushes what it did; nothing is polled, so that listening costs the daemon under test nothing, and Redis one
    small write for each change of a port (on a switch others listen in the same way).
    """

    def __init__(self, server: RedisServer, pattern: str) -> None:
        super().__init__(server)
        self._socket.sendall(_command("PSUBSCRIBE", pattern))
        # The confirmation ends with the number of subscriptions.
        confirmation = b""
        while not confirmation.endswith(b":1\r\n"):
            confirmation += self._socket.recv(256)

    def wait(self, seconds: float) -> float | None:
        """Wait for something to arrive and read what has; when it arrived (``perf_counter``), None when nothing did."""
        if not select.select((self._socket,), (), (), seconds)[0]:
            return None
        arrived = time.perf_counter()
        self._socket.recv(1 << 20)
        return arrived

    def count(self, seconds: float) -> int:
        """How many notifications there are until none came for so long; they are read."""
        received = b""
        while select.select((self._socket,), (), (), seconds)[0]:
            received += self._socket.recv(1 << 20)
        return received.count(_NOTIFICATION)


class Probe(_Connection):
    """One direct HSET at a time: what a notification takes when no daemon is involved."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        self._socket.sendall(_command("SELECT", str(STATE_DB)))

    def send(self, value: int) -> None:
        """Send an HSET like a port's. The answer is left unread: it is five bytes, and nobody waits for it."""
        self._socket.sendall(_command("HSET", PROBE_KEY, "state", "ok", "admin_status", "up", "mtu", str(value)))


def _command(*words: str) -> bytes:
    """Encode a command in Redis' wire format."""
    parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
    return "".join(parts).encode()
