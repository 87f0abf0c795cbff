"""What is in the Debian package: all that a switch needs, as root's, and nothing of the place where it was built."""

import gzip
import marshal
import re
import subprocess
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import portsyncd
from tests.packaging.debian import PREFIX, TREE, package

DOC = "usr/share/doc/portsyncd"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]) -> Path:
    """The package's files, and its control files in DEBIAN."""
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run([require_program("dpkg-deb"), "--raw-extract", package(), folder], check=True)
    return folder


def field(name: str) -> str:
    done = subprocess.run(["dpkg-deb", "--field", package(), name], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_has_what_an_operator_looks_for(root: Path) -> None:
    for path in (
        "usr/lib/systemd/system/portsyncd.service",
        "usr/lib/systemd/system/portsyncd@.service",
        "usr/lib/sysusers.d/portsyncd.conf",
        "usr/lib/tmpfiles.d/portsyncd.conf",
        "usr/share/man/man8/portsyncd.8.gz",
        "usr/share/bash-completion/completions/portsyncd",
        "usr/share/zsh/vendor-completions/_portsyncd",
        f"{DOC}/copyright",
        f"{DOC}/changelog.gz",
        f"{DOC}/CHANGELOG.md",
        f"{DOC}/examples/portsyncd.conf",
        f"{DOC}/examples/nginx/portsyncd.conf",
        f"{DOC}/examples/supervisord/portsyncd.conf",
        f"{DOC}/examples/prometheus/rules.yml",
    ):
        assert (root / path).is_file(), path
    assert list((root / DOC / "examples/grafana").rglob("*.json"))
    assert (root / "usr/bin/portsyncd").readlink() == Path(f"{PREFIX}/bin/portsyncd")
    assert gzip.decompress((root / "usr/share/man/man8/portsyncd.8.gz").read_bytes()).startswith(b".TH PORTSYNCD 8 ")


def test_it_overwrites_no_configuration(root: Path) -> None:
    assert not (root / "etc").exists()
    assert not (root / "DEBIAN/conffiles").exists()


def test_all_is_roots_and_nobody_else_may_write() -> None:
    done = subprocess.run(["dpkg-deb", "--contents", package()], capture_output=True, text=True, check=True)
    modes = set()
    for line in done.stdout.splitlines():
        mode, owner, _, _, _, path = line.split(maxsplit=5)
        assert owner == "root/root", line
        modes.add(mode)
        # Programs are those that are meant to be called.
        assert mode != "-rwxr-xr-x" or path == f".{PREFIX}/bin/portsyncd", line
    assert modes == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}


def test_nothing_tells_where_it_was_built(root: Path) -> None:
    here = bytes(TREE)
    assert [path for path in root.rglob("*") if path.is_file() and here in path.read_bytes()] == []


def test_its_environment_is_the_distributions_pythons(root: Path) -> None:
    environment = root / PREFIX.lstrip("/")
    python = (environment / "bin/python3").readlink()
    assert re.fullmatch(r"/usr/bin/python3\.\d+", str(python))
    assert python.name in field("Depends").split(", ")
    assert (environment / "pyvenv.cfg").read_text().startswith("home = /usr/bin\n")
    assert sorted(path.name for path in (environment / "bin").iterdir()) == ["portsyncd", "python3"]
    packages = {path.name.split("-")[0] for path in environment.glob("lib/python3.*/site-packages/*.dist-info")}
    assert {"portsyncd", "trio", "redis"} <= packages
    assert not packages & {"pip", "setuptools", "pyroute2", "pytest"}


def test_its_bytecode_is_in_force(root: Path) -> None:
    """The daemon may not write its own: each start would take seconds, and root's would leave files behind."""
    (source,) = root.glob(f"{PREFIX.lstrip('/')}/lib/python3.*/site-packages/portsyncd/config.py")
    (compiled,) = source.parent.glob("__pycache__/config.*.pyc")
    # Python's format: magic number, flags (0: by time), the source's time and size, the module's code.
    header, code = compiled.read_bytes()[:16], marshal.loads(compiled.read_bytes()[16:])  # noqa: S302 - our own
    assert isinstance(code, types.CodeType)
    assert code.co_filename == f"/{source.relative_to(root)}"
    fields = [int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12)]
    assert fields == [0, int(source.stat().st_mtime), source.stat().st_size]
    without = [
        path
        for path in root.glob(f"{PREFIX.lstrip('/')}/lib/**/*.py")
        if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))
    ]
    assert without == []


def test_its_version_is_that_of_the_code() -> None:
    assert field("Version") == portsyncd.__version__


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_its_scripts_are_shell(root: Path, script: str) -> None:
    subprocess.run(["sh", "-n", root / "DEBIAN" / script], check=True)
    assert (root / "DEBIAN" / script).stat().st_mode & 0o777 == 0o755


def test_bash_can_read_its_completion(root: Path) -> None:
    subprocess.run(["bash", "-n", root / "usr/share/bash-completion/completions/portsyncd"], check=True)
