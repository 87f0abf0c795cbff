"""A small disk gets full, and has space again."""

import errno
from pathlib import Path

import pytest

from portsyncd.testing.small_disk import SmallDisk

pytestmark = pytest.mark.root


def test_full_and_free_again(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", megabytes=1) as disk:
        file = disk.folder / "file"
        disk.fill()
        with pytest.raises(OSError) as problem:
            file.write_bytes(bytes(8192))
        assert problem.value.errno == errno.ENOSPC
        disk.free()
        assert file.write_bytes(bytes(8192))
    assert list(disk.folder.iterdir()) == []
