"""The scene of the demo: namespace, Redis, ports, daemon; from the first step to the verdict."""

import os
import shlex
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from portsyncd import logs
from portsyncd.cli.demo.actors import Actors
from portsyncd.cli.demo.view import Picture, Reading, show_lines, show_live
from portsyncd.config import load
from portsyncd.daemon import Daemon
from portsyncd.errors import EXIT_OK, EXIT_UNEXPECTED
from portsyncd.testing.netns import enter_user_namespace
from portsyncd.testing.switch import Switch
from portsyncd.world import Machine

_LANES_PER_PORT = 4
_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.05
# Small enough that a burst of the chaos overruns it while Python looks elsewhere.
_CHAOS_BUFFER_BYTES = 262144


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. duration: seconds, infinity to go on until interrupted. live: a live view."""

    ports: int = 8
    duration: float = 20.0
    chaos: bool = False
    live: bool = True


def run(options: Options, say: Callable[[str], None]) -> int:
    """Run the demo to its verdict; returns the exit code. Raises ``PortsyncdError`` where the machine forbids it."""
    enter = ["nsenter", "--target", str(os.getpid()), "--net"]
    if os.geteuid() != 0:
        # Before the first thread; as root it is not needed.
        enter_user_namespace()
        enter += ["--user", "--preserve-credentials"]
    with tempfile.TemporaryDirectory(prefix="portsyncd-demo-") as folder:
        netlink = {"receive_buffer_bytes": _CHAOS_BUFFER_BYTES} if options.chaos else {}
        stage = Switch(Path(folder), config={"netlink": netlink}, metrics=True)
        with stage as switch, (Path(folder) / "log").open("w+") as log:
            say(f"metrics, from another terminal:\n  {shlex.join([*enter, *switch.endpoint.certificates.curl()])}")
            logs.configure("info", "text", log, {})
            try:
                return trio.run(_play, switch, options, Path(log.name), say)
            finally:
                logs.configure("info", "auto", None, os.environ)


async def _play(switch: Switch, options: Options, log: Path, say: Callable[[str], None]) -> int:
    names = [f"Ethernet{number * _LANES_PER_PORT}" for number in range(options.ports)]
    started = trio.current_time()
    switch.load_config(names)
    say(f"Redis on {switch.redis.socket_path}, a network namespace, {len(names)} ports in CONFIG_DB")
    with switch.namespace.enter():
        config = load(str(switch.daemon.config_path), {}, {})
        daemon = Daemon(config, Machine(config))
        async with trio.open_nursery() as nursery:
            await nursery.start(daemon.services.supervisor.run)
            switch.orchagent.start()
            await daemon.services.writer.first_sync.wait()
            say(f"daemon in sync after {trio.current_time() - started:.2f} s; now orchagent makes the links")
            actors = Actors(switch, daemon, names)
            await actors.make_links()
            say(f"PortInitDone after {trio.current_time() - started:.2f} s; ports go up, down and change from here on")
            picture = Picture(daemon, actors.notes, log)
            await _perform(actors, picture, options, say)
            verdict = await _verdict(switch, Reading.take(picture), say)
            nursery.cancel_scope.cancel()
    switch.orchagent.check()
    return verdict


async def _perform(actors: Actors, picture: Picture, options: Options, say: Callable[[str], None]) -> None:
    """Actors act and the audience sees it, until time is up or the operator interrupts; then all hold still."""
    with trio.CancelScope(deadline=trio.current_time() + options.duration) as performance:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_interrupt, performance)
            nursery.start_soon(actors.flap_ports)
            if options.chaos:
                nursery.start_soon(actors.cause_accidents)
            if options.live:
                nursery.start_soon(show_live, picture, performance.deadline)
            else:
                nursery.start_soon(show_lines, picture, say)
    await actors.clean_up()


async def _end_on_interrupt(performance: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            performance.cancel()


async def _verdict(switch: Switch, last: Reading, say: Callable[[str], None]) -> int:
    """STATE_DB against the kernel, once the last events have had their time."""
    wrong = await trio.to_thread.run_sync(switch.differences)
    published = len(await trio.to_thread.run_sync(switch.states))
    with trio.move_on_after(_SETTLE_SECONDS):
        while wrong or published != last.expected:
            await trio.sleep(_POLL_SECONDS)
            wrong = await trio.to_thread.run_sync(switch.differences)
            published = len(await trio.to_thread.run_sync(switch.states))
    for name, (there, ought) in sorted(wrong.items()):
        say(f"WRONG {name}: STATE_DB says {there}, the kernel {ought}")
    if wrong or published != last.expected:
        say(f"STATE_DB differs from the kernel on {len(wrong)} ports; {published} of {last.expected} ports published")
        return EXIT_UNEXPECTED
    say(
        f"STATE_DB equals the kernel on all {published} ports after {last.events:,} link events, {last.writes:,} writes,"
        f" {last.resyncs} full reads of the links, {last.sessions} Redis sessions, {last.restarts} rebuilt services"
    )
    return EXIT_OK
