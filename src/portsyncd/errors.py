"""Every error that this package raises on purpose.

Each class says who caused it and what the operator does about it. Foreign exceptions (``OSError``,
``redis.RedisError``) are turned into these in ``backends/`` and nowhere else, so that a service needs to know no
library to handle them. ``exit_code`` is the code with which the process ends if nothing else handles the error.
"""

from collections.abc import Sequence

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
EXIT_NO_PERMISSION = 77
EXIT_CONFIG = 78


class PortsyncdError(Exception):
    """Base of all errors of this package. ``str()`` of one is a message for the operator."""

    exit_code = EXIT_UNEXPECTED


class ConfigError(PortsyncdError):
    """The configuration is wrong. Caused by who wrote it; the operator corrects each line of ``problems``."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class DatabaseListError(ConfigError):
    """SONiC's own list of databases is not there, or is not what it should be. Caused by who writes it, which may be later
    than this start: the daemon waits for it, as for a Redis that is late."""


class NoPermissionError(PortsyncdError):
    """The kernel refused a privileged request. Caused by how the daemon was started; the operator grants CAP_NET_ADMIN."""

    exit_code = EXIT_NO_PERMISSION


class BudgetExhaustedError(PortsyncdError):
    """A service kept failing beyond its restart budget. Caused by the failure named in the message; the service
    manager restarts the daemon, the operator reads the log lines before it."""

    exit_code = EXIT_UNAVAILABLE


class MemoryLimitError(PortsyncdError):
    """The daemon's memory is beyond ``self_healing.memory_limit_mb``, and giving back what is not needed did not help. Caused
    by a leak, or by a limit that is too low for so many ports; the service manager restarts the daemon, the operator reads
    the figures in the log lines before it."""

    exit_code = EXIT_UNAVAILABLE


class DecodeError(PortsyncdError):
    """Bytes that are not what their protocol says. Caused by the peer or by truncation; the reader asks the kernel anew.
    Of a certificate's file: caused by who wrote it, who replaces it."""


class LinkSourceError(PortsyncdError):
    """The netlink socket cannot go on. Caused by the kernel or by its closing; the supervisor opens a new one."""


class StoreError(PortsyncdError):
    """Redis did not do what was asked. The effect of the request is unknown unless the subclass says otherwise."""


class StoreUnavailableError(StoreError):
    """Redis cannot be reached, closed the connection, did not answer in time, or answered what is no answer to what was asked.
    The writer connects anew."""


class StoreChangedError(StoreError):
    """Somebody changed a database while another was written to suit it. Redis is well; the writer compares everything
    anew."""


class StoreLoadingError(StoreError):
    """Redis is up and still loading its data set (``LOADING``). Nothing was done; the writer waits."""


class StoreRefusedError(StoreError):
    """Redis answered with an error: ``READONLY``, ``OOM``, ``NOAUTH``, ``WRONGPASS``, ``NOPERM``, ``WRONGTYPE`` and the
    like. Caused by how Redis is set up; the operator corrects that, the writer tries again meanwhile."""


class FileError(PortsyncdError):
    """A file could not be written. Caused by the disk or by permissions; the daemon goes on without it."""


class EndpointError(PortsyncdError):
    """The metrics endpoint cannot be opened now. Caused by its address, or by certificates whose dates are wrong; it is
    tried again without end while the port sync goes on. The operator frees the address, or sets clock or certificates
    right."""
