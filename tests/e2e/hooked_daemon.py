"""portsyncd with an ear for a test that wants to hurt it: ``python hooked_daemon.py run --config FILE``.

All of it is the daemon itself; only its supervisor listens on a socket, too, whose other end is ``hooks.Hooks``. Nothing of
the daemon's own code knows of it.
"""

from portsyncd.tls import openssl

openssl.settle()

import json  # noqa: E402 - the settings come first
import socket  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import replace  # noqa: E402
from typing import Any, Final  # noqa: E402
from unittest import mock  # noqa: E402

import trio  # noqa: E402

from portsyncd import assembly  # noqa: E402
from portsyncd.cli.main import main as command_line  # noqa: E402
from portsyncd.services.supervisor import Child, Run, Supervisor  # noqa: E402

# Abstract: of one network namespace, which each test has for itself, and gone with the process.
ADDRESS: Final = "\0portsyncd-hooks"
_LONGEST_REQUEST: Final = 4096


class HookedSupervisor(Supervisor):
    """The supervisor, which does what it is told besides."""

    def __init__(self, children: Sequence[Child], *arguments: Any, **options: Any) -> None:
        self._names = [child.name for child in children]
        self._crashes: dict[str, trio.Event] = {}
        self._leaked: list[bytes] = []
        hooked = [replace(child, run=self._crashing(child)) for child in children]
        super().__init__(hooked, *arguments, **options)

    def _crashing(self, child: Child) -> Run:
        """The child, with a task beside it that fails when told so."""

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            self._crashes[child.name] = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._crash, self._crashes[child.name])
                await child.run(task_status=task_status)
                nursery.cancel_scope.cancel()

        return run

    async def _crash(self, told: trio.Event) -> None:
        await told.wait()
        raise RuntimeError("a test says so")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            await ear.bind(ADDRESS)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed, ear)
                await super().run(task_status=task_status)

    async def _heed(self, ear: trio.socket.SocketType) -> None:
        # Datagrams: to accept a connection would take a file descriptor, of which there may be none.
        verbs: dict[str, Callable[..., object]] = {
            "children": lambda: self._names,
            "cancel": lambda name: self.cancel_child(name, "a test says so"),
            "crash": lambda name: self._crashes[name].set(),
            "block": time.sleep,  # noqa: TID251 - to hold the event loop up is what it is for
            "leak": lambda megabytes: self._leaked.append(b"x" * (megabytes << 20)),
            "tasks": lambda: trio.lowlevel.current_statistics().tasks_living,
        }
        while True:
            request, client = await ear.recvfrom(_LONGEST_REQUEST)
            verb, *arguments = json.loads(request)
            await ear.sendto(json.dumps(verbs[verb](*arguments)).encode(), client)


if __name__ == "__main__":
    with mock.patch.object(assembly, "Supervisor", HookedSupervisor):
        command_line()
