"""A disk of a few megabytes, to be filled. Needs CAP_SYS_ADMIN."""

import errno
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PAGE: Final = 4096


class SmallDisk:
    """A tmpfs mounted at ``folder``, which is made; unmounted at the end of the block, when nobody uses it any more."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._filling = folder / "filling"

    def fill(self) -> None:
        """Write until there is no space left."""
        with self._filling.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_PAGE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give back what ``fill`` took."""
        self._filling.unlink()

    def __enter__(self) -> Self:
        self.folder.mkdir()
        size = f"size={self._megabytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder)], check=True)  # noqa: S607
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily: a process that was just killed may not have let go yet.
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)  # noqa: S607
