"""Hostile clients against the daemon as a process: its port sync does not notice, and it is afterwards what it was before.

``pytest --full`` makes as many connections as a real flood does; otherwise it is a few of each kind.
"""

from pathlib import Path

import pytest

from portsyncd.testing.attacks import ATTACKS
from portsyncd.testing.scraper import Scraper
from portsyncd.testing.switch import Switch
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = [f"Ethernet{4 * number}" for number in range(8)]
MEMORY_BYTES = 5_000_000
# Of what the test in one process does; that one is about each attack, this one about all of them together.
SMALL_SHARE = 4


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full", default=False))


def files(switch: Switch) -> int:
    return len(list(Path(f"/proc/{switch.daemon.pid}/fd").iterdir()))


def attack(switch: Switch, full: bool) -> list[str]:
    """Every attack once, while links change and a good client scrapes; what went wrong."""
    wrong: list[str] = []
    with Scraper(switch.endpoint) as scraper:
        for number, (name, chosen) in enumerate(ATTACKS.items()):
            statuses = chosen.run(switch.endpoint, chosen.full_times if full else max(1, chosen.times // SMALL_SHARE))
            wrong += [f"{name}: answered {status}" for status in statuses if status not in chosen.statuses]
            wrong += [f"{name}: {failure}" for failure in scraper.failures]
            scraper.failures.clear()
            for port in PORTS:
                switch.links.set(port, mtu=2000 + number)
    switch.wait_equal()
    return wrong + scraper.failures


@pytest.mark.long
def test_no_attack_on_the_endpoint_reaches_the_daemon(make_switch: SwitchMaker, full: bool) -> None:
    switch = make_switch(metrics=True)
    switch.bring_up(PORTS)
    switch.daemon.wait_for("metrics endpoint is open")
    before, pid = files(switch), switch.daemon.pid

    def wait_calm() -> None:
        switch.wait(lambda: files(switch) <= before, lambda: f"{files(switch)} files are open, {before} were")

    # What is resident after a first round stays: code, allocators' pools.
    assert attack(switch, full=False) == []
    wait_calm()
    memory = switch.daemon.resident_bytes()
    assert attack(switch, full=full) == []
    wait_calm()
    switch.wait(
        lambda: switch.daemon.resident_bytes() - memory <= MEMORY_BYTES,
        lambda: f"{switch.daemon.resident_bytes():,} bytes are resident, {memory:,} were",
    )
    assert switch.daemon.running
    assert switch.daemon.pid == pid
    assert len(switch.daemon.events("metrics endpoint is open")) == 1
    assert [line for line in switch.daemon.events() if line["level"] in ("error", "critical")] == []
    assert "portsyncd_build_info" in switch.endpoint.scrape()
