"""Where SONiC's databases live: ``database_config.json``, ``database_global.json``, and endpoints written as text.

Text goes in, values come out; reading the files is the caller's. The layout of both files is that of
sonic-swss-common (``database_config.json`` as its ``SonicDBConfig`` reads it): ``INSTANCES.<name>`` holds
``hostname``, ``port`` and ``unix_socket_path``, ``DATABASES.<name>`` holds ``id``, ``separator`` and ``instance``.
A switch with several ASICs has one such file for each; ``database_global.json`` lists them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, NoReturn

from portsyncd.errors import ConfigError
from portsyncd.wire.schema import DEFAULT_NUMBERS, DEFAULT_SEPARATORS

# sockaddr_un holds 108 bytes with the closing NUL (unix(7)).
MAX_SOCKET_PATH_BYTES: Final = 107
MAX_PORT: Final = 65535
ENDPOINT_FORMS: Final = '"unix:/path", "host:port" or "[v6]:port"'

_NAME = r"[A-Za-z0-9._-]+"
_V6 = r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?"
_HOST = re.compile(f"{_NAME}|{_V6}")
_TCP = re.compile(rf"(?:\[(?P<v6>{_V6})\]|(?P<name>{_NAME})):(?P<port>[0-9]{{1,5}})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one Redis listens: a Unix socket if ``unix_socket`` is not empty, else TCP to ``host`` and ``port``.

    ``str()`` of one is the text that ``parse_endpoint`` reads.
    """

    unix_socket: str = ""
    host: str = "127.0.0.1"
    port: int = 6379

    def __str__(self) -> str:
        if self.unix_socket:
            return f"unix:{self.unix_socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Database:
    """One logical database: its SONiC name, the Redis that holds it, its number there, its key separator."""

    name: str
    endpoint: Endpoint
    number: int
    separator: str


def is_host(text: str) -> bool:
    """Whether ``text`` can be a host name or an address (an IPv6 address without brackets)."""
    return _HOST.fullmatch(text) is not None


def is_socket_path(text: str) -> bool:
    """Whether ``text`` can name a Unix socket: neither empty nor too long for the kernel, and no NUL byte."""
    size = len(text.encode("utf-8", "surrogatepass"))
    return 0 < size <= MAX_SOCKET_PATH_BYTES and "\0" not in text


def parse_endpoint(text: str) -> Endpoint:
    """Read ``unix:/path``, ``host:port`` or ``[v6]:port``. Raises ``ValueError`` with what is allowed."""
    scheme, _, path = text.partition(":")
    if scheme == "unix" and path.startswith("/"):
        if not is_socket_path(path):
            raise ValueError(f"a socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes")
        return Endpoint(unix_socket=path)
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError(f"must be {ENDPOINT_FORMS}")
    port = int(match["port"])
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"the port must be from 1 to {MAX_PORT}")
    return Endpoint(host=match["v6"] or match["name"], port=port)


def parse_database_config(text: str, source: str) -> dict[str, Database]:
    """Read the three databases of this daemon from ``database_config.json``; others are not looked at.

    Raises ``ConfigError`` with all problems, each naming ``source``.
    """
    document = _parse_object(text, source)
    instances, databases = document.get("INSTANCES"), document.get("DATABASES")
    if not isinstance(instances, dict) or not isinstance(databases, dict):
        _fail(source, "INSTANCES and DATABASES must both be there, as objects")
    problems: list[str] = []
    found: dict[str, Database] = {}
    for name in DEFAULT_NUMBERS:
        try:
            found[name] = _database(name, databases.get(name), instances)
        except ValueError as error:
            problems.append(f"{source}: {error}")
    if problems:
        raise ConfigError(problems)
    return found


def parse_database_global(text: str, source: str, namespace: str) -> str:
    """Path of the ``database_config.json`` that ``database_global.json`` names for a namespace or container.

    A relative path is relative to the folder of ``source``. Raises ``ConfigError``.
    """
    includes = _parse_object(text, source).get("INCLUDES")
    if not isinstance(includes, list):
        _fail(source, "INCLUDES must be there, as a list")
    named: dict[str, list[str]] = {}
    for number, entry in enumerate(includes):
        if not isinstance(entry, dict) or not isinstance(entry.get("include"), str) or not entry["include"]:
            _fail(source, f"INCLUDES[{number}] must be an object whose include is a path")
        for name in {str(entry[key]) for key in ("namespace", "container_name") if entry.get(key)}:
            named.setdefault(name, []).append(entry["include"])
    chosen = named.get(namespace, [])
    if len(chosen) != 1:
        known = ", ".join(sorted(named)) or "none"
        count = "more than one entry" if chosen else "no entry"
        _fail(source, f'{count} for namespace "{namespace}"; there are: {known}')
    return str(PurePosixPath(source).parent / chosen[0])


def resolve(
    *,
    known: Mapping[str, Database],
    explicit: Endpoint | None,
    endpoints: Mapping[str, Endpoint],
    numbers: Mapping[str, int],
) -> dict[str, Database]:
    """Decide where each database is, by its SONiC name.

    known: what ``database_config.json`` says, empty where there is none.
    explicit: the one endpoint that the operator configured for all, or None.
    endpoints, numbers: what the operator configured for single databases.
    The order is ``endpoints``, ``explicit``, ``known``, default; a number's is ``numbers``, ``known``, default.
    """
    resolved = {}
    for name, number in DEFAULT_NUMBERS.items():
        base = known.get(name) or Database(name, Endpoint(), number, DEFAULT_SEPARATORS[name])
        endpoint = endpoints.get(name) or explicit or base.endpoint
        resolved[name] = Database(name, endpoint, numbers.get(name, base.number), base.separator)
    return resolved


def _database(name: str, entry: object, instances: Mapping[str, object]) -> Database:
    if not isinstance(entry, dict):
        raise ValueError(f"DATABASES.{name} is missing")
    number, separator, instance = entry.get("id"), entry.get("separator"), entry.get("instance")
    server = instances.get(instance) if isinstance(instance, str) else None
    if type(number) is not int or number < 0:
        raise ValueError(f"DATABASES.{name}.id must be a whole number from 0")
    if not isinstance(separator, str) or not separator:
        raise ValueError(f"DATABASES.{name}.separator must be text")
    if not isinstance(server, dict):
        raise ValueError(f"DATABASES.{name}.instance must name one of INSTANCES")
    return Database(name, _endpoint(f"INSTANCES.{instance}", server), number, separator)


def _endpoint(name: str, entry: Mapping[str, object]) -> Endpoint:
    path = entry.get("unix_socket_path") or ""
    if path:
        # The C++ daemons take the socket where both are given.
        if not isinstance(path, str) or not is_socket_path(path):
            raise ValueError(f"{name}.unix_socket_path must be a path of at most {MAX_SOCKET_PATH_BYTES} bytes")
        return Endpoint(unix_socket=path)
    host, port = entry.get("hostname"), entry.get("port")
    if not isinstance(host, str) or not is_host(host):
        raise ValueError(f"{name} must have a unix_socket_path, or a hostname and a port")
    if type(port) is not int or not 1 <= port <= MAX_PORT:
        raise ValueError(f"{name}.port must be a whole number from 1 to {MAX_PORT}")
    return Endpoint(host=host, port=port)


def _parse_object(text: str, source: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError([f"{source}:{error.lineno}: not JSON: {error.msg}"]) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits; nesting beyond Python's stack.
        raise ConfigError([f"{source}: not readable as JSON: {error}"]) from error
    if not isinstance(document, dict):
        _fail(source, "must be a JSON object")
    return document


def _fail(source: str, problem: str) -> NoReturn:
    raise ConfigError([f"{source}: {problem}"])
