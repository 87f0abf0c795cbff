"""How fast something grows: a leak does, a step and noise do not."""

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.growth import LEAST_SECONDS, SAMPLE_SECONDS, WINDOW_SECONDS, Growth

MB = 1 << 20


def fed(values: list[float]) -> Growth:
    growth = Growth()
    for number, value in enumerate(values):
        growth.add(1000.0 + SAMPLE_SECONDS * number, value)
    return growth


def test_nothing_is_known_before_half_an_hour() -> None:
    growth = Growth()
    for now in count(0, 10):
        growth.add(float(now), now)
        assert (growth.per_hour is not None) == (now >= LEAST_SECONDS)
        if growth.per_hour is not None:
            break
    assert growth.per_hour == pytest.approx(3600)


@pytest.mark.parametrize("slope", [-20.0, 0.0, 3.0, 16.0, 500.0])
def test_a_steady_growth_is_found_under_noise(slope: float) -> None:
    noise = random.Random(5)
    growth = fed([(60 + slope * n / 120 + noise.gauss(0, 0.2)) * MB for n in range(200)])
    assert growth.per_hour is not None
    assert growth.per_hour / MB == pytest.approx(slope, abs=2)
    # The window is an hour: it begins at sample 79.
    assert growth.base / MB == pytest.approx(60 + slope * 85 / 120, abs=0.05 * abs(slope) + 1)


@pytest.mark.parametrize("at", range(0, 121, 10))
def test_a_step_is_no_growth_wherever_it_is(at: int) -> None:
    noise = random.Random(at)
    growth = fed([(60 + 100 * (n >= at) + noise.gauss(0, 0.2)) * MB for n in range(121)])
    assert growth.per_hour is not None
    assert abs(growth.per_hour) < MB


def test_a_growth_that_has_ended_is_none() -> None:
    growth = fed([(60 + min(n, 60)) * MB for n in range(121)])
    assert growth.per_hour == 0


def test_a_leak_in_steps_is_found() -> None:
    growth = fed([(60 + 5 * (n // 10)) * MB for n in range(121)])
    assert growth.per_hour is not None
    assert growth.per_hour > 40 * MB


def test_after_a_long_silence_it_begins_anew() -> None:
    growth = fed([float(n) for n in range(121)])
    growth.add(1e6, 5.0)
    assert growth.per_hour is None


@given(st.lists(st.tuples(st.floats(0, 2 * WINDOW_SECONDS), st.floats(allow_nan=True)), max_size=60))
def test_it_takes_whatever_comes_and_keeps_no_more_than_its_window(steps: list[tuple[float, float]]) -> None:
    growth, now = Growth(), 0.0
    for pause, value in steps:
        now += pause
        growth.add(now, value)
        assert growth.per_hour is None or growth.per_hour == growth.per_hour
        assert len(growth._points) <= WINDOW_SECONDS / SAMPLE_SECONDS + 1
