"""The decoder on captured frames of the kernel, and on messages that are rare."""

import struct

import pytest

from portsyncd.errors import DecodeError
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP, Decoded, LinkMessage, decode, is_absence, sequence_of
from tests.wire import frames
from tests.wire.frames import FRAMES, SAMPLES, Attribute, Frame, Parts, attribute, encode, message, number, status, text

PORT = LinkMessage(False, 0, 7, IFF_UP | IFF_RUNNING, "Ethernet0", 9100, 0, 4, 2, "veth")
UP, RUNNING = IFF_UP, IFF_RUNNING
AF_BRIDGE = frames.AF_BRIDGE


def one(datagram: bytes) -> LinkMessage:
    """The only message of a datagram."""
    (link,) = decode(datagram).links
    return link


def story(sample: str, name: str) -> list[LinkMessage]:
    """What a captured sample says of one link."""
    return [link for frame in SAMPLES[sample] for link in decode(frame.data).links if link.name == name]


@pytest.mark.parametrize("frame", FRAMES, ids=[frame.sample for frame in FRAMES])
def test_a_captured_frame_says_what_stands_beside_it(frame: Frame) -> None:
    assert decode(frame.data) == frame.expected


def test_every_sample_has_frames() -> None:
    assert len(SAMPLES) >= 21
    assert all(SAMPLES.values())


# ---- what is known of the samples without any decoder: what was done to the links


def test_admin_is_the_flag_up_and_oper_the_flag_running() -> None:
    created, up = story("01-veth-created", "Ethernet0")[0], story("02-admin-up", "Ethernet0")[0]
    running, pulled = story("03-oper-up", "Ethernet0")[-1], story("04-oper-down", "Ethernet0")[-1]
    down = story("07-admin-down", "Ethernet0")[-1]
    assert [link.flags & (UP | RUNNING) for link in (created, up, running, pulled, down)] == [
        0,
        UP,
        UP | RUNNING,
        UP,
        0,
    ]


def test_a_lost_carrier_counts_once_as_down_and_once_as_a_change() -> None:
    before, after = story("03-oper-up", "Ethernet0")[-1], story("04-oper-down", "Ethernet0")[-1]
    assert after.carrier_down == before.carrier_down + 1
    assert after.carrier_changes == before.carrier_changes + 1


def test_mtu_rename_and_altname() -> None:
    assert [link.mtu for link in story("05-mtu", "Ethernet0")] == [9100]
    # The altname stands in IFLA_PROP_LIST; the name stays what it was.
    assert [link.name for frame in SAMPLES["06-altname"] for link in decode(frame.data).links] == ["Ethernet0"]
    before, (renamed,) = story("01-veth-created", "Ethernet0")[0], story("08-rename", "Ethernet4")
    assert (renamed.ifindex, renamed.removed) == (before.ifindex, False)


def test_a_bridge_repeats_what_its_port_says() -> None:
    bridge = story("09-bridge-created", "Bridge")[0]
    said = story("10-bridge-joined", "Ethernet4")
    assert {link.master for link in said} == {bridge.ifindex}
    assert [link.family for link in said] == [0, 0, AF_BRIDGE]


def test_leaving_a_bridge_is_a_removal_in_the_bridges_family_alone() -> None:
    said = story("12-bridge-left", "Ethernet4")
    assert [(link.family, link.removed) for link in said if link.removed] == [(AF_BRIDGE, True)]
    assert (said[-1].family, said[-1].removed, said[-1].master) == (0, False, 0)


def test_a_bridges_port_is_deleted_without_a_master() -> None:
    # It has left the bridge by then, so that the rule about masters does not hide the removal.
    said = story("21-deleted-in-bridge", "Ethernet8")
    assert [(link.family, link.master != 0) for link in said if link.removed] == [(AF_BRIDGE, True), (0, False)]


def test_the_kinds() -> None:
    kinds = {link.name: link.kind for frame in SAMPLES["15-dump"] for link in decode(frame.data).links}
    assert kinds == {
        "lo": "",
        "pEthernet0": "veth",
        "Ethernet4": "veth",
        "Bridge": "bridge",
        "ifb9": "ifb",
        "macvlan9": "macvlan",
    }


def test_a_dump_holds_several_messages_a_datagram_and_ends_with_done() -> None:
    dump = [decode(frame.data, sequence=7) for frame in SAMPLES["15-dump"]]
    assert [len(datagram.links) for datagram in dump] == [3, 3, 0]
    assert [datagram.done for datagram in dump] == [False, False, True]
    assert not any(datagram.errno or datagram.interrupted for datagram in dump)


def test_the_end_of_a_dump_may_come_with_its_last_links() -> None:
    joined = b"".join(frame.data for frame in SAMPLES["15-dump"])
    assert [link.name for link in decode(joined).links][::5] == ["lo", "macvlan9"]
    assert decode(joined).done


def test_no_such_link_and_an_acknowledgement() -> None:
    (refused,), (acknowledged,) = SAMPLES["17-no-such-link"], SAMPLES["18-acknowledged"]
    assert decode(refused.data) == Decoded([], errno=19)
    assert is_absence(decode(refused.data).errno)
    assert decode(acknowledged.data) == Decoded([], acknowledged=True)


# ---- answers, by their sequence number


def test_only_messages_of_the_wanted_sequence_count() -> None:
    interrupted_of_other = message(frames.NEWLINK, frames.ifinfo(9), flags=0x10, sequence=2)
    datagram = (
        encode(PORT, sequence=1)
        + encode(PORT._replace(name="Ethernet4"), sequence=2)
        + interrupted_of_other
        + status(frames.NLMSG_ERROR, -1, sequence=2)
        + status(frames.NLMSG_DONE, 0, sequence=2)
    )
    assert decode(datagram, sequence=1) == Decoded([PORT])
    assert decode(datagram).errno == 1


@pytest.mark.parametrize("kind", [frames.NEWLINK, frames.NLMSG_DONE, frames.NLMSG_NOOP])
def test_an_interrupted_dump_is_seen_on_any_of_its_messages(kind: int) -> None:
    datagram = encode(PORT) + message(kind, frames.ifinfo(9), flags=0x10)
    assert decode(datagram).interrupted


def test_a_failed_dump_ends_with_its_errno() -> None:
    assert decode(status(frames.NLMSG_DONE, -105)) == Decoded([], done=True, errno=105)


def test_done_without_a_status_is_done() -> None:
    assert decode(message(frames.NLMSG_DONE)) == Decoded([], done=True)
    # And takes no earlier error back.
    assert decode(status(frames.NLMSG_ERROR, -19) + message(frames.NLMSG_DONE)).errno == 19


def test_overrun_is_reported() -> None:
    assert decode(message(frames.NLMSG_OVERRUN)) == Decoded([], overrun=True)


def test_messages_of_other_kinds_are_passed_over() -> None:
    new_address = message(20, bytes(8))
    assert decode(message(frames.NLMSG_NOOP) + new_address + encode(PORT)) == Decoded([PORT])


def test_messages_begin_at_multiples_of_four_bytes() -> None:
    for size in range(1, 9):
        odd = message(frames.NLMSG_NOOP, bytes(size)) + bytes(-size % 4)
        assert decode(odd + encode(PORT)) == Decoded([PORT])


def test_an_acknowledgement_takes_no_error_back() -> None:
    datagram = status(frames.NLMSG_ERROR, -19) + status(frames.NLMSG_ERROR, 0)
    assert decode(datagram) == Decoded([], acknowledged=True, errno=19)


def test_an_empty_datagram_says_nothing() -> None:
    assert decode(b"") == Decoded([])


def test_the_sequence_of_a_datagram() -> None:
    assert sequence_of(encode(PORT, sequence=0xFFFFFFFF)) == 0xFFFFFFFF
    assert sequence_of(SAMPLES["15-dump"][0].data) == 7
    with pytest.raises(DecodeError, match="15 bytes"):
        sequence_of(bytes(15))


@pytest.mark.parametrize(
    ("errno", "absent"), [(0, False), (1, False), (19, True), (22, True), (34, True), (105, False)]
)
def test_which_errors_mean_that_there_is_no_such_link(errno: int, absent: bool) -> None:
    assert is_absence(errno) is absent


# ---- attributes


def test_what_is_absent_has_the_default() -> None:
    bare = message(frames.NEWLINK, frames.ifinfo(7, 1))
    assert one(bare) == LinkMessage(False, 0, 7, 1, "")


def test_odd_bytes_of_a_name_survive() -> None:
    raw = b"Ethernet\xff\xc3("
    link = one(message(frames.NEWLINK, frames.ifinfo(7) + attribute(frames.IFNAME, raw + b"\0")))
    assert link.name.encode("utf-8", "surrogateescape") == raw


def test_a_name_ends_at_its_first_zero_or_with_its_attribute() -> None:
    for value in (b"Ethernet0\0rest", b"Ethernet0"):
        assert one(message(frames.NEWLINK, frames.ifinfo(7) + attribute(frames.IFNAME, value))).name == "Ethernet0"


def test_flags_of_attribute_types_are_passed_over() -> None:
    nested, byte_order = 0x8000, 0x4000
    info = attribute(frames.INFO_KIND | nested, b"team\0")
    link = one(
        message(
            frames.NEWLINK,
            frames.ifinfo(7)
            + attribute(frames.LINKINFO | nested, info)
            + attribute(frames.MTU | byte_order, struct.pack("=I", 1400)),
        )
    )
    assert (link.kind, link.mtu) == ("team", 1400)


@pytest.mark.parametrize("before", [[], [Attribute(2, b"xstats")]])
def test_the_kind_of_a_master_is_not_the_links_own(before: list[Attribute]) -> None:
    # A port in a team device: a message about it must not be taken for one about the team.
    slave = attribute(*text(frames.INFO_SLAVE_KIND, "team"))
    own = attribute(*text(frames.INFO_KIND, "veth"))
    start = b"".join(attribute(*item) for item in before)
    for info, kind in ((slave, ""), (slave + own, "veth"), (b"", "")):
        link = one(message(frames.NEWLINK, frames.ifinfo(7) + attribute(frames.LINKINFO, start + info)))
        assert link.kind == kind


def test_numbers_are_unsigned_and_longer_ones_count_by_their_first_four_bytes() -> None:
    parts = (number(frames.MTU, 0xFFFFFFFF), Attribute(frames.MASTER, struct.pack("=II", 5, 6)))
    link = one(frames.put_together(Parts(frames.NEWLINK, 0, 0, 0, frames.ifinfo(7), parts)))
    assert (link.mtu, link.master) == (0xFFFFFFFF, 5)


def test_up_to_three_bytes_after_the_last_attribute_are_padding() -> None:
    for padding in range(4):
        assert one(message(frames.NEWLINK, frames.ifinfo(7, 1) + bytes(padding))).flags == 1


# ---- bytes that contradict each other


@pytest.mark.parametrize(
    ("datagram", "says"),
    [
        (struct.pack("=IHHII", 15, 16, 0, 0, 0), "message of 15 bytes in 16"),
        (struct.pack("=IHHII", 0, 16, 0, 0, 0), "message of 0 bytes"),
        (struct.pack("=IHHII", 17, 16, 0, 0, 0), "message of 17 bytes in 16"),
        (bytes(15), "ends within a message"),
        (encode(PORT) + b"\x10", "ends within a message"),
        (message(frames.NEWLINK, bytes(15)), "link message of 31 bytes"),
        (message(frames.NLMSG_ERROR, bytes(3)), "status message of 19 bytes"),
        (message(frames.NLMSG_DONE, bytes(3)), "status message of 19 bytes"),
        (message(frames.NEWLINK, frames.ifinfo(7) + struct.pack("=HH", 3, 3)), "link attribute 3 of 3 bytes"),
        (message(frames.NEWLINK, frames.ifinfo(7) + struct.pack("=HH", 0, 3)), "link attribute 3 of 0 bytes"),
        (message(frames.NEWLINK, frames.ifinfo(7) + struct.pack("=HH", 5, 3)), "link attribute 3 of 5 bytes in 4"),
        (message(frames.NEWLINK, frames.ifinfo(7) + attribute(frames.MTU, bytes(3))), "too short for a number"),
        (
            message(frames.NEWLINK, frames.ifinfo(7) + attribute(frames.LINKINFO, struct.pack("=HH", 0, 1))),
            "link info attribute 1 of 0 bytes",
        ),
        (
            message(frames.NEWLINK, frames.ifinfo(7) + attribute(frames.LINKINFO, struct.pack("=HH", 5, 1))),
            "link info attribute 1 of 5 bytes in 4",
        ),
    ],
)
def test_contradicting_lengths_are_an_error_that_says_what_is_wrong(datagram: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        decode(datagram)


def test_what_a_test_puts_together_is_what_it_takes_apart() -> None:
    for frame in frames.LINK_FRAMES:
        assert b"".join(map(frames.put_together, frames.take_apart(frame.data))) == frame.data
    assert one(encode(PORT)) == PORT
