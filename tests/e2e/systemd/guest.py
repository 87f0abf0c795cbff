"""A real systemd as PID 1 of namespaces of its own, on this machine's files: a unit can be tried there as on a switch.

``boot.sh`` says how. A guest takes half a second to boot, and several do not meet.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.wait import until

SYSTEMD: Final = Path("/lib/systemd/systemd")
PROGRAMS: Final = ("unshare", "nsenter", "setpriv", "journalctl", "systemctl")
DEADLINE_SECONDS: Final = 30.0
_BOOT: Final = Path(__file__).with_name("boot.sh")
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_COLORS": "0"}

# What this machine's own files would start: nothing of it is for a guest, and some would reach beyond it.
_MASKED: Final = (
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-journald-audit.socket",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-random-seed.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
)
# In memory, and without a limit to what a second may bring. An empty Audit= leaves the kernel's auditing as it is.
_JOURNALD: Final = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nAudit=\n"


class Guest:
    """One guest, in ``namespace`` as to the network. A context manager: it has booted when the block begins, and nothing is
    left of it afterwards, also where this process is killed.

    folder: of its own; ``files`` in it may be filled before the boot, and lies over this machine's files then.
    pid: that of systemd. root: the guest's files, to be read and written from here at any time. cgroup: all its processes.
    """

    def __init__(self, folder: Path, namespace: NetworkNamespace) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.pid = 0
        self.root = Path("/nonexistent")
        self.cgroup = writable_cgroup() / f"portsyncd-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._namespace = namespace
        self._boot: subprocess.Popen[bytes] | None = None
        self._prepare()

    def _prepare(self) -> None:
        units, conf = self.files / "etc/systemd/system", self.files / "etc/systemd/journald.conf.d/guest.conf"
        units.mkdir(parents=True)
        for name in _MASKED:
            (units / name).symlink_to("/dev/null")
        conf.parent.mkdir(parents=True)
        conf.write_text(_JOURNALD)
        # A boot with an empty one has systemd-sysusers and systemd-tmpfiles run. And there is nothing to mount.
        (self.files / "etc/machine-id").touch()
        (self.files / "etc/fstab").touch()

    def boot(self) -> None:
        """Have systemd come up, as far as sysinit.target: journal, users, folders."""
        work = self.folder / "work"
        work.mkdir()
        with (self.folder / "console").open("wb") as console:
            # In a session of its own: Ctrl-C is for pytest, which ends it in an orderly way.
            self._boot = self._namespace.popen(
                ["sh", str(_BOOT), str(work), str(self.files), str(self.cgroup)],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(self._answers, DEADLINE_SECONDS, lambda: f"systemd comes up; it said:\n{self.console()}")
        self.systemctl("is-system-running", "--wait", check=False)
        # The guest has a copy, and pytest keeps folders for long.
        shutil.rmtree(self.files)

    def _answers(self) -> bool:
        assert self._boot is not None
        assert self._boot.poll() is None, f"the guest ended at its start; it said:\n{self.console()}"
        with suppress(FileNotFoundError):
            self.pid = int((self.folder / "work.pid").read_text())
            self.root = Path(f"/proc/{self.pid}/root")
            # Before that its root is still ours, which may have a systemd too.
            if Path(f"/proc/{self.pid}/comm").read_text() == "systemd\n":
                return (self.root / "run/systemd/private").exists()
        return False

    def console(self) -> str:
        """What was said before systemd could write into its journal."""
        return (self.folder / "console").read_text(errors="replace")

    def run(self, *argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest, as its root, to its end."""
        try:
            return subprocess.run(
                ["nsenter", f"--target={self.pid}", "-m", "-u", "-i", "-n", "-p", "-C", "--root", "--wd", *argv],
                check=check,
                capture_output=True,
                text=True,
                env=_ENVIRONMENT,
                timeout=2 * DEADLINE_SECONDS,
                **options,
            )
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"{argv} ended with {error.returncode}:\n{error.stdout}{error.stderr}") from error

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """What ``systemctl`` prints."""
        return self.run("systemctl", "--no-pager", "--full", *arguments, check=check).stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        said = self.systemctl("show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in said.splitlines())

    def journal(self, unit: str, after: str = "") -> list[Mapping[str, Any]]:
        """A unit's journal, oldest first: its own lines and what systemd says of it. after: a ``cursor``."""
        said = self.run(
            "journalctl", "--output=json", f"--unit={unit}", *([f"--after-cursor={after}"] if after else [])
        ).stdout
        return [json.loads(line) for line in said.splitlines()]

    def cursor(self) -> str:
        """Where the journal ends now."""
        said = self.run("journalctl", "--lines=1", "--show-cursor", "--quiet").stdout
        return said.rpartition("-- cursor: ")[2].strip()

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644) -> Path:
        """Write a file of root's in the guest, with the folders that it needs."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        return file

    def drop_in(self, unit: str, *lines: str) -> None:
        """Change a unit as ``systemctl edit`` does: lines of its section [Service]."""
        self.write(f"/run/systemd/system/{unit}.d/test.conf", "\n".join(("[Service]", *lines, "")))
        self.systemctl("daemon-reload")

    def remove_drop_ins(self) -> None:
        """All units are as they were."""
        for folder in (self.root / "run/systemd/system").glob("*.d"):
            shutil.rmtree(folder)
        self.systemctl("daemon-reload")

    def close(self) -> None:
        """End it. Safe to call twice."""
        boot, self._boot = self._boot, None
        if boot is not None:
            # Its standard input ends.
            boot.communicate(timeout=DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        try:
            self.boot()
        except BaseException:
            # Also on an interrupt: it lives for as long as this process does.
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def writable_cgroup() -> Path:
    """Where a guest's cgroup can be made. Fails the test where there is no such place."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    # proc(5): the mount point is the fifth field, the type stands behind a dash.
    places = [Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    for place in places:
        if os.access(place, os.W_OK) and not os.statvfs(place).f_flag & os.ST_RDONLY:
            return place
    pytest.fail(
        f"this test boots a systemd, which needs a writable cgroup v2 hierarchy (found: {places or 'none'}): run it outside "
        "of a container, or in one that has its own (such as podman run --systemd=always)",
        pytrace=False,
    )


def missing(programs: Sequence[str] = PROGRAMS) -> list[str]:
    """What of systemd and util-linux is not there."""
    return [*(name for name in programs if shutil.which(name) is None), *([] if SYSTEMD.exists() else [str(SYSTEMD)])]
