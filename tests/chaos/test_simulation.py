"""The simulation of tests/chaos/simulation: a hundred seeds keep every rule, a day keeps memory, and a broken daemon is seen.

Each run is a process of its own, since the order of a set of strings must be the same in all.
"""

import faulthandler
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from portsyncd import logs
from portsyncd.metrics.facts import Facts
from portsyncd.model import service_state
from portsyncd.model.generation import Generation
from portsyncd.model.mailbox import Mailbox, Synced
from portsyncd.model.memory import step
from portsyncd.model.port import Port
from portsyncd.model.restart import decide
from portsyncd.model.service_state import Fields, Seen, Terms, Told
from portsyncd.model.sync import PortSync
from portsyncd.services import notifier, supervisor, upkeep
from portsyncd.services.healers import Look, StallHealer
from portsyncd.services.observer import Observer
from portsyncd.services.reader import START, Reader
from portsyncd.tls.files import Material
from portsyncd.web import server
from portsyncd.web.credentials import Credentials
from portsyncd.web.limits import Limits
from tests.chaos.simulation import __main__ as command
from tests.chaos.simulation.simulation import Outcome, play

ROOT = Path(__file__).parents[2]
SEEDS, SEEDS_A_TEST = 100, 10
DAY_SECONDS = 600
# What a daemon keeps after a day may be so much more than after any of the first hours: a fault that has just been is still
# remembered, and of some half-hours there is more to be kept than of others.
HOURS, GROWTH, SLACK = 4, 1.2, 40


def run(*arguments: str, timeout: float = 80, **environ: str) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "tests.chaos.simulation", *arguments, timeout=timeout, **environ)


def run_python(*arguments: str, timeout: float = 80, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_whatever_goes_wrong_the_rules_are_kept(first: int) -> None:
    done = run("--first", str(first), "--seeds", str(SEEDS_A_TEST), "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_seed_gives_the_same_run() -> None:
    digests = [
        re.findall(r"digest (\w+)", run("--seed", str(seed), PYTHONHASHSEED=hashes).stdout)
        for seed, hashes in ((6, "1"), (6, "2"), (7, "1"))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert all(map(len, digests))


def test_a_seed_that_broke_a_rule_tells_how_to_run_exactly_that_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setattr(command, "play", lambda seed, **_: Outcome(seed, violation="something broke"))
    for arguments, replay in (
        (["--seed", "6"], "python -m tests.chaos.simulation --seed 6 --trace"),
        (["--seeds", "1", "--first", "7", "--jobs", "1"], "make chaos FIRST=7 SEEDS=1"),
        (["--seeds", "1", "--ports", "4", "--jobs", "1"], "simulation --seed 0 --ports 4 --trace"),
        (["--hours", "3"], "simulation --seed 0 --hours 3 --trace"),
    ):
        monkeypatch.setattr(sys, "argv", ["simulation", *arguments])
        assert command.main() == 1
        assert replay in capsys.readouterr().out


@pytest.mark.long
def test_a_day_takes_no_more_memory_than_an_hour(tmp_path: Path) -> None:
    # It has a deadline of its own.
    faulthandler.cancel_dump_traceback_later()
    result = tmp_path / "day.json"
    done = run("--hours", "24", "--json", str(result), timeout=DAY_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    (day,) = json.loads(result.read_text())
    assert day["virtual_seconds"] >= 86400
    first, last = day["sizes"][:HOURS], day["sizes"][-1]
    most = {name: max(sizes[name] for sizes in first) for name in last}
    assert {name: size for name, size in last.items() if size > GROWTH * most[name] + SLACK} == {}


# ---- a broken daemon

Break = Callable[[pytest.MonkeyPatch], None]


def an_overrun_is_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "_overrun", lambda _reader: None)


def a_lost_reply_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PortSync, "lost", lambda _sync, _command: None)


def a_removal_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Mailbox.put

    def forgetful(mailbox: Mailbox, *arguments: Any, **options: Any) -> bool:
        accepted = put(mailbox, *arguments, **options)
        for entry in mailbox._taken.changes.values():
            entry.removed = entry.removed and entry.link is None
        return accepted

    monkeypatch.setattr(Mailbox, "put", forgetful)


def port_init_done_comes_early(monkeypatch: pytest.MonkeyPatch) -> None:
    completion = Generation.completion
    monkeypatch.setattr(Generation, "completion", lambda each, **_ready: completion(each, ready=True))


def ports_are_written_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recall = PortSync.synced

    def zealous(sync: PortSync, *arguments: Any) -> None:
        for port in sync.ports.values():
            port.rewrite = port.link is not None
        recall(sync, *arguments)
        for name, port in sync.ports.items():
            sync._consider(name, port)

    monkeypatch.setattr(PortSync, "synced", zealous)


def a_gap_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Reader._finish

    def oblivious(reader: Reader, synced: Synced) -> None:
        finish(reader, synced if synced.reasons != {START} else replace(synced, lost=False))

    monkeypatch.setattr(Reader, "_finish", oblivious)


def losses_are_miscounted(monkeypatch: pytest.MonkeyPatch) -> None:
    count = Port.count

    def once(port: Port, *arguments: Any, **options: Any) -> None:
        before = port.flaps
        count(port, *arguments, **options)
        port.flaps = min(port.flaps, before + 1)

    monkeypatch.setattr(Port, "count", once)


def the_watchdog_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(terms: Terms, told: Told, seen: Seen, now: float) -> tuple[Fields, Told]:
        fields, told = service_state.due(terms, told, seen, now)
        return {name: value for name, value in fields.items() if name != "WATCHDOG"}, told

    monkeypatch.setattr(notifier, "due", forgetful)


def a_scrape_shows_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Observer.facts
    kept: dict[Observer, Facts] = {}
    monkeypatch.setattr(Observer, "facts", lambda observer: kept.setdefault(observer, read(observer)))


def a_handshake_may_take_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "Limits", lambda: Limits(handshake_seconds=math.inf))


def new_certificates_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forgetful(_credentials: Credentials, _material: Material) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Credentials, "_take", forgetful)


def a_standstill_is_not_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_away(_healer: StallHealer, _look: Look) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(StallHealer, "check", look_away)


def it_ends_although_it_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "decide", lambda *seen, **terms: decide(*seen, **terms | {"exit_to_restart": True}))


def it_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        supervisor, "decide", lambda *seen, **terms: decide(*seen, **terms | {"exit_to_restart": False})
    )
    monkeypatch.setattr(upkeep, "step", lambda *seen, **terms: step(*seen, **terms | {"may_leave": False}))


BREAKS: tuple[Break, ...] = (
    a_standstill_is_not_healed,
    it_ends_although_it_may_not,
    it_never_ends,
    the_watchdog_is_forgotten,
    an_overrun_is_overlooked,
    a_lost_reply_is_forgotten,
    a_removal_is_forgotten,
    port_init_done_comes_early,
    ports_are_written_for_nothing,
    a_gap_is_forgotten,
    losses_are_miscounted,
    a_scrape_shows_what_was,
    a_handshake_may_take_for_ever,
    new_certificates_are_forgotten,
)


@pytest.fixture
def log_as_before() -> Iterator[None]:
    configured = structlog.get_config()
    yield
    structlog.configure(**configured)
    logs.set_level("info")
    logs._output.stream = None


@pytest.mark.unmeasured
@pytest.mark.parametrize("break_it", BREAKS, ids=lambda each: each.__name__)
def test_a_broken_daemon_is_seen(
    break_it: Break, log_as_before: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    break_it(monkeypatch)
    outcomes = (play(seed, ports=4) for seed in range(60))
    broken = next((outcome for outcome in outcomes if outcome.violation), None)
    assert broken is not None
    assert broken.lines


STUCK = """
from portsyncd.model.sync import PortSync
from tests.chaos.simulation.simulation import play
PortSync.done = lambda *_, **__: None
print(play(0, ports=4).violation)
"""


def test_one_that_turns_in_a_circle_is_seen() -> None:
    # In a process of its own: the tasks that are torn out of it complain when they are collected.
    done = run_python("-c", STUCK)
    assert "turns in a circle" in done.stdout, done.stderr
