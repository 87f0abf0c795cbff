"""The Debian package that ``make deb`` has built."""

from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PREFIX = "/opt/venvs/portsyncd"


def package() -> Path:
    """Its path. Fails the test where it was not built."""
    found = list((TREE / "build/deb").glob("portsyncd_*.deb"))
    if len(found) != 1:
        pytest.fail("this test needs the Debian package: `make deb` builds it", pytrace=False)
    return found[0]
