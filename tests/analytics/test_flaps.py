"""Flap penalties: decay, sums, when a port crosses the threshold, and that none of it leaves the finite numbers."""

from math import inf, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.flaps import (
    HALF_LIFE,
    PENALTY,
    REUSE,
    SUPPRESS,
    FlappingPort,
    crosses_in,
    decayed,
    flapping,
    penalty,
)
from portsyncd.analytics.history import PortFlaps
from tests.analytics.histories import NOW

penalties = st.floats(min_value=0, max_value=1e9)
spans = st.floats(min_value=0, max_value=1e7)
rates = st.floats(min_value=0, max_value=1e3)


def test_a_penalty_halves_with_each_half_life() -> None:
    assert decayed(1000.0, 0.0) == 1000.0
    assert decayed(1000.0, HALF_LIFE) == 500.0
    assert decayed(1000.0, 3 * HALF_LIFE) == 125.0
    assert decayed(SUPPRESS, HALF_LIFE) == REUSE


def test_a_clock_that_was_set_back_takes_nothing_and_adds_nothing() -> None:
    assert decayed(1000.0, -5.0) == 1000.0


def test_flaps_add_up() -> None:
    assert penalty([], NOW) == 0.0
    assert penalty([(NOW, 2), (NOW - HALF_LIFE, 1)], NOW) == 2500.0


@pytest.mark.parametrize("now", [1e308, inf])
def test_after_a_long_time_nothing_is_left(now: float) -> None:
    assert penalty([(0.0, 2**63)], now) == 0.0


def test_who_is_above_has_crossed() -> None:
    assert crosses_in(SUPPRESS, 0.0) == 0.0
    assert crosses_in(5000.0, 1.0) == 0.0


def test_who_never_flaps_never_crosses() -> None:
    assert crosses_in(1999.0, 0.0) is None


def test_a_steady_rate_crosses_when_the_model_says_so() -> None:
    # Twice the rate that keeps it at the threshold, from 0: half of the way to the steady state, so one half-life.
    rate = 2 * SUPPRESS * log(2) / HALF_LIFE / PENALTY
    assert crosses_in(0.0, rate) == pytest.approx(HALF_LIFE)
    # From 3000 short of the steady state to 2000 short of it: log2(1.5) half-lives.
    assert crosses_in(1000.0, rate) == pytest.approx(HALF_LIFE * log(1.5) / log(2))


def test_the_rate_that_only_holds_the_threshold_never_crosses() -> None:
    rate = SUPPRESS * log(2) / HALF_LIFE / PENALTY
    assert crosses_in(0.0, rate * 0.999) is None
    assert crosses_in(0.0, rate * 1.001) == pytest.approx(HALF_LIFE * log(1001) / log(2), rel=1e-6)


@pytest.mark.parametrize("rate", [1e300, inf])
def test_an_endless_rate_crosses_at_once(rate: float) -> None:
    assert crosses_in(0.0, rate) == pytest.approx(0.0)


def test_no_rate_crosses_no_more() -> None:
    assert crosses_in(0.0, float("nan")) is None


def test_ports_come_with_the_highest_penalty_first_and_only_those_of_the_window() -> None:
    flaps = [
        PortFlaps(NOW - 40 * HALF_LIFE, "Ethernet12", 7, 7),
        PortFlaps(NOW - 20 * HALF_LIFE, "Ethernet8", 3, 3),
        PortFlaps(NOW - HALF_LIFE, "Ethernet0", 2, 2),
        PortFlaps(NOW, "Ethernet4", 2, 2),
        PortFlaps(NOW, "Ethernet0", 4, 4),
        PortFlaps(NOW - 20 * HALF_LIFE, "Ethernet16", 5, 5),
    ]
    found = flapping(flaps, NOW - 30 * HALF_LIFE, NOW)
    assert found == [
        FlappingPort("Ethernet0", 6, 5000.0, suppressed=True, crosses_in=0.0),
        FlappingPort("Ethernet4", 2, 2000.0, suppressed=True, crosses_in=0.0),
        FlappingPort("Ethernet16", 5, 0.0, suppressed=False, crosses_in=None),
        FlappingPort("Ethernet8", 3, 0.0, suppressed=False, crosses_in=None),
    ]


def test_the_present_rate_is_that_of_the_last_half_life() -> None:
    # Three flaps in 900 s are above the rate that holds the threshold (1.39 in 900 s), one is not.
    once = PortFlaps(NOW - 800.0, "Ethernet0", 1, 1)
    thrice = PortFlaps(NOW - 800.0, "Ethernet4", 3, 3)
    long_ago = PortFlaps(NOW - 1000.0, "Ethernet0", 2, 2)
    calm, restless = sorted(flapping([once, thrice, long_ago], 0.0, NOW), key=lambda port: port.name)
    assert (calm.suppressed, calm.crosses_in) == (False, None)
    assert not restless.suppressed
    assert restless.crosses_in == crosses_in(restless.penalty, 3 / HALF_LIFE)


@given(penalties, spans, spans)
def test_a_penalty_never_rises_with_time_and_decays_in_steps_as_at_once(
    start: float, first: float, second: float
) -> None:
    assert 0 <= decayed(start, first + second) <= decayed(start, first) <= start
    assert decayed(decayed(start, first), second) == pytest.approx(decayed(start, first + second), rel=1e-9)


@given(penalties, rates)
def test_a_prediction_is_finite_and_higher_rates_cross_sooner(start: float, rate: float) -> None:
    soon, sooner = crosses_in(start, rate), crosses_in(start, 2 * rate)
    if soon is None:
        return
    assert isfinite(soon)
    assert sooner is not None
    assert 0 <= sooner <= soon


@given(st.floats(min_value=0, max_value=SUPPRESS), st.floats(min_value=0.002, max_value=1e3))
def test_the_model_is_at_the_threshold_when_it_is_said_to_cross(start: float, rate: float) -> None:
    seconds = crosses_in(start, rate)
    assert seconds is not None
    steady = PENALTY * rate * HALF_LIFE / log(2)
    assert steady + decayed(start - steady, seconds) == pytest.approx(SUPPRESS)


@given(
    st.lists(
        st.builds(PortFlaps, st.floats(), st.sampled_from("ab"), st.integers(0, 2**63 - 1), st.just(0)), max_size=20
    )
)
def test_any_flaps_have_finite_figures(flaps: list[PortFlaps]) -> None:
    for port in flapping(flaps, 0.0, NOW):
        assert isfinite(port.penalty)
        assert port.penalty >= 0
        assert port.crosses_in is None or isfinite(port.crosses_in)
