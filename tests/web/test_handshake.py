import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from portsyncd.web.handshake import _Sips, complete_records

RECORDS = st.lists(st.tuples(st.integers(20, 23), st.binary(max_size=40)), max_size=4).map(
    lambda records: b"".join(struct.pack("!BHH", kind, 0x0301, len(body)) + body for kind, body in records)
)


@given(RECORDS, st.data())
def test_a_cut_off_record_waits_for_its_rest(records: bytes, data: st.DataObject) -> None:
    assert complete_records(records) == len(records)
    cut = data.draw(st.integers(0, len(records)))
    whole = complete_records(records[:cut])
    assert whole <= cut
    # What is taken are whole records, and no whole one stays.
    assert complete_records(records[:whole]) == whole
    assert complete_records(records[whole:cut]) == 0


@pytest.mark.parametrize(
    "garbage",
    [b"G", b"GET / HTTP/1.1\r\n", b"\x00" * 3, struct.pack("!BHH", 22, 0x0301, 16641), b"\x80\x2e\x01\x00\x02"],
)
def test_what_is_no_tls_is_for_openssl_to_refuse_at_once(garbage: bytes) -> None:
    assert complete_records(garbage) == len(garbage)


def test_garbage_after_a_record_goes_along() -> None:
    record = struct.pack("!BHH", 22, 0x0301, 2) + b"ab"
    assert complete_records(record + b"xx") == len(record) + 2


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert 0 <= complete_records(data) <= len(data)


async def test_what_comes_after_the_handshake_is_read_in_sips(autojump_clock: MockClock) -> None:
    end, peer = memory_stream_pair()
    sips = _Sips(end)
    await peer.send_all(bytes(5000))
    assert [len(await sips.receive_some(size)) for size in (None, 65536, 10)] == [2048, 2048, 10]
    await sips.wait_send_all_might_not_block()
    await sips.send_all(b"x")
    assert await peer.receive_some(10) == b"x"
    await sips.aclose()
    assert await peer.receive_some(10) == b""
