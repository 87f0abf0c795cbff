"""certs-example/: its script makes what the profile and openssl accept; no private key is part of the project."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from portsyncd.tls import x509

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "certs-example"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(require_program: Callable[[str], str], tmp_path: Path) -> Run:
    """Run the script in ``tmp_path``, with a umask that would let everybody read."""
    require_program("openssl")

    def script(*args: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", str(EXAMPLE / "make-certs.sh"), *args],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            umask=0,
        )

    return script


def test_the_script_makes_what_the_profile_accepts(run: Run, tmp_path: Path) -> None:
    ran = run("set", "leaf7.example", "2001:db8::7", "10.0.0.7", CLIENT="prometheus")
    assert ran.returncode == 0, ran.stderr
    made = tmp_path / "set"
    assert {path.name: path.stat().st_mode & 0o777 for path in made.iterdir()} == {
        f"{name}.{kind}": mode
        for name in ("ca", "server", "prometheus")
        for kind, mode in (("crt", 0o644), ("key", 0o600))
    }
    found = {}
    for name, role in (("ca", "ca"), ("server", "server"), ("prometheus", "client")):
        (certificate,) = x509.parse_pem((made / f"{name}.crt").read_bytes())
        assert x509.profile_problems(certificate, role) == []
        assert x509.public_key_of((made / f"{name}.key").read_bytes()) == certificate.spki
        assert (str(certificate.key), certificate.digest) == ("ECDSA P-384", "sha384")
        found[name] = certificate
    ca, server, client = found.values()
    assert (ca.subject, ca.path_length, ca.not_after - ca.not_before) == (
        "CN=portsyncd-metrics-ca",
        0,
        timedelta(days=1095),
    )
    assert server.sans == x509.Sans(dns=("localhost", "leaf7.example"), ip=("::1", "2001:db8::7", "10.0.0.7"))
    assert (client.subject, client.sans.dns) == ("CN=prometheus", ("prometheus",))
    assert (server.ekus, client.ekus) == (frozenset({"serverAuth"}), frozenset({"clientAuth"}))
    for name, purpose in (("server", "sslserver"), ("prometheus", "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.crt", f"{name}.crt"]
        subprocess.run(command, cwd=made, capture_output=True, check=True)


@pytest.mark.parametrize(
    ("args", "variables", "code"),
    [
        ([], {}, 64),
        (["there"], {}, 1),
        (["new"], {"DAYS": "x"}, 1),
        (["new"], {"CLIENT": "../x"}, 64),
        (["a/b/c"], {}, 1),
    ],
    ids=["no folder", "there already", "wrong days", "wrong client", "no folder above"],
)
def test_a_failure_leaves_nothing(
    run: Run, tmp_path: Path, args: list[str], variables: dict[str, str], code: int
) -> None:
    (tmp_path / "there").mkdir()
    assert run(*args, **variables).returncode == code
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_the_text_and_the_script_say_the_same() -> None:
    text = (EXAMPLE / "README.md").read_text("utf-8")
    for part in ("1095", "portsyncd-metrics-ca", "make-certs.sh", "P-384", "SHA-384", "serverAuth", "clientAuth"):
        assert part in text


def tracked_and_new() -> list[Path]:
    """What git has or would take; all files where this is no repository, as in an unpacked archive."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        rooms = ("src", "tests", "bench", "docs", "ops", "certs-example")
        return [path for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]
    return [path for name in ran.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_private_key_is_part_of_the_project() -> None:
    # A block, not the words: the first line and base64 after it.
    block = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}")
    made = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64
    assert block.search(made)
    files = tracked_and_new()
    assert Path(__file__) in files
    assert [path for path in files if block.search(path.read_bytes())] == []


def test_git_ignores_what_is_made_in_the_example(require_program: Callable[[str], str], tmp_path: Path) -> None:
    git = [require_program("git"), "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    shutil.copy(EXAMPLE / ".gitignore", tmp_path)
    made = ["ca.key", "ca.crt", "set/server.key", "set/deep/x.key", "x.pem"]
    kept = [path.name for path in EXAMPLE.iterdir() if path.is_file() and path.suffix not in {".key", ".crt"}]
    assert "README.md" in kept
    ran = subprocess.run([*git, "check-ignore", *made, *kept], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == made


def test_the_steps_in_the_text_make_good_certificates_too(
    require_program: Callable[[str], str], tmp_path: Path
) -> None:
    require_program("openssl")
    steps = (EXAMPLE / "README.md").read_text("utf-8").partition("```sh\n")[2].partition("```")[0]
    ran = subprocess.run(
        ["sh", "-eu"], input=steps, cwd=tmp_path, capture_output=True, text=True, check=False, umask=0o077
    )
    assert ran.returncode == 0, ran.stderr
    for name in ("ca", "server"):
        (certificate,) = x509.parse_pem((tmp_path / f"{name}.crt").read_bytes())
        assert x509.profile_problems(certificate, name) == []
    (ca,) = x509.parse_pem((tmp_path / "ca.crt").read_bytes())
    assert ca.not_after - ca.not_before == timedelta(days=1095)
