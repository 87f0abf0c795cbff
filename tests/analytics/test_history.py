"""Moments, as a calendar has them."""

from datetime import UTC, datetime
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.analytics.history import LATEST, utc

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (1_767_225_600.0, datetime(2026, 1, 1, tzinfo=UTC)),
        (0.0, FIRST),
        (-1.0, FIRST),
        (-inf, FIRST),
        (nan, FIRST),
        (LATEST, LAST),
        (LATEST + 1, LAST),
        (1e15, LAST),
        (inf, LAST),
    ],
)
def test_what_the_calendar_does_not_have_is_at_its_nearer_end(moment: float, expected: datetime) -> None:
    assert utc(moment) == expected


@given(st.floats())
def test_every_number_is_some_moment(moment: float) -> None:
    assert FIRST <= utc(moment) <= LAST
