"""The decoder held against pyroute2's, and against bytes that were cut, flipped, shuffled and added to."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import DecodeError
from portsyncd.wire.netlink import Decoded, LinkMessage, decode
from tests.wire import frames
from tests.wire.frames import FRAMES, LINK_FRAMES, Attribute, Frame, Parts
from tests.wire.oracle import decode_by_pyroute2

MESSAGES = [parts for frame in LINK_FRAMES for parts in frames.take_apart(frame.data)]
# Above all that the kernel has (IFLA_MAX is below 80), below the flags.
unknown_attributes = st.builds(Attribute, st.integers(200, 0x3FFF), st.binary(max_size=40))


@st.composite
def varied_messages(draw: st.DrawFn) -> Parts:
    """A captured message with other numbers, its attributes permuted, some left out, and unknown ones among them."""
    parts = draw(st.sampled_from(MESSAGES))
    kept = [item for item in parts.attributes if draw(st.integers(0, 9)) or item.tag == frames.IFNAME]
    attributes = draw(st.permutations(kept + draw(st.lists(unknown_attributes, max_size=3))))
    # The family stays: pyroute2 reads IFLA_PROTINFO by it.
    family, ifindex, flags = parts.body[0], draw(st.integers(1, 2**31 - 1)), draw(st.integers(0, 2**32 - 1))
    return parts._replace(
        kind=draw(st.sampled_from([frames.NEWLINK, frames.DELLINK])),
        flags=draw(st.sampled_from([0, 2, 0x10])),
        body=frames.ifinfo(ifindex, flags, family),
        attributes=tuple(attributes),
    )


statuses = st.one_of(
    st.just(frames.message(frames.NLMSG_NOOP)),
    st.builds(frames.status, st.just(frames.NLMSG_DONE), st.just(0)),
)


@pytest.mark.parametrize("frame", FRAMES, ids=[frame.sample for frame in FRAMES])
def test_captured_frames_still_say_to_pyroute2_what_stands_beside_them(frame: Frame) -> None:
    assert decode_by_pyroute2(frame.data) == frame.expected


@given(st.lists(varied_messages(), min_size=1, max_size=4), st.lists(statuses, max_size=1))
def test_decodes_as_pyroute2_does(messages: Sequence[Parts], after: Sequence[bytes]) -> None:
    datagram = b"".join([*map(frames.put_together, messages), *after])
    assert decode(datagram) == decode_by_pyroute2(datagram)


@given(varied_messages(), st.data())
def test_the_order_of_attributes_does_not_matter(parts: Parts, data: st.DataObject) -> None:
    shuffled = parts._replace(attributes=tuple(data.draw(st.permutations(parts.attributes))))
    assert decode(frames.put_together(shuffled)) == decode(frames.put_together(parts))


@given(st.lists(varied_messages(), max_size=5))
def test_a_datagram_says_what_its_messages_say(messages: Sequence[Parts]) -> None:
    each = [frames.put_together(parts) for parts in messages]
    apart = [decode(datagram) for datagram in each]
    joined = decode(b"".join(each))
    assert joined.links == [link for decoded in apart for link in decoded.links]
    assert joined.interrupted == any(decoded.interrupted for decoded in apart)


# ---- broken bytes: decoded, or one of our errors; and it ends


def decodes_or_refuses(datagram: bytes) -> Decoded | None:
    try:
        decoded = decode(datagram)
    except DecodeError:
        return None
    assert len(decoded.links) <= len(datagram) // 32
    return decoded


@pytest.mark.parametrize("frame", FRAMES, ids=[frame.sample for frame in FRAMES])
def test_every_truncation(frame: Frame) -> None:
    for size in range(len(frame.data)):
        decoded = decodes_or_refuses(frame.data[:size])
        # What still decodes is the messages before the cut, unchanged.
        assert decoded is None or decoded.links == frame.expected.links[: len(decoded.links)]


def shape(frame: Frame) -> object:
    """Frames of one shape differ in values only."""
    parts = frames.take_apart(frame.data)
    return [(part.kind, part.body[0], [item.tag for item in part.attributes]) for part in parts] or frame.sample


# A dump's messages are like an answer's, and many: three short ones show as well what happens at their ends.
LINK = LinkMessage(False, 0, 7, 1, "Ethernet0", 9100, 4, 2, 1, "veth")
SEVERAL = frames.encode(LINK) + frames.encode(LINK._replace(removed=True)) + frames.status(frames.NLMSG_DONE, 0)
SHAPES = [
    *{str(shape(frame)): frame for frame in FRAMES if len(frame.expected.links) < 2}.values(),
    Frame("several", SEVERAL, decode(SEVERAL)),
]


@pytest.mark.parametrize("frame", SHAPES, ids=[frame.sample for frame in SHAPES])
def test_every_bit_flip(frame: Frame) -> None:
    data = bytearray(frame.data)
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            decodes_or_refuses(bytes(data))
            data[position] ^= 1 << bit
    assert bytes(data) == frame.data


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    decodes_or_refuses(data)


@given(st.sampled_from(FRAMES), st.data())
def test_several_changes_at_once(frame: Frame, data: st.DataObject) -> None:
    broken = bytearray(frame.data)
    for position in data.draw(st.lists(st.integers(0, len(broken) - 1), max_size=8)):
        broken[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))
    decodes_or_refuses(bytes(broken[:cut]))
