"""The conflating mailbox: what is put between two takes comes out as one entry a name, and nothing of it is lost."""

from collections.abc import Sequence
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.links import Change, Link
from portsyncd.model.mailbox import Conflated, Mailbox, Synced, Taken
from portsyncd.model.ports import admin_up

UP = Link(7, ("ok", "up", "up", "1500"), 0)
JUMBO = Link(7, ("ok", "up", "up", "9100"), 0)
ADMIN_DOWN = Link(7, ("ok", "down", "down", "1500"), 1)
ANEW = Link(9, ("ok", "down", "up", "1500"), 0)

DUMPED = Synced(frozenset({"start"}), certified=True, shown=frozenset({7}))


def is_(link: Link, name: str = "Ethernet0") -> Change:
    return Change(name, link)


def lost(ifindex: int = 0, name: str = "Ethernet0") -> Change:
    return Change(name, None, ifindex)


def conflated(*changes: Change) -> Conflated:
    """What these changes of one name become; each is put by itself, a second after the one before it."""
    mailbox = Mailbox(10)
    for now, change in enumerate(changes, 1):
        mailbox.put([change], float(now))
    (entry,) = mailbox.take().changes.values()
    return entry


# ---- one name


def test_the_newest_state_counts_and_the_first_arrival() -> None:
    assert conflated(is_(UP), is_(JUMBO)) == Conflated(JUMBO, arrived=1.0)


def test_a_removal_before_a_new_link_survives() -> None:
    assert conflated(is_(UP), lost(7), is_(ANEW)) == Conflated(ANEW, arrived=1.0, removed=True, deleted=(7,))


def test_a_removal_that_is_no_deletion_names_no_ifindex() -> None:
    assert conflated(lost(), is_(ANEW)) == Conflated(ANEW, arrived=1.0, removed=True)


def test_a_link_that_came_and_went_is_gone() -> None:
    assert conflated(is_(UP), lost(7)) == Conflated(None, arrived=1.0, removed=True, deleted=(7,))


def test_every_deleted_ifindex_is_kept_in_order() -> None:
    assert conflated(lost(7), is_(ANEW), lost(9)).deleted == (7, 9)


def test_a_new_owner_without_a_removal_is_no_removal() -> None:
    assert conflated(is_(UP), is_(ANEW)) == Conflated(ANEW, arrived=1.0)


def test_an_admin_excursion_is_remembered() -> None:
    assert conflated(is_(UP), is_(ADMIN_DOWN), is_(UP)) == Conflated(UP, arrived=1.0, dipped=True)
    assert conflated(is_(ADMIN_DOWN)) == Conflated(ADMIN_DOWN, arrived=1.0, dipped=True)


def test_oper_down_is_no_dip() -> None:
    assert conflated(is_(ANEW)) == Conflated(ANEW, arrived=1.0)


# ---- all names


def test_names_come_out_by_their_oldest_change() -> None:
    mailbox = Mailbox(10)
    mailbox.put([is_(UP, "Ethernet8"), is_(UP, "Ethernet0")], 1.0)
    mailbox.put([is_(UP, "Ethernet4"), is_(JUMBO, "Ethernet8")], 2.0)
    taken = mailbox.take()
    assert [(name, entry.arrived) for name, entry in taken.changes.items()] == [
        ("Ethernet8", 1.0),
        ("Ethernet0", 1.0),
        ("Ethernet4", 2.0),
    ]


def test_taking_empties_it() -> None:
    mailbox = Mailbox(10)
    assert not mailbox
    mailbox.put([is_(UP), is_(UP, "Ethernet4")], 1.0)
    mailbox.put_synced(DUMPED)
    assert len(mailbox) == 2
    assert mailbox
    assert mailbox.take() == Taken({name: Conflated(UP, 1.0) for name in ("Ethernet0", "Ethernet4")}, DUMPED)
    assert len(mailbox) == 0
    assert not mailbox
    assert mailbox.take() == Taken()


def test_what_was_taken_does_not_change_any_more() -> None:
    mailbox = Mailbox(10)
    mailbox.put([is_(UP)], 1.0)
    taken = mailbox.take()
    mailbox.put([lost(7)], 2.0)
    assert taken.changes == {"Ethernet0": Conflated(UP, 1.0)}


def test_a_sync_alone_is_worth_a_take() -> None:
    mailbox = Mailbox(10)
    mailbox.put_synced(DUMPED)
    assert mailbox
    assert len(mailbox) == 0


# ---- an admin-down that was folded away before decoding


def test_a_folded_admin_down_counts_as_a_dip() -> None:
    mailbox = Mailbox(10)
    mailbox.put([is_(UP)], 1.0)
    mailbox.note_admin_down("Ethernet0")
    assert mailbox.take().changes["Ethernet0"] == Conflated(UP, 1.0, dipped=True)


def test_one_of_a_name_that_did_not_change_is_nobodys() -> None:
    mailbox = Mailbox(10)
    mailbox.note_admin_down("Ethernet0")
    assert mailbox.take() == Taken()


# ---- the bound


def test_beyond_its_bound_names_are_refused_and_it_says_so() -> None:
    mailbox = Mailbox(2)
    mailbox.put([is_(UP, f"Ethernet{number}") for number in range(3)], 1.0)
    mailbox.put([is_(JUMBO, "Ethernet0"), lost(7, "Ethernet1")], 2.0)
    taken = mailbox.take()
    assert taken.overflowed
    # Names that are in already still follow.
    assert taken.changes == {
        "Ethernet0": Conflated(JUMBO, 1.0),
        "Ethernet1": Conflated(None, 1.0, removed=True, deleted=(7,)),
    }
    mailbox.put([is_(UP, "Ethernet2")], 3.0)
    assert not mailbox.take().overflowed


# ---- full reads of the links


def test_two_syncs_become_one_as_good_as_the_later() -> None:
    mailbox = Mailbox(10)
    mailbox.put_synced(Synced(frozenset({"start"}), certified=True, lost=True, shown=frozenset({7})))
    mailbox.put_synced(Synced(frozenset({"overrun"}), certified=False))
    assert mailbox.take().synced == Synced(
        frozenset({"start", "overrun"}), certified=False, lost=True, shown=frozenset({7})
    )


def test_a_later_sync_that_lost_or_showed_something_adds_it() -> None:
    mailbox = Mailbox(10)
    mailbox.put_synced(Synced(frozenset({"start"}), certified=False))
    mailbox.put_synced(Synced(frozenset({"start"}), certified=True, lost=True, shown=frozenset({8})))
    assert mailbox.take().synced == Synced(frozenset({"start"}), certified=True, lost=True, shown=frozenset({8}))


def test_two_syncs_began_when_the_earlier_did() -> None:
    earlier = Synced(frozenset({"start"}), certified=True, started=4.0)
    assert earlier.then(Synced(frozenset({"overrun"}), certified=True, started=7.0)).started == 4.0


# ---- events


def test_what_only_a_full_read_told_was_no_event_until_one_comes() -> None:
    mailbox = Mailbox(10)
    mailbox.put([is_(UP), is_(UP, "Ethernet4")], 1.0, reread=True)
    mailbox.put([is_(JUMBO)], 2.0, event=True)
    mailbox.put([is_(UP)], 3.0, event=True)
    mailbox.put([is_(JUMBO)], 4.0, reread=True)
    assert [entry.arrived for entry in mailbox.take().changes.values()] == [2.0, inf]


def test_events_are_counted_until_they_are_taken() -> None:
    mailbox = Mailbox(10)
    mailbox.count(3)
    mailbox.count(2)
    assert mailbox.events == 5
    # They meant nothing: there is nothing to wake anybody for.
    assert not mailbox
    assert mailbox.take() == Taken(events=5)
    assert mailbox.events == 0


def test_an_event_that_meets_the_entry_of_an_earlier_one_is_conflated_once() -> None:
    mailbox = Mailbox(10)
    mailbox.put([is_(UP)], 1.0, event=True)
    mailbox.put([is_(UP, "Ethernet4")], 1.0, event=True)
    assert mailbox.conflated == 0
    # In the same batch, in a later one; and a renaming, which concerns two names.
    mailbox.put([is_(JUMBO)], 1.0, event=True)
    mailbox.put([lost(), is_(JUMBO, "Ethernet4")], 2.0, event=True)
    assert mailbox.conflated == 2
    mailbox.take()
    mailbox.put([is_(UP)], 3.0, event=True)
    assert mailbox.conflated == 2


def test_a_full_read_is_no_event_and_replaces_none() -> None:
    mailbox = Mailbox(10)
    mailbox.put([is_(UP)], 1.0, event=True)
    mailbox.put([is_(UP), is_(UP, "Ethernet4")], 2.0, reread=True)
    mailbox.put([is_(UP, "Ethernet4")], 3.0, event=True)
    assert mailbox.conflated == 0


def test_whether_a_name_was_refused_is_told() -> None:
    mailbox = Mailbox(1)
    assert mailbox.put([is_(UP)], 1.0, event=True)
    assert not mailbox.put([lost(), is_(UP, "Ethernet4")], 1.0, event=True)
    assert mailbox.put([is_(UP, "Ethernet4")], 1.0, reread=True)


# ---- for every series of changes

names = st.sampled_from(["Ethernet0", "Ethernet4", "PortChannel1"])
links = st.sampled_from([UP, JUMBO, ADMIN_DOWN, ANEW])
changes = st.one_of(st.builds(Change, names, links), st.builds(Change, names, st.none(), st.sampled_from([0, 7, 9])))


@given(st.lists(st.lists(changes, max_size=5), max_size=6))
def test_an_entry_is_the_sum_of_its_changes(puts: Sequence[Sequence[Change]]) -> None:
    mailbox = Mailbox(10)
    for now, some in enumerate(puts):
        mailbox.put(some, float(now))
    taken = mailbox.take()
    told: dict[str, list[tuple[float, Change]]] = {}
    for now, some in enumerate(puts):
        for change in some:
            told.setdefault(change.name, []).append((float(now), change))
    assert list(taken.changes) == list(told)
    for name, history in told.items():
        each = [change for _, change in history]
        assert taken.changes[name] == Conflated(
            link=each[-1].link,
            arrived=history[0][0],
            removed=any(change.link is None for change in each),
            deleted=tuple(change.ifindex for change in each if change.link is None and change.ifindex),
            dipped=any(change.link is not None and not admin_up(change.link.fields) for change in each),
        )


@given(st.lists(changes, max_size=12), st.integers(0, 4))
def test_it_never_holds_more_than_its_bound(some: Sequence[Change], bound: int) -> None:
    mailbox = Mailbox(bound)
    mailbox.put(some, 0.0)
    assert len(mailbox) <= bound
    assert mailbox.take().overflowed is (len({change.name for change in some}) > bound)
