"""How a sample of the event path is summed up."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.performance import quantile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [((), 0.5, 0.0), ((3.0,), 0.99, 3.0), ((3.0, 1.0, 2.0), 0.5, 2.0), (tuple(range(101)), 0.99, 99)],
)
def test_quantile(values: Sequence[float], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values(values: list[float], share: float) -> None:
    assert quantile(values, share) in values
