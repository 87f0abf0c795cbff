"""The wheel, as pip and pipx install it: from files alone, no index is asked."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import portsyncd

TREE = Path(__file__).parents[2]
WHEEL = TREE / f"build/wheel/portsyncd-{portsyncd.__version__}-py3-none-any.whl"
WHEELHOUSE = Path(sys.prefix) / "wheelhouse"
# The environment of the tests must not reach into the one that is tested.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
# pip for pipx' environments, which would otherwise be fetched for each PIPX_HOME anew.
SHARED = Path(sys.prefix) / "pipx/shared"
FROM_FILES = ["--no-index", "--find-links", str(WHEELHOUSE), "--no-compile"]


@pytest.fixture(autouse=True)
def packages() -> None:
    for path in (WHEEL, WHEELHOUSE, SHARED):
        if not path.exists():
            pytest.fail(f"{path} is missing: `make packages` makes it", pytrace=False)


def run(*argv: Path | str, **environment: str) -> str:
    """What a command prints; it has to succeed, and starts in a folder that holds no portsyncd."""
    done = subprocess.run(argv, env=ENVIRONMENT | environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_command(portsyncd_command: Path, folder: Path) -> None:
    """The console script works, with a home of its own."""
    assert run(portsyncd_command, "version").split()[:2] == ["portsyncd", portsyncd.__version__]
    assert "check-config" in run(portsyncd_command, "--help")
    configuration = folder / "portsyncd.conf"
    configuration.write_text("[metrics]\nenabled = false\n")
    assert run(portsyncd_command, "check-config", configuration)


def test_it_works_in_a_clean_virtual_environment(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin/python"
    run(sys.executable, "-m", "pip", "--quiet", "--python", python, "install", *FROM_FILES, WHEEL)
    check_command(environment / "bin/portsyncd", tmp_path)
    # No dependency was forgotten, and none is of a version that another one does not bear.
    run(sys.executable, "-m", "pip", "--python", python, "check")


def test_pipx_installs_it(tmp_path: Path) -> None:
    # All other folders of pipx lie below these.
    environment = {"HOME": str(tmp_path), "PIPX_HOME": str(tmp_path / "pipx"), "PIPX_SHARED_LIBS": str(SHARED)}
    environment["PIPX_DISABLE_SHARED_LIBS_AUTO_UPGRADE"] = "1"
    pipx = Path(sys.executable).with_name("pipx")
    run(pipx, "install", "--quiet", f"--pip-args={' '.join(FROM_FILES)}", WHEEL, **environment)
    programs = tmp_path / ".local/bin"
    assert [path.name for path in programs.iterdir()] == ["portsyncd"]
    check_command(programs / "portsyncd", tmp_path)


def test_it_holds_the_package_and_nothing_else() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        names = set(wheel.namelist())
    package = {name for name in names if name.startswith("portsyncd/")}
    assert package == {
        str(path.relative_to(TREE / "src"))
        for path in (TREE / "src/portsyncd").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # Type checkers of who imports it, and OpenSSL's settings: neither is a Python file.
    assert {"portsyncd/py.typed", "portsyncd/tls/openssl.cnf"} <= package
    info = f"portsyncd-{portsyncd.__version__}.dist-info"
    assert {name.split("/")[0] for name in names - package} == {info}
    assert f"{info}/licenses/LICENSE" in names
