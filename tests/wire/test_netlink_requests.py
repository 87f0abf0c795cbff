"""The requests that the daemon sends, as pyroute2 reads and writes them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from portsyncd.wire.netlink import IFNAMSIZ, decode, dump_request, link_request, noop_request, set_down_request

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NOOP, NEWLINK, GETLINK = 1, 16, 18
IFF_UP = 0x1
SKIP_STATS = 8

sequences = st.integers(0, 2**32 - 1)
ifindexes = st.integers(1, 2**31 - 1)


def written(kind: int, flags: int, sequence: int, *, attributes: list[tuple[str, Any]], **fields: int) -> bytes:
    """The same request as pyroute2 writes it."""
    message: Any = ifinfmsg()
    message["header"] = {"type": kind, "flags": flags, "sequence_number": sequence, "pid": 0}
    message["attrs"] = attributes
    for name, value in fields.items():
        message[name] = value
    message.encode()
    return bytes(message.data)


def read(request: bytes) -> Any:
    """A request as pyroute2 reads it."""
    message: Any = ifinfmsg(request)
    message.decode()
    return message


@given(sequences)
def test_a_dump_asks_for_all_links_without_statistics(sequence: int) -> None:
    request = dump_request(sequence)
    attributes: list[tuple[str, Any]] = [("IFLA_EXT_MASK", SKIP_STATS)]
    assert request == written(GETLINK, REQUEST | DUMP, sequence, attributes=attributes)
    message = read(request)
    assert message["header"]["length"] == len(request)
    assert (message["family"], message["index"], message["change"]) == (0, 0, 0)


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)


@given(sequences, names.filter(lambda name: len(name.encode()) < IFNAMSIZ))
def test_a_question_by_name(sequence: int, name: str) -> None:
    request = link_request(sequence, name)
    assert request == written(GETLINK, REQUEST, sequence, attributes=[("IFLA_IFNAME", name)])
    assert read(request).get_attr("IFLA_IFNAME") == name
    assert len(request) % 4 == 0


def test_a_question_for_a_name_with_odd_bytes() -> None:
    name = b"Ethernet\xff".decode("utf-8", "surrogateescape")
    assert b"Ethernet\xff\0" in link_request(1, name)


@pytest.mark.parametrize("length", [16, 17, 70_000])
def test_of_a_name_that_is_too_long_only_so_much_is_sent_that_the_kernel_sees_it(length: int) -> None:
    assert read(link_request(1, "E" * length)).get_attr("IFLA_IFNAME") == "E" * IFNAMSIZ


@given(sequences, ifindexes)
def test_a_question_by_ifindex(sequence: int, ifindex: int) -> None:
    request = link_request(sequence, ifindex)
    assert request == written(GETLINK, REQUEST, sequence, attributes=[], index=ifindex)
    assert read(request)["index"] == ifindex


@given(sequences, ifindexes)
def test_setting_down_clears_the_flag_up_and_no_other(sequence: int, ifindex: int) -> None:
    request = set_down_request(sequence, ifindex)
    assert request == written(NEWLINK, REQUEST | ACK, sequence, attributes=[], index=ifindex, change=IFF_UP)
    message = read(request)
    assert (message["index"], message["flags"], message["change"]) == (ifindex, 0, IFF_UP)


@given(sequences)
def test_what_asks_for_nothing_but_an_acknowledgement(sequence: int) -> None:
    request = noop_request(sequence)
    message: Any = nlmsg(request)
    message.decode()
    header = message["header"]
    assert (header["type"], header["flags"], header["sequence_number"]) == (NOOP, REQUEST | ACK, sequence)
    assert header["length"] == len(request) == 16
    assert not decode(request, sequence=sequence).acknowledged


@pytest.mark.parametrize("target", ["Ethernet0", 7])
def test_a_question_is_no_dump(target: str | int) -> None:
    assert not read(link_request(1, target))["header"]["flags"] & DUMP
