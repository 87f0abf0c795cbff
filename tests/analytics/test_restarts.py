"""What starts say of recovery: which of them count, and that shares of nothing are none."""

from math import nan

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.history import Outcome, Restored, Start
from portsyncd.analytics.restarts import restarts
from tests.analytics.histories import HOUR, NOW, life, starts

SINCE = NOW - 100 * HOUR


def test_nothing_known_is_no_share_of_anything() -> None:
    found = restarts([], SINCE)
    assert (found.starts, found.restarts) == (0, 0)
    assert found.recovery_success is None
    assert found.corruption_recovery is None
    assert found.eoiu_timeouts is None
    assert found.events_per_restart is None
    assert found.last_healthy_restart is None
    assert found.eoiu_latency is None
    assert found.sync_duration is None


def test_every_end_of_an_initial_sync_counts() -> None:
    ends = [Outcome.EOIU, Outcome.EOIU, Outcome.TIMEOUT, Outcome.FAILED]
    found = restarts([life(NOW + n, NOW + n + 1, outcome) for n, outcome in enumerate(ends)], SINCE)
    assert (found.starts, found.restarts) == (4, 3)
    assert found.recovery_success == 0.5
    assert found.eoiu_timeouts == 0.25


def test_a_sync_that_goes_on_does_not_count_yet() -> None:
    found = restarts([life(NOW, NOW + 1), life(NOW + 2, NOW + 3, Outcome.OPEN)], SINCE)
    assert found.recovery_success == 1.0
    assert restarts([life(NOW, NOW, Outcome.OPEN)], SINCE).recovery_success is None


def test_a_life_that_ended_before_its_sync_did_has_recovered_nothing() -> None:
    crashed = restarts([life(NOW, NOW + 1, Outcome.OPEN), life(NOW + 2, NOW + 3)], SINCE)
    assert crashed.recovery_success == 0.5
    assert crashed.eoiu_timeouts == 0.0
    stopped = restarts([life(NOW, NOW + 1), life(NOW + 2, NOW + 3, Outcome.OPEN, stopped=True)], SINCE)
    assert stopped.recovery_success == 0.5


def test_damage_is_recovered_from_when_some_state_was_restored_all_the_same() -> None:
    lives = [
        life(NOW, NOW, damaged=1, restored=Restored.BACKUP),
        life(NOW, NOW, damaged=2, restored=Restored.FILE),
        life(NOW, NOW, damaged=3, restored=Restored.NONE),
        life(NOW, NOW, damaged=0, restored=Restored.NONE),
    ]
    assert restarts(lives, SINCE).corruption_recovery == 2 / 3
    assert restarts(lives[3:], SINCE).corruption_recovery is None


def test_events_are_counted_of_lives_that_have_ended() -> None:
    lives = [life(NOW, NOW, events=10), life(NOW, NOW, events=20), life(NOW, NOW, events=900)]
    assert restarts(lives, SINCE).events_per_restart == 15.0
    stopped = [*lives[:2], life(NOW, NOW, events=900, stopped=True)]
    assert restarts(stopped, SINCE).events_per_restart == 310.0
    assert restarts(lives[2:], SINCE).events_per_restart is None


def test_the_last_healthy_restart_is_the_newest_start_that_became_healthy() -> None:
    lives = [life(NOW, NOW, healthy=True), life(NOW + 5, NOW, healthy=True), life(NOW + 9, NOW)]
    assert restarts(lives, SINCE).last_healthy_restart == NOW + 5
    assert restarts(lives[2:], SINCE).last_healthy_restart is None


def test_the_order_is_that_of_the_list_when_the_clock_was_set_back() -> None:
    lives = [life(NOW + HOUR, NOW + HOUR, healthy=True, events=4), life(NOW, NOW, healthy=True, events=100)]
    found = restarts(lives, SINCE)
    assert found.last_healthy_restart == NOW
    assert found.events_per_restart == 4.0


def test_latencies_are_of_those_starts_that_have_one() -> None:
    lives = [
        life(NOW, NOW, sync_seconds=1.0, eoiu_seconds=0.5),
        life(NOW, NOW, sync_seconds=3.0),
        life(NOW, NOW, sync_seconds=nan),
    ]
    found = restarts(lives, SINCE)
    assert found.sync_duration is not None
    assert (found.sync_duration.count, found.sync_duration.mean) == (2, 2.0)
    assert found.eoiu_latency is not None
    assert (found.eoiu_latency.count, found.eoiu_latency.maximum) == (1, 0.5)


def test_a_life_from_before_the_window_counts_when_it_was_running_in_it() -> None:
    lives = [
        life(SINCE - 3 * HOUR, SINCE - 2 * HOUR, Outcome.TIMEOUT),
        life(SINCE - HOUR, SINCE + HOUR),
        life(SINCE + 2 * HOUR, NOW),
    ]
    found = restarts(lives, SINCE)
    assert (found.starts, found.restarts) == (2, 1)
    assert found.recovery_success == 1.0


def test_only_a_life_that_has_ended_before_is_known_to_have_lost_its_sync() -> None:
    lost = life(SINCE - 2 * HOUR, SINCE - HOUR, Outcome.OPEN)
    assert restarts([lost, life(NOW, NOW)], SINCE).recovery_success == 1.0


@given(st.lists(starts, max_size=12), st.floats())
def test_shares_are_shares_for_any_starts(lives: list[Start], since: float) -> None:
    found = restarts(lives, since)
    for share in (found.recovery_success, found.corruption_recovery, found.eoiu_timeouts):
        assert share is None or 0 <= share <= 1
    assert found.restarts >= 0
    assert 0 <= found.starts <= len(lives)
