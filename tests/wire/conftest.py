"""A private Redis for the tests of the Lua scripts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portsyncd.testing.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty Redis of this test's own."""
    with RedisServer(tmp_path) as server:
        yield server
