from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import DecodeError
from portsyncd.tls.hello import TLS_1_2, TLS_1_3, Answer, Group, Suite, client_hello, server_answer

RANDOM = bytes(range(100, 132))
# SHA-256 of "HelloRetryRequest", RFC 8446, 4.1.3
RETRY = bytes.fromhex("CF21AD74E59A6111BE1D8C021E65B891C2A211167ABB8C5E079E09E2C8A8339C")
EXTENSIONS = bytes.fromhex("002B00020304 003300020018")


def server_hello(random: bytes, extensions: bytes, session: bytes = b"") -> bytes:
    body = b"\x03\x03" + random + bytes([len(session)]) + session + b"\x13\x02\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (server_hello(RANDOM, EXTENSIONS), Answer(TLS_1_3, Suite.AES_256_GCM, Group.SECP384R1, retry=False)),
        (server_hello(RETRY, EXTENSIONS, b"x" * 32), Answer(TLS_1_3, Suite.AES_256_GCM, Group.SECP384R1, retry=True)),
        (server_hello(RANDOM, b""), Answer(TLS_1_2, Suite.AES_256_GCM, 0, retry=False)),
    ],
)
def test_answers(data: bytes, answer: Answer) -> None:
    assert server_answer(data + b"more records") == answer


@pytest.mark.parametrize("data", [b"", b"\x15\x03\x03\x00\x02\x02\x28", server_hello(RANDOM, EXTENSIONS)[:60]])
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(DecodeError):
        server_answer(data)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_answer_or_an_error(data: bytes, plausible: bool) -> None:
    with suppress(DecodeError):
        server_answer(server_hello(RANDOM, data) if plausible else data)


def test_lengths_of_a_hello_fit() -> None:
    hello = client_hello([Suite.AES_256_GCM])
    assert int.from_bytes(hello[3:5], "big") == len(hello) - 5
    assert int.from_bytes(hello[6:9], "big") == len(hello) - 9
