"""The settings are in place before OpenSSL is, however the program is started. Real processes: it works once in each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from portsyncd.tls import openssl

REPORT = """
import json, os, ssl, sys
names = [each["name"] for each in ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).get_ciphers()]
print(json.dumps({
    "suites": [name for name in names if name.startswith("TLS_")],
    "settings": os.environ.get("OPENSSL_CONF"), "argv": sys.argv[1:], "pid": os.getpid(),
    "flags": sys.flags.no_user_site,
}))
"""
ONLY = ["TLS_AES_256_GCM_SHA384"]
# The console script does this; the command line that it would go on to is in the way here.
SCRIPT = f"""
import sys, types
stub = types.ModuleType("portsyncd.cli.main")
stub.main = lambda: exec({REPORT!r})
sys.modules["portsyncd.cli.main"] = stub
from portsyncd.__main__ import main
main()
"""


def run(*command: str, **environ: str) -> dict[str, object]:
    env = {name: value for name, value in os.environ.items() if name != openssl.VARIABLE}
    done = subprocess.run(
        [sys.executable, *command],
        env={**env, "PYTHONPATH": str(Path(openssl.__file__).parents[2]), **environ},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    """A folder whose sitecustomize starts OpenSSL before the program begins, and writes down each start."""
    (tmp_path / "sitecustomize.py").write_text(
        "import hashlib, os, pathlib\n"
        "with pathlib.Path(__file__).with_name('starts').open('a') as file: print(os.getpid(), file=file)\n"
    )
    return tmp_path


def test_without_the_settings_more_is_accepted() -> None:
    assert len(run("-c", REPORT)["suites"]) > 1  # type: ignore[arg-type]


def test_the_program_puts_them_in_place() -> None:
    report = run("-c", SCRIPT, "a b", "")
    assert (report["suites"], report["argv"]) == (ONLY, ["a b", ""])
    assert report["settings"] == openssl.SETTINGS, "what it starts inherits them"


def test_python_m() -> None:
    assert "portsyncd" in run("-m", "portsyncd", "version", "--json")


@pytest.mark.parametrize("as_file", [True, False])
def test_where_openssl_runs_already_the_process_executes_itself_once(starts: Path, as_file: bool) -> None:
    program = starts / "program.py"
    program.write_text(SCRIPT)
    path = f"{starts}:{Path(openssl.__file__).parents[2]}"
    report = run(*(["-s", str(program)] if as_file else ["-s", "-c", SCRIPT]), "a b", "", PYTHONPATH=path)
    assert (report["suites"], report["argv"], report["flags"]) == (ONLY, ["a b", ""], 1)
    assert (starts / "starts").read_text().split() == [str(report["pid"])] * 2


def test_the_operators_own_settings_are_kept(starts: Path) -> None:
    own = starts / "own.cnf"
    own.write_text("")
    path = f"{starts}:{Path(openssl.__file__).parents[2]}"
    report = run("-c", SCRIPT, PYTHONPATH=path, OPENSSL_CONF=str(own))
    assert report["settings"] == str(own)
    assert len((starts / "starts").read_text().split()) == 1


def test_an_empty_variable_names_no_settings() -> None:
    assert run("-c", SCRIPT, OPENSSL_CONF="")["suites"] == ONLY


def test_nothing_before_them_starts_openssl() -> None:
    code = "import sys; import portsyncd.__main__; sys.exit(bool({'_ssl', '_hashlib'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_interpreter_that_does_not_know_its_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(openssl.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "executable", "")
    openssl.settle()
    assert os.environ[openssl.VARIABLE] == openssl.SETTINGS
