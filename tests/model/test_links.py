"""The link view as transcripts: a message in, changes out; and what holds for every life of some links."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portsyncd.model.links import Change, Link, LinkView
from portsyncd.model.ports import flap_count, published_fields
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP, LinkMessage
from tests.wire.frames import AF_BRIDGE
from tests.wire.kernel import Call, Operation, SimulatedKernel, operations, played, ports

PREFIXES = ("Ethernet", "PortChannel")
UP = ("ok", "up", "up", "1500")
RUNNING = IFF_UP | IFF_RUNNING


def new(ifindex: int, name: str, *, flags: int = RUNNING, **fields: Any) -> LinkMessage:
    """RTM_NEWLINK."""
    return LinkMessage(False, 0, ifindex, flags, name, 1500, 0, 2, 1, "veth")._replace(**fields)


def gone(ifindex: int, name: str, **fields: Any) -> LinkMessage:
    """RTM_DELLINK."""
    return new(ifindex, name, removed=True, **fields)


def is_(name: str, ifindex: int) -> Change:
    """The name has this link, up."""
    return Change(name, Link(ifindex, UP, 1))


def lost(name: str, ifindex: int = 0) -> Change:
    """The name has no link; ifindex: of the deleted one."""
    return Change(name, None, ifindex)


def follow(*said: tuple[LinkMessage, list[Change]]) -> LinkView:
    """Play a transcript: each message with the changes that it brings."""
    view = LinkView(PREFIXES)
    for message, changes in said:
        assert view.apply(message) == changes
    return view


# ---- names and who has them (contract, section 4 and 5.5)


def test_a_new_link_and_its_removal() -> None:
    view = follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (gone(7, "Ethernet0"), [lost("Ethernet0", 7)]),
    )
    assert len(view) == 0
    assert not view.has("Ethernet0")
    assert view.name_of(7) is None


def test_what_is_published_of_a_link() -> None:
    message = new(7, "Ethernet0", flags=IFF_UP, mtu=9100, carrier_down=5)
    view = follow((message, [Change("Ethernet0", Link(7, ("ok", "down", "up", "9100"), 5))]))
    assert view.has("Ethernet0")
    assert view.name_of(7) == "Ethernet0"
    assert len(view) == 1


def test_a_repeated_message_is_a_change_all_the_same() -> None:
    # Whether it differs from what Redis holds is for the writer's side to say.
    follow((new(7, "Ethernet0"), [is_("Ethernet0", 7)]), (new(7, "Ethernet0"), [is_("Ethernet0", 7)]))


def test_other_links_change_nothing() -> None:
    view = follow((new(7, "eth0"), []), (gone(7, "eth0"), []), (new(8, "lo"), []))
    assert len(view) == 0
    assert view.span == (1, 0)


def test_renaming_away_is_a_removal_that_is_no_deletion() -> None:
    view = follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (new(7, "away"), [lost("Ethernet0")]),
        (new(7, "away"), []),
        (gone(7, "away"), []),
    )
    assert not view.has("Ethernet0")


def test_renaming_to_another_port_is_a_removal_and_a_new_link() -> None:
    follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (new(7, "Ethernet4"), [lost("Ethernet0"), is_("Ethernet4", 7)]),
        (gone(7, "Ethernet4"), [lost("Ethernet4", 7)]),
    )


def test_a_link_that_is_renamed_to_a_port_is_new() -> None:
    follow((new(7, "eth0"), []), (new(7, "Ethernet0"), [is_("Ethernet0", 7)]))


def test_two_links_swap_their_names() -> None:
    view = follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (new(8, "Ethernet4"), [is_("Ethernet4", 8)]),
        (new(7, "swapping"), [lost("Ethernet0")]),
        (new(8, "Ethernet0"), [lost("Ethernet4"), is_("Ethernet0", 8)]),
        (new(7, "Ethernet4"), [is_("Ethernet4", 7)]),
    )
    assert (view.name_of(7), view.name_of(8)) == ("Ethernet4", "Ethernet0")


def test_made_anew_under_a_new_ifindex() -> None:
    follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (gone(7, "Ethernet0"), [lost("Ethernet0", 7)]),
        (new(9, "Ethernet0"), [is_("Ethernet0", 9)]),
    )


def test_a_name_that_an_unseen_change_gave_away_has_a_new_owner_and_no_removal() -> None:
    # Contract 5.5: its removal was not seen live, so that its entry is written and not deleted.
    view = follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (new(9, "Ethernet0"), [is_("Ethernet0", 9)]),
    )
    assert view.name_of(7) is None
    assert len(view) == 1


def test_a_removal_of_a_former_owner_concerns_nobody() -> None:
    follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (new(9, "Ethernet0"), [is_("Ethernet0", 9)]),
        (gone(7, "Ethernet0"), []),
        (gone(9, "Ethernet0"), [lost("Ethernet0", 9)]),
    )


def test_an_ifindex_is_used_again() -> None:
    follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]),
        (gone(7, "Ethernet0"), [lost("Ethernet0", 7)]),
        (new(7, "Ethernet4"), [is_("Ethernet4", 7)]),
    )


def test_leaving_a_bridge_is_no_removal() -> None:
    view = follow(
        (new(7, "Ethernet0", master=4), [is_("Ethernet0", 7)]),
        (new(7, "Ethernet0", family=AF_BRIDGE, master=4), []),
        (gone(7, "Ethernet0", family=AF_BRIDGE, master=4), []),
        (gone(7, "Ethernet0", master=4), []),
    )
    assert view.has("Ethernet0")


def test_a_team_device_is_no_port() -> None:
    team = new(7, "PortChannel1", kind="team")
    assert not follow((team, []), (gone(7, "PortChannel1", kind="team"), [])).has("PortChannel1")


def test_a_team_device_that_got_a_ports_ifindex_unseen_shows_that_the_port_is_gone() -> None:
    follow((new(7, "Ethernet0"), [is_("Ethernet0", 7)]), (new(7, "PortChannel1", kind="team"), [lost("Ethernet0")]))


def test_an_incomplete_message_changes_nothing_and_is_to_be_asked_for() -> None:
    view = follow(
        (new(7, "Ethernet0"), [is_("Ethernet0", 7)]), (new(7, "Ethernet0", mtu=-1), []), (new(8, "", flags=0), [])
    )
    assert view.incomplete == {7, 8}
    assert view.has("Ethernet0")


# ---- the range of ifindexes


def test_the_range_spans_all_that_were_ports_and_never_shrinks() -> None:
    view = LinkView(PREFIXES)
    spans = []
    for message in (
        new(7, "Ethernet0"),
        new(9, "Ethernet4"),
        new(8, "Ethernet8"),
        new(5, "Ethernet12"),
        gone(9, "Ethernet4"),
        new(3, "eth0"),
    ):
        view.apply(message)
        spans.append(view.span)
    assert spans == [(7, 7), (7, 9), (7, 9), (5, 9), (5, 9), (5, 9)]


def test_the_ports_outside_of_a_range() -> None:
    view = follow(*((new(index, f"Ethernet{index}"), [is_(f"Ethernet{index}", index)]) for index in (5, 7, 8, 9)))
    assert view.outside(7, 8) == [5, 9]
    assert view.outside(1, 0) == [5, 7, 8, 9]
    assert view.outside(5, 9) == []


# ---- what a dump lacks


def two_ports() -> LinkView:
    return follow((new(7, "Ethernet0"), [is_("Ethernet0", 7)]), (new(8, "Ethernet4"), [is_("Ethernet4", 8)]))


def test_what_a_dump_lacks_is_found_by_the_ifindexes_that_it_showed() -> None:
    view = two_ports()
    assert view.lacking({7, 8, 9}) == []
    assert view.lacking({8}) == ["Ethernet0"]
    assert view.lacking(set()) == ["Ethernet0", "Ethernet4"]


def test_a_name_that_the_kernel_does_not_know_is_deleted() -> None:
    view = two_ports()
    assert view.answer("Ethernet0", None) == [lost("Ethernet0", 7)]
    assert not view.has("Ethernet0")


def test_a_link_that_the_dump_missed_is_there_after_all() -> None:
    view = two_ports()
    assert view.answer("Ethernet0", new(7, "Ethernet0")) == [is_("Ethernet0", 7)]


def test_a_name_that_was_never_seen_and_does_not_exist_is_reported_all_the_same() -> None:
    # Redis holds an entry of it, and somebody has to be told that its link is gone.
    assert LinkView(PREFIXES).answer("Ethernet0", None) == [lost("Ethernet0")]


def test_an_answer_shows_a_link_that_was_not_known() -> None:
    assert LinkView(PREFIXES).answer("Ethernet0", new(7, "Ethernet0")) == [is_("Ethernet0", 7)]


def test_a_link_found_by_its_altname_does_not_have_the_name() -> None:
    view = two_ports()
    assert view.answer("Ethernet0", new(9, "Ethernet8")) == [is_("Ethernet8", 9), lost("Ethernet0", 7)]
    # Nor if it is the very link that had the name before.
    assert view.answer("Ethernet4", new(8, "away")) == [lost("Ethernet4"), lost("Ethernet4")]
    assert not view.has("Ethernet4")


def test_a_name_that_a_team_device_took_unseen_is_no_port_any_more() -> None:
    view = two_ports()
    assert view.answer("Ethernet0", new(9, "Ethernet0", kind="team")) == [lost("Ethernet0", 7)]


def test_a_name_whose_owner_changed_unseen_is_not_lost() -> None:
    view = two_ports()
    assert view.answer("Ethernet0", new(9, "Ethernet0")) == [is_("Ethernet0", 9)]


# ---- for every life


def known(view: LinkView) -> dict[str, int]:
    return dict(view._owners)


def consistent(view: LinkView) -> bool:
    """Names and owners are each other's inverse."""
    return {name: ifindex for ifindex, name in view._names.items()} == known(view) and len(view._names) == len(view)


@given(st.lists(operations, max_size=30))
def test_the_view_is_the_kernels(steps: Sequence[Operation]) -> None:
    kernel, view = SimulatedKernel(), LinkView(PREFIXES)
    newest: dict[str, Link | None] = {}
    for message in played(kernel, steps):
        newest |= {name: link for name, link, _ in view.apply(message)}
        assert consistent(view)
    assert known(view) == ports(kernel, PREFIXES)
    # And what was told last of each name is what the kernel says of it.
    for name, link in newest.items():
        if name not in known(view):
            assert link is None
        else:
            said = kernel.message(known(view)[name])
            assert link == Link(said.ifindex, published_fields(said), flap_count(said))


@given(st.lists(operations, max_size=30), st.lists(st.booleans(), min_size=1, max_size=9))
# A port's ifindex and another's name go to team devices, and nothing is heard of it.
@example([Call(SimulatedKernel.delete, 2), Call(SimulatedKernel.create, 2, "Ethernet0", "team")], [False])
@example([Call(SimulatedKernel.delete, 2), Call(SimulatedKernel.create, 5, "Ethernet0", "team")], [False])
def test_whatever_was_lost_a_dump_and_questions_make_it_whole(
    steps: Sequence[Operation], heard: Sequence[bool]
) -> None:
    kernel, view = SimulatedKernel(populated=True), LinkView(PREFIXES)
    for message in kernel.dump():
        view.apply(message)
    for number, message in enumerate(played(kernel, steps)):
        if heard[number % len(heard)]:
            view.apply(message)
    dump = kernel.dump()
    for message in dump:
        view.apply(message)
    for name in view.lacking({message.ifindex for message in dump}):
        view.answer(name, kernel.by_name(name))
    assert consistent(view)
    assert known(view) == ports(kernel, PREFIXES)


@given(st.lists(operations, max_size=30))
def test_the_range_holds_every_port_that_there_was(steps: Sequence[Operation]) -> None:
    kernel, view, seen = SimulatedKernel(), LinkView(PREFIXES), set[int]()
    for message in played(kernel, steps):
        view.apply(message)
        seen |= set(known(view).values())
    assert view.span == ((min(seen), max(seen)) if seen else (1, 0))
    assert view.outside(*view.span) == []


any_message = st.builds(
    LinkMessage,
    removed=st.booleans(),
    family=st.sampled_from([0, 0, 0, AF_BRIDGE]),
    ifindex=st.integers(1, 3),
    flags=st.sampled_from([0, IFF_UP, RUNNING]),
    name=st.sampled_from(["", "Ethernet0", "Ethernet4", "eth0"]),
    mtu=st.sampled_from([-1, 1500, 1500]),
    master=st.sampled_from([0, 0, 4]),
    kind=st.sampled_from(["", "team"]),
)


@given(st.lists(any_message, max_size=30))
def test_no_messages_whatever_upset_it(messages: Sequence[LinkMessage]) -> None:
    view = LinkView(PREFIXES)
    for message in messages:
        changes = view.apply(message)
        assert consistent(view)
        assert len(changes) <= 2
        for name, link, _ in changes:
            assert view.has(name) is (link is not None)


@pytest.mark.parametrize("count", [1000])
def test_a_view_of_many_ports(count: int) -> None:
    view = follow(*((new(index, f"Ethernet{index}"), [is_(f"Ethernet{index}", index)]) for index in range(1, count)))
    assert len(view) == count - 1
