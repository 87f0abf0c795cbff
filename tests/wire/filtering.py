"""What the socket filter is to do, said a second time and in plain Python, and cases to try it with.

``tests/wire/test_bpf.py`` holds an interpreter's run of the program against it, ``tests/backends/test_filter.py`` the
kernel's.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from portsyncd.wire.netlink import LinkMessage
from tests.wire import frames
from tests.wire.frames import Attribute, Parts


class Case(NamedTuple):
    """One datagram, and what the filter was told."""

    datagram: bytes
    prefixes: Sequence[str]
    first: int
    last: int


def has_to_pass(case: Case) -> bool:
    """Whatever is no link message; ifindexes of the range; links without a name; names by four bytes of a prefix."""
    links = frames.take_apart(case.datagram)
    if not links:
        return True
    ifindex = int.from_bytes(links[0].body[4:8], "little" if frames.ifinfo(1)[4] else "big")
    if case.first <= ifindex <= case.last:
        return True
    name = next((value.rstrip(b"\0") for tag, value in links[0].attributes if tag == frames.IFNAME), None)
    beginnings = [prefix.encode("utf-8", "surrogateescape")[:4] for prefix in case.prefixes]
    return name is None or any(name.startswith(beginning) for beginning in beginnings)


_ifindexes = st.one_of(st.integers(1, 40), st.integers(1, 2**31 - 1))
_stems = st.sampled_from(["Ethernet", "PortChannel", "eth", "e", "Eth", "lo", "é", "\udcff\udc80"])
_names = st.builds(lambda stem, number: f"{stem}{number}"[:12], _stems, st.sampled_from(["", "0", "12", "4711"]))
_extra = st.builds(Attribute, st.integers(200, 0x3FFF), st.binary(max_size=20))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A link message with its attributes in any order, or another message; ranges that often meet its ifindex."""
    ifindex = draw(_ifindexes)
    first = draw(st.one_of(_ifindexes, st.integers(max(0, ifindex - 2), ifindex + 2)))
    last = draw(st.one_of(_ifindexes, st.integers(max(0, ifindex - 2), ifindex + 2)))
    link = LinkMessage(
        draw(st.booleans()), draw(st.sampled_from([0, 7])), ifindex, 0, draw(st.one_of(st.just(""), _names)), 1500
    )
    parts: Parts = frames.take_apart(frames.encode(link, more=draw(st.lists(_extra, max_size=2))))[0]
    parts = parts._replace(attributes=tuple(draw(st.permutations(parts.attributes))))
    other = st.builds(frames.message, st.sampled_from([1, 2, 3, 15, 18, 20, 0x1000]), st.binary(max_size=40))
    datagram = draw(st.one_of(st.just(frames.put_together(parts)), st.just(frames.put_together(parts)), other))
    return Case(datagram, draw(st.lists(_stems, min_size=1, max_size=3)), first, last)
