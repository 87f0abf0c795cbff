"""``portsyncd certs``: what it writes works with openssl and curl as it says, and what is wrong is found."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from portsyncd import errors
from portsyncd.cli.certs import certs
from portsyncd.cli.main import Program
from portsyncd.testing.children import dying_with_parent
from portsyncd.tls import x509
from portsyncd.tls.authority import Authority, Issued

SOURCES = Path(__file__).parents[2] / "src"
NOW = datetime.now(UTC)
CA = Authority.make()


def invoke(*args: str | Path) -> Result:
    program = Program("portsyncd", commands={"certs": certs})
    return CliRunner().invoke(program, ["certs", *map(str, args)])


def good(*args: str | Path) -> str:
    result = invoke(*args)
    assert (result.exit_code, result.stderr) == (errors.EXIT_OK, "")
    return result.stdout


def refused(code: int, *args: str | Path) -> str:
    result = invoke(*args)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set made by the command, with the default client."""
    good("make", tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("PORTSYNCD_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("portsyncd.config.DEFAULT_FILE", str(tmp_path / "none.conf"))


# -- make


def test_a_set_has_everything_and_is_good(folder: Path) -> None:
    assert names(folder) == {f"{name}.{kind}" for name in ("ca", "server", "client") for kind in ("crt", "key")}
    for name, role in (("ca", "ca"), ("server", "server"), ("client", "client")):
        (certificate,) = x509.parse_pem((folder / f"{name}.crt").read_bytes())
        assert x509.profile_problems(certificate, role) == []
        assert x509.public_key_of((folder / f"{name}.key").read_bytes()) == certificate.spki
        assert (folder / f"{name}.key").stat().st_mode & 0o777 == 0o600
        assert (folder / f"{name}.crt").stat().st_mode & 0o777 == 0o644


def test_names_clients_and_days_are_as_asked(tmp_path: Path) -> None:
    good(
        *("make", tmp_path, "--san", "leaf7", "--san", "2001:db8::7", "--san", "::1", "--client", "prometheus"),
        *("--client", "operator-1", "--days", "3", "--ca-days", "5"),
    )
    (server,) = x509.parse_pem((tmp_path / "server.crt").read_bytes())
    assert server.sans == x509.Sans(dns=("localhost", "leaf7"), ip=("::1", "2001:db8::7"))
    assert server.not_after - server.not_before == timedelta(days=3, minutes=5)
    for name in ("prometheus", "operator-1"):
        (client,) = x509.parse_pem((tmp_path / f"{name}.crt").read_bytes())
        assert (client.subject, client.sans.dns) == (f"CN={name}", (name,))
    (ca,) = x509.parse_pem((tmp_path / "ca.crt").read_bytes())
    assert (ca.subject, ca.not_after - ca.not_before) == ("CN=portsyncd-metrics-ca", timedelta(days=5, minutes=5))
    assert not (tmp_path / "client.crt").exists()


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert "--force" in refused(errors.EXIT_USAGE, "make", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    good("make", folder, "--force")
    assert all(path.read_bytes() != content for path, content in before.items())


def test_another_set_of_the_same_ca(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "leaf8"
    ca = ("--ca", folder / "ca.crt", "--ca-key", folder / "ca.key")
    said = json.loads(good("make", other, *ca, "--san", "leaf8", "--json"))
    assert said["ca_key"] == str(folder / "ca.key")
    assert names(other) == {"ca.crt", "server.crt", "server.key"}
    assert (other / "ca.crt").read_bytes() == (folder / "ca.crt").read_bytes()
    good("check", other)
    # In its own folder: the CA is no obstacle, a new client is added to it.
    (folder / "server.crt").unlink()
    (folder / "server.key").unlink()
    good("make", folder, *ca, "--client", "second")
    good("check", folder)


def test_a_ca_beside_the_key_of_another_is_half_a_set(folder: Path, tmp_path: Path) -> None:
    good("make", tmp_path / "other")
    ca = ("--ca", tmp_path / "other" / "ca.crt", "--ca-key", tmp_path / "other" / "ca.key")
    assert "the key of another CA" in refused(errors.EXIT_USAGE, "make", folder, *ca, "--force")
    good("check", folder)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "nothing was changed" in refused(errors.EXIT_UNEXPECTED, "make", tmp_path / "file")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--san", "localhost:9090"], "--san: 'localhost:9090' is neither"),
        (["--client", "../x"], "--client: '../x'"),
        (["--client", "server"], "--client: 'server'"),
        (["--client", "CA"], "--client: 'CA'"),
        (["--client", "a..b"], "--client: 'a..b' is neither"),
        (["--client", ".hidden"], "--client: '.hidden'"),
        (["--days", "0"], "--days"),
        (["--ca", "x"], "--ca and --ca-key belong together"),
        (["--ca-key", "x"], "--ca and --ca-key belong together"),
    ],
)
def test_a_wrong_command_line_writes_nothing(tmp_path: Path, args: list[str], said: str) -> None:
    message = refused(errors.EXIT_USAGE, "make", tmp_path / "set", *args)
    assert said in message
    assert names(tmp_path) == set()


def write(folder: Path, name: str, issued: Issued | Authority) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    cert.write_bytes(issued.cert_pem)
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem)
    return cert, key


@pytest.mark.parametrize(
    ("ca", "said"),
    [
        (CA.issue_server(), "is no CA"),
        (Authority.make(curve="secp256r1"), "key is ECDSA P-256"),
        (Authority.make(not_before=NOW - timedelta(9), not_after=NOW - timedelta(1)), "expired"),
        (Issued(CA.cert_pem, Authority.make().key_pem), "does not belong"),
        (Issued(b"", b""), "is empty"),
    ],
    ids=["no CA", "weak", "expired", "other key", "empty"],
)
def test_a_ca_that_would_be_refused_is_not_used(tmp_path: Path, ca: Issued | Authority, said: str) -> None:
    cert, key = write(tmp_path, "ca", ca)
    assert said in refused(errors.EXIT_CONFIG, "make", tmp_path / "set", "--ca", cert, "--ca-key", key)
    assert said in refused(errors.EXIT_CONFIG, "renew", tmp_path)
    assert not (tmp_path / "set").exists()


def test_a_ca_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refused(errors.EXIT_CONFIG, "make", tmp_path, "--ca", tmp_path / "a", "--ca-key", "b")


def test_what_is_printed_is_correct_configuration(tmp_path: Path) -> None:
    text = good("make", tmp_path / "a b", "--client", "prometheus")
    section = tomllib.loads(re.sub(r"^  ", "", text.partition("[metrics]")[2].partition("\n\n")[0], flags=re.MULTILINE))
    assert section.keys() == {"cert", "key", "ca"}
    tls = {"ca_file": "ca.crt", "cert_file": "prometheus.crt", "key_file": "prometheus.key"}
    job: dict[str, Any] = {
        "scheme": "https",
        "tls_config": {key: str(tmp_path / "a b" / name) for key, name in tls.items()},
    }
    job["tls_config"] |= {"min_version": "TLS13"}
    block = text.partition("as prometheus:\n")[2].partition("curl:")[0]
    settings = [f"    {key}: {json.dumps(value)}" for key, value in job["tls_config"].items()]
    assert block.splitlines() == ["  scheme: https", "  tls_config:", *settings]
    document = json.loads(good("make", tmp_path / "a b", "--client", "prometheus", "--force", "--json"))
    assert document["prometheus"]["prometheus"] == job
    assert shlex.join(document["curl"]["prometheus"]) in text
    assert set(document["written"]) == {str(path) for path in (tmp_path / "a b").iterdir()}


@contextmanager
def tls_server(openssl: str, folder: Path) -> Iterator[int]:
    """``openssl s_server`` with the strictest settings of the endpoint; gives its port."""
    command = [openssl, "s_server", "-accept", "[::1]:0", "-www", "-tls1_3", "-Verify", "1", "-verify_return_error"]
    command += ["-ciphersuites", "TLS_AES_256_GCM_SHA384", "-groups", "P-384", "-x509_strict", "-purpose", "sslclient"]
    command += ["-cert", "server.crt", "-key", "server.key", "-CAfile", "ca.crt"]
    server = subprocess.Popen(
        dying_with_parent(command),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            found = re.match(r"ACCEPT \[::1\]:(\d+)", line)
            if found:
                yield int(found[1])
                return
        pytest.fail("openssl s_server did not listen")
    finally:
        server.kill()
        server.communicate()


def test_the_printed_curl_command_works(tmp_path: Path, folder: Path, require_program: Callable[[str], str]) -> None:
    good("make", tmp_path / "other")
    command: list[str] = json.loads(good("make", folder, "--force", "--json"))["curl"]["client"]
    command[0] = require_program("curl")
    with tls_server(require_program("openssl"), folder) as port:
        command[-1] = command[-1].replace(":9090/", f":{port}/")
        served = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert "TLS_AES_256_GCM_SHA384" in served.stdout
        # Neither side takes what another CA of the same name signed.
        for flag, name in (("--cacert", "ca.crt"), ("--cert", "client.crt")):
            foreign = list(command)
            foreign[foreign.index(flag) + 1] = str(tmp_path / "other" / name)
            if flag == "--cert":
                foreign[foreign.index("--key") + 1] = str(tmp_path / "other" / "client.key")
            ran = subprocess.run(foreign, capture_output=True, text=True, check=False, timeout=60)
            assert ran.returncode != 0
            assert "TLS_AES" not in ran.stdout


# -- check


def certificates(*args: str | Path, code: int) -> dict[str, Any]:
    """By file name: what ``check --json`` says of it."""
    result = invoke("check", *args, "--json")
    assert (result.exit_code, result.stderr) == (code, "")
    document = json.loads(result.stdout)
    assert document["ok"] == (code == errors.EXIT_OK)
    return {Path(each["file"]).name: each for each in document["certificates"]}


def test_a_good_set_is_shown(folder: Path) -> None:
    text = good("check", folder)
    for line in (
        f"server  {folder}/server.crt",
        "subject    CN=portsyncd-metrics",
        "issuer     CN=portsyncd-metrics-ca",
        "names      DNS:localhost, IP:::1",
        "key        ECDSA P-384",
        "signature  SHA-384",
        "used for   serverAuth",
        "days left  396",
        f"key file   {folder}/server.key (mode 0600) belongs to it",
        "verdict    good",
        "All is good",
    ):
        assert line in text
    found = certificates(folder, code=errors.EXIT_OK)
    assert {name: (each["role"], each["key_matches"], each["key_mode"]) for name, each in found.items()} == {
        f"{role}.crt": (role, True, "0600") for role in ("ca", "server", "client")
    }
    (facts,) = found["client.crt"]["chain"]
    assert (facts["subject"], facts["sans"]["dns"], facts["ekus"]) == ("CN=client", ["client"], ["clientAuth"])
    assert datetime.fromisoformat(facts["not_after"]).tzinfo == UTC


Breakage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("name", "break_it", "problem"),
    [
        ("server.crt", lambda folder: (folder / "server.crt").unlink(), "cannot be read: No such file"),
        ("server.crt", lambda folder: (folder / "server.key").unlink(), "server.key cannot be read: No such file"),
        ("ca.crt", lambda folder: (folder / "ca.crt").write_bytes(b"x"), "no certificate in PEM form"),
        ("server.crt", lambda folder: (folder / "server.key").write_bytes(b"x"), "no private key in PEM form"),
        ("server.crt", lambda folder: (folder / "server.key").write_bytes(CA.key_pem), "does not belong"),
        ("ca.crt", lambda folder: (folder / "ca.key").write_bytes(CA.key_pem), "does not belong"),
        ("client.crt", lambda folder: (folder / "client.key").chmod(0o604), "mode 0604, open to all users: chmod"),
        ("server.crt", lambda folder: write(folder, "server", CA.issue_server()), "not signed by a CA of ca.crt"),
        ("new.crt", lambda folder: write(folder, "new", CA.issue_client("c")), "not signed by a CA of ca.crt"),
    ],
)
def test_what_is_wrong_in_a_folder_is_found(folder: Path, name: str, break_it: Breakage, problem: str) -> None:
    break_it(folder)
    found = certificates(folder, code=errors.EXIT_CONFIG)
    assert [len(each["problems"]) for each in found.values() if each["problems"]] == [1]
    assert problem in found[name]["problems"][0]
    text = invoke("check", folder).stdout
    assert "not good" in text
    assert "1 problem:" in text


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ({"curve": "secp256r1"}, "key is ECDSA P-256"),
        ({"digest": "sha256"}, "signed with SHA-256"),
        ({"ekus": ("clientAuth",)}, "a server certificate needs serverAuth"),
        ({"not_before": NOW - timedelta(days=2), "not_after": NOW - timedelta(days=1)}, "expired on"),
        ({"not_before": NOW + timedelta(days=1)}, "not valid before"),
    ],
)
def test_profile_and_dates_are_judged(tmp_path: Path, odd: dict[str, Any], problem: str) -> None:
    write(tmp_path, "ca", CA)
    write(tmp_path, "server", CA.issue_server(**odd))
    (said,) = certificates(tmp_path, code=errors.EXIT_CONFIG)["server.crt"]["problems"]
    assert problem in said


def test_a_chain_is_followed_to_the_ca(tmp_path: Path) -> None:
    write(tmp_path, "ca", CA)
    server = CA.issue_server()
    write(tmp_path, "server", Issued(server.cert_pem + CA.cert_pem, server.key_pem))
    assert len(certificates(tmp_path, code=errors.EXIT_OK)["server.crt"]["chain"]) == 2
    weak = Authority.make(curve="secp256r1")
    server = weak.issue_server()
    write(tmp_path, "server", Issued(server.cert_pem + weak.cert_pem, server.key_pem))
    said = certificates(tmp_path, code=errors.EXIT_CONFIG)["server.crt"]["problems"]
    assert [problem.partition(";")[0] for problem in said] == [
        "CN=portsyncd-metrics-ca: key is ECDSA P-256",
        "not signed by a CA of ca.crt (its issuer is CN=portsyncd-metrics-ca)",
    ]


def intermediate() -> Authority:
    """A CA below ``CA``, as other sites have them; ``Authority`` itself makes none."""
    key = Authority.make().key
    name = library.Name([library.NameAttribute(NameOID.COMMON_NAME, "between")])
    dates = (NOW, NOW + timedelta(days=400))
    builder = library.CertificateBuilder(CA.certificate.subject, name, key.public_key(), 7, *dates)
    builder = builder.add_extension(library.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(builder.sign(CA.key, hashes.SHA384()), key)


def test_a_chain_may_have_several_steps(tmp_path: Path) -> None:
    write(tmp_path, "ca", CA)
    between = intermediate()
    server = between.issue_server()
    write(tmp_path, "server", Issued(server.cert_pem + between.cert_pem, server.key_pem))
    assert certificates(tmp_path, code=errors.EXIT_OK)["server.crt"]["problems"] == []
    write(tmp_path, "server", server)
    assert "issuer is CN=between" in certificates(tmp_path, code=errors.EXIT_CONFIG)["server.crt"]["problems"][0]


def test_several_cas_as_while_one_replaces_the_other(tmp_path: Path) -> None:
    new = Authority.make()
    write(tmp_path, "ca", Issued(new.cert_pem + CA.cert_pem, new.key_pem))
    write(tmp_path, "server", CA.issue_server())
    write(tmp_path, "old", CA.issue_client("old"))
    write(tmp_path, "new", new.issue_client("new"))
    assert len(certificates(tmp_path, code=errors.EXIT_OK)) == 4


def test_an_expired_ca_beside_a_valid_one_is_a_note(tmp_path: Path) -> None:
    old = Authority.make(not_before=NOW - timedelta(days=2), not_after=NOW - timedelta(days=1))
    write(tmp_path, "ca", Issued(old.cert_pem + CA.cert_pem, old.key_pem))
    write(tmp_path, "server", CA.issue_server())
    (note,) = certificates(tmp_path, code=errors.EXIT_OK)["ca.crt"]["notes"]
    assert note.startswith("CN=portsyncd-metrics-ca: expired on")
    write(tmp_path, "ca", Issued(old.cert_pem + old.cert_pem, old.key_pem))
    assert len(certificates(tmp_path, code=errors.EXIT_CONFIG)["ca.crt"]["problems"]) == 2


def test_what_works_but_should_be_known_is_a_note(tmp_path: Path) -> None:
    write(tmp_path, "ca", CA)
    _, key = write(tmp_path, "server", CA.issue_server((), days=20))
    key.chmod(0o640)
    notes = " ".join(certificates(tmp_path, code=errors.EXIT_OK)["server.crt"]["notes"])
    for part in ("expires in 19 days", "without a name or address", "mode 0640"):
        assert part in notes
    assert "note: expires in" in good("check", tmp_path)


def test_the_files_that_the_daemon_is_given(no_configuration: None, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "p.conf"
    config.write_text(f"[metrics]\ncert = '{folder}/server.crt'\nkey = '{folder}/server.key'\nca = '{folder}/ca.crt'\n")
    assert len(certificates("--config", config, code=errors.EXIT_OK)) == 2
    # What is named on the command line wins.
    key = ("--key", folder / "client.key")
    assert certificates("--config", config, *key, code=errors.EXIT_CONFIG)["server.crt"]["key_matches"] is False
    files = ("--cert", folder / "server.crt", "--key", folder / "server.key", "--ca", folder / "ca.crt")
    assert len(certificates(*files, code=errors.EXIT_OK)) == 2
    assert "DIR names all files" in refused(errors.EXIT_USAGE, "check", folder, *key)


def test_the_default_places_and_the_environment(
    no_configuration: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = invoke("check")
    assert result.exit_code == errors.EXIT_CONFIG
    assert "/etc/portsyncd/metrics/server.crt" in result.stdout
    for key, name in (("CERT", "server.crt"), ("KEY", "server.key"), ("CA", "ca.crt")):
        monkeypatch.setenv(f"PORTSYNCD_METRICS_{key}", str(folder / name))
    assert "All is good" in good("check")
    monkeypatch.setenv("PORTSYNCD_METRICS_LISTEN", "127.0.0.1:9090")
    assert "PORTSYNCD_METRICS_LISTEN" in refused(errors.EXIT_CONFIG, "check")


def test_a_server_of_another_ca_than_the_clients_is_a_note_only(tmp_path: Path) -> None:
    cert, key = write(tmp_path, "server", Authority.make().issue_server())
    ca, _ = write(tmp_path, "ca", CA)
    (note,) = certificates("--cert", cert, "--key", key, "--ca", ca, code=errors.EXIT_OK)["server.crt"]["notes"]
    assert "must be given the server's CA" in note


# -- renew


def test_renewed_certificates_keep_their_names_and_the_ca(tmp_path: Path) -> None:
    good("make", tmp_path, "--san", "leaf7", "--client", "prometheus", "--days", "9")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    old = certificates(tmp_path, code=errors.EXIT_OK)
    assert "SIGHUP" in good("renew", tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == before.keys() - {"ca.crt", "ca.key"}
    new = certificates(tmp_path, code=errors.EXIT_OK)
    for name in ("server.crt", "prometheus.crt"):
        for fact in ("subject", "sans", "ekus"):
            assert new[name]["chain"][0][fact] == old[name]["chain"][0][fact]
        assert (old[name]["days_left"], new[name]["days_left"]) == (8, 396)
    assert len(json.loads(good("renew", tmp_path, "--days", "3", "--json"))["written"]) == 4


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("client.crt", Authority.make().issue_client("client").cert_pem, "not made by certs make with this CA"),
        ("client.crt", b"x", "no certificate in PEM form"),
    ],
)
def test_what_cannot_be_renewed_stops_all_of_it(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert said in refused(errors.EXIT_CONFIG, "renew", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_nothing_to_renew(tmp_path: Path) -> None:
    write(tmp_path, "ca", CA)
    assert "no certificate beside ca.crt" in refused(errors.EXIT_CONFIG, "renew", tmp_path)


# -- the commands themselves


@pytest.mark.parametrize("command", ["make", "check", "renew"])
def test_help_has_examples_that_are_valid(command: str) -> None:
    text = good(command, "--help")
    assert "Examples:" in text
    joined = text.replace("\\\n", " ")
    options = set(re.findall(r" (--[a-z-]+)", joined))
    for line in re.findall(rf"portsyncd certs {command} .*", joined):
        assert set(re.findall(r" (--[a-z-]+)", line)) <= options


def test_importing_the_commands_is_cheap() -> None:
    heavy = ("cryptography", "trio", "ssl", "redis", "structlog", "hypothesis")
    program = f"import sys, portsyncd.cli.certs; print(*(set({heavy!r}) & sys.modules.keys()))"
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}
    ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
