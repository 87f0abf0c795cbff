"""What every test has: Hypothesis' settings, and a clear word when the machine lacks something.

A test that the machine cannot run fails; it is never skipped, since a skipped test looks like a passed one.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.coverage_gate"]

# Loaded also where CI is set, for which Hypothesis has a profile of its own: examples stay random there too. No
# deadline: two cores that others use as well say nothing about a single example's time.
settings.register_profile("portsyncd", deadline=None, print_blob=True)
settings.load_profile("portsyncd")

# Bits of the capability sets (linux/capability.h).
NEEDED_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Make marker and fixture one: a test with either of ``root`` and ``require_root`` has both."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if "require_root" in item.fixturenames:
            item.add_marker("root")
        elif item.get_closest_marker("root"):
            item.fixturenames.insert(0, "require_root")


@pytest.fixture(scope="session")
def missing_capabilities() -> list[str]:
    """The names of the capabilities that tests marked ``root`` need and this process has not."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    return [name for name, bit in NEEDED_CAPABILITIES.items() if not effective >> bit & 1]


@pytest.fixture
def require_root(missing_capabilities: list[str]) -> None:
    """Fail unless this process may make network namespaces and links."""
    if missing_capabilities:
        pytest.fail(
            f"this test makes network namespaces and links and needs {' and '.join(missing_capabilities)}: "
            "run it as root, or leave such tests out with -m 'not root'",
            pytrace=False,
        )


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], str]:
    """A function that gives the path of a program, or fails the test that needs it."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.fail(
                f"this test needs the program {name!r}, which is not on PATH: `make test` as root installs it",
                pytrace=False,
            )
        return path

    return find
