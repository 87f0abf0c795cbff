"""The fixture itself: a guest is alone, and nothing of it is left whatever becomes of who started it."""

import subprocess
import sys
from pathlib import Path

import pytest

from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.wait import until
from tests.e2e.systemd.guest import Guest

pytestmark = pytest.mark.root

_TREE = Path(__file__).parents[3]
_BOOT = f"""
import sys
sys.path[:0] = [{str(_TREE / "src")!r}, {str(_TREE)!r}]
from pathlib import Path
from portsyncd.testing.netns import NetworkNamespace
from tests.e2e.systemd.guest import Guest
with NetworkNamespace() as namespace, Guest(Path(sys.argv[1]), namespace) as guest:
    print(guest.pid, guest.cgroup, flush=True)
    sys.stdin.read()
"""


def test_it_changes_nothing_outside(tmp_path: Path) -> None:
    name, host = Path("/etc/portsyncd-test-guest"), Path("/proc/sys/kernel/hostname").read_text()
    with NetworkNamespace() as namespace, Guest(tmp_path / "guest", namespace) as guest:
        assert guest.run("cat", "/proc/1/comm").stdout == "systemd\n"
        guest.write(str(name), "here alone")
        guest.run("hostname", "elsewhere")
        # The kernel's settings are everybody's.
        assert guest.run("sh", "-c", "echo 1 >/proc/sys/net/core/rmem_max", check=False).returncode != 0
        cgroup = guest.cgroup
        assert cgroup.exists()
    assert not name.exists()
    assert Path("/proc/sys/kernel/hostname").read_text() == host
    assert not cgroup.exists()


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", _BOOT, str(tmp_path / "guest")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with starter:
        assert starter.stdout is not None
        pid, cgroup = starter.stdout.readline().split()
        assert Path(cgroup).exists()
        starter.kill()
    until(lambda: not Path(cgroup).exists(), what="its cgroup is gone")
    until(lambda: not Path("/proc", pid).exists(), what="its systemd is gone")
