"""Any bytes at all, before the handshake and after it: the server goes on, and nothing stays behind."""

import socket
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portsyncd.testing.attacks import client_hello, open_connection
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.odd_requests import ODD_REQUESTS, SCRAPE
from tests.web.serving import in_thread
from tests.web.unharmed import unharmed

EXAMPLES = 80
# Long enough for an answer to begin, where there is one.
PATIENCE_SECONDS = 0.02
LONGEST = 20000


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("fuzz") / "certificates")


Edit = tuple[float, int, bytes]


def edited(original: bytes, edits: Sequence[Edit]) -> bytes:
    """With each edit (where, from 0 to 1; how many bytes go; what comes in their place)."""

    def edit(data: bytes, change: Edit) -> bytes:
        where = int(change[0] * len(data))
        return data[:where] + change[2] + data[where + change[1] :]

    return reduce(edit, edits, original)


EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), max_size=4)
REQUESTS = st.sampled_from(
    [SCRAPE, *(each for odd in ODD_REQUESTS.values() for each in odd.requests if len(each) < LONGEST)]
)
WORDS = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\x00", b" ", b":", b"GET ", b"/metrics", b" HTTP/1.1", b"Host: x", b"Connection: close"]
)
PIECES = st.one_of(REQUESTS, st.builds(edited, REQUESTS, EDITS), WORDS, st.binary(max_size=100))
SENDS = st.lists(st.one_of(PIECES, st.lists(PIECES, max_size=4).map(b"".join)), min_size=1, max_size=6)


async def test_any_bytes_after_the_handshake(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unharmed(certificates, monkeypatch) as (_, endpoint):
        context = endpoint.context()

        @settings(max_examples=EXAMPLES)
        @given(SENDS)
        def send(sends: list[bytes]) -> None:
            answer = b""
            with closing(open_connection(endpoint, context)) as connection:
                with suppress(OSError):
                    for each in sends:
                        connection.sendall(each)
                    connection.settimeout(PATIENCE_SECONDS)
                    answer = connection.recv(100)
                with suppress(OSError):
                    connection.settimeout(None)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
            # 500 would be a fault of ours.
            assert answer[9:12] in (b"", b"100", b"200", b"400", b"404", b"405", b"413", b"431", b"501", b"505")

        await in_thread(send)


async def test_any_bytes_instead_of_a_handshake(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unharmed(certificates, monkeypatch) as (_, endpoint):
        hello = client_hello(endpoint)

        @settings(max_examples=EXAMPLES)
        @given(st.lists(st.one_of(st.builds(edited, st.just(hello), EDITS), st.binary(max_size=600)), max_size=3))
        def send(sends: list[bytes]) -> None:
            with closing(endpoint.connect()) as connection, suppress(OSError):
                for each in sends:
                    connection.sendall(each)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        await in_thread(send)
