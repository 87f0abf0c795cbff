"""Folding: what is left must do to the link view and to the mailbox what all of it would have done."""

from collections.abc import Iterable, Mapping, Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from portsyncd.model.links import LinkView
from portsyncd.model.mailbox import Mailbox
from portsyncd.wire.netlink import IFF_UP, Folder, LinkMessage, decode
from tests.wire import frames
from tests.wire.frames import FRAMES, SAMPLES, encode
from tests.wire.kernel import Call, Operation, SimulatedKernel, operations, played

PREFIXES = ("Ethernet", "PortChannel")
PORT = LinkMessage(False, 0, 7, IFF_UP, "Ethernet0", 1500, 0, 0, 0, "veth")
DOWN = PORT._replace(flags=0)
OTHER = PORT._replace(ifindex=8, name="Ethernet4")


class Reading:
    """A reader's state: it folds, or applies everything."""

    def __init__(self, *, folding: bool) -> None:
        self.view = LinkView(PREFIXES)
        self.mailbox = Mailbox(100)
        self._folding = folding

    def read(self, datagrams: Sequence[bytes], now: float) -> None:
        """One read of the socket, as ``services.reader`` treats it."""
        folder = Folder()
        if self._folding:
            for datagram in datagrams:
                folder.add(datagram)
            datagrams = folder.take()
        for datagram in datagrams:
            for message in decode(datagram).links:
                self.mailbox.put(self.view.apply(message), now)
        for ifindex in folder.admin_downs:
            name = self.view.name_of(ifindex)
            if name is not None:
                self.mailbox.note_admin_down(name)

    def owners(self) -> dict[str, int]:
        """Who has which name."""
        return dict(self.view._owners)


def assert_same(folding: Reading, full: Reading, before: Mapping[str, int]) -> None:
    """Take from both: they know the same, and have the same to tell, in the same order. before: owners of the names at
    the last take."""
    assert folding.owners() == full.owners()
    assert folding.view._names == full.view._names
    assert (folding.view.span, folding.view.incomplete) == (full.view.span, full.view.incomplete)
    some, all_of_it = folding.mailbox.take().changes, full.mailbox.take().changes
    assert list(some) == list(all_of_it)
    for name, expected in all_of_it.items():
        entry = some[name]
        # An admin-down that was folded away is told of the link's last name. A name that has another link than before
        # is written anyway, dipped or not.
        if expected.link is None or expected.removed or expected.link.ifindex != before.get(name):
            entry.dipped = expected.dipped
        assert entry == expected, name


def folded(*messages: LinkMessage | bytes) -> list[LinkMessage | bytes]:
    """What is left of these, in order."""
    datagrams = {encode(message) if isinstance(message, LinkMessage) else message: message for message in messages}
    folder = Folder()
    for message in messages:
        folder.add(encode(message) if isinstance(message, LinkMessage) else message)
    assert folder.count == len(messages)
    return [datagrams[datagram] for datagram in folder.take()]


# ---- what is folded


def test_of_several_messages_of_a_link_the_newest_is_left() -> None:
    newest = PORT._replace(mtu=9100)
    assert folded(PORT, DOWN, newest) == [newest]


def test_a_storm_of_3500_messages_on_64_ports_leaves_64() -> None:
    folder = Folder()
    for number in range(3500):
        ifindex = number % 64
        folder.add(encode(PORT._replace(ifindex=ifindex, name=f"Ethernet{ifindex}", mtu=1400 + number)))
    assert folder.count == 3500
    left = [decode(datagram).links[0] for datagram in folder.take()]
    assert [(link.ifindex, link.mtu) for link in left] == [
        (ifindex, 1400 + max(range(ifindex, 3500, 64))) for ifindex in range(64)
    ]


def test_the_captured_states_of_a_port_fold_into_the_last() -> None:
    # The kernel's own messages differ in much that is not looked at, and must still be seen to be one link's.
    said = [
        frame.data
        for sample in ("02-admin-up", "03-oper-up", "04-oper-down", "05-mtu", "06-altname", "07-admin-down")
        for frame in SAMPLES[sample]
        if frame.expected.links[0].name == "Ethernet0"
    ]
    assert len(said) == 6
    assert folded(*said) == said[-1:]


def test_links_keep_the_order_in_which_they_first_came() -> None:
    # A link that took a new name must come before the one that then took its old name, whatever else it says later.
    assert folded(PORT, OTHER, DOWN) == [DOWN, OTHER]


def test_an_admin_down_that_was_folded_away_is_remembered() -> None:
    folder = Folder()
    for message in (PORT, DOWN, PORT, OTHER):
        folder.add(encode(message))
    assert folder.admin_downs == {PORT.ifindex}


def test_taking_empties_it_but_for_the_counters() -> None:
    folder = Folder()
    folder.add(encode(DOWN))
    assert folder.take() == [encode(DOWN)]
    assert folder.take() == []
    assert (folder.count, folder.admin_downs) == (1, {PORT.ifindex})


# ---- what is not


def test_another_name_ends_the_folding_of_what_came_before_it() -> None:
    renamed = PORT._replace(name="Ethernet8")
    assert folded(PORT, OTHER, renamed, PORT) == [PORT, OTHER, renamed, PORT]


def test_names_are_told_apart_by_all_their_bytes() -> None:
    # The second is as long as a name can be, and differs in the last byte.
    one, other = PORT._replace(name="Ethernet1234567"), PORT._replace(name="Ethernet1234568")
    assert folded(one, other) == [one, other]
    longer = PORT._replace(name="Ethernet01")
    assert folded(PORT, longer) == [PORT, longer]


def test_a_removal_ends_the_folding_and_stays() -> None:
    removed = PORT._replace(removed=True)
    assert folded(PORT, OTHER, DOWN, removed, PORT) == [DOWN, OTHER, removed, PORT]


def test_a_bridges_repeat_stays() -> None:
    repeat = PORT._replace(family=frames.AF_BRIDGE)
    assert folded(PORT, repeat, DOWN) == [PORT, repeat, DOWN]


def test_datagrams_of_several_messages_stay() -> None:
    two = encode(PORT) + encode(OTHER)
    assert folded(PORT, two, DOWN) == [PORT, two, DOWN]


def test_truncated_short_and_other_datagrams_stay() -> None:
    truncated, short = encode(PORT)[:-4], encode(PORT)[:40]
    error = frames.status(frames.NLMSG_ERROR, -19) + bytes(100)
    for odd in (truncated, short, error, b""):
        assert folded(PORT, odd, DOWN) == [PORT, odd, DOWN]


def test_a_message_without_a_name_is_not_folded_into_one_with_a_name() -> None:
    nameless = PORT._replace(name="")
    assert folded(PORT, nameless, PORT) == [PORT, nameless, PORT]


def test_a_complete_message_may_be_folded_into_an_incomplete_one_since_that_is_asked_for() -> None:
    reading = Reading(folding=True)
    reading.read([encode(PORT), encode(PORT._replace(mtu=-1))], 1.0)
    assert reading.owners() == {}
    assert reading.view.incomplete == {PORT.ifindex}


def test_the_captured_frames_of_a_life_change_the_view_as_all_of_them_do() -> None:
    full, folding = Reading(folding=False), Reading(folding=True)
    datagrams = [frame.data for frame in FRAMES]
    full.read(datagrams, 1.0)
    folding.read(datagrams, 1.0)
    assert_same(folding, full, before={})


# ---- the property


def datagrams_of(messages: Iterable[LinkMessage], joints: Sequence[bool]) -> list[bytes]:
    """Encode messages, some of them together in one datagram."""
    datagrams: list[bytes] = []
    for number, message in enumerate(messages):
        if datagrams and joints and joints[number % len(joints)]:
            datagrams[-1] += encode(message)
        else:
            datagrams.append(encode(message))
    return datagrams


ODD = [
    b"",
    frames.message(frames.NLMSG_NOOP),
    frames.message(frames.NEWLINK, frames.ifinfo(99)),
    frames.status(frames.NLMSG_ERROR, -105),
    frames.encode(LinkMessage(False, 0, 99, 0, "")),
    frames.encode(LinkMessage(False, 0, 98, 0, "Ethernet98")),
]

steps = st.lists(operations, max_size=25)
KERNEL = SimulatedKernel


@given(
    st.lists(steps, min_size=1, max_size=3),
    st.lists(st.booleans(), max_size=7),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(ODD)), max_size=4),
    st.booleans(),
)
# Names are swapped by way of a third: who had which must be told, in this order.
@example([[Call(KERNEL.swap, 2, 3)]], [], [], True)
# The same, and the first link says something else before it takes its last name.
@example([[Call(KERNEL.rename, 2, "tmp"), Call(KERNEL.rename, 3, "Ethernet0"), Call(KERNEL.repeat, 2)]], [], [], True)
# An admin-down is folded away before the link takes a name that was free.
@example(
    [
        [Call(KERNEL.rename, 3, "tmp")],
        [
            Call(KERNEL.set_up, 2, False),
            Call(KERNEL.set_up, 2, True),
            Call(KERNEL.delete, 4),
            Call(KERNEL.rename, 2, "Ethernet4"),
        ],
    ],
    [],
    [],
    True,
)
def test_folding_changes_nothing_for_the_view_and_the_mailbox(
    reads: Sequence[Sequence[Operation]],
    joints: Sequence[bool],
    oddities: Sequence[tuple[int, bytes]],
    taken_each_time: bool,
) -> None:
    kernel = SimulatedKernel(populated=True)
    full, folding = Reading(folding=False), Reading(folding=True)
    for reading in (full, folding):
        reading.read([encode(message) for message in kernel.dump()], 0)
        reading.mailbox.take()
    before = full.owners()
    for now, operated in enumerate(reads, 1):
        datagrams = datagrams_of(played(kernel, operated), joints)
        for position, odd in oddities:
            datagrams.insert(position, odd)
        full.read(datagrams, now)
        folding.read(datagrams, now)
        if taken_each_time:
            assert_same(folding, full, before)
            before = full.owners()
    assert_same(folding, full, before)
