"""portsyncd with an ear, as ``hooked_daemon``, with little patience for its own failures, and deaf on demand.

It runs in a guest, as ``ailing_daemon.py run``, and its environment says more: ``DEAF`` is a file, and from when it is there
on link events are left unread, although the event loop turns; a service is rebuilt ``BUDGET`` times.
"""

from portsyncd.tls import openssl

openssl.settle()

import faulthandler  # noqa: E402 - the settings come first
import os  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Final  # noqa: E402
from unittest import mock  # noqa: E402

import trio  # noqa: E402

from portsyncd import assembly, world  # noqa: E402
from portsyncd.backends.netlink import NetlinkSource  # noqa: E402
from portsyncd.cli.main import main as command_line  # noqa: E402
from portsyncd.model.restart import RestartPolicy  # noqa: E402
from tests.e2e.hooked_daemon import HookedSupervisor  # noqa: E402

DEAF: Final = Path(os.environ.get("DEAF", "/nonexistent"))


class DeafSource(NetlinkSource):
    """A source of links that stops to listen, and does not say so."""

    async def readable(self) -> None:
        await super().readable()
        if DEAF.exists():
            await trio.sleep_forever()


if __name__ == "__main__":
    # As __main__.py does.
    faulthandler.enable(all_threads=False)
    impatient = partial(RestartPolicy, first_delay=0.01, budget=int(os.environ["BUDGET"]))
    with (
        mock.patch.object(assembly, "Supervisor", HookedSupervisor),
        mock.patch.object(assembly, "RestartPolicy", impatient),
        mock.patch.object(world, "NetlinkSource", DeafSource),
    ):
        command_line()
