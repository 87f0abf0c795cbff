"""What goes wrong around the metrics endpoint: clients, the address, the certificates. As ``faults``, which these join."""

import ssl
from contextlib import suppress
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import TYPE_CHECKING

import trio

from portsyncd.testing.fake_client import FakeClient, UnansweredError
from portsyncd.testing.fake_host import FakeTransport
from tests.chaos.simulation.faults import Fault, for_a_while
from tests.chaos.simulation.scraper import DAY, kit

if TYPE_CHECKING:
    from tests.chaos.simulation.simulation import Simulation

_FLOOD = 200
_WAVE = 20
_HELLO_BYTES = 4096


async def _knock(sim: "Simulation") -> FakeTransport | None:
    try:
        return await sim.endpoint.host.connect(f"2001:db8::{sim.chance.randint(2, 5)}")
    except OSError:
        return None


def _hello(sim: "Simulation") -> bytes:
    """The first message of a client that knows what it does."""
    outgoing = ssl.MemoryBIO()
    tls = kit().clients[sim.endpoint.ca].wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="::1")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read(_HELLO_BYTES)


async def a_client_vanishes_in_its_handshake(sim: "Simulation") -> None:
    """After a part of its hello, or all of it: with a word, with a reset, or without."""
    client = await _knock(sim)
    if client is None:
        return
    hello = _hello(sim)
    try:
        await client.send_all(hello[: sim.chance.choice((0, 1, 5, len(hello) - 1, len(hello)))])
        await trio.sleep(sim.chance.choice((0.0, 0.0, 0.1, 4.9)))
    except trio.BrokenResourceError:
        return
    match sim.chance.choice(("close", "reset", "silence")):
        case "close":
            client.close()
        case "reset":
            client.abort()


async def a_client_sends_garbage(sim: "Simulation") -> None:
    """No TLS, broken TLS, or TLS and then no HTTP."""
    client = await _knock(sim)
    if client is None:
        return
    garbage = bytes(sim.chance.randrange(256) for _ in range(sim.chance.randint(1, 300)))
    hello = _hello(sim)
    sent = sim.chance.choice((garbage, b"GET /metrics HTTP/1.1\r\n\r\n", hello[:100] + garbage, hello + garbage))
    try:
        await client.send_all(sent)
        await trio.sleep(sim.chance.choice((0.0, 10.0)))
    except trio.BrokenResourceError:
        pass
    finally:
        client.close()


async def a_stranger_knocks(sim: "Simulation") -> None:
    """Without a certificate, or with one that nobody vouches for."""
    stranger = FakeClient(sim.endpoint.host, sim.chance.choice(kit().strangers), "2001:db8::6")
    try:
        await stranger.get("/metrics")
    except UnansweredError:
        pass
    else:
        sim.book.violate("metrics endpoint: a stranger was answered")
    finally:
        await stranger.aclose()


async def a_client_reads_nothing(sim: "Simulation") -> None:
    """It asks, and holds its connection open; or it never asks."""
    client = FakeClient(sim.endpoint.host, kit().clients[sim.endpoint.ca], "2001:db8::7")
    try:
        await (client.ask("/metrics") if sim.chance.random() < 0.7 else client.open())
    except UnansweredError:
        return
    # Nobody closes it: its host is gone.


async def a_flood_of_silent_connections(sim: "Simulation") -> None:
    """In waves, since more than there is room for at one moment would take the place of who has just come."""
    opened = []
    for number in range(_FLOOD):
        client = await _knock(sim)
        if client is None:
            break
        opened.append(client)
        if number % _WAVE == 0:
            await trio.sleep(0.05)
    if sim.chance.random() < 0.5:
        for client in opened:
            client.close()


async def nobody_can_be_accepted(sim: "Simulation") -> None:
    """No descriptor is left."""
    sim.endpoint.host.accept_error = sim.chance.choice((EMFILE, EMFILE, ENFILE, ENOBUFS, ENOMEM))
    try:
        await for_a_while(sim)
    finally:
        sim.endpoint.host.accept_error = 0


async def the_listener_breaks(sim: "Simulation") -> None:
    sim.endpoint.host.break_listener()


async def the_address_is_taken(sim: "Simulation") -> None:
    """By another program, which is noticed when the endpoint begins anew."""
    sim.endpoint.host.taken = True
    try:
        await the_listener_breaks(sim)
        await for_a_while(sim)
    finally:
        sim.endpoint.host.taken = False


async def certificates_are_replaced(sim: "Simulation") -> None:
    """By a good set: of the same CA, or of another one."""
    sim.endpoint.install_some(ca=sim.chance.choice((sim.endpoint.ca, 1 - sim.endpoint.ca)))


async def certificates_are_damaged(sim: "Simulation") -> None:
    """A file holds something else, or a key of another certificate."""
    endpoint = sim.endpoint
    endpoint.damaged = True
    path = sim.chance.choice(endpoint.paths)
    before = endpoint.host.files[path]
    other = kit().authorities[0]
    contents = (b"", b"garbage", before[: len(before) // 2], other.key_pem)
    endpoint.host.put({path: sim.chance.choice(contents)})
    try:
        await for_a_while(sim)
    finally:
        # Unless somebody has put right ones there meanwhile.
        if endpoint.damaged:
            endpoint.install_some()


async def certificates_are_of_another_time(sim: "Simulation") -> None:
    """They have expired, or their time has not come, or comes in a moment; and then the service begins anew, perhaps."""
    now = sim.world.unix()
    span = sim.chance.choice(((-9 * DAY, -DAY), (-9 * DAY, 3.0), (3.0, 90 * DAY), (DAY, 90 * DAY)))
    sim.endpoint.install(now + span[0], now + span[1])
    await trio.sleep(sim.chance.choice((0.5, 3.0)))
    if sim.chance.random() < 0.7:
        await the_listener_breaks(sim)
    await for_a_while(sim)


ENDPOINT_FAULTS: tuple[tuple[Fault, int], ...] = (
    (a_client_vanishes_in_its_handshake, 3),
    (a_client_sends_garbage, 2),
    (a_stranger_knocks, 1),
    (a_client_reads_nothing, 1),
    (a_flood_of_silent_connections, 2),
    (nobody_can_be_accepted, 2),
    (the_listener_breaks, 2),
    (the_address_is_taken, 2),
    (certificates_are_replaced, 2),
    (certificates_are_damaged, 2),
    (certificates_are_of_another_time, 2),
)
