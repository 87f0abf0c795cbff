"""What the files that the configuration names hold: databases, access to them, certificates; read before anything starts."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portsyncd.backends.connection import Access
from portsyncd.config import Config, read_databases
from portsyncd.errors import ConfigError
from portsyncd.wire.database_config import Database

if TYPE_CHECKING:
    from portsyncd.web.credentials import Credentials

# A Redis on this machine is asked again at least this often.
_LOCAL_RETRY_SECONDS = 0.5


def read_all(config: Config) -> "tuple[dict[str, Database], Access, Credentials | None]":
    """What the files that the configuration names hold. Raises ``ConfigError`` with the problems of all of them."""
    problems: list[str] = []
    found: list[Any] = []
    for read_one in (read_databases, read_access, read_credentials):
        try:
            found.append(read_one(config))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    databases, access, credentials = found
    return databases, access, credentials


def read_credentials(config: Config) -> "Credentials | None":
    """What the metrics endpoint is served with, once it has been proved that it refuses what it should."""
    metrics = config.metrics
    if not metrics.enabled:
        return None
    from portsyncd.tls import selftest
    from portsyncd.tls.files import Files
    from portsyncd.web.credentials import Credentials

    files = Files(Path(metrics.cert), Path(metrics.key), Path(metrics.ca))
    credentials = Credentials(files, now=lambda: datetime.now(UTC))
    if wrong := selftest.problems():
        raise ConfigError(wrong)
    return credentials


def read_access(config: Config) -> Access:
    """How Redis is spoken to. Raises ``ConfigError`` where the password's file cannot be read."""
    database = config.database
    password = None
    if database.password_file:
        try:
            password = Path(database.password_file).read_text(encoding="utf-8").partition("\n")[0].strip("\r")
        except (OSError, UnicodeDecodeError) as problem:
            raise ConfigError([f"database.password_file: cannot read {database.password_file}: {problem}"]) from problem
    return Access(
        timeout=database.connection_timeout_secs,
        username=database.username or None,
        password=password,
        tls=database.tls,
        tls_ca=database.tls_ca or None,
    )


def retry_cap(config: Config, databases: Iterable[Database]) -> float:
    """The longest pause between attempts to connect, in seconds."""
    local = all(database.endpoint.unix_socket or _is_loopback(database.endpoint.host) for database in databases)
    longest = config.database.retry_max_secs
    return min(longest, _LOCAL_RETRY_SECONDS) if local else longest


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
