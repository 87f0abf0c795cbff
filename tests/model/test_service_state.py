"""What the service manager hears, as a transcript; and the line that a person reads."""

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.health import judge
from portsyncd.model.report import Report, Thresholds, Waiting, WaitingPort
from portsyncd.model.service_state import EXTEND_EVERY_SECONDS, Fields, Seen, Terms, Told, due, status_line

FED = Terms(feed_every=15.0, look_every=1.0, max_stall=10.0)
UNFED = Terms(feed_every=None, look_every=1.0, max_stall=10.0)
UNWATCHED = {"WATCHDOG_USEC": 0}
MORE_TIME = {"EXTEND_TIMEOUT_USEC": 30_000_000}


def tell(terms: Terms, *looks: tuple[float, Seen]) -> list[Fields]:
    """What is sent at each of these moments."""
    told, sent = Told(), []
    for now, seen in looks:
        fields, told = due(terms, told, seen, now)
        sent.append(fields)
    return sent


def test_a_start_that_waits_asks_for_time_and_says_once_that_it_is_ready() -> None:
    waiting, ready = Seen(synced=False, stood=0, line="waits"), Seen(synced=True, stood=0, line="in sync")
    assert tell(UNFED, (100, waiting), (101, waiting), (110, waiting), (111, ready), (112, ready), (200, ready)) == [
        MORE_TIME | UNWATCHED | {"STATUS": "waits"},
        {},
        MORE_TIME,
        {"READY": 1, "STATUS": "in sync"},
        {},
        {},
    ]


def test_the_watchdog_is_fed_at_intervals_and_not_while_events_stand_still() -> None:
    moving, standing = Seen(synced=True, stood=9.9, line=""), Seen(synced=True, stood=10, line="")
    fed: Fields = {"WATCHDOG": 1}
    assert tell(
        FED, (0, moving), (14, moving), (14.1, moving), (30, standing), (35, standing), (36, moving), (51, moving)
    ) == [{"READY": 1, **fed}, {}, fed, {}, {}, fed, fed]


def test_a_start_that_stands_still_gets_no_more_time() -> None:
    moving, standing = Seen(synced=False, stood=0, line=""), Seen(synced=False, stood=10, line="")
    assert tell(FED, (0, moving), (EXTEND_EVERY_SECONDS, standing), (50, standing)) == [
        {**MORE_TIME, "WATCHDOG": 1},
        {},
        {},
    ]


def line(**fields: Any) -> str:
    report = Report(**fields)
    return status_line(report, judge(report, Thresholds()))


def waiting(*seconds: float, total: int = 0) -> Waiting:
    ports = [WaitingPort(f"Ethernet{4 * place}", "no link", each) for place, each in enumerate(seconds)]
    return Waiting(ports, total or len(ports))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ports": 128, "held": 128}, "128 ports in sync"),
        (
            {"ports": 128, "held": 126, "awaited": waiting(40, 3)},
            "126 of 128 ports in sync, 2 awaited: Ethernet0 for 40 s, Ethernet4 for 3 s",
        ),
        (
            {"ports": 1, "held": 1, "awaited": waiting(9, 8, 7, 6, 5, total=700), "pending": waiting(1)},
            (
                "1 port in sync, 700 awaited: Ethernet0 for 9 s, Ethernet4 for 8 s, Ethernet8 for 7 s, Ethernet12 for 6 s, "
                "696 more, 1 without an APPL_DB entry: Ethernet0 for 1 s"
            ),
        ),
        (
            {
                "ports": 3,
                "held": 3,
                "redis_connected": False,
                "redis_away": 61.0,
                "redis_problem": "Connection refused.",
            },
            (
                "3 ports; degraded: Redis has been unusable for 61 s: Connection refused. Port states wait, and will be "
                "written when it is back."
            ),
        ),
        (
            {"synced": False, "redis_connected": False, "redis_away": 200.0, "redis_problem": "refused"},
            "first sync: waiting for Redis for 3 min: refused",
        ),
        (
            {"synced": False, "netlink_connected": False, "netlink_away": 2.0},
            "first sync: waiting for the kernel for 2 s",
        ),
        ({"synced": False, "ports": 9, "held": 4}, "first sync: Redis holds 4 of 9 ports"),
        (
            {"ports": 2, "held": 2, "awaited": waiting(4000), "storage": {"history": "disk full"}},
            (
                "2 ports in sync, 1 awaited: Ethernet0 for 67 min; degraded: The history cannot be written: disk full. The "
                "port sync goes on; analytics lack what happens meanwhile."
            ),
        ),
    ],
)
def test_the_line_says_how_it_stands(fields: dict[str, Any], said: str) -> None:
    assert line(**fields) == said


@given(st.text(), st.lists(st.text(), max_size=9), st.booleans())
def test_whatever_it_is_called_one_message_can_hold_the_line(problem: str, names: list[str], synced: bool) -> None:
    ports = Waiting([WaitingPort(name, problem, inf if synced else 0.0) for name in names], len(names))
    said = line(synced=synced, redis_connected=False, redis_problem=1000 * problem, awaited=ports, pending=ports)
    assert len(said) <= 1000
    assert "\n" not in said
