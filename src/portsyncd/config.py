"""The configuration: what keys there are, and how their values come from flags, environment, file and defaults.

Each key is one field of one dataclass: name, default, rule and meaning stand there and nowhere else. ``parse`` is
pure; ``load`` and ``read_databases`` read files and nothing more. All three raise ``ConfigError`` with every problem
that they found.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from portsyncd import rules, toml
from portsyncd.errors import ConfigError
from portsyncd.wire import database_config as databases
from portsyncd.wire.schema import APPL_DB, CONFIG_DB, STATE_DB

DEFAULT_FILE: Final = "/etc/sonic/portsyncd.conf"
ENVIRONMENT_PREFIX: Final = "PORTSYNCD_"
LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error")
EXISTING_LINKS: Final = ("auto", "adopt", "reset")
EXPORT_FORMATS: Final = ("prometheus", "json", "both")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def _key(default: Any, rule: rules.Rule, meaning: str) -> Any:
    return field(default_factory=lambda: default, metadata={"rule": rule, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """The process as a whole."""

    enabled: bool = _key(
        True, rules.Flag(), "false: stays up and does nothing (in SONiC's container any exit restarts everything)"
    )
    exit_to_restart: bool = _key(
        False,
        rules.Flag(),
        "true where a manager restarts this daemon alone: an exhausted restart budget ends it, and so does memory beyond "
        "self_healing.memory_limit_mb that cannot be given back",
    )
    log_level: str = _key("info", rules.Choice(LOG_LEVELS), "the least urgent lines that are logged")
    log_format: str = _key(
        "auto",
        rules.Choice(("auto", "text", "json")),
        "auto: for the journal under systemd, in colour on a terminal, else as text; json: one object a line",
    )


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where Redis is and how it is spoken to."""

    redis_host: str = _key("127.0.0.1", rules.Host(), "Redis over TCP, for all databases")
    redis_port: int = _key(6379, rules.Whole(1, databases.MAX_PORT), "TCP port of Redis")
    unix_socket_path: str = _key("", rules.SOCKET_PATH, "Redis over this Unix socket; wins over host and port")
    database_config: str = _key(
        "/var/run/redis/sonic-db/database_config.json",
        rules.Path(),
        "SONiC's own list of databases; read where it exists, says what the keys here leave open",
    )
    namespace: str = _key(
        "",
        rules.Text(),
        "on a switch with several ASICs: which one, as database_global.json beside database_config names it",
    )
    appl_db_number: int = _key(0, rules.Whole(0, 1024), "number of APPL_DB")
    config_db_number: int = _key(4, rules.Whole(0, 1024), "number of CONFIG_DB")
    state_db_number: int = _key(6, rules.Whole(0, 1024), "number of STATE_DB")
    redis_endpoints: Mapping[str, databases.Endpoint] = _key(
        {}, rules.Endpoints(), "databases that live in an instance of their own; wins over all other keys"
    )
    username: str = _key("", rules.Text(), "Redis user (ACL); empty: the default user")
    password_file: str = _key("", rules.Path(), "file whose first line is the password; a password never stands here")
    tls: bool = _key(False, rules.Flag(), "TLS to Redis; TCP only")
    tls_ca: str = _key("", rules.Path(), "certificates to trust for tls; empty: those of the system")
    connection_timeout_secs: float = _key(2.0, rules.Number(0.1, 60), "deadline of a connection and of one request")
    retry_max_secs: float = _key(
        5.0, rules.Number(0.1, 300), "longest pause between attempts to connect; on this machine at most 0.5"
    )


@dataclass(frozen=True, slots=True)
class NetlinkConfig:
    """How the kernel is listened to, and which of its links are ports."""

    receive_buffer_bytes: int = _key(
        33554432, rules.Whole(65536, 1073741824), "receive buffer asked for; the kernel may grant less"
    )
    port_prefixes: tuple[str, ...] = _key(
        ("Ethernet", "PortChannel"), rules.Prefixes(), "links whose names begin so are followed"
    )
    existing_links: str = _key(
        "auto",
        rules.Choice(EXISTING_LINKS),
        "links found at a cold start: reset sets them down and ignores them, adopt keeps them, auto decides",
    )
    run_dir: str = _key("/run/portsyncd", rules.Path(optional=False), "folder where the list of old links is kept")


@dataclass(frozen=True, slots=True)
class PerformanceConfig:
    """Bounds; beyond the last two the daemon reports itself as degraded."""

    max_event_queue: int = _key(100000, rules.Whole(1, 1000000), "bound of the mailbox, in ports")
    max_latency_us: int = _key(
        10000,
        rules.Whole(1, 10000000),
        "degraded when one event of a hundred takes longer than this to Redis, for 3 minutes",
    )
    min_success_rate: float = _key(99.0, rules.Number(0, 100), "degraded below this share of writes, in percent")


@dataclass(frozen=True, slots=True)
class WarmRestartConfig:
    """Warm restart, and what is kept of the ports over any restart."""

    enabled: bool = _key(True, rules.Flag(), "false: every start is a cold one, whatever STATE_DB says")
    eoiu_timeout_secs: float = _key(
        10.0, rules.Number(1, 9999), "a first sync that takes longer is completed and counted as a timeout"
    )
    state_file: str = _key(
        "/var/lib/sonic/portsyncd/port_state.json",
        rules.Path(),
        "what a restart has to know of the ports is kept here, with its backups beside it; empty: nowhere",
    )
    save_interval_secs: float = _key(30.0, rules.Number(1, 86400), "it is saved so often, where something changed")
    max_backups: int = _key(10, rules.Whole(0, 1000), "earlier states that are kept, should the newest be damaged")
    max_age_secs: float = _key(604800.0, rules.Number(1, 31536000), "a saved state that is older is not trusted")


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """The metrics endpoint: Prometheus over mutual TLS 1.3, on IPv6. There is no way to serve it without."""

    enabled: bool = _key(True, rules.Flag(), "false: no endpoint, and no certificates are needed")
    listen: str = _key("[::1]:9090", rules.ListenAddress(), "where it listens; [::] for all of IPv6")
    cert: str = _key(
        "/etc/portsyncd/metrics/server.crt", rules.Path(optional=False), "the server's certificate, then its chain; PEM"
    )
    key: str = _key(
        "/etc/portsyncd/metrics/server.key",
        rules.Path(optional=False),
        "its private key; PEM without a passphrase, readable by the service alone",
    )
    ca: str = _key(
        "/etc/portsyncd/metrics/ca.crt", rules.Path(optional=False), "certificates that sign clients' certificates; PEM"
    )
    client_allowed_sans: tuple[str, ...] = _key(
        (), rules.Names(), "clients whose certificate has one of these subject alternative names; empty: all of the CA"
    )
    storage_path: str = _key(
        "/var/lib/sonic/portsyncd/metrics",
        rules.Path(),
        "folder for what outlives a restart: counters, history, the export; empty: none of it is kept",
    )
    save_interval_secs: float = _key(
        300.0,
        rules.Number(1, 86400),
        "metrics are exported, and counters looked at, so often; counters that change are saved at once",
    )
    sample_interval_secs: float = _key(30.0, rules.Number(1, 3600), "the history gets one sample in so many seconds")
    retention_days: float = _key(30.0, rules.Number(0.01, 3650), "history older than this is deleted")
    max_file_size_mb: int = _key(
        100, rules.Whole(1, 100000), "history larger than this loses its oldest part, whatever its age"
    )
    export_format: str = _key(
        "prometheus",
        rules.Choice(EXPORT_FORMATS),
        "files made in storage_path: portsyncd.prom for node_exporter's textfile collector, portsyncd.json, or both",
    )


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """Beyond these the daemon reports itself as unhealthy."""

    max_stall_seconds: float = _key(
        10.0, rules.Number(1, 3600), "unhealthy when waiting events do not move for so long although Redis answers"
    )
    max_failure_rate_percent: float = _key(
        5.0, rules.Number(0, 100), "unhealthy above this share of recent port writes that failed"
    )
    min_port_sync_rate: float = _key(
        90.0,
        rules.Number(0, 100),
        "unhealthy below this share of publishable ports that Redis holds as the kernel says",
    )


@dataclass(frozen=True, slots=True)
class SelfHealingConfig:
    """What the daemon looks after by itself, and which kinds of healing it may use. Found faults are healed at once."""

    enabled: bool = _key(
        True,
        rules.Flag(),
        "false: nothing is probed, compared or healed by itself; a service that fails is rebuilt all the same",
    )
    check_interval_secs: float = _key(
        2.0,
        rules.Number(0.1, 60),
        "connections, memory, disks and clocks are looked at so often; a dead connection is found within this and "
        "probe_timeout_secs",
    )
    probe_timeout_secs: float = _key(
        1.5, rules.Number(0.1, 30), "a connection that does not answer a probe within this is given up and made anew"
    )
    reconcile_interval_secs: float = _key(
        300.0,
        rules.Number(1, 86400),
        "all links are read anew so often, and all entries in Redis compared with them; SIGUSR2 does it now",
    )
    memory_limit_mb: int = _key(
        512,
        rules.Whole(64, 1048576),
        "resident memory beyond this is given back as far as possible; what does not help is reported as degraded",
    )
    memory_growth_mb_per_hour: float = _key(
        16.0, rules.Number(0.1, 100000), "memory that grows faster than this, over hours, is treated in the same way"
    )
    heal_redis: bool = _key(True, rules.Flag(), "false: connections to Redis are not probed")
    heal_netlink: bool = _key(True, rules.Flag(), "false: the netlink sockets are not probed")
    heal_reconcile: bool = _key(True, rules.Flag(), "false: Redis is compared on demand only (SIGUSR2)")
    heal_memory: bool = _key(True, rules.Flag(), "false: memory that is too much is reported, and not given back")
    heal_stall: bool = _key(
        True, rules.Flag(), "false: a reader or writer that does not move is reported, and not begun anew"
    )
    heal_disk: bool = _key(True, rules.Flag(), "false: the history is not held back where a disk is nearly full")
    heal_certificates: bool = _key(
        True, rules.Flag(), "false: certificates that are about to expire are not read again by themselves"
    )


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


def sections() -> dict[str, type[Any]]:
    """The dataclass of each section. Of each of its ``fields``, ``metadata`` holds ``rule`` and ``meaning``."""
    types = ((each.name, each.type) for each in fields(Config))
    return {name: each for name, each in types if isinstance(each, type) and is_dataclass(each)}


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
    """Where each database is, by its SONiC name, with what SONiC's own files say about what is not configured."""
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
    return databases.resolve(
        known=_known_databases(database, explicit_file="database.database_config" in given),
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
        return Path(path).read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # ValueError: not UTF-8, or a NUL byte in the path.
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error


class _Reading:
    """One run of ``parse``: values and problems as they are found; what comes later wins."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []
        self.given: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.values: dict[str, dict[str, Any]] = {name: {} for name in sections()}
        self.rules = {
            f"{name}.{key.name}": key.metadata["rule"]
            for name, section in sections().items()
            for key in fields(section)
        }

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
            siblings = [key.name for key in fields(sections()[section])]
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
