"""Writing a set of certificates and keys: all files of it, or none."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from portsyncd.errors import FileError

KEY_MODE: Final = 0o600
CERT_MODE: Final = 0o644


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be: its name in the folder, what it holds, its mode."""

    name: str
    content: bytes = field(repr=False)
    mode: int


def existing(folder: Path, files: Sequence[NewFile]) -> list[str]:
    """Names of those that are in the way: there already (a link that points nowhere counts), with other content."""
    return [each.name for each in files if os.path.lexists(folder / each.name) and not _same(folder / each.name, each)]


def write_set(folder: Path, files: Sequence[NewFile], *, replace: bool) -> None:
    """Write all files into ``folder``, which is made if it is not there.

    Each is written whole under a name of its own first, with no more than its final mode from its first moment on; only then
    all get their names, in the order given. If anything fails meanwhile, the former files are put back and the new
    ones go. Raises ``FileError``: also where a file exists, unless ``replace``.
    """
    made: list[Path] = []
    try:
        made = _make_folder(folder)
        _write_set(folder, [each for each in files if not _same(folder / each.name, each)], replace=replace)
    except OSError as problem:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise FileError(
            f"nothing was changed in {folder}: {problem.strerror}: {problem.filename2 or problem.filename}"
        ) from problem


def _make_folder(folder: Path) -> list[Path]:
    """Make the folder and those above it; gives those that were not there, lowest first."""
    made = []
    for each in (folder, *folder.parents):
        if each.exists():
            break
        made.append(each)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return made


def _write_set(folder: Path, files: Sequence[NewFile], *, replace: bool) -> None:
    # A name that begins with a dot and a new random part: nobody else's, and no *.crt or *.key.
    mark = os.urandom(8).hex()
    staged = [(folder / f".{mark}.{number}.new", folder / each.name) for number, each in enumerate(files)]
    kept = [(folder / f".{mark}.{number}.old", final) for number, (_, final) in enumerate(staged)]
    placed: list[int] = []
    try:
        for (temporary, _), each in zip(staged, files, strict=True):
            _write(temporary, each)
        for number, (temporary, final) in enumerate(staged):
            if replace and os.path.lexists(final):
                # A second name for the old file: there is no moment without one under the name that counts.
                os.link(final, kept[number][0], follow_symlinks=False)
                placed.append(number)
                temporary.replace(final)
            else:
                # Unlike rename, link fails if somebody made the file meanwhile.
                os.link(temporary, final)
                placed.append(number)
        _sync(folder)
    except BaseException:
        # On Ctrl-C too: half of a new set beside half of the old one is worse than either.
        for number in reversed(placed):
            old, final = kept[number]
            with contextlib.suppress(OSError):
                old.replace(final) if os.path.lexists(old) else final.unlink()
        raise
    finally:
        for leftover in (path for path, _ in (*staged, *kept)):
            with contextlib.suppress(FileNotFoundError):
                leftover.unlink()


def _write(path: Path, file: NewFile) -> None:
    with _created(path) as descriptor:
        # The umask could have taken away what the owner needs; it never adds anything to 0600.
        os.fchmod(descriptor, file.mode)
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(file.content)
        os.fsync(descriptor)


@contextlib.contextmanager
def _created(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(path: Path, file: NewFile) -> bool:
    """Whether exactly this is there already, as when a set is made with the CA that it has."""
    try:
        return not path.is_symlink() and path.read_bytes() == file.content
    except OSError:
        return False
