"""Redis' MONITOR stream, and what it says of the writes that a SONiC switch sees."""

import re
import socket
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

from portsyncd.testing.redis_server import RedisServer, RedisServerError
from portsyncd.testing.wait import until
from portsyncd.wire import schema

_LINE: Final = re.compile(r"^\+[\d.]+ \[(\d+) ([^\]]*)\] (.*)$", re.DOTALL)
_WORD: Final = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_NAMES: Final = {number: name for name, number in schema.DEFAULT_NUMBERS.items()}


class Command(NamedTuple):
    """One command that Redis carried out. db: its number. script: whether a script of some client issued it."""

    db: int
    script: bool
    words: tuple[str, ...]


class Write(NamedTuple):
    """One write as the golden traces record them. kind: ``hset``, ``del``, ``producer_set`` or ``producer_del``."""

    db: str
    kind: str
    key: str
    fields: dict[str, str]


class Monitor:
    """Records every command of a server from the moment on at which the block is entered."""

    def __init__(self, server: RedisServer) -> None:
        self.commands: list[Command] = []
        self._server = server
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lines = self._socket.makefile("r", encoding="utf-8", errors="backslashreplace", newline="\r\n")
        self._thread = threading.Thread(target=self._read, name="monitor", daemon=True)

    def _read(self) -> None:
        # A killed server ends the stream, in one way or another; what was recorded stays.
        with suppress(OSError):
            for line in self._lines:
                found = _LINE.match(line.removesuffix("\r\n"))
                if found:
                    words = tuple(word.replace('\\"', '"').replace("\\\\", "\\") for word in _WORD.findall(found[3]))
                    self.commands.append(Command(int(found[1]), found[2] == "lua", words))

    def position(self) -> int:
        """How many commands there are, everything that Redis carried out before this call included."""
        token = uuid.uuid4().hex
        seen = len(self.commands)
        self._server.client(0).echo(token)
        until(lambda: any(token in command.words for command in self.commands[seen:]), what="the monitor catches up")
        return len(self.commands)

    def since(self, position: int) -> list[Command]:
        """The commands from a position up to now."""
        return self.commands[position : self.position()]

    def writes(self, position: int = 0) -> list[Write]:
        """The writes from a position up to now."""
        return list(writes(self.since(position)))

    def __enter__(self) -> Self:
        self._socket.connect(self._server.socket_path)
        self._socket.sendall(b"MONITOR\r\n")
        # Confirmed: every later command is in the stream.
        if self._lines.readline() != "+OK\r\n":
            raise RedisServerError("redis-server refused MONITOR")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._lines.close()
        self._socket.close()


def writes(commands: Iterable[Command]) -> Iterator[Write]:
    """The producer's writes on APPL_DB PORT_TABLE, and every HSET and DEL on STATE_DB and CONFIG_DB.

    What the consumer does on APPL_DB (``PORT_TABLE:*``, and DEL of what is staged) is no write of a producer. A
    producer's row begins with its SADD to the key set; its fields may come in one HSET or in several.
    """
    staged_prefix = f"{schema.STAGED_PORT_TABLE}:"
    row: Write | None = None
    for db, _, words in commands:
        name, kind, key = _NAMES.get(db, ""), words[0].upper(), words[1] if len(words) > 1 else ""
        if name == schema.APPL_DB:
            if kind == "SADD" and key == schema.PORT_KEY_SET:
                if row:
                    yield row
                row = Write(name, "producer_set", words[2], {})
            elif row and kind == "SADD" and key == schema.PORT_DEL_SET:
                row = row._replace(kind="producer_del")
            elif row and kind in ("HSET", "HMSET") and key == staged_prefix + row.key:
                row.fields.update(zip(words[2::2], words[3::2], strict=True))
            elif kind == "PUBLISH" and row:
                yield row
                row = None
            continue
        if row:
            yield row
            row = None
        if name and kind in ("HSET", "HMSET"):
            yield Write(name, "hset", key, dict(zip(words[2::2], words[3::2], strict=True)))
        elif name and kind in ("DEL", "UNLINK"):
            yield from (Write(name, "del", each, {}) for each in words[1:])
    if row:
        yield row
