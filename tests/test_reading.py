"""How files are read that somebody else names; which of them are private is told by ``tests/tls/test_files.py``."""

import errno
import grp
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from portsyncd.reading import privacy_problem, read_file


def test_all_of_a_file_and_its_status(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"12345")
    link.symlink_to(file)
    for path in (file, link, str(link)):
        content, status = read_file(path, 5)
        assert (content, status.st_ino) == (b"12345", file.stat().st_ino)


def test_a_file_whose_size_is_not_known_before(tmp_path: Path) -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    assert read_file("/proc/self/status", 1 << 16)[0].startswith(b"Name:")


@pytest.mark.parametrize(
    ("make", "number", "text"),
    [
        (lambda path: path.write_bytes(bytes(2049)), errno.EFBIG, "larger than 2 KiB"),
        (lambda path: path.symlink_to("/dev/zero"), errno.EINVAL, "no regular file"),
        (os.mkfifo, errno.EINVAL, "a pipe or a device is not waited for"),
        (Path.mkdir, errno.EINVAL, "no regular file"),
        (lambda _: None, errno.ENOENT, "No such file"),
    ],
    ids=["too large", "device", "pipe", "folder", "absent"],
)
def test_what_is_not_read(tmp_path: Path, make: Callable[[Path], None], number: int, text: str) -> None:
    make(tmp_path / "file")
    before = descriptors()
    with pytest.raises(OSError, match=text) as caught:
        read_file(tmp_path / "file", 2048)
    assert caught.value.errno == number
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_private_and_what_is_not(tmp_path: Path) -> None:
    """Of root:portsyncd 0640 the service, which has that group, is told nothing."""
    file = tmp_path / "file"
    file.touch(mode=0o600)
    assert privacy_problem(file, file.stat()) == ""
    file.chmod(0o640)
    assert file.stat().st_gid in {os.getegid(), *os.getgroups()}
    assert privacy_problem(file, file.stat()) == ""
    file.chmod(0o644)
    assert privacy_problem(file, file.stat()) == (
        f"mode 0644 gives everybody access; allowed is 0600, or 0640 with a group of the service: chmod 0600 {file}, or chgrp"
    )


@pytest.mark.parametrize(("user", "private"), [(0, True), (1000, False)])
def test_root_asks_for_the_service_too(monkeypatch: pytest.MonkeyPatch, user: int, private: bool) -> None:
    service = 54321
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=service, name=name))
    status = os.stat_result((0o100640, 0, 0, 1, 0, service, 0, 0, 0, 0))
    assert (privacy_problem("file", status) == "") == private


def test_without_a_group_of_that_name_root_asks_for_itself() -> None:
    status = os.stat_result((0o100640, 0, 0, 1, 0, 54321, 0, 0, 0, 0))
    assert "which is not the service's" in privacy_problem("file", status)


def test_no_more_memory_is_asked_for_than_a_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"{}")
    asked: list[int] = []
    read = os.read

    def note(descriptor: int, most: int) -> bytes:
        asked.append(most)
        return read(descriptor, most)

    monkeypatch.setattr(os, "read", note)
    assert read_file(tmp_path / "file", 1 << 30)[0] == b"{}"
    assert max(asked) <= 65537


@pytest.mark.parametrize("group", [0, os.getegid()])
def test_a_file_for_the_group_of_root_is_private(group: int) -> None:
    """So systemd shows what LoadCredential= gives a user: root's, with an ACL that looks like a mode for the group."""
    assert privacy_problem("file", os.stat_result((0o100440, 0, 0, 1, 0, group, 0, 0, 0, 0))) == ""
