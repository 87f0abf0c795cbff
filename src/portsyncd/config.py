"""The configuration: how the values of its keys come from flags, environment, file and defaults.

What keys there are is said in ``options.py``. ``parse`` is pure; ``load`` and ``read_databases`` read files and
nothing more. All three raise ``ConfigError`` with every problem that they found.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from portsyncd import rules, toml
from portsyncd.errors import ConfigError, DatabaseListError
from portsyncd.options import (
    DaemonConfig,
    DatabaseConfig,
    HealthConfig,
    MetricsConfig,
    NetlinkConfig,
    PerformanceConfig,
    SelfHealingConfig,
    WarmRestartConfig,
)
from portsyncd.reading import read_file
from portsyncd.wire import database_config as databases
from portsyncd.wire.schema import APPL_DB, CONFIG_DB, STATE_DB

DEFAULT_FILE: Final = "/etc/sonic/portsyncd.conf"
ENVIRONMENT_PREFIX: Final = "PORTSYNCD_"
# Of the configuration, and of each of SONiC's own files.
MAX_BYTES: Final = 1 << 20
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Config:
    """The effective configuration.

    given: the keys that somebody set, whatever to, as "section.key" -> where.
    """

    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    netlink: NetlinkConfig = field(default_factory=NetlinkConfig)
    performance: PerformanceConfig = field(default_factory=PerformanceConfig)
    warm_restart: WarmRestartConfig = field(default_factory=WarmRestartConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    self_healing: SelfHealingConfig = field(default_factory=SelfHealingConfig)
    given: Mapping[str, str] = field(default_factory=dict, compare=False)


class Override(NamedTuple):
    """A value from the command line: the flag as the operator wrote it, and the text given to it."""

    flag: str
    text: str


class Key(NamedTuple):
    """A key of a section: what it is called, its default, and what ``options`` says of it."""

    name: str
    default: Any
    rule: rules.Rule
    meaning: str
    why: str


def sections() -> dict[str, type[Any]]:
    """The dataclass of each section."""
    types = ((each.name, each.type) for each in fields(Config))
    return {name: each for name, each in types if isinstance(each, type) and is_dataclass(each)}


def keys(section: type[Any]) -> list[Key]:
    """What a section's dataclass holds, in its order."""
    defaults = section()
    return [Key(key.name, getattr(defaults, key.name), **key.metadata) for key in fields(section)]


def variable(path: str) -> str:
    """The environment variable of "section.key"."""
    return ENVIRONMENT_PREFIX + path.replace(".", "_").upper()


def parse(
    text: str,
    *,
    source: str = "configuration",
    environ: Mapping[str, str] = _NOTHING,
    overrides: Mapping[str, Override] = _NOTHING,
) -> Config:
    """Put a configuration together from TOML text, environment variables and flags (by "section.key").

    Every value is checked, also one that another overrides. Raises ``ConfigError``.
    """
    reading = _Reading(environ)
    reading.file(text, source)
    reading.environment()
    for path, override in overrides.items():
        reading.text(path, override.text, "command line", override.flag)
    if not reading.problems:
        reading.together()
    if reading.problems:
        raise ConfigError(reading.problems)
    return Config(
        **{name: section(**reading.values[name]) for name, section in sections().items()}, given=reading.given
    )


def load(path: str | None, environ: Mapping[str, str], overrides: Mapping[str, Override]) -> Config:
    """``parse`` the file at ``path``; None stands for the default file, which need not exist."""
    source = DEFAULT_FILE if path is None else path
    text = _read(source)
    if text is None and path is not None:
        raise ConfigError([f"{path}: there is no such file"])
    return parse(text or "", source=source, environ=environ, overrides=overrides)


def read_databases(config: Config) -> dict[str, databases.Database]:
    """Where each database is, by its SONiC name, with what SONiC's own files say about what is not configured. Raises
    ``DatabaseListError`` for what is wrong with those."""
    database, given = config.database, config.given
    explicit = None
    if database.unix_socket_path:
        explicit = databases.Endpoint(unix_socket=database.unix_socket_path)
    elif "database.redis_host" in given or "database.redis_port" in given:
        explicit = databases.Endpoint(host=database.redis_host, port=database.redis_port)
    numbers = {
        name: number
        for name, key, number in (
            (APPL_DB, "appl_db_number", database.appl_db_number),
            (CONFIG_DB, "config_db_number", database.config_db_number),
            (STATE_DB, "state_db_number", database.state_db_number),
        )
        if f"database.{key}" in given
    }
    try:
        known = _known_databases(database, explicit_file="database.database_config" in given)
    except ConfigError as error:
        raise DatabaseListError(error.problems) from error
    return databases.resolve(
        known=known,
        explicit=explicit,
        endpoints=database.redis_endpoints,
        numbers=numbers,
    )


def _known_databases(database: DatabaseConfig, *, explicit_file: bool) -> dict[str, databases.Database]:
    path = database.database_config
    if database.namespace:
        listing = str(Path(path).with_name("database_global.json")) if path else "database_global.json"
        text = _read(listing)
        if text is None:
            raise ConfigError([f"{listing}: there is no such file, but namespace {database.namespace} needs it"])
        path = databases.parse_database_global(text, listing, database.namespace)
        explicit_file = True
    text = _read(path) if path else None
    if text is not None:
        return databases.parse_database_config(text, path)
    if explicit_file and path:
        raise ConfigError([f"{path}: there is no such file"])
    return {}


def _read(path: str) -> str | None:
    """The text of a file, None if there is none. Raises ``ConfigError`` for one that cannot be read."""
    try:
        content, _ = read_file(path, MAX_BYTES)
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        # Not UTF-8, or a NUL byte in the path.
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error


class _Reading:
    """One run of ``parse``: values and problems as they are found; what comes later wins."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []
        self.given: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.values: dict[str, dict[str, Any]] = {name: {} for name in sections()}
        self.rules = {f"{name}.{key.name}": key.rule for name, section in sections().items() for key in keys(section)}

    def file(self, text: str, source: str) -> None:
        try:
            document = toml.parse(text)
        except toml.TomlError as error:
            self.problems.append(f"{_place(source, error.line)}: not TOML: {error}")
            return
        lines = toml.lines(text)
        for section, table in document.items():
            place = _place(source, lines.get((section,)))
            if section not in self.values:
                meant = _meant(section, {name: f"[{name}]" for name in self.values}, self.values)
                self.problems.append(f"{place}: {section}: unknown section{meant}")
            elif not isinstance(table, dict):
                self.problems.append(f"{place}: {section} = {_shown(table)}: must be a section, [{section}], with keys")
            else:
                for name, value in table.items():
                    self.key(section, name, value, _place(source, lines.get((section, name))))

    def key(self, section: str, name: str, value: object, place: str) -> None:
        """A key of the file, in a section that exists."""
        path = f"{section}.{name}"
        if path in self.rules:
            self.value(path, value, f"{place}: {path}", place)
        elif "password" in name:
            hint = "; a password stands in a file of its own, which database.password_file names"
            self.problems.append(f"{place}: {path}: unknown key{hint}")
        else:
            siblings = [key.name for key in keys(sections()[section])]
            meant = _meant(name, {path.partition(".")[2]: path for path in self.rules}, siblings)
            self.problems.append(f"{place}: {path}: unknown key{meant}")

    def environment(self) -> None:
        paths = {variable(path): path for path in self.rules}
        short = {name.removeprefix(ENVIRONMENT_PREFIX): name for name in paths}
        for name in sorted(name for name in self.environ if name.startswith(ENVIRONMENT_PREFIX)):
            if name in paths:
                self.text(paths[name], self.environ[name], "environment", name)
            else:
                meant = _meant(name.removeprefix(ENVIRONMENT_PREFIX), short, [f"{ENVIRONMENT_PREFIX}<SECTION>_<KEY>"])
                self.problems.append(f"environment: {name}: unknown key{meant}")

    def text(self, path: str, text: str, kind: str, name: str) -> None:
        """The value of a variable or a flag called ``name``."""
        self.value(path, self.rules[path].read(text), f"{kind}: {name}", name)

    def value(self, path: str, value: object, place: str, origin: str) -> None:
        """Check one value. place: how a problem with it begins. origin: what ``given`` says about it."""
        section, _, key = path.partition(".")
        try:
            self.values[section][key] = self.rules[path].check(value, self.environ)
        except ValueError as error:
            self.problems.append(f"{place} = {_shown(value)}: {error}")
        else:
            self.given[path], self.places[path] = origin, place

    def together(self) -> None:
        """What is wrong only in combination."""
        database = self.values["database"]
        if database.get("tls_ca") and not database.get("tls"):
            self.problems.append(f"{self.places['database.tls_ca']}: has no effect without database.tls = true")


def _place(source: str, line: int | None) -> str:
    return source if line is None else f"{source}:{line}"


def _shown(value: object) -> str:
    """A value for a message: without the password that an address may hold, and cut if it is long."""
    text = re.sub(r'[^\s"/@]+@', "***@", toml.show(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _meant(name: str, known: Mapping[str, str], otherwise: Iterable[str]) -> str:
    """What may have been meant by ``name``. known: what is compared -> what is then said."""
    # Only a mistake needs it, and a start should not pay for it.
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {known[close[0]]}?" if close else f"; there are {', '.join(otherwise)}"
