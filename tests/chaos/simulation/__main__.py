"""Run simulations: ``python -m tests.chaos.simulation``."""

# ruff: noqa: T201 - it is a program that prints its results.

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from tests.chaos.simulation.setting import day
from tests.chaos.simulation.simulation import Outcome, play

_EVERY_SECONDS = 5.0
_TOLD_IN_FULL = 3
_PORTS_OF_A_DAY = 4


def main() -> int:
    """Returns the exit code: 1 where a rule was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.simulation",
        description="The whole daemon on fakes of kernel, Redis, disk and clock, under faults that a seed decides. Time is "
        "virtual: a minute takes a fraction of a second, and the same seed gives the same run.",
        epilog="A seed that breaks a rule prints how it is replayed. --trace shows every step of it.",
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run (100)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="print what happens, with virtual times")
    parser.add_argument("--ports", type=int, help="as many ports for every seed, instead of 1 to 512")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument(
        "--hours", type=int, help="run one process for so many virtual hours, with a fault now and then"
    )
    parser.add_argument("--stop", action="store_true", help="stop at the first seed that breaks a rule")
    parser.add_argument("--json", type=Path, help="write the results into this file")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is a part of what happens.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.chaos.simulation", *sys.argv[1:]])  # noqa: S606 - itself
    if arguments.hours is not None:
        outcomes = [_run_hours(arguments.seed or 0, arguments.hours, arguments.ports, trace=arguments.trace)]
    elif arguments.seed is not None:
        outcomes = [play(arguments.seed, ports=arguments.ports, echo=sys.stdout if arguments.trace else None)]
        print(f"seed {arguments.seed}: {outcomes[0].setting}; digest {outcomes[0].digest}")
    else:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        outcomes = _run_all(seeds, arguments.ports, arguments.jobs, stop=arguments.stop)
    broken = [outcome for outcome in outcomes if outcome.violation]
    for outcome in broken[:_TOLD_IN_FULL]:
        _tell(outcome, arguments.ports, arguments.hours)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([_as_json(outcome) for outcome in outcomes], indent=1))
    return int(bool(broken))


def _run_all(seeds: range, ports: int | None, jobs: int, *, stop: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    began = told = time.monotonic()
    with ExitStack() as stack:
        # As one process less is needed without.
        pool = None if jobs == 1 else stack.enter_context(ProcessPoolExecutor(jobs))
        for outcome in (map if pool is None else partial(pool.map, chunksize=1))(play_one, seeds, [ports] * len(seeds)):
            outcomes.append(outcome)
            now = time.monotonic()
            if outcome.violation:
                print(f"seed {outcome.seed}: {outcome.violation}", flush=True)
            if now - told >= _EVERY_SECONDS or len(outcomes) == len(seeds):
                told = now
                _tell_progress(outcomes, len(seeds), now - began)
            if stop and outcome.violation:
                if pool is not None:
                    pool.shutdown(cancel_futures=True)
                break
    _tell_total(outcomes)
    return outcomes


def _run_hours(seed: int, hours: int, ports: int | None, *, trace: bool) -> Outcome:
    began = time.monotonic()
    outcome = play(seed, setting=day(hours, ports or _PORTS_OF_A_DAY), echo=sys.stdout if trace else None)
    print(
        f"{outcome.virtual / 3600:.1f} virtual hours in {time.monotonic() - began:.0f} s; {sum(outcome.faults.values())} faults"
    )
    whole = len(outcome.sizes)
    for hour in sorted({1, whole // 2, whole} - {0} if whole else ()):
        sizes = ", ".join(f"{name} {size}" for name, size in outcome.sizes[hour - 1].items())
        print(f"elements kept after round {hour}: {sizes}")
    return outcome


def play_one(seed: int, ports: int | None) -> Outcome:
    """For a process of the pool."""
    return play(seed, ports=ports)


def _tell_progress(outcomes: list[Outcome], total: int, seconds: float) -> None:
    broken = sum(bool(outcome.violation) for outcome in outcomes)
    print(
        f"{len(outcomes)} of {total} seeds, {broken} broke a rule, {len(outcomes) / seconds:.1f} a second", flush=True
    )


def _tell_total(outcomes: list[Outcome]) -> None:
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
    settle = sorted(seconds for outcome in outcomes for seconds in outcome.settle)
    hours = sum(outcome.virtual for outcome in outcomes) / 3600
    print(f"{hours:.1f} virtual hours, {sum(faults.values())} faults of {len(faults)} kinds")
    if settle:
        print(f"right again after: median {median(settle):.1f} s, worst {settle[-1]:.1f} s ({len(settle)} times)")


def _tell(outcome: Outcome, ports: int | None, hours: int | None) -> None:
    more = "" if hours is None else f" --hours {hours}"
    more += "" if ports is None else f" --ports {ports}"
    print(f"\nseed {outcome.seed} broke a rule: {outcome.violation}")
    print(f"  {outcome.setting}")
    print("  the last of what happened:")
    for line in outcome.lines:
        print(f"    {line}")
    print(f"  replay it: python -m tests.chaos.simulation --seed {outcome.seed}{more} --trace")
    if not more:
        print(f"         or: make chaos FIRST={outcome.seed} SEEDS=1", flush=True)


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.seed,
        "digest": outcome.digest,
        "violation": outcome.violation,
        "settle_seconds": outcome.settle,
        "faults": outcome.faults,
        "virtual_seconds": outcome.virtual,
        "sizes": outcome.sizes,
    }


if __name__ == "__main__":
    sys.exit(main())
