"""What is done to another process' descriptors arrives there, and ends."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from portsyncd.testing.children import dying_with_parent
from portsyncd.testing.descriptors import borrowed_socket, no_descriptors_left

# Opens a file for each line that it reads, and says how that went.
OPENER = "import sys\nfor _ in sys.stdin:\n  try: open('/dev/null').close(); print('ok')\n  except OSError as e: print(e.errno)"


@pytest.fixture
def opener() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        dying_with_parent([sys.executable, "-u", "-c", OPENER]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_nothing_can_be_opened_until_the_block_ends(opener: subprocess.Popen[str]) -> None:
    assert answer(opener) == "ok"
    with no_descriptors_left(opener.pid):
        assert answer(opener) == "24"
    assert answer(opener) == "ok"


def test_what_is_set_on_a_borrowed_socket_is_set_on_the_lender() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lender:
        with borrowed_socket(os.getpid(), os.fstat(lender.fileno()).st_ino) as borrowed:
            borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        assert lender.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == 1


def test_a_socket_that_it_does_not_have_cannot_be_borrowed() -> None:
    with pytest.raises(LookupError), borrowed_socket(os.getpid(), 0):
        pass
