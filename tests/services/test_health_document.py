"""What /health says of an analysis, and of ports that wait."""

import json
from math import inf, nan

from portsyncd.analytics.analysis import Analysis, FlappingPort, Limit
from portsyncd.model.health import judge
from portsyncd.model.report import Report, Thresholds, Waiting, WaitingPort
from portsyncd.services.health_document import FLAPPING_PORTS, document

NEW_YEAR = 1_767_225_600.0
HEALTH = judge(Report(), Thresholds())


def test_there_is_no_analysis_where_no_history_is_kept() -> None:
    assert document(HEALTH, NEW_YEAR, "1.2.3", None)["analytics"] is None


def test_an_analysis_in_short() -> None:
    analysis = Analysis(
        at=NEW_YEAR + 86400,
        since=NEW_YEAR,
        starts=6,
        recovery_success=0.5,
        availability=0.99,
        last_healthy_restart=NEW_YEAR + 60.9,
        restart_limit=Limit(6, 5, 3600.0, exceeded=True),
        flapping=[FlappingPort("Ethernet0", 3, 2600.4, suppressed=True, crosses_in=0.0)],
        status="degraded",
        reasons=("6 restarts within the last hour.",),
    )
    brief = json.loads(json.dumps(document(HEALTH, NEW_YEAR, "1.2.3", analysis), allow_nan=False))["analytics"]
    assert brief == {
        "since": "2026-01-01T00:00:00Z",
        "at": "2026-01-02T00:00:00Z",
        "status": "degraded",
        "reasons": ["6 restarts within the last hour."],
        "starts": 6,
        "recovery_success_ratio": 0.5,
        "corruption_recovery_ratio": None,
        "eoiu_timeout_ratio": None,
        "availability_ratio": 0.99,
        "last_healthy_restart": "2026-01-01T00:01:00Z",
        "restart_limit": {"count": 6, "limit": 5, "seconds": 3600.0, "exceeded": True},
        "event_limit": None,
        "flapping_ports": [
            {"port": "Ethernet0", "flaps": 3, "penalty": 2600, "suppressed": True, "crosses_in_seconds": 0}
        ],
        "flapping_ports_total": 1,
    }


def test_of_many_flapping_ports_the_worst_are_named() -> None:
    ports = [
        FlappingPort(f"Ethernet{number}", 1, 900.0 - number, suppressed=False, crosses_in=None) for number in range(50)
    ]
    brief = document(HEALTH, NEW_YEAR, "1.2.3", Analysis(at=NEW_YEAR, since=0.0, flapping=ports))["analytics"]
    assert [port["port"] for port in brief["flapping_ports"]] == [port.name for port in ports[:FLAPPING_PORTS]]
    assert brief["flapping_ports_total"] == 50
    assert brief["last_healthy_restart"] is None


def test_a_moment_that_no_calendar_has_is_its_nearer_end() -> None:
    analysis = Analysis(at=1e15, since=-86400.0, last_healthy_restart=inf)
    said = document(HEALTH, nan, "1.2.3", analysis)
    assert said["since"] == "1970-01-01T00:00:00Z"
    brief = said["analytics"]
    assert (brief["since"], brief["at"]) == ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
    assert brief["last_healthy_restart"] == "9999-12-31T23:59:59Z"


def test_ports_that_wait_are_named_and_all_of_them_are_counted() -> None:
    waiting = [WaitingPort("Ethernet4", "no link", 10.04), WaitingPort("Ethernet0", "old", 9.0)]
    health = judge(Report(awaited=Waiting(waiting, 100_000), pending=Waiting(waiting[1:], 1)), Thresholds())
    said = document(health, NEW_YEAR, "1.2.3", None)
    assert said["awaited_ports"] == [
        {"port": "Ethernet4", "reason": "no link", "for_seconds": 10.0},
        {"port": "Ethernet0", "reason": "old", "for_seconds": 9.0},
    ]
    assert said["pending_ports"] == said["awaited_ports"][1:]
    assert (said["awaited_ports_total"], said["pending_ports_total"]) == (100_000, 1)
