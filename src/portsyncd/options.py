"""Every key of the configuration: default, rule, meaning, and why an operator would change it.

Each key is one field of one dataclass, and stands nowhere else: the configuration file's template, the reference in
docs/ and the manual page are made from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from portsyncd import rules
from portsyncd.wire.database_config import MAX_PORT, Endpoint

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error")
EXISTING_LINKS: Final = ("auto", "adopt", "reset")
EXPORT_FORMATS: Final = ("prometheus", "json", "both")
_WHY_A_NUMBER: Final = "for a Redis without SONiC's list that numbers its databases otherwise"


def _key(default: Any, rule: rules.Rule, meaning: str, why: str) -> Any:
    return field(default_factory=lambda: default, metadata={"rule": rule, "meaning": meaning, "why": why})


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """The process as a whole."""

    enabled: bool = _key(
        True,
        rules.Flag(),
        "false: stays up and does nothing (in SONiC's container any exit restarts everything)",
        "false to leave the ports to another program, the C++ portsyncd for one, without removing this one",
    )
    exit_to_restart: bool = _key(
        False,
        rules.Flag(),
        "true where a manager restarts this daemon alone: an exhausted restart budget ends it, and so does memory beyond "
        "self_healing.memory_limit_mb that cannot be given back",
        "true under systemd (the unit sets it), which starts a fresh process; not in SONiC's swss container, where an exit "
        "takes orchagent along",
    )
    log_level: str = _key(
        "info",
        rules.Choice(LOG_LEVELS),
        "the least urgent lines that are logged",
        "debug while you look for a fault (tracebacks, requests to the endpoint), warning where room for logs is short; "
        "a reload is enough",
    )
    log_format: str = _key(
        "auto",
        rules.Choice(("auto", "text", "json")),
        "auto: for the journal under systemd, in colour on a terminal, else as text; json: one object a line",
        "json where a program collects the log, text for one form wherever it goes",
    )


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where Redis is and how it is spoken to."""

    redis_host: str = _key(
        "127.0.0.1",
        rules.Host(),
        "Redis over TCP, for all databases",
        "for a Redis on another machine, or in another container",
    )
    redis_port: int = _key(
        6379, rules.Whole(1, MAX_PORT), "TCP port of Redis", "for a Redis that listens elsewhere, as a second one does"
    )
    unix_socket_path: str = _key(
        "",
        rules.SOCKET_PATH,
        "Redis over this Unix socket; wins over host and port",
        "to use one Redis for all databases, whatever SONiC's list says, with the file's permissions as its guard",
    )
    database_config: str = _key(
        "/var/run/redis/sonic-db/database_config.json",
        rules.Path(),
        "SONiC's own list of databases; read where it exists, says what the keys here leave open",
        "where the list lies elsewhere, as in a container; empty to go by the keys here alone",
    )
    namespace: str = _key(
        "",
        rules.Text(),
        "on a switch with several ASICs: which one, as database_global.json beside database_config names it",
        "for one daemon an ASIC: asic0, asic1, ..., each in the network namespace of that name",
    )
    appl_db_number: int = _key(0, rules.Whole(0, 1024), "number of APPL_DB", _WHY_A_NUMBER)
    config_db_number: int = _key(4, rules.Whole(0, 1024), "number of CONFIG_DB", _WHY_A_NUMBER)
    state_db_number: int = _key(6, rules.Whole(0, 1024), "number of STATE_DB", _WHY_A_NUMBER)
    redis_endpoints: Mapping[str, Endpoint] = _key(
        {},
        rules.Endpoints(),
        "databases that live in an instance of their own; wins over all other keys",
        "where one database has a Redis of its own and SONiC's list does not say so",
    )
    username: str = _key(
        "",
        rules.Text(),
        "Redis user (ACL); empty: the default user",
        "where Redis has ACLs, so that the daemon has the rights it needs and no more",
    )
    password_file: str = _key(
        "",
        rules.Path(),
        "file whose first line is the password; a password never stands here; mode 0600, or 0640 with a group of the service",
        "where Redis asks for a password",
    )
    tls: bool = _key(False, rules.Flag(), "TLS to Redis; TCP only", "for a Redis that is reached over a shared network")
    tls_ca: str = _key(
        "",
        rules.Path(),
        "certificates to trust for tls; empty: those of the system",
        "where a private CA signed Redis' certificate",
    )
    connection_timeout_secs: float = _key(
        2.0,
        rules.Number(0.1, 60),
        "deadline of a connection and of one request",
        "raise it for a Redis behind a slow network, with self_healing.probe_timeout_secs, which bounds requests too",
    )
    retry_max_secs: float = _key(
        5.0,
        rules.Number(0.1, 300),
        "longest pause between attempts to connect; on this machine at most 0.5",
        "lower it to be back sooner after a remote Redis was away, raise it where many switches share that one",
    )


@dataclass(frozen=True, slots=True)
class NetlinkConfig:
    """How the kernel is listened to, and which of its links are ports."""

    receive_buffer_bytes: int = _key(
        33554432,
        rules.Whole(65536, 1073741824),
        "receive buffer asked for; the kernel may grant less",
        "raise it where portsyncd_netlink_overruns_total grows; each overrun costs a full read of the links",
    )
    port_prefixes: tuple[str, ...] = _key(
        ("Ethernet", "PortChannel"),
        rules.Prefixes(),
        "links whose names begin so are followed",
        "where a platform names its front-panel links otherwise",
    )
    existing_links: str = _key(
        "auto",
        rules.Choice(EXISTING_LINKS),
        "links found at a cold start: reset sets them down and ignores them, adopt keeps them, auto decides",
        "adopt where a cold start must not set links down, or may not (no CAP_NET_ADMIN); reset to be as strict as the C++ "
        "portsyncd",
    )
    run_dir: str = _key(
        "/run/portsyncd",
        rules.Path(optional=False),
        "folder where the list of old links is kept",
        "for each further instance on one machine; it should outlast the daemon and be empty after a boot",
    )


@dataclass(frozen=True, slots=True)
class PerformanceConfig:
    """Bounds; beyond the last two the daemon reports itself as degraded."""

    max_event_queue: int = _key(
        100000,
        rules.Whole(1, 1000000),
        "bound of the mailbox, in ports",
        "raise it only for more ports than this; what does not fit is read from the kernel again",
    )
    max_latency_us: int = _key(
        10000,
        rules.Whole(1, 10000000),
        "degraded when one event of a hundred takes longer than this to Redis, for 3 minutes",
        "raise it for a slow machine or a remote Redis, lower it to what your own service level asks for",
    )
    min_success_rate: float = _key(
        99.0,
        rules.Number(0, 100),
        "degraded below this share of writes, in percent",
        "raise it to hear of rarer failures, lower it where some are known and accepted",
    )


@dataclass(frozen=True, slots=True)
class WarmRestartConfig:
    """Warm restart, and what is kept of the ports over any restart."""

    enabled: bool = _key(
        True,
        rules.Flag(),
        "false: every start is a cold one, whatever STATE_DB says",
        "false to rule warm restarts out while you look for a fault; a cold start may set links down (existing_links)",
    )
    eoiu_timeout_secs: float = _key(
        10.0,
        rules.Number(1, 9999),
        "a first sync that takes longer is completed and counted as a timeout",
        "raise it where portsyncd_eoiu_timeouts_total grows with healthy starts; CONFIG_DB's WARM_RESTART|swss "
        "portsyncd_timer wins over it",
    )
    state_file: str = _key(
        "/var/lib/sonic/portsyncd/port_state.json",
        rules.Path(),
        "what a restart has to know of the ports is kept here, with its backups beside it; empty: nowhere",
        "for each further instance on one machine, or for a disk that outlasts an upgrade of the image",
    )
    save_interval_secs: float = _key(
        30.0,
        rules.Number(1, 86400),
        "it is saved so often, where something changed",
        "raise it to spare flash memory, lower it so that a crash loses fewer counts",
    )
    max_backups: int = _key(
        10,
        rules.Whole(0, 1000),
        "earlier states that are kept, should the newest be damaged",
        "lower it where the disk is small",
    )
    max_age_secs: float = _key(
        604800.0,
        rules.Number(1, 31536000),
        "a saved state that is older is not trusted",
        "raise it so that a switch that was off for longer still knows its counts",
    )


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """The metrics endpoint: Prometheus over mutual TLS 1.3, on IPv6. There is no way to serve it without."""

    enabled: bool = _key(
        True,
        rules.Flag(),
        "false: no endpoint, and no certificates are needed",
        "false where nobody scrapes this switch, or until it has its certificates",
    )
    listen: str = _key(
        "[::1]:9090",
        rules.ListenAddress(),
        "where it listens; [::] for all of IPv6",
        "for a Prometheus on another machine, for each further instance, or where the port is taken",
    )
    cert: str = _key(
        "/etc/portsyncd/metrics/server.crt",
        rules.Path(optional=False),
        "the server's certificate, then its chain; PEM",
        "where another program keeps and renews the certificates",
    )
    key: str = _key(
        "/etc/portsyncd/metrics/server.key",
        rules.Path(optional=False),
        "its private key; PEM without a passphrase, readable by the service alone",
        "together with cert",
    )
    ca: str = _key(
        "/etc/portsyncd/metrics/ca.crt",
        rules.Path(optional=False),
        "certificates that sign clients' certificates; PEM",
        "to let in the clients of a CA that the site has already",
    )
    client_allowed_sans: tuple[str, ...] = _key(
        (),
        rules.Names(),
        "clients whose certificate has one of these subject alternative names; empty: all of the CA",
        "where the CA signs for more than monitoring, or a client whose key is lost is to be shut out",
    )
    storage_path: str = _key(
        "/var/lib/sonic/portsyncd/metrics",
        rules.Path(),
        "folder for what outlives a restart: counters, history, the export; empty: none of it is kept",
        "for each further instance on one machine, for a larger disk, or empty where the disk may not be written to",
    )
    save_interval_secs: float = _key(
        300.0,
        rules.Number(1, 86400),
        "metrics are exported, and counters looked at, so often; counters that change are saved at once",
        "lower it for fresher export files, raise it to write less",
    )
    sample_interval_secs: float = _key(
        30.0,
        rules.Number(1, 3600),
        "the history gets one sample in so many seconds",
        "lower it for a finer history, raise it to spare CPU and flash memory",
    )
    retention_days: float = _key(
        30.0,
        rules.Number(0.01, 3650),
        "history older than this is deleted",
        "raise it for `portsyncd analytics` to look further back",
    )
    max_file_size_mb: int = _key(
        100,
        rules.Whole(1, 100000),
        "history larger than this loses its oldest part, whatever its age",
        "lower it where the disk is small, raise it with retention_days",
    )
    export_format: str = _key(
        "prometheus",
        rules.Choice(EXPORT_FORMATS),
        "files made in storage_path: portsyncd.prom for node_exporter's textfile collector, portsyncd.json, or both",
        "json or both for programs on the switch that read figures from a file",
    )


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """Beyond the first three the daemon reports itself as unhealthy; the others are about the service manager's watchdog."""

    max_stall_seconds: float = _key(
        10.0,
        rules.Number(1, 3600),
        "unhealthy when events do not move for so long: the kernel's that nobody reads, and what waits although Redis answers",
        "raise it where CPU time is scarce and a short stall is no fault, lower it to hear of one, and heal it, sooner",
    )
    max_failure_rate_percent: float = _key(
        5.0,
        rules.Number(0, 100),
        "unhealthy above this share of recent port writes that failed",
        "lower it to count fewer failures as an outage already, raise it where degraded is enough for them",
    )
    min_port_sync_rate: float = _key(
        90.0,
        rules.Number(0, 100),
        "unhealthy below this share of publishable ports that Redis holds as the kernel says",
        "raise it where a few wrong ports are an outage already",
    )
    enable_watchdog: bool = _key(
        True,
        rules.Flag(),
        "false: systemd's watchdog is switched off for this process, whatever WatchdogSec says",
        "false while a debugger holds the process",
    )
    watchdog_interval_secs: float = _key(
        15.0,
        rules.Number(0.1, 3600),
        "systemd's watchdog is fed so often, and at least twice in WatchdogSec, while events move or there are none",
        "lower it for more margin on a loaded machine, raise it together with WatchdogSec",
    )


@dataclass(frozen=True, slots=True)
class SelfHealingConfig:
    """What the daemon looks after by itself, and which kinds of healing it may use. Found faults are healed at once."""

    enabled: bool = _key(
        True,
        rules.Flag(),
        "false: nothing is probed, compared or healed by itself; a service that fails is rebuilt all the same",
        "false to see a fault as it is; SIGUSR2 still compares and puts right on demand",
    )
    check_interval_secs: float = _key(
        2.0,
        rules.Number(0.1, 60),
        "connections, memory, disks and clocks are looked at so often; a dead connection is found within this and "
        "probe_timeout_secs",
        "lower it to find dead connections sooner, raise it to spare an idle CPU",
    )
    probe_timeout_secs: float = _key(
        1.5,
        rules.Number(0.1, 30),
        "a connection that does not answer a probe within this is given up and made anew",
        "raise it for a Redis that takes longer to answer one request: each session with it would be broken off",
    )
    reconcile_interval_secs: float = _key(
        300.0,
        rules.Number(1, 86400),
        "all links are read anew so often, and all entries in Redis compared with them; SIGUSR2 does it now",
        "lower it where other programs damage entries, raise it to spare CPU where there are very many ports",
    )
    memory_limit_mb: int = _key(
        512,
        rules.Whole(64, 1048576),
        "resident memory beyond this is given back as far as possible; what does not help is reported as degraded",
        "keep it below the limit of the unit or container (MemoryMax), and above what your number of ports needs",
    )
    memory_growth_mb_per_hour: float = _key(
        16.0,
        rules.Number(0.1, 100000),
        "memory that grows faster than this, over hours, is treated in the same way",
        "lower it to hear of a small leak, raise it where ports are added all day",
    )
    heal_redis: bool = _key(
        True,
        rules.Flag(),
        "false: connections to Redis are not probed",
        "false while you hold Redis up on purpose",
    )
    heal_netlink: bool = _key(
        True,
        rules.Flag(),
        "false: the netlink sockets are not probed",
        "false on a kernel that does not answer the probe; a socket that fails is made anew all the same",
    )
    heal_reconcile: bool = _key(
        True,
        rules.Flag(),
        "false: Redis is compared on demand only (SIGUSR2)",
        "false where you change entries by hand, as in a test of orchagent",
    )
    heal_memory: bool = _key(
        True,
        rules.Flag(),
        "false: memory that is too much is reported, and not given back",
        "false to find out what takes the memory",
    )
    heal_stall: bool = _key(
        True,
        rules.Flag(),
        "false: a reader or writer that does not move is reported, and not begun anew",
        "false to look at a stall with a debugger before it is gone",
    )
    heal_disk: bool = _key(
        True,
        rules.Flag(),
        "false: the history is not held back where a disk is nearly full",
        "false where the history is worth more to you than the saved state of the ports",
    )
    heal_certificates: bool = _key(
        True,
        rules.Flag(),
        "false: certificates that are about to expire are not read again by themselves",
        "false where one is left to expire on purpose; files that change, and SIGHUP, are heeded all the same",
    )
