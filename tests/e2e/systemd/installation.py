"""portsyncd installed for a guest: the Debian package, with the daemon's code and the units of this tree.

The package is there for its virtual environment, made with the distribution's own Python: this one's may lie where no
service may look. What it holds of the tree is laid over it anew, so that a test never tries yesterday's code.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

_TREE: Final = Path(__file__).parents[3]
_PYTHON: Final = "/usr/bin/python3"
# Programs of the tests, which run in a guest as they are.
_FOLDER: Final = "/usr/lib/portsyncd-test"
_PROGRAMS: Final = ("tests/e2e/hooked_daemon.py", "tests/e2e/systemd/ailing_daemon.py", "tests/e2e/systemd/probe.py")
# What the daemon of the tests is told, and its command line as a service. It imports another one by its name in this tree.
DEAF: Final = "/run/portsyncd/deaf"
BUDGET: Final = 2
AILING_DAEMON: Final = (
    f"/usr/bin/env PYTHONPATH={_FOLDER} DEAF={DEAF} BUDGET={BUDGET} "
    f"/opt/venvs/portsyncd/bin/python3 {_FOLDER}/tests/e2e/systemd/ailing_daemon.py run"
)
PROBE: Final = f"{_PYTHON} {_FOLDER}/tests/e2e/systemd/probe.py"


def newest_package() -> Path:
    """The Debian package. Fails the test where none was built."""
    packages = sorted((_TREE / "build/deb").glob("*.deb"), key=lambda path: path.stat().st_mtime)
    if not packages:
        pytest.fail("this test installs the Debian package: `make deb` builds it", pytrace=False)
    return packages[-1]


def install(folder: Path) -> None:
    """Put everything into ``folder`` as it is on a machine below /."""
    subprocess.run(["dpkg-deb", "--extract", str(newest_package()), str(folder)], check=True)
    (package,) = folder.glob("opt/venvs/portsyncd/lib/python3*/site-packages/portsyncd")
    shutil.rmtree(package)
    _copy_tree(_TREE / "src/portsyncd", package)
    systemd = _TREE / "ops/systemd"
    for unit in systemd.glob("*.service"):
        _copy(unit, folder / "usr/lib/systemd/system" / unit.name)
    for kind in ("sysusers", "tmpfiles"):
        _copy(systemd / f"portsyncd.{kind}", folder / f"usr/lib/{kind}.d/portsyncd.conf")
    for program in _PROGRAMS:
        _copy(_TREE / program, folder / _FOLDER.lstrip("/") / program)
    # The daemon may not write there; without bytecode each start would take seconds.
    subprocess.run([_PYTHON, "-m", "compileall", "-q", str(package)], check=True)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)
