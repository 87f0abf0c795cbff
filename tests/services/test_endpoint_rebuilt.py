"""When the metrics server itself dies, the supervisor makes a new one of it, and the port sync is none the wiser."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from portsyncd.model.restart import RestartPolicy
from portsyncd.services.supervisor import Child, ChildState, Supervisor
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.endpoint import Endpoint
from portsyncd.web.host import Listener
from portsyncd.web.server import MetricsServer
from tests.web.serving import eventually, in_thread, make_server, port_of

# It is to be back within a second; a machine that is busy may take longer.
DEADLINE_SECONDS = 5.0

Life = Callable[[MetricsServer, Listener, str, trio.TaskStatus[None]], Awaitable[None]]


async def test_a_dead_server_is_rebuilt_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = trio.Event()
    real: Life = MetricsServer._serve

    async def serve(
        server: MetricsServer, listener: Listener, address: str, task_status: trio.TaskStatus[None]
    ) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(real, server, listener, address, task_status)
            if not dies.is_set():
                await dies.wait()
                raise RuntimeError("the server's own task ends")

    monkeypatch.setattr(MetricsServer, "_serve", serve)
    certificates = Certificates(tmp_path / "certificates")
    server = make_server(certificates)
    supervisor = Supervisor([Child("metrics", server.run, essential=False)], RestartPolicy(), exit_to_restart=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await eventually(lambda: server.statistics().listening is not None)
        endpoint = Endpoint(certificates, port=port_of(server))
        with endpoint.client() as kept:
            await in_thread(kept.get, "/metrics")
            with trio.fail_after(DEADLINE_SECONDS):
                dies.set()
                await eventually(lambda: supervisor.statistics().children[0].restarts == 1)
                await eventually(lambda: server.statistics().listening is not None)
        assert server.statistics().connections == 0
        assert await in_thread(Endpoint(certificates, port=port_of(server)).scrape)
        (child,) = supervisor.statistics().children
        assert (child.state, child.restarts) == (ChildState.RUNNING, 1)
        nursery.cancel_scope.cancel()
