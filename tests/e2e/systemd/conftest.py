"""One guest for all of these tests that a process runs; each test finds it as after a boot."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.systemd.guest import PROGRAMS, missing
from tests.e2e.systemd.switch import ServiceSwitch


@pytest.fixture(scope="session")
def booted(tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]) -> Iterator[ServiceSwitch]:
    """A switch whose guest runs."""
    for program in ("redis-server", "dpkg-deb", "curl", "ip", "ss"):
        require_program(program)
    if lacking := missing(PROGRAMS):
        pytest.fail(
            f"this test boots a systemd and needs {', '.join(lacking)}: install the packages systemd and util-linux",
            pytrace=False,
        )
    with ServiceSwitch(tmp_path_factory.mktemp("systemd")) as switch:
        yield switch


@pytest.fixture
def switch(booted: ServiceSwitch) -> ServiceSwitch:
    """A switch on which Redis runs, and portsyncd never did."""
    booted.reset()
    return booted
