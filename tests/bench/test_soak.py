"""A soak of a few seconds: load, faults, checks and looks work together, and a fault that is not healed is seen."""

from pathlib import Path

import pytest

from bench.soak import faults, report
from bench.soak.__main__ import main
from bench.soak.run import Plan, soak
from bench.soak.samples import MB
from portsyncd.wire import schema

pytestmark = pytest.mark.root

# Too short a time says nothing about growth.
SHORT = Plan(seconds=2, rate=500, ports=16, seed=3, row=1, warm_up=1, fault_every=0.5, max_growth=100 * MB)


@pytest.mark.long
def test_a_short_one_keeps_its_goals(tmp_path: Path) -> None:
    files = {option: tmp_path / f"soak.{option}" for option in ("json", "png", "markdown")}
    arguments = ["--minutes", "0.1", "--ports", "24", "--fault-every", "1", "--seed", "5", "--max-growth", "100"]
    for option, path in files.items():
        arguments += [f"--{option}", str(path)]
    assert main(arguments) == 0
    assert all(path.stat().st_size for path in files.values())


def test_what_the_daemon_does_not_put_right_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(stage: faults.Stage) -> None:
        # No link has this name, so that no event puts it right by chance.
        row = dict.fromkeys(schema.STATE_FIELDS, "up")
        stage.switch.state_db.hset(f"{schema.STATE_PORT_TABLE}|Ethernet99996", mapping=row)  # type: ignore[arg-type]  # invariant

    monkeypatch.setattr("bench.soak.run.possible", lambda _: ["damage"])
    monkeypatch.setitem(faults.FAULTS, "damage", damage)
    monkeypatch.setattr("bench.soak.run.RECOVERY_SECONDS", 0.5)
    outcome = soak(SHORT, lambda _: None)
    assert outcome.checks[0].wrong
    assert not report.kept(outcome)


def test_a_daemon_that_dies_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(faults.FAULTS, "SIGHUP", lambda stage: stage.switch.daemon.kill())
    monkeypatch.setattr("bench.soak.run.possible", lambda _: ["SIGHUP"])
    outcome = soak(SHORT, lambda _: None)
    assert outcome.broken
    assert not report.kept(outcome)
