"""What an operator has to know beside flags and keys, said once for the help, the manual page and the reference."""

from types import MappingProxyType
from typing import Final

from portsyncd import errors
from portsyncd.config import DEFAULT_FILE, ENVIRONMENT_PREFIX

EXIT_CODES: Final = MappingProxyType(
    {
        errors.EXIT_OK: "clean stop (SIGTERM, SIGINT), or the command did what it should",
        errors.EXIT_UNEXPECTED: "unexpected error",
        errors.EXIT_USAGE: "wrong command line",
        errors.EXIT_UNAVAILABLE: "a service beyond its restart budget, or memory beyond its limit",
        errors.EXIT_NO_PERMISSION: "no permission",
        errors.EXIT_CONFIG: "wrong configuration, or certificates that cannot be used",
    }
)

SIGNALS: Final = MappingProxyType(
    {
        "SIGTERM, SIGINT": "write what is waiting, for at most one second, and stop; a second one stops at once",
        "SIGHUP": "read configuration and certificates again: the log level and the certificates are taken over, the "
        "rest at the next start. What is wrong changes nothing",
        "SIGUSR1": "do not wait any longer for the ports that hold PortInitDone back",
        "SIGUSR2": "read all links anew and compare all entries in Redis with them, now",
    }
)

ENVIRONMENT: Final = MappingProxyType(
    {
        f"{ENVIRONMENT_PREFIX}<SECTION>_<KEY>": "any key of the configuration",
        "NO_COLOR": "not empty: no colours in the log on a terminal",
        "OPENSSL_CONF": "settings of OpenSSL; not set: portsyncd's own, which the TLS profile needs",
        "JOURNAL_STREAM": 'set by systemd: with `log_format = "auto"` lines carry a priority and no time',
        "NOTIFY_SOCKET": "set by systemd: where it hears that the daemon is ready, reloads or stops, and its status",
        "WATCHDOG_USEC, WATCHDOG_PID": "set by systemd where the unit has WatchdogSec: how often it wants to hear that "
        "the daemon works",
        "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES": "set by systemd: the event socket that the former process had kept",
        "_PORTSYNCD_COMPLETE": "set by the completion of a shell, which asks what could be typed next",
    }
)

# Command -> what it is an example of.
EXAMPLES: Final = MappingProxyType(
    {
        "portsyncd": f"run with {DEFAULT_FILE}",
        "portsyncd --log-level debug": "run's flags work without its name",
        "portsyncd run --redis-socket /r.sock": "Redis on a Unix socket",
        "portsyncd config-example": "a file with every key, to begin with",
        "portsyncd check-config my.conf": "is it correct, what would be used",
        "portsyncd certs make certs": "certificates for the metrics endpoint",
        "portsyncd analytics --since 7d": "what the past week says",
    }
)
