"""The self-test finds nothing under the profile, and all that is wrong without it."""

import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from portsyncd.tls import openssl, profile, selftest
from portsyncd.tls.files import Material
from portsyncd.tls.hello import Group, Suite, client_hello, server_answer
from tests.tls.handshakes import Kit, say

SERVED = "metrics: TLS self-test: a client that offers nothing but {} would be served"


def elsewhere(settings: str | None) -> list[str]:
    """What the self-test says in a process with these settings."""
    env = {name: value for name, value in os.environ.items() if name != openssl.VARIABLE}
    if settings is not None:
        env[openssl.VARIABLE] = settings
    code = "from portsyncd.tls import selftest; print(*selftest.problems(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True, text=True, timeout=60
    )
    return done.stdout.splitlines()


def test_under_the_profile_all_handshakes_go_the_right_way() -> None:
    assert selftest.problems() == []


def test_without_settings_it_reports_what_would_be_accepted() -> None:
    *found, advice = elsewhere(None)
    assert found == [SERVED.format("ChaCha20"), SERVED.format("AES-128")]
    assert "started without portsyncd's settings" in advice
    assert openssl.SETTINGS in advice


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", SERVED.format("AES-128")),
        ("[[[", SERVED.format("AES-128")),
        ("Ciphersuites = TLS_NONSENSE", "metrics: TLS self-test: OpenSSL cannot be set up: "),
        ("Ciphersuites = TLS_CHACHA20_POLY1305_SHA256", "would be refused"),
        ("Ciphersuites = TLS_CHACHA20_POLY1305_SHA256", "a good client would get something else"),
    ],
)
def test_other_settings_are_judged_and_named(tmp_path: Path, settings: str, expected: str) -> None:
    file = tmp_path / "own.cnf"
    base = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
    file.write_text(settings if settings.startswith("[") else base + settings)
    *found, advice = elsewhere(str(file))
    assert any(expected in line for line in found), found
    assert f"OPENSSL_CONF is set to {file}: unset it" in advice
    assert "metrics.enabled = false" in advice


def test_settings_that_openssl_does_not_heed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(openssl.VARIABLE, openssl.SETTINGS)
    monkeypatch.setattr(selftest, "server_context", relaxed(lambda context: context.set_ecdh_curve("X25519")))
    found = selftest.problems()
    assert SERVED.format("the group X25519") in found
    assert "did not heed" in found[-1]


def relaxed(relax: Callable[[ssl.SSLContext], None]) -> Callable[[Material], ssl.SSLContext]:
    def context(material: Material) -> ssl.SSLContext:
        made = profile.server_context(material)
        relax(made)
        return made

    return context


def older(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ALL")


def anybody(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_OPTIONAL


def with_tickets(context: ssl.SSLContext) -> None:
    context.num_tickets = 2


def nobody(context: ssl.SSLContext) -> None:
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def unverified(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_NONE


def p256(context: ssl.SSLContext) -> None:
    context.set_ecdh_curve("prime256v1")


@pytest.mark.parametrize(
    ("relax", "line"),
    [
        (older, "a client that offers nothing but TLS 1.2 would be served"),
        (p256, "a client that offers nothing but the group P-256 would be served"),
        (anybody, "a client without a certificate would be served"),
        (unverified, "a client with a certificate of another CA would be served"),
        (with_tickets, "a client would get a session ticket"),
        (nobody, "a good client would be refused"),
    ],
)
def test_it_reports_each_weakness_of_the_context(
    monkeypatch: pytest.MonkeyPatch, relax: Callable[[ssl.SSLContext], None], line: str
) -> None:
    monkeypatch.setattr(selftest, "server_context", relaxed(relax))
    assert any(line in found for found in selftest.problems())


def test_the_answer_to_the_good_hello(tmp_path: Path) -> None:
    answer = server_answer(say(Kit(tmp_path).server(), client_hello([Suite.AES_128_GCM, Suite.AES_256_GCM])))
    assert (answer.version, answer.suite, answer.group, answer.retry) == (0x0304, 0x1302, Group.SECP384R1, False)
