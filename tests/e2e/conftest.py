"""A switch of its own for each test: network namespace, Redis, folder, and the real daemon."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from portsyncd.testing.switch import Switch

SwitchMaker = Callable[..., Switch]


@pytest.fixture
def make_switch(tmp_path: Path) -> Iterator[SwitchMaker]:
    """Make a switch; the arguments are ``Switch``'s. Its Redis runs, its daemon does not yet."""
    with ExitStack() as stack:

        def make(**options: Any) -> Switch:
            return stack.enter_context(Switch(tmp_path, **options))

        yield make


@pytest.fixture
def switch(make_switch: SwitchMaker) -> Switch:
    """A switch whose daemon has the default configuration and is not started yet."""
    return make_switch()
