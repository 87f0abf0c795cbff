"""What every test has: Hypothesis' settings, and a clear word when the machine lacks something.

A test that the machine cannot run fails; it is never skipped, since a skipped test looks like a passed one.
"""

import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.coverage_gate", "tests.e2e.recovery"]

# Loaded also where CI is set, for which Hypothesis has a profile of its own: examples stay random there too. No
# deadline: two cores that others use as well say nothing about a single example's time.
settings.register_profile("portsyncd", deadline=None, print_blob=True)
settings.load_profile("portsyncd")

# Bits of the capability sets (linux/capability.h).
NEEDED_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make e2e`` attacks the metrics endpoint with as many connections as a real flood has; ``make chaos`` kills the
    daemon some hundred times."""
    parser.addoption("--full", action="store_true", help="attack the metrics endpoint in full (some minutes)")
    parser.addoption("--rounds", type=int, default=6, help="kill the daemon so often")
    parser.addoption("--seed", type=int, default=4, help="of when the daemon is killed and how links change meanwhile")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "long: takes ten seconds or more; comes first, so that nothing is waited for at the end"
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Mark what asks for the fixture ``require_root``, so that ``-m 'not root'`` leaves it out too; and when all is shuffled,
    move what takes long to the front."""
    for item in items:
        if isinstance(item, pytest.Function) and "require_root" in item.fixturenames:
            item.add_marker("root")
    yield
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test marked ``root`` before its fixtures try what they may not do."""
    if item.get_closest_marker("root"):
        fail_without_capabilities()


def fail_without_capabilities() -> None:
    """Fail the test unless this process may make network namespaces and links."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    missing = [name for name, bit in NEEDED_CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        pytest.fail(
            f"this test makes network namespaces and links and needs {' and '.join(missing)}: "
            "run it as root, or leave such tests out with -m 'not root'",
            pytrace=False,
        )


@pytest.fixture
def require_root() -> None:
    """What the marker ``root`` does, for a fixture that needs it."""
    fail_without_capabilities()


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
