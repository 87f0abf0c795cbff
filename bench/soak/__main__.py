"""The command line of the soak."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import report as tables
from bench.soak import report
from bench.soak.run import Plan, soak
from bench.soak.samples import MB

_WARM_UP_SHARE: Final = 0.2
_LONGEST_WARM_UP_SECONDS: Final = 300.0
_ROWS: Final = 10


def main(arguments: Sequence[str]) -> int:
    """Soak. Exit code 0: every goal was kept; 1: one was not; 130: interrupted with none violated until then."""
    options = _parse(arguments)
    seconds = options.minutes * 60
    plan = Plan(
        seconds=seconds,
        rate=options.rate,
        ports=options.ports,
        seed=options.seed,
        row=60.0 if seconds >= 60 * _ROWS else max(seconds / _ROWS, 2.0),
        warm_up=min(_LONGEST_WARM_UP_SECONDS, seconds * _WARM_UP_SHARE) if options.warm_up is None else options.warm_up,
        fault_every=options.fault_every,
        max_growth=options.max_growth * MB,
    )
    print(report.head(), flush=True)
    outcome = soak(plan, lambda row: print(report.shown(row), flush=True))
    print(report.plain(outcome), flush=True)
    if options.json:
        report.write_json(options.json, outcome)
    if options.png:
        # Needed for this alone, and not light.
        from bench.soak import plot

        plot.draw(options.png, outcome)
    if options.markdown:
        picture = options.png.name if options.png else None
        tables.write_markdown(options.markdown, report.markdown(outcome, picture), report.BEGIN, report.END)
    if not report.kept(outcome):
        return 1
    return 130 if outcome.stopped else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Run the real daemon, with its metrics endpoint, against a real kernel and a real Redis: links change at "
        "a steady rate, in bursts, come and go, and every so often something fails (Redis killed, stopped, flushed; events "
        "lost; scripts forgotten; SIGHUP). After each fault the load pauses and STATE_DB is compared with the kernel. "
        "Prints a row of figures per minute, and at the end a verdict.",
        epilog="Goals: memory does not grow after the warm-up, no file descriptor is left open, no port is ever wrong. "
        "Exit code 1 when one of them is violated. Ctrl-C ends early, with the report so far. Needs root (a network "
        "namespace). Two hours at a third of the rate: python -m bench.soak --minutes 120 --rate 300",
    )
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N", help="of load; default: 30")
    parser.add_argument(
        "--rate", type=float, default=1000.0, metavar="N", help="link changes per second; default: 1000"
    )
    parser.add_argument("--ports", type=int, default=128, metavar="N", help="default: 128")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of load and faults; default: 1")
    parser.add_argument("--fault-every", type=float, default=20.0, metavar="SECONDS", help="default: 20")
    parser.add_argument("--warm-up", type=float, metavar="SECONDS", help="default: a fifth of the time, at most 300")
    parser.add_argument("--max-growth", type=float, default=2.0, metavar="MB", help="of memory after it; default: 2")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the section between its two marks there")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.rate < 0 or options.ports < 24 or options.fault_every <= 0:
        parser.error("--minutes and --fault-every want more than 0, --rate at least 0, --ports at least 24")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
