"""Waiting for a condition."""

import pytest

from portsyncd.testing.wait import DeadlineError, until


def test_returns_the_first_true_value() -> None:
    values = iter([0, "", "there"])
    assert until(lambda: next(values)) == "there"


def test_a_deadline_says_what_was_awaited_and_what_was_seen() -> None:
    with pytest.raises(DeadlineError, match=r"the moon.*last seen: 0"):
        until(lambda: 0, 0.02, "the moon")


def test_the_situation_is_asked_for_only_at_the_end() -> None:
    def ask() -> str:
        raise AssertionError("asked too early")

    assert until(lambda: True, 0.02, ask)


def test_the_condition_is_tried_even_without_time() -> None:
    assert until(lambda: 7, 0.0) == 7
