"""Writing a set of files: all or none, and never readable by others, whatever the umask."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portsyncd.cli import cert_files
from portsyncd.cli.cert_files import CERT_MODE, KEY_MODE, NewFile, existing, write_set
from portsyncd.errors import FileError

SET = [NewFile("ca.crt", b"ca", CERT_MODE), NewFile("a.key", b"key", KEY_MODE), NewFile("a.crt", b"cert", CERT_MODE)]
WRITTEN = {each.name: each.content for each in SET}


def content(folder: Path) -> dict[str, bytes]:
    """What is there, hidden files too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    write_set(tmp_path, SET, replace=False)
    assert {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in WRITTEN} == {
        each.name: each.mode for each in SET
    }


def test_a_key_is_never_open_to_others_not_even_before_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    real = os.fchmod

    def look(descriptor: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        assert os.fstat(descriptor).st_size == 0
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", look)
    before = os.umask(0)
    try:
        write_set(tmp_path, SET, replace=False)
    finally:
        os.umask(before)
    assert modes == [0o600] * 3


def test_the_folder_is_made(tmp_path: Path) -> None:
    write_set(tmp_path / "a" / "b", SET, replace=False)
    assert content(tmp_path / "a" / "b") == WRITTEN


def test_what_exists_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.crt").write_bytes(b"old")
    assert existing(tmp_path, SET) == ["a.crt"]
    with pytest.raises(FileError, match="nothing was changed"):
        write_set(tmp_path, SET, replace=False)
    assert content(tmp_path) == {"a.crt": b"old"}
    write_set(tmp_path, SET, replace=True)
    assert content(tmp_path) == WRITTEN


def test_the_same_content_is_not_in_the_way_and_is_left_alone(tmp_path: Path) -> None:
    write_set(tmp_path, SET[:1], replace=False)
    before = (tmp_path / "ca.crt").stat()
    assert existing(tmp_path, SET) == []
    write_set(tmp_path, SET, replace=False)
    assert (content(tmp_path), (tmp_path / "ca.crt").stat().st_ino) == (WRITTEN, before.st_ino)


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.key").symlink_to(outside)
    (folder / "a.crt").symlink_to(tmp_path / "nowhere")
    assert existing(folder, SET) == ["a.key", "a.crt"]
    with pytest.raises(FileError):
        write_set(folder, SET, replace=False)
    write_set(folder, SET, replace=True)
    assert (outside.read_bytes(), content(folder)) == (b"precious", WRITTEN)
    assert not (folder / "a.key").is_symlink()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
@pytest.mark.parametrize("step", ["write", "place", "sync"])
def test_a_failure_at_any_step_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, replace: bool
) -> None:
    folder = tmp_path / "new" / "set"
    old = {"ca.crt": b"1", "a.key": b"2"} if replace else {}
    if old:
        folder.mkdir(parents=True)
    for name, text in old.items():
        (folder / name).write_bytes(text)

    def failing(real: Callable[..., None], nth: int) -> Callable[..., None]:
        calls = 0

        def call(*args: object, **kwargs: object) -> None:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise error
            real(*args, **kwargs)

        return call

    if step == "write":
        monkeypatch.setattr(cert_files, "_write", failing(cert_files._write, 3))
    elif step == "sync":
        monkeypatch.setattr(cert_files, "_sync", failing(cert_files._sync, 1))
    else:
        monkeypatch.setattr(os, "link", failing(os.link, 3))
    with pytest.raises(FileError if isinstance(error, OSError) else KeyboardInterrupt):
        write_set(folder, SET, replace=replace)
    if old:
        assert content(folder) == old
    elif isinstance(error, OSError):
        assert list(tmp_path.iterdir()) == []
    else:
        assert content(folder) == {}


def test_a_folder_in_the_place_of_a_file_is_an_error_that_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.crt").mkdir()
    (tmp_path / "ca.crt").write_bytes(b"old")
    with pytest.raises(FileError):
        write_set(tmp_path, SET, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.crt", "ca.crt"]
    assert (tmp_path / "ca.crt").read_bytes() == b"old"


def test_what_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match="nothing was changed"):
            write_set(folder, SET, replace=True)
