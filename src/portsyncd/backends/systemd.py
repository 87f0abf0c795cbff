"""systemd as the manager of this service: what it is told (sd_notify(3)), and its file descriptor store.

Nothing here waits, and nothing here fails the daemon: a manager that is not there, or that does not read, costs what it
would have done for us and no more.
"""

import os
import re
import socket
import time
from array import array
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Final, Self

from portsyncd.logs import Announcer, get_logger

log = get_logger()

# As sd_listen_fds(3) says.
_FIRST_DESCRIPTOR: Final = 3
_LISTEN_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
# More than any unit of ours lets the store hold.
_MOST_DESCRIPTORS: Final = 64
_WATCHDOG_VARIABLES: Final = ("WATCHDOG_PID", "WATCHDOG_USEC")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# FDNAME: printable ASCII without the colon, at most 255 characters.
_NAME = re.compile(r"[ -9;-~]{1,255}", re.ASCII)
# systemd passes over what is longer (NOTIFY_BUFFER_MAX).
_MESSAGE_BYTES: Final = 4096


class Systemd:
    """A ``backends.base.ServiceManager``.

    address: NOTIFY_SOCKET as systemd sets it: an absolute path, or ``@`` and a name in the abstract namespace; anything
    else: nobody listens. descriptors: what the former process had kept, by name. watchdog: see ``ServiceManager``.
    """

    def __init__(
        self, address: str = "", descriptors: Sequence[tuple[str, int]] = (), watchdog: float | None = None
    ) -> None:
        self._address = _address(address)
        self._descriptors = list(descriptors)
        self._watchdog = watchdog
        self._told = Announcer()

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """As the manager has set it up for the process ``pid``; see ``inherited`` for what is removed."""
        return cls(environ.get("NOTIFY_SOCKET", ""), inherited(environ, pid), _watchdog(environ, pid))

    @property
    def listens(self) -> bool:
        """Whether there is anybody to be told."""
        return self._address is not None

    @property
    def watchdog(self) -> float | None:
        """As systemd's WATCHDOG_USEC says."""
        return self._watchdog

    def notify(self, **fields: str | int) -> bool:
        """Send one message of these fields. False: it was not sent; nothing else comes of that."""
        return self._send(fields)

    def monotonic_usec(self) -> int:
        """The kernel's clock; Trio's begins anywhere."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    def keep(self, descriptor: int, name: str) -> bool:
        """Have the manager keep a duplicate of this one. True says that it was asked; whether it does is the unit's
        FileDescriptorStoreMax. Raises ``ValueError`` for what can be no name."""
        # Without FDPOLL=0 systemd drops what shows EPOLLERR, and a netlink socket that overran does.
        return self._send({"FDSTORE": 1, "FDNAME": _valid(name), "FDPOLL": 0}, [descriptor])

    def forget(self, name: str) -> None:
        """Have the manager close all that it keeps under this name. Raises ``ValueError`` for what can be no name."""
        self._send({"FDSTOREREMOVE": 1, "FDNAME": _valid(name)})

    def take(self) -> Sequence[tuple[str, int]]:
        """The descriptors of the former process with their names; the caller's from here on, and given once."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def _send(self, fields: Mapping[str, str | int], descriptors: Collection[int] = ()) -> bool:
        if self._address is None:
            return False
        lines = [f"{key}={_line(value)}" for key, value in fields.items()]
        message = "\n".join(lines).encode("utf-8", "replace")
        if len(message) > _MESSAGE_BYTES:
            return self._failed("the message is too long")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.setblocking(False)
                manager.sendmsg([message], rights, 0, self._address)
        except OSError as problem:
            return self._failed(str(problem))
        self._told.changed("problem", None)
        return True

    def _failed(self, problem: str) -> bool:
        if self._told.changed("problem", problem):
            log.warning("the service manager could not be told", problem=problem)
        return False


def inherited(environ: MutableMapping[str, str], pid: int) -> list[tuple[str, int]]:
    """The descriptors that systemd has passed to the process ``pid``, with their names, as sd_listen_fds_with_names(3).

    They are not passed on to children, and neither are the variables, which are removed in every case.
    """
    meant_for, count, names = (environ.pop(variable, "") for variable in _LISTEN_VARIABLES)
    if not meant_for or not count:
        return []
    if _number(meant_for) != pid:
        log.debug("descriptors were passed to another process", listen_pid=meant_for)
        return []
    found = _named(count, names)
    if found is None:
        log.info("what the service manager says of passed descriptors is wrong", listen_fds=count, listen_fdnames=names)
        return []
    return [(name, descriptor) for name, descriptor in found if _is_open(descriptor)]


def _named(count: str, names: str) -> list[tuple[str, int]] | None:
    """Name and number of each, or None where the variables do not say that."""
    number = _number(count)
    if number is None or number > _MOST_DESCRIPTORS:
        return None
    found = names.split(":") if names else ["unknown"] * number
    if len(found) != number or not all(map(_NAME.fullmatch, found)):
        return None
    return [(name, _FIRST_DESCRIPTOR + place) for place, name in enumerate(found)]


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _is_open(descriptor: int) -> bool:
    """Keep it from children, too."""
    try:
        os.set_inheritable(descriptor, False)
    except OSError as problem:
        log.info("a passed descriptor is not there", descriptor=descriptor, problem=str(problem))
        return False
    return True


def _watchdog(environ: MutableMapping[str, str], pid: int) -> float | None:
    """WATCHDOG_USEC in seconds, where it is meant for the process ``pid``, as sd_watchdog_enabled(3)."""
    meant_for, interval = (environ.pop(variable, "") for variable in _WATCHDOG_VARIABLES)
    if meant_for and _number(meant_for) != pid:
        return None
    return (_number(interval) or 0) / 1e6 or None


def _line(value: str | int) -> str:
    """A field is a line, and what a terminal would obey is not for the operator's: a link may be called anything."""
    return "".join(each if each.isprintable() else " " if each.isspace() else "?" for each in str(value))


def _address(text: str) -> str | None:
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _valid(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} can be no name in the file descriptor store")
    return name
