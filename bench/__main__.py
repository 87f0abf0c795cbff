"""The command line of the bench: which scenarios, how often, against which daemon, and where the figures go."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench import endpoint, events, export, footprint, render, report, saving, scale, warm
from bench.machine import assign_cores, describe
from bench.process import DaemonError
from bench.stand import OWN_COMMAND, Setup, Stand
from portsyncd.errors import PortsyncdError
from portsyncd.testing.wait import DeadlineError

SCENARIOS: Final[Mapping[str, Callable[[Setup], dict[str, float]]]] = {
    "drain": events.drain,
    "storm": events.storm,
    "latency": events.latency,
    "startup": footprint.startup,
    "warm": warm.warm,
    "paced": events.paced,
    "memory": footprint.memory,
    "idle": footprint.idle,
    "noise": events.noise,
    "render": render.render,
    "saving": saving.saving,
    "export": export.export,
    "scrape": endpoint.scrape,
    "attack": endpoint.attack,
    "recording": endpoint.recording,
    "scale": scale.scale,
}
# A load that is not this program's own; the figures would be worse for it.
_BUSY_LOAD: Final = 0.5


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for. Exit code 0 also when a target is missed; 1 when the daemon did not do its part."""
    options = _parse(arguments)
    setup = Setup(options.command, assign_cores())
    load = os.getloadavg()[0]
    if load > _BUSY_LOAD:
        _say(f"warning: this machine is busy (load average {load:.2f}): expect worse figures than the daemon's own")
    samples: dict[str, list[float]] = {}
    machine: dict[str, str] = {}
    code = 0
    try:
        machine = _warm_up(setup)
        _measure(setup, options.scenarios, options.runs, samples)
    except (DaemonError, DeadlineError, PortsyncdError) as problem:
        # What has been measured until then is told all the same.
        _say(str(problem))
        code = 1
    if not samples:
        return code
    print(report.plain(samples))
    for path in options.markdown:
        report.write_markdown(path, report.markdown(samples, machine, options.runs))
    if options.json:
        report.write_json(options.json, samples, machine, setup.command)
    return code


def _measure(setup: Setup, scenarios: Sequence[str], runs: int, samples: dict[str, list[float]]) -> None:
    """Put the samples of all runs under the names of their figures."""
    for name in scenarios:
        for run in range(1, runs + 1):
            begin = time.perf_counter()
            for key, value in SCENARIOS[name](setup).items():
                samples.setdefault(key, []).append(value)
            _say(f"{name}: run {run} of {runs}, {time.perf_counter() - begin:.1f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _warm_up(setup: Setup) -> dict[str, str]:
    """One unmeasured start, for byte code and file caches; what there is to say about this machine."""
    with Stand(setup, ["Ethernet0"]) as stand:
        stand.bring_up()
        return describe(stand.redis, setup.cores, stand.links.kind)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        usage="%(prog)s [NAME ...] [--runs N] [--json FILE] [--markdown FILE] [-- COMMAND ...]",
        description="Measure a portsyncd against a real kernel and a real Redis. Needs root (network namespaces).",
        epilog="COMMAND is the daemon's command line, by default 'python -m portsyncd run --config {config}': {config} "
        "stands for a configuration file of this project, {redis_socket} for the path of Redis' Unix socket.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}; default: all of them")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each scenario; default: 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument(
        "--markdown", type=Path, action="append", default=[], metavar="FILE", help="write the table; may be repeated"
    )
    own, command = list(arguments), []
    if "--" in own:
        at = own.index("--")
        own, command = own[:at], own[at + 1 :]
    options = parser.parse_args(own)
    for name in options.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no scenario is called {name}")
    if options.runs < 1:
        parser.error("--runs wants at least 1")
    options.scenarios = [name for name in SCENARIOS if name in options.scenarios or not options.scenarios]
    options.command = tuple(command) or OWN_COMMAND
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
