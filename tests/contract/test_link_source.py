"""What every ``LinkSource`` does: the shipped fake and the real one, held to the same tests."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import pytest
import trio
import trio.testing

from portsyncd.backends.base import LinkSource
from portsyncd.errors import LinkSourceError, NoPermissionError
from portsyncd.wire.netlink import AF_UNSPEC, IFF_RUNNING, IFF_UP, LinkMessage, decode
from tests.contract.link_worlds import DEADLINE_SECONDS, ODD_NAME, World, fake_world, hear, heard, make, real_world

# Enough that a dump comes in several datagrams.
MANY = 80


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with ExitStack() as stack:
        yield (fake_world if request.param == "fake" else real_world)(stack)


@pytest.fixture
async def source(world: World) -> AsyncIterator[LinkSource]:
    with closing(make(world)) as source:
        source.open()
        yield source


async def dump(
    source: LinkSource, during: Callable[[], None] | None = None
) -> tuple[dict[str, LinkMessage], bool, int]:
    """The links by name, whether the dump was interrupted, and how many chunks it had; ``during`` the first of them."""
    links: dict[str, LinkMessage] = {}
    chunks = 0

    def handle(some: Sequence[LinkMessage]) -> None:
        nonlocal chunks, during
        chunks += bool(some)
        links.update((link.name, link) for link in some)
        if during is not None:
            during()
            during = None

    interrupted = await source.dump(handle)
    return links, interrupted, chunks


# ---- events


async def test_a_closed_socket_is_an_error_and_questions_need_none(world: World) -> None:
    source = make(world)
    world.kernel.add_port("Ethernet0")
    for use in (lambda: source.receive(1), source.drops):
        with pytest.raises(LinkSourceError):
            use()
    with pytest.raises(LinkSourceError):
        await source.readable()
    assert "Ethernet0" in (await dump(source))[0]
    (answer,) = await source.ask(["Ethernet0"])
    assert answer is not None
    assert answer.name == "Ethernet0"


async def test_a_life_of_a_port_is_told_in_order(world: World, source: LinkSource) -> None:
    ifindex = world.kernel.add_port("Ethernet0")
    world.kernel.set("Ethernet0", up=True)
    world.kernel.set("Ethernet0", mtu=9100)
    world.kernel.rename("Ethernet0", "Ethernet4")
    world.kernel.delete("Ethernet4")
    told = [message for message in heard(source) if message.ifindex == ifindex]
    assert [message.name for message in told] == ["Ethernet0"] * 3 + ["Ethernet4"] * 3
    # A link that is deleted goes down first.
    assert [bool(message.flags & IFF_UP) for message in told] == [False, True, True, True, False, False]
    assert [message.mtu for message in told] == [1500, 1500, 9100, 9100, 9100, 9100]
    assert [message.removed for message in told] == [False] * 5 + [True]
    assert {message.kind for message in told} == {"veth"}


async def test_carrier_makes_a_port_run_and_its_losses_are_counted(world: World, source: LinkSource) -> None:
    ifindex = world.kernel.add_port("Ethernet0")
    world.kernel.set("Ethernet0", up=True)
    world.kernel.carrier("Ethernet0", up=True)

    def running(message: LinkMessage) -> bool:
        return message.ifindex == ifindex and bool(message.flags & IFF_RUNNING)

    before = (await hear(source, running))[-1]
    world.kernel.carrier("Ethernet0", up=False)
    after = await hear(source, lambda message: message.ifindex == ifindex and not running(message))
    assert [message.carrier_down for message in after if message.ifindex == ifindex][-1] == before.carrier_down + 1


async def test_leaving_a_bridge_is_told_by_a_removal_of_the_bridge_family(world: World, source: LinkSource) -> None:
    bridge = world.kernel.add("Bridge", "bridge")
    world.kernel.add_port("Ethernet0")
    world.kernel.set("Ethernet0", master="Bridge")
    joined = [message for message in heard(source) if message.name == "Ethernet0"]
    assert {message.family for message in joined if message.master == bridge} == {AF_UNSPEC, 7}
    world.kernel.set("Ethernet0", master="")
    left = [message for message in heard(source) if message.name == "Ethernet0"]
    assert [(message.family, message.master) for message in left if message.removed] == [(7, bridge)]
    assert left[-1][:2] == (False, AF_UNSPEC)
    assert left[-1].master == 0


async def test_a_change_that_changes_nothing_is_not_told(world: World, source: LinkSource) -> None:
    world.kernel.add_port("Ethernet0")
    heard(source)
    world.kernel.set("Ethernet0", up=False, mtu=1500)
    assert source.receive(10).datagrams == []


async def test_a_limit_ends_a_read_and_an_empty_socket_does(world: World, source: LinkSource) -> None:
    for number in range(5):
        world.kernel.add(f"other{number}", "ifb")
    first, second, third = source.receive(3), source.receive(100), source.receive(100)
    assert (len(first.datagrams), first.drained, first.lost) == (3, False, False)
    assert (len(second.datagrams), second.drained, second.lost) == (2, True, False)
    assert (third.datagrams, third.drained, third.lost) == ([], True, False)


async def test_waiting_ends_with_the_next_event_and_not_before(world: World, source: LinkSource) -> None:
    with trio.move_on_after(0.05) as waiting:
        await source.readable()
    assert waiting.cancelled_caught
    world.kernel.add_port("Ethernet0")
    with trio.fail_after(DEADLINE_SECONDS):
        await source.readable()
    assert heard(source)


async def test_an_overrun_is_told_once_and_silence_lasts_until_the_queue_was_empty(world: World) -> None:
    world.kernel.add_port("Ethernet0")
    with closing(make(world, buffer_bytes=4608)) as source:
        source.open()
        assert source.drops() == 0
        for mtu in range(1400, 1440):
            world.kernel.set("Ethernet0", mtu=mtu)
        dropped = source.drops()
        assert dropped > 0
        # The error comes before what the queue still holds; nothing gets in until it has been read empty.
        first = source.receive(2)
        assert (first.lost, len(first.datagrams), first.drained) == (True, 1, False)
        world.kernel.set("Ethernet0", mtu=1300)
        assert source.drops() == dropped + 1
        rest = source.receive(1000)
        assert (rest.lost, rest.drained) == (False, True)
        mtus = [link.mtu for datagram in (*first.datagrams, *rest.datagrams) for link in decode(datagram).links]
        assert mtus == list(range(1400, 1400 + len(mtus)))
        assert len(mtus) == 40 - dropped
        # Empty now: heard again.
        world.kernel.set("Ethernet0", mtu=1200)
        assert [message.mtu for message in heard(source)] == [1200]
        assert source.drops() == dropped + 1


async def test_the_buffer_is_told_as_the_kernel_counts_it(world: World, source: LinkSource) -> None:
    assert source.receive_buffer_bytes == 2 << 20


async def test_closing_is_told_to_who_waits_and_is_safe_twice(world: World) -> None:
    source = make(world)
    source.close()
    source.open()
    told: list[LinkSourceError] = []

    async def wait() -> None:
        try:
            await source.readable()
        except LinkSourceError as problem:
            told.append(problem)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        source.close()
        source.close()
    assert len(told) == 1


# ---- the filter


async def test_before_the_filter_everything_is_heard_and_after_it_ports_alone(world: World, source: LinkSource) -> None:
    world.kernel.add("noise", "ifb")
    assert [message.name for message in heard(source)] == ["noise"]
    before = source.filtering
    source.listen_to(1, 0)
    assert (before, source.filtering) == (False, True)
    world.kernel.set("noise", mtu=1400)
    world.kernel.add("Ethernet0", "ifb")
    world.kernel.add("PortChannel1", "ifb")
    # The first four bytes are compared, no more.
    world.kernel.add("Ethel", "ifb")
    world.kernel.add("ethernet0", "ifb")
    assert [message.name for message in heard(source)] == ["Ethernet0", "PortChannel1", "Ethel"]


async def test_within_the_range_a_link_is_heard_under_any_name(world: World, source: LinkSource) -> None:
    ports = [world.kernel.add(f"Ethernet{number}", "ifb") for number in range(3)]
    source.listen_to(ports[0], ports[1])
    heard(source)
    for number in range(3):
        world.kernel.rename(f"Ethernet{number}", f"away{number}")
        world.kernel.set(f"away{number}", mtu=1400)
    assert [(message.name, message.mtu) for message in heard(source)] == [
        ("away0", 1500),
        ("away0", 1400),
        ("away1", 1500),
        ("away1", 1400),
    ]
    # The newest range replaces the one before.
    source.listen_to(ports[2], ports[2])
    for number in range(3):
        world.kernel.set(f"away{number}", mtu=1300)
    assert [message.name for message in heard(source)] == ["away2"]


async def test_what_the_filter_keeps_out_is_not_dropped(world: World) -> None:
    world.kernel.add("noise", "ifb")
    with closing(make(world, buffer_bytes=4608)) as source:
        source.open()
        source.listen_to(1, 0)
        for mtu in range(1400, 1440):
            world.kernel.set("noise", mtu=mtu)
        assert source.drops() == 0
        received = source.receive(10)
        assert (received.datagrams, received.lost) == ([], False)


# ---- from one process to the next


@pytest.fixture
async def left(world: World) -> World:
    """A world with Ethernet0, whose former process has ended and left its event socket, its filter on it."""
    world.kernel.add_port("Ethernet0")
    with closing(make(world, kept=True)) as former:
        former.open()
        assert not former.adopted
        former.listen_to(1, 0)
    return world


async def test_what_happens_between_two_processes_is_read_by_the_next_in_order(left: World) -> None:
    for mtu in (1400, 1300):
        left.kernel.set("Ethernet0", mtu=mtu)
    left.store.restart()
    with closing(make(left, kept=True)) as source:
        source.open()
        left.kernel.set("Ethernet0", mtu=1200)
        assert source.adopted
        assert [message.mtu for message in heard(source)] == [1400, 1300, 1200]
    assert [name for name, _ in left.store.kept] == [left.socket_name]


async def test_it_goes_on_from_process_to_process(left: World) -> None:
    for mtu in (1400, 1300, 1200):
        left.kernel.set("Ethernet0", mtu=mtu)
        left.store.restart()
        with closing(make(left, kept=True)) as source:
            source.open()
            assert source.adopted
            assert [message.mtu for message in heard(source)] == [mtu]
    assert len(left.store.kept) == 1


async def test_it_can_be_waited_for_and_asks_questions_as_any_other(left: World) -> None:
    left.store.restart()
    with closing(make(left, kept=True)) as source:
        source.open()
        with trio.fail_after(DEADLINE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(source.readable)
                await trio.testing.wait_all_tasks_blocked()
                left.kernel.set("Ethernet0", mtu=1400)
        links, interrupted, _ = await dump(source)
        assert (links["Ethernet0"].mtu, interrupted) == (1400, False)


async def test_an_overrun_while_nobody_reads_is_told_to_the_next(world: World) -> None:
    world.kernel.add_port("Ethernet0")
    with closing(make(world, buffer_bytes=4608, kept=True)) as former:
        former.open()
    for mtu in range(1400, 1440):
        world.kernel.set("Ethernet0", mtu=mtu)
    world.store.restart()
    with closing(make(world, kept=True)) as source:
        source.open()
        dropped = source.drops()
        assert dropped > 0
        received = source.receive(1000)
        assert (received.lost, received.drained, len(received.datagrams)) == (True, True, 40 - dropped)
        # From here on with the buffer that this process wants.
        assert source.receive_buffer_bytes == 2 << 20
        for mtu in range(1400, 1440):
            world.kernel.set("Ethernet0", mtu=mtu)
        assert [message.mtu for message in heard(source)] == list(range(1400, 1440))


async def test_the_filter_is_the_former_ones_until_it_is_taken_over_and_then_this_ones(left: World) -> None:
    left.kernel.add("noise1", "ifb")
    left.kernel.add("Ethernet4", "ifb")
    left.store.restart()
    with closing(make(left, prefixes=("Vlan",), kept=True)) as source:
        source.open()
        before = source.filtering
        left.kernel.add("noise2", "ifb")
        source.listen_to(1, 0)
        assert (before, source.filtering) == (False, True)
        for name in ("noise3", "Ethernet8", "Vlan1"):
            left.kernel.add(name, "ifb")
        assert [message.name for message in heard(source)] == ["Ethernet4", "noise2", "Vlan1"]


async def test_a_second_socket_of_one_process_is_a_new_one_and_is_kept_instead(left: World) -> None:
    left.store.restart()
    with closing(make(left, kept=True)) as first:
        first.open()
    left.kernel.set("Ethernet0", mtu=1400)
    with closing(make(left, kept=True)) as second:
        second.open()
        assert not second.adopted
        assert heard(second) == []
        assert len(left.store.kept) == 1
    left.kernel.set("Ethernet0", mtu=1300)
    left.store.restart()
    with closing(make(left, kept=True)) as third:
        third.open()
        assert third.adopted
        assert [message.mtu for message in heard(third)] == [1300]


async def test_a_source_that_is_not_opened_takes_nothing_over(left: World) -> None:
    left.store.restart()
    make(left, kept=True).close()
    with closing(make(left, kept=True)) as source:
        source.open()
        assert source.adopted


async def test_a_socket_of_another_name_is_not_taken_over_nor_kept_on(left: World) -> None:
    ((_, descriptor),) = left.store.kept
    left.store.keep(descriptor, "links-of-another-boot")
    left.store.forget(left.socket_name)
    left.store.restart()
    left.kernel.set("Ethernet0", mtu=1400)
    with closing(make(left, kept=True)) as source:
        source.open()
        assert not source.adopted
        assert heard(source) == []
        assert [name for name, _ in left.store.kept] == [left.socket_name]


async def test_of_several_the_first_is_taken_over_and_it_alone_is_kept_on(left: World) -> None:
    (first,) = left.store.kept
    left.store.kept.clear()
    # A new one, as if the order to forget the first had been lost.
    with closing(make(left, kept=True)) as second:
        second.open()
    left.store.kept.insert(0, first)
    left.kernel.set("Ethernet0", mtu=1400)
    left.store.restart()
    with closing(make(left, kept=True)) as source:
        source.open()
        assert source.adopted
        assert [message.mtu for message in heard(source)] == [1400]
        assert [name for name, _ in left.store.kept] == [left.socket_name]
    left.kernel.set("Ethernet0", mtu=1300)
    left.store.restart()
    with closing(make(left, kept=True)) as source:
        source.open()
        assert [message.mtu for message in heard(source)] == [1300]


# ---- questions


async def test_a_dump_shows_every_link_filter_or_not(world: World, source: LinkSource) -> None:
    source.listen_to(1, 0)
    for number in range(MANY):
        world.kernel.add_port(f"Ethernet{number}")
    world.kernel.add("noise", "ifb")
    links, interrupted, chunks = await dump(source)
    assert {"lo", "noise", "pEthernet0", *(f"Ethernet{number}" for number in range(MANY))} <= links.keys()
    assert not interrupted
    assert chunks > 1
    assert links["Ethernet7"][:2] == (False, AF_UNSPEC)
    assert links["Ethernet7"].ifindex == world.kernel.index("Ethernet7")


async def test_a_dump_says_when_links_came_or_went_meanwhile(world: World, source: LinkSource) -> None:
    for number in range(MANY):
        world.kernel.add_port(f"Ethernet{number}")
    assert (await dump(source, lambda: world.kernel.add("noise", "ifb")))[1]
    assert (await dump(source, lambda: world.kernel.delete("noise")))[1]
    assert not (await dump(source, lambda: world.kernel.set("Ethernet0", mtu=1400)))[1]


async def test_events_during_a_dump_wait_for_who_reads_them(world: World, source: LinkSource) -> None:
    for number in range(MANY):
        world.kernel.add_port(f"Ethernet{number}")
    heard(source)
    await dump(source, lambda: world.kernel.set("Ethernet0", mtu=1400))
    assert [(message.name, message.mtu) for message in heard(source)] == [("Ethernet0", 1400)]


async def test_what_a_handler_raises_ends_the_dump_and_the_next_is_whole(world: World, source: LinkSource) -> None:
    def refuse(_links: Sequence[LinkMessage]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await source.dump(refuse)
    assert "lo" in (await dump(source))[0]


async def test_single_links_are_found_by_name_ifindex_and_altname(world: World, source: LinkSource) -> None:
    ifindex = world.kernel.add_port("Ethernet0")
    world.kernel.altname("Ethernet0", "Ethernet1/1")
    world.add_odd()
    answers = await source.ask(["Ethernet0", ifindex, "Ethernet1/1", ODD_NAME])
    assert [answer and answer.name for answer in answers] == ["Ethernet0", "Ethernet0", "Ethernet0", ODD_NAME]
    # A question has room for 15 bytes, an altname for 127.
    world.kernel.altname("Ethernet0", "Ethernet-alternative-name")
    assert await source.ask(["Ethernet-alternative-name"]) == [None]


@pytest.mark.parametrize("target", ["Ethernet4", "no/such:name", "a name of more than 15 bytes", "", 9999])
async def test_a_link_that_does_not_exist_is_none(world: World, source: LinkSource, target: str | int) -> None:
    assert await source.ask([target]) == [None]


@pytest.mark.parametrize("length", [16, 70_000])
async def test_a_name_of_any_length_may_be_asked_for(world: World, source: LinkSource, length: int) -> None:
    # As Redis may hold it. The first 15 bytes of each are another link's name.
    world.kernel.add_port("Ethernet0123456")
    names = [f"Ethernet0123456{number:0{length - 15}}" for number in range(10)]
    assert await source.ask([*names, "Ethernet0123456"]) != [None] * 11
    assert await source.ask(names) == [None] * 10


async def test_many_questions_are_answered_in_their_order(world: World, source: LinkSource) -> None:
    for number in range(MANY):
        world.kernel.add(f"Ethernet{number}", "ifb")
    names = [f"Ethernet{number}" for number in range(2 * MANY)]
    answers = await source.ask(names)
    assert [answer and answer.name for answer in answers] == names[:MANY] + [None] * MANY
    assert await source.ask([]) == []


async def test_links_are_set_down_and_those_that_are_gone_passed_over(world: World, source: LinkSource) -> None:
    ports = [world.kernel.add_port(f"Ethernet{number}") for number in range(3)]
    for number in range(3):
        world.kernel.set(f"Ethernet{number}", up=True)
    world.kernel.delete("Ethernet1")
    await source.set_down(ports)
    answers = await source.ask(ports)
    assert [answer and bool(answer.flags & IFF_UP) for answer in answers] == [False, None, False]
    await source.set_down([])


async def test_setting_down_without_permission_says_so(world: World, source: LinkSource) -> None:
    ifindex = world.kernel.add_port("Ethernet0")
    world.kernel.set("Ethernet0", up=True)
    with world.forbid(), pytest.raises(NoPermissionError):
        await source.set_down([ifindex])
    (answer,) = await source.ask([ifindex])
    assert answer is not None
    assert answer.flags & IFF_UP


async def test_a_question_given_up_leaves_the_source_good(world: World, source: LinkSource) -> None:
    world.kernel.add_port("Ethernet0")
    for give_up in (lambda: source.dump(lambda _links: None), lambda: source.ask(["Ethernet0"])):
        with trio.CancelScope() as scope:
            scope.cancel()
            await give_up()
        assert scope.cancelled_caught
    (answer,) = await source.ask(["Ethernet0"])
    assert answer is not None
    assert heard(source)


# ---- signs of life


async def test_a_socket_that_listens_passes_a_probe_and_loses_nothing_by_it(world: World, source: LinkSource) -> None:
    await source.probe()
    assert not source.has_events()
    world.kernel.add_port("Ethernet0")
    assert source.has_events()
    await source.probe()
    assert source.has_events()
    assert "Ethernet0" in {message.name for message in heard(source)}
    assert not source.has_events()
    with trio.testing.assert_checkpoints():
        await source.probe()


async def test_a_probe_asks_for_no_link(world: World, source: LinkSource, monkeypatch: pytest.MonkeyPatch) -> None:
    # Somebody else may hold the lock that such a question needs.
    monkeypatch.setattr(source, "ask", None)
    await source.probe()


async def test_a_socket_that_a_former_process_left_passes_a_probe(left: World) -> None:
    left.store.restart()
    with closing(make(left, kept=True)) as source:
        source.open()
        assert source.adopted
        await source.probe()


async def test_an_overrun_is_something_to_read_which_a_probe_leaves_there(world: World) -> None:
    with closing(make(world, buffer_bytes=1)) as source:
        source.open()
        for number in range(MANY):
            world.kernel.add(f"Ethernet{number}", "ifb")
        await source.probe()
        assert source.has_events()
        assert source.receive(10_000).lost


async def test_a_closed_socket_fails_a_probe_and_has_nothing_to_read(world: World) -> None:
    source = make(world)
    for opened in (False, True):
        if opened:
            source.open()
            source.close()
        with pytest.raises(LinkSourceError):
            await source.probe()
        assert not source.has_events()


async def test_one_may_probe_while_another_waits_for_events(world: World, source: LinkSource) -> None:
    with trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.readable)
            await trio.testing.wait_all_tasks_blocked()
            await source.probe()
            world.kernel.add_port("Ethernet0")


async def test_a_socket_that_is_no_longer_a_member_fails_a_probe(world: World, source: LinkSource) -> None:
    world.drop_memberships(source)
    with pytest.raises(LinkSourceError, match="no longer a member"):
        await source.probe()
    world.kernel.add_port("Ethernet0")
    assert not source.has_events()


async def test_a_descriptor_closed_behind_its_owners_back_fails_a_probe_and_can_be_given_up(
    world: World, source: LinkSource
) -> None:
    ended: list[bool] = []

    async def wait() -> None:
        with pytest.raises(LinkSourceError):
            await source.readable()
        ended.append(True)

    with trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            world.close_descriptor(source)
            assert source.has_events()
            with pytest.raises(LinkSourceError):
                await source.probe()
            await trio.testing.wait_all_tasks_blocked()
            assert not ended
            source.close()
    with closing(make(world)) as other:
        other.open()
        await other.probe()
