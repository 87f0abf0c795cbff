"""The filter, run by an interpreter and held against what it is to do; the kernel runs it in tests/backends."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portsyncd.wire.bpf import link_filter
from portsyncd.wire.netlink import RTM_DELLINK, RTM_NEWLINK, LinkMessage
from tests.wire import classic_bpf, frames
from tests.wire.filtering import Case, cases, has_to_pass
from tests.wire.frames import SAMPLES, Attribute, encode

PREFIXES = ("Ethernet", "PortChannel")
EMPTY = (1, 0)


def passes(datagram: bytes, prefixes: Sequence[str] = PREFIXES, first: int = 1, last: int = 0) -> bool:
    """Whether the program lets a datagram through, whole."""
    answer = classic_bpf.run(link_filter(prefixes, first, last), datagram)
    assert answer in (0, 0xFFFFFFFF)
    return answer != 0


def link(name: str, ifindex: int = 7, **fields: Any) -> bytes:
    return encode(LinkMessage(False, 0, ifindex, 0, name, 1500)._replace(**fields))


@pytest.mark.parametrize(
    ("name", "through"),
    [
        ("Ethernet0", True),
        ("PortChannel1", True),
        ("Ether", True),  # four bytes are compared; the rest is the decoder's business
        ("eth0", False),
        ("ethernet0", False),
        ("Eth", False),
        ("E", False),
        ("lo", False),
        ("xEthernet0", False),
        ("Docker0", False),
    ],
)
def test_names_by_their_first_four_bytes(name: str, through: bool) -> None:
    assert passes(link(name)) is through


@pytest.mark.parametrize("prefix", ["e", "et", "eth", "eth0"])
def test_a_short_prefix_is_compared_as_far_as_it_goes(prefix: str) -> None:
    assert passes(link("eth0"), [prefix])
    assert not passes(link("dth0"), [prefix])
    assert passes(link("ethernet7"), [prefix]) is (len(prefix) < 4)


def test_names_and_prefixes_of_odd_bytes() -> None:
    odd = b"\xff\xfe\x80".decode("utf-8", "surrogateescape")
    assert passes(link(odd + "0"), [odd])
    assert not passes(link("é" + odd), [odd])
    assert passes(link("é0"), ["é"])


def test_a_name_shorter_than_the_four_bytes_that_are_loaded() -> None:
    # The kernel pads attributes, so that the load stays within the message even where the name is its end.
    last = frames.message(RTM_NEWLINK, frames.ifinfo(7) + frames.attribute(*frames.text(frames.IFNAME, "e")))
    assert passes(last, ["e"])
    assert not passes(last, ["eth"])


@pytest.mark.parametrize(
    ("ifindex", "through"), [(1, False), (9, False), (10, True), (15, True), (20, True), (21, False)]
)
def test_the_range_of_ifindexes_includes_its_ends(ifindex: int, through: bool) -> None:
    # So that a rename away from the prefixes is heard.
    assert passes(link("away", ifindex), PREFIXES, 10, 20) is through
    assert passes(link("Ethernet0", ifindex), PREFIXES, 10, 20)


def test_ifindexes_are_compared_in_all_their_bytes() -> None:
    for ifindex in (0x01020304, 0x7FFFFFFF, 256, 65536):
        assert passes(link("away", ifindex), PREFIXES, ifindex, ifindex)
        assert not passes(link("away", ifindex), PREFIXES, ifindex + 1, 0xFFFFFFFF)
        assert not passes(link("away", ifindex), PREFIXES, 1, ifindex - 1)


def test_an_empty_range_lets_no_index_through() -> None:
    assert not any(passes(link("away", ifindex), PREFIXES, *EMPTY) for ifindex in (0, 1, 2, 2**31 - 1))


def test_removals_are_filtered_like_the_rest() -> None:
    assert passes(link("Ethernet0", removed=True))
    assert passes(link("away", 15, removed=True), PREFIXES, 10, 20)
    assert not passes(link("away", removed=True))


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 15, 18, 20, 0x1000, 0x1100, 0xFFFF])
def test_what_is_no_link_message_passes(kind: int) -> None:
    assert passes(frames.message(kind, bytes(4)))


def test_a_link_without_a_name_passes() -> None:
    assert passes(link("", mtu=1500))
    assert passes(frames.message(RTM_DELLINK, frames.ifinfo(7)))


def test_the_name_need_not_come_first() -> None:
    noise = Attribute(60, bytes(37))
    parts = frames.take_apart(encode(LinkMessage(False, 0, 7, 0, "Ethernet0", 1500), more=[noise]))[0]
    for order in (parts.attributes[::-1], parts.attributes[1:] + parts.attributes[:1]):
        assert passes(frames.put_together(parts._replace(attributes=order)))
        assert not passes(frames.put_together(parts._replace(attributes=order)), ["lo"])


def test_a_bridges_repeats_pass_by_their_names() -> None:
    assert passes(link("Ethernet0", family=frames.AF_BRIDGE))


def test_captured_frames() -> None:
    names = {
        link.name: passes(frame.data)
        for sample, each in SAMPLES.items()
        if sample != "15-dump"
        for frame in each
        for link in frame.expected.links
    }
    assert {name for name, through in names.items() if through} == {"Ethernet0", "Ethernet4", "Ethernet8"}
    assert names.keys() > {"Bridge", "ifb9", "macvlan9", "pEthernet0"}


@given(cases())
@example(Case(frames.message(RTM_NEWLINK, frames.ifinfo(2**31 - 1)), ["eth"], 2**31 - 1, 2**31 - 1))
def test_does_what_it_is_to_do(case: Case) -> None:
    assert passes(case.datagram, case.prefixes, case.first, case.last) is has_to_pass(case)


@given(st.binary(max_size=80), st.sampled_from([PREFIXES, ("e",)]), st.integers(0, 9), st.integers(0, 9))
def test_any_bytes_end_the_program(packet: bytes, prefixes: Sequence[str], first: int, last: int) -> None:
    passes(packet, prefixes, first, last)


@given(cases())
def test_what_the_kernel_checks_of_a_program_holds(case: Case) -> None:
    # bpf_check_classic: jumps stay within, memory cells exist, the last instruction returns. Jumps go forward only.
    program = list(struct.iter_unpack("=HBBI", link_filter(case.prefixes, case.first, case.last)))
    for at, (code, if_true, if_false, k) in enumerate(program):
        assert at + 1 + max(if_true, if_false) < len(program) or code & 7 == 6
        if code in (0x60, 0x61, 0x02, 0x03):
            assert k < classic_bpf.MEMORY_CELLS
    assert program[-1][0] & 7 == 6


def test_prefixes_that_agree_in_four_bytes_are_compared_once() -> None:
    assert link_filter(["Ethernet", "EtherX"], 1, 0) == link_filter(["Ethernet"], 1, 0)
