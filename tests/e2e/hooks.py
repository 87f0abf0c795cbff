"""The other end of ``hooked_daemon``'s ear."""

import json
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.wait import until

ARGV = (sys.executable, str(Path(__file__).with_name("hooked_daemon.py")), "run", "--config", "{config}")
_ADDRESS = "\0portsyncd-hooks"
_DEADLINE_SECONDS = 30.0


class Hooks:
    """What a test may do to the inside of a daemon that was started with ``ARGV`` in this namespace."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        self._namespace = namespace

    def children(self) -> list[str]:
        """The names of the supervised services."""
        return list(self._ask("children"))

    def cancel(self, name: str) -> None:
        """End a service from outside, as the supervisor may."""
        self._ask("cancel", name)

    def crash(self, name: str) -> None:
        """Have a service raise an error of which nobody knows."""
        self._ask("crash", name)

    def block(self, seconds: float) -> None:
        """Hold the event loop up; returns after that."""
        self._ask("block", seconds)

    def leak(self, megabytes: int) -> None:
        """Have it hold so much more memory, for ever."""
        self._ask("leak", megabytes)

    def tasks(self) -> int:
        """How many Trio tasks there are."""
        return int(self._ask("tasks"))

    def _ask(self, verb: str, *arguments: object) -> Any:
        with self._namespace.enter(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            # An address of our own that the kernel chooses, for the answer.
            client.bind("")
            client.settimeout(_DEADLINE_SECONDS)
            until(lambda: _reached(client), what="the daemon has an ear")
            client.send(json.dumps([verb, *arguments]).encode())
            return json.loads(client.recv(65536))


def _reached(client: socket.socket) -> bool:
    with suppress(ConnectionRefusedError):
        client.connect(_ADDRESS)
        return True
    return False
