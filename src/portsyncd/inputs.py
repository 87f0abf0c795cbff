"""What the files that the configuration names hold: databases, access to them, certificates; read before anything starts."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portsyncd.backends.connection import Access
from portsyncd.config import Config, read_databases
from portsyncd.errors import ConfigError, DatabaseListError
from portsyncd.reading import privacy_problem, read_file
from portsyncd.wire.database_config import Database

if TYPE_CHECKING:
    from portsyncd.web.credentials import Credentials

# A Redis on this machine is asked again at least this often.
_LOCAL_RETRY_SECONDS = 0.5
# Of the password's file; Redis itself would take more.
MAX_PASSWORD_BYTES: Final = 65536


def read_all(config: Config) -> "tuple[dict[str, Database], Access, Credentials | None]":
    """What the files that the configuration names hold; of databases, as far as is known yet. Raises ``ConfigError`` with the
    problems of all of them."""
    problems: list[str] = []
    found: list[Any] = []
    for read_one in (read_known_databases, read_access, read_credentials):
        try:
            found.append(read_one(config))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    databases, access, credentials = found
    return databases, access, credentials


def read_known_databases(config: Config) -> dict[str, Database]:
    """Where the databases are; none, while SONiC's own list is not there or not whole: it may come later than we do."""
    try:
        return read_databases(config)
    except DatabaseListError:
        return {}


def read_credentials(config: Config) -> "Credentials | None":
    """What the metrics endpoint is served with, once it has been proved that it refuses what it should."""
    metrics = config.metrics
    if not metrics.enabled:
        return None
    from portsyncd.tls import selftest
    from portsyncd.tls.files import Files
    from portsyncd.web.credentials import Credentials
    from portsyncd.web.host import RealHost

    files = Files(Path(metrics.cert), Path(metrics.key), Path(metrics.ca))
    credentials = Credentials(files, now=lambda: datetime.now(UTC), host=RealHost())
    if wrong := selftest.problems():
        raise ConfigError(wrong)
    return credentials


def read_access(config: Config) -> Access:
    """How Redis is spoken to. Raises ``ConfigError`` where the password's file cannot be read, or is not private."""
    database = config.database
    return Access(
        timeout=database.connection_timeout_secs,
        username=database.username or None,
        password=_read_password(database.password_file) if database.password_file else None,
        tls=database.tls,
        tls_ca=database.tls_ca or None,
    )


def _read_password(path: str) -> str:
    """The first line of its file. Raises ``ConfigError`` with everything that is wrong with that."""
    problems = []
    line = ""
    try:
        content, status = read_file(path, MAX_PASSWORD_BYTES)
        if open_to := privacy_problem(path, status):
            problems.append(open_to)
        line = content.decode("utf-8-sig").partition("\n")[0].strip("\r")
    except OSError as error:
        problems.append(f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        # What it says of itself is a part of the password.
        problems.append("cannot be read: it is not UTF-8")
    if problems:
        raise ConfigError([f"database.password_file: {path}: {problem}" for problem in problems])
    return line


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
