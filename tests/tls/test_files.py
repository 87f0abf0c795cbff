import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portsyncd.errors import ConfigError
from portsyncd.reading import mode_problem
from portsyncd.tls.authority import Authority
from portsyncd.tls.files import MAX_BYTES, Files, read
from tests.tls.handshakes import Kit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def problems(kit: Kit) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        read(kit.files)
    return raised.value.problems


def test_a_good_set(kit: Kit) -> None:
    material = read(kit.files)
    assert [each.subject for each in material.server] == ["CN=portsyncd-metrics"]
    assert [each.subject for each in material.ca] == ["CN=portsyncd-metrics-ca"]
    assert material.key_pem == kit.files.key.read_bytes()
    assert b"PRIVATE" not in repr(material).encode()


def test_missing_files_are_told_all_at_once_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(Files(tmp_path / "a", tmp_path / "b", tmp_path / "c"))
    for problem, key, name in zip(raised.value.problems, ("cert", "key", "ca"), "abc", strict=True):
        assert problem.startswith(f"metrics.{key}: {tmp_path / name} does not exist; ")
        assert "`portsyncd certs make`" in problem
        assert "metrics.enabled = false" in problem


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("part", ["cert", "key", "ca"])
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda path: path.write_bytes(b""), ""),
        (lambda path: path.write_bytes(os.urandom(999)), ""),
        (lambda path: path.write_bytes(path.read_bytes()[:-99]), ""),
        (lambda path: path.write_bytes(bytes(MAX_BYTES + 1)), "larger than 256 KiB"),
        (folder, "no regular file"),
        (pipe, "no regular file"),
        (loop, "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_pem_file(kit: Kit, part: str, spoil: Callable[[Path], object], text: str) -> None:
    path: Path = getattr(kit.files, part)
    spoil(path)
    (problem,) = problems(kit) if spoil is not pipe or part != "key" else problems(kit)[-1:]
    assert problem.startswith(f"metrics.{part}: {path}")
    assert text in problem


def test_an_unreadable_file(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything; the kernel's answer to others is played here.
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert len(problems(kit)) == 3
    assert f"may not be read by user {os.geteuid()}" in problems(kit)[1]


def test_a_key_of_another_certificate(kit: Kit) -> None:
    kit.files.key.write_bytes(kit.authority.issue_server().key_pem)
    (problem,) = problems(kit)
    assert str(kit.files.key) in problem
    assert f"does not belong to the certificate in {kit.files.cert}" in problem


def test_certificate_and_key_exchanged(kit: Kit) -> None:
    kit.files.cert.rename(kit.folder / "x")
    kit.files.key.rename(kit.files.cert)
    (kit.folder / "x").rename(kit.files.key)
    found = "\n".join(problems(kit))
    assert "are certificate and key exchanged?" in found
    assert "no private key" in found


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        ({"curve": "secp256r1"}, "key is ECDSA P-256; allowed: ECDSA P-384"),
        ({"rsa_bits": 2048}, "key is RSA of 2048 bits"),
        ({"digest": "sha256"}, "signed with SHA-256; allowed: SHA-384"),
    ],
)
def test_below_the_profile(kit: Kit, odd: dict[str, object], text: str) -> None:
    weak = Authority.make(**odd)  # type: ignore[arg-type]
    server = kit.authority.issue_server(**odd)  # type: ignore[arg-type]
    # A chain: its second certificate is judged too, by its strength.
    kit.put(type(server)(server.cert_pem + weak.cert_pem, server.key_pem))
    kit.files.ca.write_bytes(kit.authority.cert_pem + weak.cert_pem)
    found = problems(kit)
    assert [text in problem for problem in found] == [True] * 3
    assert "certificate 1 (CN=portsyncd-metrics)" in found[0]
    assert found[1].startswith("metrics.cert")
    assert "certificate 2 (CN=portsyncd-metrics-ca)" in found[2]
    assert found[2].startswith("metrics.ca")


def test_certificates_for_other_purposes(kit: Kit) -> None:
    kit.put(kit.authority.issue_server(ekus=["clientAuth"]))
    kit.files.ca.write_bytes(kit.authority.issue_client("c", ekus=[]).cert_pem)
    found = problems(kit)
    assert "needs serverAuth" in found[0]
    assert "CA:TRUE" in found[1]


def test_many_problems_of_one_kind_are_folded(kit: Kit) -> None:
    kit.files.ca.write_bytes(Authority.make(curve="secp256r1").cert_pem * 8)
    found = problems(kit)
    assert len(found) == 6
    assert found[-1].endswith("3 more problems like these")


@pytest.mark.parametrize(
    ("mode", "text"),
    [(0o600, ""), (0o400, ""), (0o640, ""), (0o604, "everybody"), (0o610, "group "), (0o602, "everybody")],
)
def test_a_key_that_others_may_use(mode: int, text: str) -> None:
    own = {7} if mode == 0o640 else {8}
    problem = mode_problem(0o100000 | mode, 7, own)
    assert text in problem
    assert bool(problem) == bool(text)
    assert not problem or f"mode {mode:04o}" in problem


def test_a_group_without_a_name() -> None:
    assert "group 4294000000, which is not the service's" in mode_problem(0o640, 4294000000, ())


def test_the_mode_of_a_real_key(kit: Kit) -> None:
    kit.files.key.chmod(0o640)
    read(kit.files)
    kit.files.key.chmod(0o644)
    (problem,) = problems(kit)
    assert f"{kit.files.key}: mode 0644 gives everybody access" in problem
    assert f"chmod 0600 {kit.files.key}" in problem


def test_dates_are_asked_for_apart(kit: Kit) -> None:
    kit.put(kit.authority.issue_server(not_before=NOW - DAY, not_after=NOW + 9 * DAY))
    old, new = (Authority.make(not_before=NOW - 9 * DAY, not_after=NOW + days * DAY) for days in (2, 20))
    kit.files.ca.write_bytes(old.cert_pem + new.cert_pem)
    material = read(kit.files)
    assert material.expiries() == {"server": (NOW + 9 * DAY).timestamp(), "ca": (NOW + 20 * DAY).timestamp()}
    assert material.date_problems(NOW) == []
    assert material.date_problems(NOW + 3 * DAY) == [], "one CA is still good"
    (early,) = material.date_problems(NOW - 2 * DAY)
    assert f"metrics.cert: {kit.files.cert}: CN=portsyncd-metrics: not valid before" in early
    assert [problem.split(":")[0] for problem in material.date_problems(NOW + 99 * DAY)] == [
        "metrics.cert",
        "metrics.ca",
        "metrics.ca",
    ]
