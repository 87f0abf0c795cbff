"""What the commands that this project sends do to a ``fake_redis.FakeRedis``, its Lua scripts among them.

A script is known by its text, as Redis knows it by the digest of that; what it does is written here a second time, and the
contract tests hold it to what the real one does.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from portsyncd.backends.connection import ScriptUnknownError
from portsyncd.backends.replies import Request
from portsyncd.wire import producer, publish, schema
from portsyncd.wire.producer import Row

if TYPE_CHECKING:
    from portsyncd.testing.fake_redis import FakeRedis

_Command = Callable[["FakeRedis", int, Sequence[str]], Any]
_READING: Final = frozenset({"CONFIG", "DBSIZE", "EXISTS", "GET", "HGET", "HGETALL", "KEYS", "PING", "SCAN"})
# Arguments of a write.
_WRITE: Final = 5


def execute(server: "FakeRedis", number: int, request: Request) -> Any:
    """One command on one database; the reply as RESP2 has it. Raises ``StoreRefusedError``."""
    name, *arguments = (
        text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text for text in request
    )
    return _COMMANDS[str(name)](server, number, [str(argument) for argument in arguments])


def writes(request: Request) -> bool:
    """Whether a command changes what Redis holds."""
    return request[0] not in _READING and request[1] not in _READING_SCRIPTS


def digest(script: str) -> str:
    """The name under which Redis caches a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


# ---- commands


def _ping(_server: "FakeRedis", _number: int, _arguments: Sequence[str]) -> str:
    return "PONG"


def _config(server: "FakeRedis", _number: int, arguments: Sequence[str]) -> list[str]:
    _, name = arguments
    return [name, "AKE" if server.notify else ""]


def _dbsize(server: "FakeRedis", number: int, _arguments: Sequence[str]) -> int:
    return len(server.database(number))


def _exists(server: "FakeRedis", number: int, arguments: Sequence[str]) -> int:
    (key,) = arguments
    return int(key in server.database(number))


def _get(server: "FakeRedis", number: int, arguments: Sequence[str]) -> str | None:
    (key,) = arguments
    return server.text(number, key)


def _hget(server: "FakeRedis", number: int, arguments: Sequence[str]) -> str | None:
    key, field = arguments
    return server.hash(number, key).get(field)


def _hgetall(server: "FakeRedis", number: int, arguments: Sequence[str]) -> list[str]:
    (key,) = arguments
    return [text for pair in server.hash(number, key).items() for text in pair]


def _hset(server: "FakeRedis", number: int, arguments: Sequence[str]) -> int:
    key, *flat = arguments
    return server.hset(number, key, dict(_pairs(flat)))


def _keys(server: "FakeRedis", number: int, arguments: Sequence[str]) -> list[str]:
    (pattern,) = arguments
    return [key for key in server.database(number) if _matches(key, pattern)]


def _scan(server: "FakeRedis", number: int, arguments: Sequence[str]) -> list[Any]:
    """A page of the keys in their order; the cursor tells where it ended."""
    cursor, _, pattern, _, count = arguments
    after = bytes.fromhex(cursor.removeprefix("0")).decode("utf-8", "surrogateescape")
    keys = sorted(key for key in server.database(number) if key > after)
    page = keys[: min(int(count), server.page)]
    more = len(page) < len(keys)
    cursor = "0" + (page[-1].encode("utf-8", "surrogateescape").hex() if more else "")
    return [cursor, [key for key in page if _matches(key, pattern)]]


def _eval(server: "FakeRedis", number: int, arguments: Sequence[str]) -> Any:
    text, count, *rest = arguments
    server.scripts.add(digest(text))
    return _SCRIPTS[text](server, number, rest[: int(count)], rest[int(count) :])


def _evalsha(server: "FakeRedis", number: int, arguments: Sequence[str]) -> Any:
    sha, *rest = arguments
    if sha not in server.scripts:
        raise ScriptUnknownError("fake Redis does not know the script")
    return _eval(server, number, [_BY_DIGEST[sha], *rest])


def _matches(key: str, pattern: str) -> bool:
    return key.startswith(pattern.removesuffix("*"))


def _pairs(flat: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(flat[::2], flat[1::2], strict=True)


# ---- scripts

_Script = Callable[["FakeRedis", int, Sequence[str], Sequence[str]], Any]


def _publish(server: "FakeRedis", _number: int, _keys: Sequence[str], arguments: Sequence[str]) -> str:
    appl, state = map(int, arguments[:2])
    appl_prefix, state_prefix = arguments[2:4]
    rows = [arguments[at : at + _WRITE] for at in range(4, len(arguments), _WRITE)]
    present = [
        operation == publish.DELETE or appl_prefix + name in server.database(appl) for name, operation, *_ in rows
    ]
    for (name, operation, *fields), there in zip(rows, present, strict=True):
        key = state_prefix + name
        if operation != publish.SET:
            server.remove_entry(state, key)
        if operation != publish.DELETE and there:
            server.put_entry(state, key, dict(zip(schema.STATE_FIELDS, ("ok", *fields), strict=True)))
    return "".join(str(int(there)) for there in present)


def _remove(server: "FakeRedis", number: int, keys: Sequence[str], _arguments: Sequence[str]) -> None:
    (key,) = keys
    server.remove_entry(number, key)


def _put(server: "FakeRedis", number: int, keys: Sequence[str], arguments: Sequence[str]) -> int:
    (key,) = keys
    return server.put_entry(number, key, dict(_pairs(arguments)))


def _read(
    server: "FakeRedis", number: int, _keys: Sequence[str], arguments: Sequence[str]
) -> list[list[str | None] | None]:
    prefix, *names = arguments
    entries = [server.entry(number, prefix + name) for name in names]
    return [[entry.get(field) for field in schema.STATE_FIELDS] if "state" in entry else None for entry in entries]


def _produce(server: "FakeRedis", number: int, _keys: Sequence[str], arguments: Sequence[str]) -> int:
    left = list(reversed(arguments[2:]))
    while left:
        key, count = left.pop(), int(left.pop())
        server.produce(number, Row(key, tuple((left.pop(), left.pop()) for _ in range(count))))
    return len(arguments) - 2


_SCRIPTS: Final[Mapping[str, _Script]] = MappingProxyType(
    {
        producer.SCRIPT: _produce,
        publish.SCRIPT: _publish,
        publish.REMOVE_SCRIPT: _remove,
        publish.PUT_SCRIPT: _put,
        publish.READ_SCRIPT: _read,
    }
)
_READING_SCRIPTS: Final = frozenset({publish.READ_SCRIPT, digest(publish.READ_SCRIPT)})
_BY_DIGEST: Final = MappingProxyType({digest(text): text for text in _SCRIPTS})
_COMMANDS: Final[Mapping[str, _Command]] = MappingProxyType(
    {
        "CONFIG": _config,
        "DBSIZE": _dbsize,
        "EVAL": _eval,
        "EVALSHA": _evalsha,
        "EXISTS": _exists,
        "GET": _get,
        "HGET": _hget,
        "HGETALL": _hgetall,
        "HSET": _hset,
        "KEYS": _keys,
        "PING": _ping,
        "SCAN": _scan,
    }
)
