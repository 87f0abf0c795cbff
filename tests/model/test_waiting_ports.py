"""Who waits longest, and how many ports there are of each state, is told without a look at all of them."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.commands import Snapshot
from portsyncd.model.ports import SUB_INTERFACE_SEPARATOR, oper_up
from portsyncd.model.saved import Saved
from portsyncd.model.sync import Awaited, PortSync
from tests.model.talk import DOWN, UP, Talk, changed, held, ports, running

NAMES = ("Ethernet0", "Ethernet4", "Ethernet8", "Ethernet0.10", "PortChannel1")


def linkless(sync: PortSync) -> list[Awaited]:
    """What the definition says: expected, and without a link."""
    return [each for each in sync.awaited() if (port := sync.ports.get(each.name)) is None or port.link is None]


def check(sync: PortSync) -> None:
    """It is what the definition says, who waits longest comes first, and the counts are right."""
    awaited, pending = sync.longest_awaited(len(NAMES)), sync.longest_pending(len(NAMES))
    assert sorted(awaited, key=lambda each: each.name) == sorted(linkless(sync), key=lambda each: each.name)
    assert sorted(pending) == sorted(sync.pending_ports())
    for moments in ([each.since for each in awaited], [since for _, since in pending]):
        assert moments == sorted(moments)
    counts = sync.counts()
    assert (counts["awaited"], counts["pending"]) == (len(awaited), len(pending))
    links = [port.link for name, port in sync.ports.items() if SUB_INTERFACE_SEPARATOR not in name and port.link]
    up = sum(oper_up(link.fields) for link in links)
    assert (counts["up"], counts["down"]) == (up, len(links) - up)
    assert sync.longest_awaited(1) == awaited[:1]
    assert sync.longest_pending(1) == pending[:1]


def test_who_lost_its_link_waits_since_then_and_comes_after_who_waits_already() -> None:
    talk = running("Ethernet0", "Ethernet4", "Ethernet8")
    for talk.now, name in ((10.0, "Ethernet8"), (20.0, "Ethernet0"), (30.0, "Ethernet4")):
        talk.gone(name)
    talk.now = 40.0
    talk.take(Ethernet8=changed(UP, 9))
    assert talk.sync.longest_awaited(1) == [Awaited("Ethernet0", 20.0, "no link of this name")]
    talk.gone("Ethernet8")
    assert [each.name for each in talk.sync.longest_awaited(9)] == ["Ethernet0", "Ethernet4", "Ethernet8"]
    assert talk.configured("Ethernet4", "Ethernet8") == []
    assert [each.since for each in talk.sync.longest_awaited(9)] == [30.0, 40.0]
    check(talk.sync)


def test_what_the_last_process_awaited_longest_comes_first() -> None:
    talk = Talk()
    talk.now = 100.0
    talk.sync.restore(Saved(age=0.0, trusted=False, awaited={"Ethernet8": 50.0, "Ethernet0": 10.0}))
    talk.begin(Snapshot(config_ports=ports("Ethernet0", "Ethernet4", "Ethernet8")))
    assert [(each.name, each.since) for each in talk.sync.longest_awaited(2)] == [
        ("Ethernet8", 50.0),
        ("Ethernet0", 90.0),
    ]
    check(talk.sync)


def test_of_the_pending_who_waits_longest_comes_first_and_no_vlan_sub_interface() -> None:
    talk = running("Ethernet0")
    for talk.now, name in ((1.0, "Ethernet8"), (2.0, "Ethernet0.10"), (3.0, "Ethernet4")):
        talk.take(**{name: changed(UP, int(talk.now) + 10)})
    assert talk.sync.longest_pending(9) == [("Ethernet8", 1.0), ("Ethernet4", 3.0)]
    check(talk.sync)


STEPS = st.tuples(
    st.sampled_from(["up", "down", "gone", "dumped", "begin", "configured", "published", "forgotten", "unanswered"]),
    st.sampled_from(NAMES),
    st.integers(1, 3),
)


@given(st.lists(STEPS, max_size=25))
def test_it_is_so_whatever_happens(steps: Sequence[tuple[str, str, int]]) -> None:
    talk = Talk(appl=NAMES[:1])
    talk.begin(Snapshot(config_ports=ports(*NAMES[:3])))
    check(talk.sync)
    for talk.now, (step, name, number) in enumerate(steps, 1):
        match step:
            case "up":
                talk.take(**{name: changed(UP, number)})
            case "down":
                talk.take(**{name: changed(DOWN, number)})
            case "gone":
                talk.gone(name)
            case "dumped":
                talk.dumped(*range(number))
            case "begin":
                talk.begin(held(**dict.fromkeys(NAMES[:number], UP)))
            case "configured":
                talk.configured(*NAMES[:number])
            case "published":
                talk.appl.add(name)
                talk.woken(name)
            case "forgotten":
                talk.appl.discard(name)
            case "unanswered":
                talk.unanswered = "set"
        check(talk.sync)
