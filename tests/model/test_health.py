"""Each rule's limits, what all rules have in common, and that worse news never improve the verdict."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd import metrics
from portsyncd.model.health import (
    AWAITED_AGAIN_SECONDS,
    AWAITED_SECONDS,
    CHECKS,
    EXPIRY_SECONDS,
    MIN_LOSSES,
    MIN_WRITES,
    PENDING_SECONDS,
    RESTARTS,
    SHOWN_DIFFERENCES,
    START_SECONDS,
    UNCERTIFIED_SECONDS,
    Status,
    judge,
)
from portsyncd.model.links import Link
from portsyncd.model.memory import Level, MemoryStatistics
from portsyncd.model.performance import Demands
from portsyncd.model.port import Port
from portsyncd.model.ports import UNKNOWN, Fields
from portsyncd.model.reconcile import Contested, Difference, Kind, Reconciliation
from portsyncd.model.report import (
    LAG_SECONDS,
    MIN_EVENTS,
    NAMED_PORTS,
    SLOW_SECONDS,
    EndpointReport,
    GuardReport,
    HealedReport,
    Report,
    ServiceReport,
    Thresholds,
    Waiting,
    WaitingPort,
    count_held,
)

THRESHOLDS = Thresholds()
STALL = THRESHOLDS.max_stall_seconds
UP: Fields = ("ok", "up", "up", "9100")
DOWN: Fields = ("ok", "down", "up", "9100")
HEALTHY, DEGRADED, UNHEALTHY = Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY
NO_LINK = WaitingPort("Ethernet0", "no link of this name", AWAITED_AGAIN_SECONDS)


def essential(**known: Any) -> Report:
    return Report(services=[ServiceReport("reader", essential=True, **known)])


def optional(**known: Any) -> Report:
    return Report(services=[ServiceReport("metrics", essential=False, **known)])


def closed(seconds: float, problem: str = "address in use") -> Report:
    return Report(endpoint=EndpointReport(None, problem, seconds))


def expiring(seconds: float) -> Report:
    return Report(endpoint=EndpointReport("[::1]:9090", expires_in={"ca": 1e9, "server": seconds}))


def expiring_ca(seconds: float) -> Report:
    return Report(endpoint=EndpointReport("[::1]:9090", expires_in={"ca": seconds, "server": 1e9}))


def contested(*ports: str) -> Report:
    found = tuple(Contested(port, Kind.STALE, 5, since=100.0) for port in ports)
    return Report(now=280.0, reconciliation=Reconciliation(contested=found))


def memory(level: Level, reason: str = "") -> Report:
    return Report(guard=GuardReport(memory=MemoryStatistics(level, reason=reason)))


def waiting(*ports: WaitingPort) -> Waiting:
    return Waiting(sorted(ports, key=lambda port: -port.seconds), len(ports))


def failing(writes: int, failed: int, losses: int = MIN_LOSSES) -> Report:
    return Report(writes=writes, failed_writes=failed, losses=losses)


CASES: list[tuple[str, Report, Status, str]] = [
    (
        "redis",
        Report(redis_connected=False, redis_problem="refused.", redis_away=1e6),
        DEGRADED,
        "12 days: refused. Po",
    ),
    ("redis", Report(redis_connected=False), DEGRADED, "0 s: no reason known"),
    ("netlink", Report(netlink_connected=False, netlink_away=STALL - 1), DEGRADED, "9 s"),
    ("netlink", Report(netlink_connected=False, netlink_away=STALL), UNHEALTHY, "10 s"),
    ("sync", Report(synced=False, certified_age=None), DEGRADED, "first sync"),
    ("sync", Report(synced=False, unsynced=START_SECONDS - 1), DEGRADED, "first sync"),
    ("sync", Report(synced=False, unsynced=START_SECONDS), UNHEALTHY, "60 s"),
    ("sync", Report(uncertified=UNCERTIFIED_SECONDS - 1), HEALTHY, ""),
    ("sync", Report(uncertified=UNCERTIFIED_SECONDS), DEGRADED, "5 min"),
    ("sync", Report(certified_age=1e7, in_sync=False), HEALTHY, ""),
    ("stall", Report(waiting=3, stalled=STALL - 1), HEALTHY, ""),
    ("stall", Report(waiting=3, stalled=STALL), UNHEALTHY, "3 changes"),
    ("stall", Report(unread=STALL - 1), HEALTHY, ""),
    ("stall", Report(unread=STALL), UNHEALTHY, "Nobody has read for 10 s"),
    ("mailbox", Report(queue_depth=79, queue_bound=100), HEALTHY, ""),
    ("mailbox", Report(queue_depth=80, queue_bound=100), DEGRADED, "80 of 100"),
    ("latency", Report(events=512, latency=1.0, slow=SLOW_SECONDS - 1), HEALTHY, ""),
    (
        "latency",
        Report(events=512, latency=0.012, slow=SLOW_SECONDS),
        DEGRADED,
        "for 3 min; of 512 in the last minute, 12,",
    ),
    ("writes", failing(MIN_WRITES - 1, MIN_WRITES - 1), HEALTHY, ""),
    ("writes", failing(1000, 1000, MIN_LOSSES - 1), HEALTHY, ""),
    ("writes", failing(1000, 10), HEALTHY, ""),
    ("writes", failing(1000, 11), DEGRADED, "min_success_rate"),
    ("writes", failing(1000, 50), DEGRADED, "5.0 %"),
    ("writes", failing(1000, 51), UNHEALTHY, "max_failure_rate_percent"),
    ("port_sync", Report(ports=100, held=90, behind=STALL), HEALTHY, ""),
    ("port_sync", Report(ports=100, held=0, behind=STALL - 1), HEALTHY, ""),
    ("port_sync", Report(ports=100, held=89, behind=STALL), UNHEALTHY, "89 of 100"),
    ("awaited_ports", Report(awaited=waiting(NO_LINK._replace(seconds=AWAITED_AGAIN_SECONDS - 1))), HEALTHY, ""),
    ("awaited_ports", Report(awaited=waiting(NO_LINK)), DEGRADED, "Ethernet0 for 60 s (no link of this name)"),
    ("awaited_ports", Report(awaited=waiting(NO_LINK), initialized=False), HEALTHY, ""),
    (
        "awaited_ports",
        Report(awaited=waiting(NO_LINK, WaitingPort("Ethernet4", "old", AWAITED_SECONDS)), initialized=False),
        DEGRADED,
        "2, Ethernet4 for 5 min (old). PortInitDone waits",
    ),
    ("pending_ports", Report(pending=waiting(WaitingPort("Ethernet0", "why", PENDING_SECONDS - 1))), HEALTHY, ""),
    ("pending_ports", Report(pending=waiting(WaitingPort("Ethernet0", "why", PENDING_SECONDS))), DEGRADED, "Ethernet0"),
    ("services", essential(spent=True, last_failure="it broke"), UNHEALTHY, "budget. Last failure: it broke."),
    ("services", essential(running=False), DEGRADED, "reader"),
    ("services", essential(running=False, down=STALL), UNHEALTHY, "down for 10 s"),
    ("services", essential(restarts=RESTARTS - 1, last_failure="it broke"), HEALTHY, ""),
    ("services", essential(restarts=RESTARTS, last_failure="it broke"), DEGRADED, "3 times within 5 min"),
    ("services", optional(running=False, down=START_SECONDS - 1), HEALTHY, ""),
    ("services", optional(running=False, down=START_SECONDS), DEGRADED, "goes on without it"),
    ("services", optional(running=False, last_failure="x"), DEGRADED, "Last failure: x. The port sync goes on"),
    ("services", optional(spent=True), DEGRADED, "metrics"),
    ("metrics_endpoint", closed(STALL - 1), HEALTHY, ""),
    ("metrics_endpoint", closed(STALL), DEGRADED, "address in use"),
    (
        "metrics_endpoint",
        closed(7200, "the certificate\nis not yet valid."),
        DEGRADED,
        "2 h: the certificate is not yet v",
    ),
    ("certificates", expiring(EXPIRY_SECONDS), HEALTHY, ""),
    (
        "certificates",
        expiring(EXPIRY_SECONDS - 1),
        DEGRADED,
        "server certificate of the metrics endpoint expires in 14 d",
    ),
    ("certificates", expiring(-7200), DEGRADED, "expired 2 h ago"),
    ("certificates", expiring_ca(60), DEGRADED, "The CA of the metrics endpoint (of several the last) expires in 60 s"),
    ("storage", Report(storage={"port_state": "", "history": ""}), HEALTHY, ""),
    (
        "storage",
        Report(storage={"port_state": "port_state.json: No space left on device.", "history": ""}),
        DEGRADED,
        "The state of the ports cannot be saved: port_state.json: No space left on device. The port sync goes on",
    ),
    ("storage", Report(storage={"history": "read-only"}), DEGRADED, "The history cannot be written: read-only. The p"),
    ("storage", Report(guard=GuardReport(free_bytes={"history": 1})), HEALTHY, ""),
    (
        "storage",
        Report(guard=GuardReport(low_disk="1 MB is free.")),
        DEGRADED,
        "The history is held back, so that what a restart needs can be saved: 1 MB is free. The port sync goes on.",
    ),
    ("reconciliation", Report(reconciliation=Reconciliation(counts=dict.fromkeys(Kind, 7), runs=3)), HEALTHY, ""),
    ("reconciliation", contested("Ethernet0"), DEGRADED, "again: Ethernet0 (stale, 5 times in 3 min). Somebody else"),
    ("reconciliation", contested(*"abcd"), DEGRADED, "c (stale, 5 times in 3 min); d (stale, 5 times in 3 min). S"),
    ("reconciliation", contested(*"abcdef"), DEGRADED, "d (stale, 5 times in 3 min); and 2 more. Somebody"),
    ("memory", memory(Level.FINE), HEALTHY, ""),
    ("memory", memory(Level.TRIMMED, "600 MB are more than 512 MB"), HEALTHY, ""),
    ("memory", memory(Level.HIGH, "600 MB are more than 512 MB."), DEGRADED, "stays so: 600 MB are more than 512 MB."),
    (
        "memory",
        memory(Level.LEAVE, "600 MB are more than 512 MB"),
        DEGRADED,
        "512 MB. The process ends, to be started a",
    ),
    (
        "healing",
        Report(guard=GuardReport(healed={"redis": HealedReport(9, "2026-01-01T00:00:00Z", "it was dead")})),
        HEALTHY,
        "",
    ),
    (
        "healing",
        Report(guard=GuardReport(clock_steps=9, last_clock_step=1e9, blocks=9, longest_block=1e9)),
        HEALTHY,
        "",
    ),
]
# What is healed is well.
NEVER_ILL = {"healing"}


@pytest.mark.parametrize(
    ("name", "report", "status", "text"), CASES, ids=[f"{name}-{number}" for number, (name, *_) in enumerate(CASES)]
)
def test_a_rule_and_its_limits(name: str, report: Report, status: Status, text: str) -> None:
    health = judge(report, THRESHOLDS)
    assert health.checks[name].status is status
    assert text in health.checks[name].reason
    # Nothing else is wrong with it.
    assert health.status is status
    assert health.reasons() == ([health.checks[name].reason] if text else [])


def test_every_rule_has_its_cases() -> None:
    assert {name for name, _, status, _ in CASES if status is not HEALTHY} == CHECKS.keys() - NEVER_ILL
    assert {name for name, *_ in CASES} == CHECKS.keys()


@pytest.mark.parametrize(
    "report",
    [
        Report(),
        Report(ports=512, held=512, certified_age=8.6e6),
        Report(ports=4, held=4, events=1, latency=5.0, writes=9, failed_writes=1, losses=1),
        Report(services=[ServiceReport("reader", essential=True), ServiceReport("metrics", essential=False)]),
        Report(endpoint=EndpointReport("[::1]:9090", expires_in={"ca": 9e7, "server": 9e7})),
    ],
)
def test_an_idle_switch_is_healthy(report: Report) -> None:
    health = judge(report, THRESHOLDS)
    assert (health.status, health.reasons()) == (HEALTHY, [])


def test_the_worst_decides_and_is_told_first() -> None:
    health = judge(Report(redis_connected=False, waiting=1, stalled=60), THRESHOLDS)
    assert health.status is UNHEALTHY
    assert ["Nothing has been written" in reason for reason in health.reasons()] == [True, False]


def test_of_several_services_the_worst_decides_and_each_is_told() -> None:
    services = [
        ServiceReport("metrics", essential=False, spent=True),
        ServiceReport("writer", essential=True, spent=True),
    ]
    check = judge(Report(services=[*services, ServiceReport("reader", essential=True)]), THRESHOLDS).checks["services"]
    assert check.status is UNHEALTHY
    assert 0 < check.reason.index("writer") < check.reason.index("metrics")
    assert "reader" not in check.reason
    assert check.details["reader"]["last_failure"] is None


def test_of_what_is_kept_each_that_cannot_be_written_is_told() -> None:
    check = judge(Report(storage={"port_state": "full", "history": "also"}), THRESHOLDS).checks["storage"]
    assert 0 < check.reason.index("full") < check.reason.index("also")
    assert check.details == {"port_state": "full", "history": "also", "low_disk": None, "free_bytes": {}}
    low = GuardReport(low_disk="1 MB is free", free_bytes={"history": 1 << 20})
    check = judge(Report(storage={"history": "full"}, guard=low), THRESHOLDS).checks["storage"]
    assert 0 < check.reason.index("full") < check.reason.index("1 MB is free")
    assert check.details == {"history": "full", "low_disk": "1 MB is free", "free_bytes": {"history": 1 << 20}}
    # Who is held back says why with the same words.
    check = judge(Report(storage={"history": low.low_disk}, guard=low), THRESHOLDS).checks["storage"]
    assert check.reason.count("1 MB is free") == 1
    assert judge(Report(storage={"history": ""}), THRESHOLDS).checks["storage"].details["history"] is None


def difference(number: int) -> Difference:
    held = ("ok", 1000 * "d", "up", "9100")
    return Difference(f"Ethernet{number}", Kind.STALE, held, UP, f"written by\n{'somebody ' * 100}", at=float(number))


def test_what_reconciliation_found_is_told_newest_first() -> None:
    orphan = Difference("Ethernet8", Kind.ORPHAN, UP, None, "the link is gone", at=6.0)
    missing = Difference("Ethernet4", Kind.MISSING, None, DOWN, "", at=8.0)
    result = Reconciliation(
        runs=2,
        finished_at=9.0,
        running=True,
        counts={Kind.MISSING: 1, Kind.STALE: 0, Kind.ORPHAN: 1},
        recent=(orphan, missing),
        contested=(Contested("Ethernet4", Kind.MISSING, 5, since=2.0),),
        unpublished=("Ethernet12",),
        unpublished_total=3,
    )
    assert judge(Report(now=10.0, reconciliation=result), THRESHOLDS).checks["reconciliation"].details == {
        "runs": 2,
        "running": True,
        "last_run_seconds_ago": 1.0,
        "differences": {"missing": 1, "stale": 0, "orphan": 1},
        "recent": [
            {
                "port": "Ethernet4",
                "kind": "missing",
                "held": None,
                "wanted": list(DOWN),
                "cause": "",
                "seconds_ago": 2.0,
            },
            {
                "port": "Ethernet8",
                "kind": "orphan",
                "held": list(UP),
                "wanted": None,
                "cause": "the link is gone",
                "seconds_ago": 4.0,
            },
        ],
        "contested": [{"port": "Ethernet4", "kind": "missing", "times": 5, "for_seconds": 8.0}],
        "contested_total": 1,
        "unpublished": ["Ethernet12"],
        "unpublished_total": 3,
    }
    assert judge(Report(), THRESHOLDS).checks["reconciliation"].details["last_run_seconds_ago"] is None


def test_however_much_is_wrong_the_document_stays_small() -> None:
    names = tuple(f"Ethernet{number}" for number in range(1000))
    result = Reconciliation(
        recent=tuple(map(difference, range(1000))),
        contested=tuple(Contested(name, Kind.STALE, 5, 0.0) for name in names),
        unpublished=names,
        unpublished_total=100_000,
    )
    guard = GuardReport(healed={"redis": HealedReport(1, None, 1000 * "w")})
    checks = judge(Report(reconciliation=result, guard=guard), THRESHOLDS).checks
    details = checks["reconciliation"].details
    assert [each["port"] for each in details["recent"]] == [
        f"Ethernet{n}" for n in range(999, 999 - SHOWN_DIFFERENCES, -1)
    ]
    assert (len(details["contested"]), details["contested_total"]) == (NAMED_PORTS, 1000)
    assert (len(details["unpublished"]), details["unpublished_total"]) == (NAMED_PORTS, 100_000)
    assert details["recent"][0]["held"] == ["ok", 297 * "d" + "...", "up", "9100"]
    assert details["recent"][0]["cause"].startswith("written by somebody somebody")
    assert checks["healing"].details["kinds"]["redis"]["what"] == 297 * "w" + "..."
    assert len(json.dumps([[check.reason, check.details] for check in checks.values()])) < 32_000


def test_memory_is_told_in_bytes() -> None:
    known = MemoryStatistics(Level.TRIMMED, 600 << 20, 1048576.4, 512 << 20, 16777216.0, "much")
    assert judge(Report(guard=GuardReport(memory=known)), THRESHOLDS).checks["memory"].details == {
        "level": "trimmed",
        "resident_bytes": 600 << 20,
        "limit_bytes": 512 << 20,
        "growth_bytes_per_hour": 1048576,
        "growth_limit_bytes_per_hour": 16777216,
    }


def test_what_was_healed_is_told_by_kind() -> None:
    guard = GuardReport(
        healed={"redis": HealedReport(2, "2026-01-01T00:00:00Z", "it was dead"), "stall": HealedReport(0, None, "")},
        clock_steps=1,
        last_clock_step=-3600.0004,
        blocks=2,
        longest_block=12.5,
    )
    assert judge(Report(guard=guard), THRESHOLDS).checks["healing"].details == {
        "kinds": {
            "redis": {"count": 2, "last": "2026-01-01T00:00:00Z", "what": "it was dead"},
            "stall": {"count": 0, "last": None, "what": None},
        },
        "clock_steps": 1,
        "last_clock_step_seconds": -3600.0,
        "loop_blocks": 2,
        "longest_loop_block_seconds": 12.5,
    }


def test_the_handbook_has_every_rule() -> None:
    page = (Path(__file__).parents[2] / "docs/health.md").read_text(encoding="utf-8")
    table = page.partition("\n## Checks\n")[2]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(CHECKS)


def test_the_operator_sets_the_limits() -> None:
    lax = Thresholds(3600, 100, 0, Demands(10.0, 0))
    reports = [
        Report(waiting=1, stalled=3599),
        failing(1000, 1000),
        Report(ports=10, held=0, behind=1e6),
    ]
    assert [judge(report, lax).status for report in reports] == [HEALTHY] * 3


@pytest.mark.parametrize(
    ("events", "latency", "slow"),
    [(MIN_EVENTS - 1, 1.0, False), (MIN_EVENTS, 0.05, False), (MIN_EVENTS, 0.051, True)],
)
def test_what_is_slow_takes_a_sample_and_the_operator_s_limit(events: int, latency: float, slow: bool) -> None:
    assert Thresholds(demands=Demands(max_latency=0.05)).is_slow(events, latency) is slow


def test_the_status_is_the_metric() -> None:
    assert {status.value: status.score for status in Status} == metrics.HEALTH


# ---- ports that Redis holds


def port(held: Fields | None, link: Fields | None, changed: float = 0.0) -> Port:
    made = Port(changed)
    made.held, made.link = held, None if link is None else Link(1, link, 0)
    return made


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (port(UP, UP), (1, 1)),
        (port(DOWN, UP), (1, 0)),
        (port(UNKNOWN, UP), (1, 0)),
        (port(None, UP), (1, 0)),
        (port(None, None), (0, 0)),
        (port(UP, None), (0, 0)),
        (port(DOWN, UP, changed=100.0 - LAG_SECONDS), (1, 0)),
        # It flaps, and Redis is about to be told.
        (port(DOWN, UP, changed=100.1 - LAG_SECONDS), (1, 1)),
    ],
)
def test_which_ports_redis_holds(known: Port, expected: tuple[int, int]) -> None:
    assert count_held({"Ethernet0": known}, (), 100.0) == expected


def test_a_port_without_an_appl_db_entry_cannot_be_held() -> None:
    assert count_held({"Ethernet0": port(None, UP), "Ethernet4": port(UP, UP)}, {"Ethernet0"}, 100.0) == (1, 1)


def test_a_vlan_sub_interface_is_not_publishable() -> None:
    assert count_held({"Ethernet0": port(UP, UP), "Ethernet0.10": port(None, UP)}, (), 100.0) == (1, 1)


# ---- whatever comes

SECONDS = st.sampled_from([0.0, 1.0, 9.9, 10.0, 59.9, 60.0, 299.9, 300.0, 1e6]) | st.floats(0, 1e9)
COUNTS = st.integers(0, 1000)
NAMES = st.sampled_from(["Ethernet0", "Ethernet4", "Ethernet8"])
PORTS = st.lists(st.builds(WaitingPort, NAMES, st.text(), SECONDS), max_size=3).map(lambda ports: waiting(*ports))
SERVICES = st.lists(
    st.builds(
        ServiceReport,
        st.sampled_from(["reader", "writer", "metrics"]),
        essential=st.booleans(),
        running=st.booleans(),
        down=SECONDS,
        spent=st.booleans(),
        restarts=st.integers(0, 5),
        last_failure=st.sampled_from(["", "it broke"]),
    ),
    max_size=3,
    unique_by=lambda service: service.name,
)
EXPIRIES = st.dictionaries(st.sampled_from(["server", "ca"]), st.floats(-1e7, 1e8))
ENDPOINTS = st.builds(EndpointReport, st.sampled_from([None, "[::1]:9090"]), st.text(), SECONDS, EXPIRIES)

STORAGE = st.dictionaries(st.sampled_from(["port_state", "history"]), st.sampled_from(["", "full"]) | st.text())

MEMORIES = st.builds(
    MemoryStatistics, st.sampled_from(Level), COUNTS, st.none() | st.floats(-1e12, 1e12), COUNTS, SECONDS, st.text()
)
GUARDS = st.builds(
    GuardReport,
    st.dictionaries(
        st.sampled_from(["redis", "stall"]), st.builds(HealedReport, COUNTS, st.none() | st.text(), st.text())
    ),
    MEMORIES,
    st.dictionaries(st.sampled_from(["port_state", "history"]), COUNTS),
    st.sampled_from(["", "full"]) | st.text(),
    COUNTS,
    st.floats(-1e9, 1e9),
    COUNTS,
    SECONDS,
)
HELD = st.sampled_from([None, UP, DOWN])
DIFFERENCES = st.builds(Difference, NAMES, st.sampled_from(Kind), HELD, HELD, st.text(), SECONDS)
CONTESTED = st.builds(Contested, NAMES, st.sampled_from(Kind), COUNTS, SECONDS)
RECONCILIATIONS = st.builds(
    Reconciliation,
    COUNTS,
    st.none() | SECONDS,
    st.booleans(),
    st.just(dict.fromkeys(Kind, 1)),
    st.lists(DIFFERENCES, max_size=3).map(tuple),
    st.lists(CONTESTED, max_size=6).map(tuple),
    st.lists(NAMES, max_size=2).map(tuple),
    COUNTS,
)

# For each field what it may be, and whether more of it is worse.
WORSE: Mapping[str, tuple[st.SearchStrategy[Any], bool]] = {
    "redis_connected": (st.booleans(), False),
    "redis_away": (SECONDS, True),
    "netlink_connected": (st.booleans(), False),
    "netlink_away": (SECONDS, True),
    "synced": (st.booleans(), False),
    "unsynced": (SECONDS, True),
    "uncertified": (SECONDS, True),
    "waiting": (COUNTS, True),
    "stalled": (SECONDS, True),
    "unread": (SECONDS, True),
    "queue_depth": (COUNTS, True),
    "slow": (SECONDS, True),
    "failed_writes": (COUNTS, True),
    "losses": (st.integers(0, 5), True),
    "held": (COUNTS, False),
    "behind": (SECONDS, True),
}
NEUTRAL: Mapping[str, st.SearchStrategy[Any]] = {
    "redis_problem": st.text(),
    "in_sync": st.booleans(),
    "certified_age": st.none() | SECONDS,
    "queue_bound": st.integers(1, 1000),
    "events": COUNTS,
    "latency": st.floats(0, 0.1),
    "writes": COUNTS,
    "ports": COUNTS,
    "initialized": st.booleans(),
    "awaited": PORTS,
    "pending": PORTS,
    "services": SERVICES,
    "endpoint": st.none() | ENDPOINTS,
    "storage": STORAGE,
    "now": SECONDS,
    "reconciliation": RECONCILIATIONS,
    "guard": GUARDS,
}
REPORTS = st.builds(Report, **{name: values for name, (values, _) in WORSE.items()}, **NEUTRAL)


def test_every_field_is_tried() -> None:
    assert {field.name for field in fields(Report)} == WORSE.keys() | NEUTRAL.keys()


@given(REPORTS)
def test_what_is_not_healthy_has_a_reason_and_all_of_it_fits_json(report: Report) -> None:
    health = judge(report, THRESHOLDS)
    assert list(health.checks) == list(CHECKS)
    for check in health.checks.values():
        assert bool(check.reason) == (check.status is not HEALTHY)
        assert "\n" not in check.reason
        json.dumps(dict(check.details), allow_nan=False)
    assert health.status.score == min(check.status.score for check in health.checks.values())


@given(REPORTS, st.sampled_from(sorted(WORSE)), st.data())
def test_worse_news_never_improve_the_verdict(report: Report, name: str, data: st.DataObject) -> None:
    values, more_is_worse = WORSE[name]
    one, other = sorted([getattr(report, name), data.draw(values)])
    better, worse = (one, other) if more_is_worse else (other, one)
    assert_no_better(replace(report, **{name: better}), replace(report, **{name: worse}))


@given(REPORTS, SECONDS, st.booleans())
def test_another_port_that_waits_never_improves_the_verdict(report: Report, seconds: float, awaited: bool) -> None:
    more = WaitingPort("Ethernet0", "no link of this name", seconds)
    awaits = replace(report, awaited=waiting(*report.awaited.longest, more))
    pends = replace(report, pending=waiting(*report.pending.longest, more))
    assert_no_better(report, awaits if awaited else pends)


@given(REPORTS, CONTESTED)
def test_another_contested_port_never_improves_the_verdict(report: Report, more: Contested) -> None:
    result = report.reconciliation
    assert_no_better(report, replace(report, reconciliation=replace(result, contested=(*result.contested, more))))


@given(REPORTS, st.lists(st.sampled_from(Level), min_size=2, max_size=2))
def test_a_guard_that_finds_more_never_improves_the_verdict(report: Report, levels: list[Level]) -> None:
    guard = report.guard
    less, more = (replace(guard.memory, level=level) for level in sorted(levels, key=list(Level).index))
    for better, worse in (
        (replace(guard, memory=less), replace(guard, memory=more)),
        (replace(guard, low_disk=""), replace(guard, low_disk="full")),
    ):
        assert_no_better(replace(report, guard=better), replace(report, guard=worse))


@given(REPORTS, STORAGE, st.sampled_from(["port_state", "history"]))
def test_what_can_be_written_no_longer_never_improves_the_verdict(
    report: Report, storage: dict[str, str], what: str
) -> None:
    assert_no_better(replace(report, storage=storage | {what: ""}), replace(report, storage=storage | {what: "full"}))


SERVICE_WORSE: Mapping[str, tuple[Any, Any]] = {
    "essential": (False, True),
    "running": (True, False),
    "spent": (False, True),
    "last_failure": ("", "x"),
    "restarts": (2, 3),
    "down": (9.0, 11.0),
}


@given(REPORTS, SERVICES.filter(bool), st.sampled_from(sorted(SERVICE_WORSE)))
def test_a_service_that_does_worse_never_improves_the_verdict(
    report: Report, services: list[ServiceReport], name: str
) -> None:
    better, worse = (
        replace(report, services=[replace(services[0], **{name: value}), *services[1:]])
        for value in SERVICE_WORSE[name]
    )
    assert_no_better(better, worse)


@given(REPORTS, ENDPOINTS, SECONDS, st.floats(-1e7, 1e8), st.floats(0, 1e8))
def test_an_endpoint_that_does_worse_never_improves_the_verdict(
    report: Report, endpoint: EndpointReport, longer: float, left: float, less: float
) -> None:
    for better, worse in (
        (replace(endpoint, address="[::1]:9090"), replace(endpoint, address=None)),
        (endpoint, replace(endpoint, closed=endpoint.closed + longer)),
        (replace(endpoint, expires_in={"server": left}), replace(endpoint, expires_in={"server": left - less})),
    ):
        assert_no_better(replace(report, endpoint=better), replace(report, endpoint=worse))


def assert_no_better(better: Report, worse: Report) -> None:
    before, after = judge(better, THRESHOLDS), judge(worse, THRESHOLDS)
    assert after.status.score <= before.status.score
    for name, check in after.checks.items():
        assert check.status.score <= before.checks[name].status.score
