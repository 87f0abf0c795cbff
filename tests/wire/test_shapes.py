"""What is recalled of a shape is what a walk would find, whatever the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import DecodeError
from portsyncd.wire import netlink
from portsyncd.wire.netlink import LinkMessage
from portsyncd.wire.shapes import ShapeMemory
from tests.wire.frames import FRAMES, encode

NUMBER, TEXT, NESTED, KIND = 4, 3, 18, 1


def memory() -> ShapeMemory:
    return ShapeMemory(numbers={NUMBER}, texts={TEXT}, nested={NESTED: KIND})


def attribute(tag: int, payload: bytes) -> bytes:
    return (4 + len(payload)).to_bytes(2, "little") + tag.to_bytes(2, "little") + payload + bytes(-len(payload) % 4)


def number(tag: int, value: int) -> bytes:
    return attribute(tag, value.to_bytes(4, "little"))


def recall_after(remembered: bytes, data: bytes) -> dict[int, int | bytes] | None:
    shapes = memory()
    shapes.remember(remembered, 0, len(remembered))
    return shapes.recall(data, 0, len(data))


def test_an_unknown_shape_is_not_recalled() -> None:
    data = number(NUMBER, 1)
    assert memory().recall(data, 0, len(data)) is None


def test_other_values_in_the_same_places() -> None:
    def made(name: bytes, mtu: int, kind: bytes) -> bytes:
        return attribute(TEXT, name) + number(99, mtu) + number(NUMBER, mtu) + attribute(NESTED, attribute(KIND, kind))

    assert recall_after(made(b"Ethernet0\0", 1500, b"veth\0"), made(b"Ethernet4\0", 9100, b"team\0")) == {
        TEXT: b"Ethernet4\0",
        NUMBER: 9100,
        NESTED: b"team\0",
    }


def test_the_same_length_with_another_order_is_not_recalled() -> None:
    assert recall_after(number(99, 1) + number(NUMBER, 2), number(99, 1) + number(98, 2)) is None


@pytest.mark.parametrize(
    "odd",
    [
        number(NUMBER, 1) + number(NUMBER, 2),
        attribute(NESTED, number(KIND + 1, 0) + attribute(KIND, b"veth\0")),
    ],
    ids=["a wanted attribute twice", "the wanted one is not the first within"],
)
def test_what_a_walk_alone_can_tell_is_not_remembered(odd: bytes) -> None:
    assert recall_after(odd, odd) is None


def test_an_empty_nested_attribute_holds_nothing() -> None:
    data = attribute(NESTED, b"") + number(NUMBER, 7)
    assert recall_after(data, data) == {NUMBER: 7}


def test_the_memory_is_bounded() -> None:
    shapes = memory()
    for length in range(1000):
        data = attribute(99, bytes(length))
        shapes.remember(data, 0, len(data))
    assert 0 < len(shapes) <= 256


def outcome(datagram: bytes) -> object:
    try:
        return netlink.decode(datagram)
    except DecodeError:
        return DecodeError


@given(st.sampled_from([frame.data for frame in FRAMES]), st.data())
def test_with_the_memory_a_damaged_frame_means_what_it_means_without(frame: bytes, data: st.DataObject) -> None:
    netlink.decode(frame)
    damaged = bytearray(frame)
    for position in data.draw(st.lists(st.integers(0, len(frame) - 1), min_size=1, max_size=3)):
        damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    with_memory = outcome(bytes(damaged))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(netlink, "_shapes", memory())
        assert with_memory == outcome(bytes(damaged))


@given(st.lists(st.text("abE0 ", min_size=1, max_size=15), min_size=2, max_size=8), st.integers(0, 65535))
def test_names_of_all_lengths(names: list[str], mtu: int) -> None:
    for name in names * 2:
        message = LinkMessage(removed=False, family=0, ifindex=7, flags=1, name=name, mtu=mtu, kind="veth")
        (decoded,) = netlink.decode(encode(message)).links
        assert (decoded.name, decoded.mtu, decoded.kind) == (name, mtu, "veth")
