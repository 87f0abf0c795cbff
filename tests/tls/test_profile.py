import os
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from portsyncd.errors import ConfigError
from portsyncd.tls import profile
from portsyncd.tls.authority import Authority, Issued
from portsyncd.tls.files import Material
from tests.tls.handshakes import Kit, shake_hands


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_what_a_good_client_gets(kit: Kit) -> None:
    server, client = shake_hands(kit.server(), kit.client(kit.authority.issue_client("good")))
    assert (server.version(), server.cipher()) == ("TLSv1.3", ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256))
    assert client.selected_alpn_protocol() == "http/1.1"
    assert client.compression() is None


@pytest.mark.parametrize("odd", [{"curve": "secp521r1", "digest": "sha512"}, {"rsa_bits": 3072}])
def test_other_keys_that_the_profile_allows(kit: Kit, odd: dict[str, object]) -> None:
    kit.put(kit.authority.issue_server(**odd))  # type: ignore[arg-type]
    client = kit.client(kit.authority.issue_client("good", **odd))  # type: ignore[arg-type]
    assert shake_hands(kit.server(), client)


def test_a_client_cannot_resume(kit: Kit) -> None:
    context, client = kit.server(), kit.client(kit.authority.issue_client("good"))
    server, asking = shake_hands(context, client)
    server.write(b"x")
    assert asking.read(1) == b"x"
    assert asking.session is not None
    assert not asking.session.has_ticket
    again, _ = shake_hands(context, client, asking.session)
    assert not again.session_reused


def test_no_other_ca_is_trusted(kit: Kit) -> None:
    assert kit.server().cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}


def test_a_ca_below_a_root_is_enough(kit: Kit, tmp_path: Path, require_program: Callable[[str], str]) -> None:
    # portsyncd makes no such chains; others do, and with their own settings.
    env = {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}

    def openssl(*arguments: str) -> None:
        subprocess.run(
            [require_program("openssl"), *arguments], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=30
        )

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "root.key", "-out", "root.crt", "-subj", "/CN=root")
    openssl("req", *new, "-keyout", "sub.key", "-out", "sub.csr", "-subj", "/CN=sub")
    (tmp_path / "sub.ext").write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")
    signed = ("-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial", "-sha384")
    openssl("x509", "-req", "-in", "sub.csr", "-out", "sub.crt", "-extfile", "sub.ext", *signed)
    sub = Authority.load((tmp_path / "sub.crt").read_bytes(), (tmp_path / "sub.key").read_bytes())
    kit.files.ca.write_bytes(sub.cert_pem)
    assert shake_hands(kit.server(), kit.client(sub.issue_client("good")))


def test_what_was_checked_is_served_whatever_becomes_of_the_files(kit: Kit) -> None:
    material = kit.material()
    for path in (kit.files.cert, kit.files.key, kit.files.ca):
        path.unlink()
    before = len(list(Path("/proc/self/fd").iterdir()))
    context = profile.server_context(material)
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "nothing of it stays open"
    assert shake_hands(context, kit.client(kit.authority.issue_client("good")))


def encrypted(key_pem: bytes) -> bytes:
    key = load_pem_private_key(key_pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def test_a_passphrase_is_never_asked_for(kit: Kit) -> None:
    issued = kit.authority.issue_client("c")
    with pytest.raises(ConfigError, match="passphrase"):
        kit.client(Issued(issued.cert_pem, encrypted(issued.key_pem)))


def test_what_openssl_does_not_take(kit: Kit) -> None:
    material = kit.material()
    other = Material(material.files, material.server, material.ca, kit.authority.issue_server().key_pem)
    with pytest.raises(ConfigError, match="OpenSSL does not take the certificates"):
        profile.server_context(other)


class Newer(ssl.SSLContext):
    """As of Python 3.15: suites and groups can be chosen."""

    known: tuple[str, ...] = ("secp384r1", "secp521r1")

    def set_ciphersuites(self, ciphersuites: str, /) -> None:
        self.chosen = [ciphersuites]

    def set_groups(self, groups: str, /) -> None:
        if not set(groups.split(":")) <= set(self.known):
            raise ssl.SSLError("passed invalid argument")
        self.chosen.append(groups)


class Newest(Newer):
    """And OpenSSL 3.5."""

    known = (*Newer.known, "MLKEM1024", "SecP384r1MLKEM1024")


@pytest.mark.parametrize(
    ("runtime", "name", "groups"),
    [
        (Newer, "CNSA 1.0 (RFC 9151)", "secp384r1:secp521r1"),
        (Newest, "CNSA 1.0 (RFC 9151) with ML-KEM-1024", "SecP384r1MLKEM1024:MLKEM1024:secp384r1:secp521r1"),
    ],
)
def test_newer_runtimes_choose_in_code(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, runtime: type[Newer], name: str, groups: str
) -> None:
    monkeypatch.setattr(profile, "ssl", SimpleNamespace(**{**vars(ssl), "SSLContext": runtime}))
    context = kit.server()
    assert isinstance(context, runtime)
    assert context.chosen == ["TLS_AES_256_GCM_SHA384", groups]
    assert profile.in_force.__wrapped__().name == name


def test_this_runtime_claims_what_it_does() -> None:
    if hasattr(ssl.SSLContext, "set_groups"):
        return
    assert profile.in_force().name == "CNSA 1.0 (RFC 9151)"
    assert profile.in_force().description == "CNSA 1.0 (RFC 9151): TLS 1.3, TLS_AES_256_GCM_SHA384, secp384r1"
