"""The memory of this process."""

import os

from portsyncd.backends.memory import release, resident_bytes

_BLOCK = 64 * 1024
_MEGABYTE = 1 << 20


def test_resident_memory_is_that_of_this_process() -> None:
    assert os.sysconf("SC_PAGE_SIZE") * 1000 < resident_bytes() < 1 << 34


def test_what_is_not_used_any_more_goes_back_to_the_kernel() -> None:
    # Blocks below the size from which malloc maps each by itself; what is kept at the end holds the heap's top.
    blocks = [bytes([number % 255 + 1]) * _BLOCK for number in range(1024)]
    top = b"x" * _BLOCK
    full = resident_bytes()
    del blocks
    release()
    assert resident_bytes() < full - 32 * _MEGABYTE
    assert len(top) == _BLOCK
