"""What hostile and broken clients do to the metrics endpoint. None of it may end it, stall it or leave anything behind.

Each attack takes the endpoint and how often to do it, and returns how often each HTTP status was answered (0: none
was). ``ATTACKS`` lists all of them with the statuses that are right. Those that say so come from clients without any
certificate; the others hold a good one.
"""

import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from typing import Final, NamedTuple

from portsyncd.testing.endpoint import Endpoint
from portsyncd.testing.odd_requests import ODD_REQUESTS, SCRAPE
from portsyncd.testing.wait import hold

Statuses = Counter[int]
NO_ANSWER: Final = 0

# On close: no FIN but a RST, and nothing that waits is still sent (socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)
_RECEIVE_BYTES: Final = 65536
# How long those wait that do nothing: the endpoint has accepted them long before.
_SILENCE_SECONDS: Final = 0.2
_SLOW_BYTES: Final = 30
_PACE_SECONDS: Final = 0.002
_NEVER_READ_REQUESTS: Final = 2000
_GARBAGE: Final = (
    SCRAPE,
    b"\x00",
    b"\x16\x03\x01\xff\xff",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x01\x00\x80",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x14\x03\x03\x00\x01\x01" * 40,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    bytes(range(256)) * 64,
)


class Attack(NamedTuple):
    """statuses: what may be answered. times: how often in a quick run, full_times: in a full one."""

    run: Callable[[Endpoint, int], Statuses]
    statuses: frozenset[int]
    times: int
    full_times: int


def reset(connection: socket.socket) -> None:
    """Close with a RST, as a client does that has crashed."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


def open_connection(endpoint: Endpoint, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection after its handshake."""
    connection = endpoint.connect()
    # As HTTP clients do: otherwise the request waits for the acknowledgement of the handshake's end.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(connection, server_hostname="::1")


def ask(endpoint: Endpoint, request: bytes, context: ssl.SSLContext) -> int:
    """Send raw bytes after a handshake; the status of the first answer, which counts also where sending failed."""
    with closing(open_connection(endpoint, context)) as connection:
        with suppress(OSError):
            connection.sendall(request)
        with suppress(OSError):
            return _status(connection.recv(_RECEIVE_BYTES))
    return NO_ANSWER


def _status(answer: bytes) -> int:
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else NO_ANSWER


def _asking(requests: Iterable[bytes]) -> Callable[[Endpoint, int], Statuses]:
    """An attack that sends each of these, each over a connection of its own."""
    listed = tuple(requests)

    def run(endpoint: Endpoint, count: int) -> Statuses:
        context = endpoint.context()
        return Counter(ask(endpoint, request, context) for _ in range(count) for request in listed)

    return run


def client_hello(endpoint: Endpoint) -> bytes:
    """A good ClientHello."""
    outgoing = ssl.MemoryBIO()
    tls = endpoint.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="::1")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def _cuts(length: int, count: int) -> Iterable[int]:
    """``count`` places in something of this length, evenly spread, its beginning and its end among them."""
    return (length * number // max(1, count - 1) for number in range(count))


# ---- without a certificate


def never_shake_hands(endpoint: Endpoint, count: int) -> Statuses:
    """Connections on which nothing ever comes, all open at once."""
    return _silence(endpoint, count, b"")


def stop_in_hello(endpoint: Endpoint, count: int) -> Statuses:
    """Connections that stop within their ClientHello, all open at once."""
    hello = client_hello(endpoint)
    return _silence(endpoint, count, hello[: len(hello) // 2])


def stop_after_hello(endpoint: Endpoint, count: int) -> Statuses:
    """Connections that have the server compute its part of the handshake and do not go on, all open at once."""
    return _silence(endpoint, count, client_hello(endpoint))


def _silence(endpoint: Endpoint, count: int, beginning: bytes) -> Statuses:
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(closing(endpoint.connect()))
            # Over a network a good client's first words are as quick as these connections; on one interpreter's lock
            # they would not be.
            hold(_PACE_SECONDS)
            with suppress(OSError):
                connection.sendall(beginning)
        hold(_SILENCE_SECONDS)
    return Counter({NO_ANSWER: count})


def reset_in_hello(endpoint: Endpoint, count: int) -> Statuses:
    """RST after so many bytes of the ClientHello: none at all, one, ..., all."""
    hello = client_hello(endpoint)
    for cut in _cuts(len(hello), count):
        connection = endpoint.connect()
        with suppress(OSError):
            connection.sendall(hello[:cut])
        reset(connection)
    return Counter({NO_ANSWER: count})


def garbage(endpoint: Endpoint, count: int) -> Statuses:
    """What is no ClientHello, or hardly one; the client then waits to be refused."""
    for number in range(count):
        with closing(endpoint.connect()) as connection, suppress(OSError):
            connection.sendall(_GARBAGE[number % len(_GARBAGE)])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(_RECEIVE_BYTES):
                pass
    return Counter({NO_ANSWER: count})


def garbage_and_stay(endpoint: Endpoint, count: int) -> Statuses:
    """Garbage from clients that do not go when they are refused, all there at once."""
    return _silence(endpoint, count, SCRAPE)


# ---- with one


def half_open(endpoint: Endpoint, count: int) -> Statuses:
    """A handshake and then silence, all open at once; the client goes without a close_notify."""
    context = endpoint.context()
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(closing(open_connection(endpoint, context)))
        hold(_SILENCE_SECONDS)
    return Counter({NO_ANSWER: count})


def reset_after_handshake(endpoint: Endpoint, count: int) -> Statuses:
    """RST as soon as the client's side of the handshake is done."""
    context = endpoint.context()
    for _ in range(count):
        reset(open_connection(endpoint, context))
    return Counter({NO_ANSWER: count})


def reset_in_request(endpoint: Endpoint, count: int) -> Statuses:
    """RST after so many bytes of a request, up to all of them."""
    context = endpoint.context()
    for cut in _cuts(len(SCRAPE), count):
        connection = open_connection(endpoint, context)
        with suppress(OSError):
            connection.sendall(SCRAPE[:cut])
        reset(connection)
    return Counter({NO_ANSWER: count})


def reset_in_answer(endpoint: Endpoint, count: int) -> Statuses:
    """RST when the first byte of the answer is there."""
    context = endpoint.context()
    for _ in range(count):
        connection = open_connection(endpoint, context)
        with suppress(OSError):
            connection.sendall(SCRAPE)
            connection.recv(1)
        reset(connection)
    return Counter({NO_ANSWER: count})


def pipeline_and_reset(endpoint: Endpoint, count: int) -> Statuses:
    """Fifty requests in one go, then RST: at once, and when the first byte of an answer is there."""
    context = endpoint.context()
    for number in range(count):
        connection = open_connection(endpoint, context)
        with suppress(OSError):
            connection.sendall(SCRAPE * 50)
            if number % 2:
                connection.recv(1)
        reset(connection)
    return Counter({NO_ANSWER: count})


def never_read(endpoint: Endpoint, count: int) -> Statuses:
    """Ask for thousands of answers over connections with a small window and read none of them; all open at once."""
    context = endpoint.context()
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(closing(open_connection(endpoint, context)))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(_SILENCE_SECONDS)
            with suppress(OSError):
                connection.sendall(SCRAPE * _NEVER_READ_REQUESTS)
        hold(_SILENCE_SECONDS)
    return Counter({NO_ANSWER: count})


def slow_headers(endpoint: Endpoint, count: int, interval_seconds: float = 0.05) -> Statuses:
    """Headers a byte at a time, on all connections at once, until the server has had enough or half a minute's worth
    of them has gone out."""
    context = endpoint.context()
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(open_connection(endpoint, context))) for _ in range(count)]
        for byte in SCRAPE[:_SLOW_BYTES]:
            for connection in connections:
                with suppress(OSError):
                    connection.sendall(bytes([byte]))
            hold(interval_seconds)
    return Counter({NO_ANSWER: count})


def garbage_records(endpoint: Endpoint, count: int) -> Statuses:
    """After the handshake, bytes that are no TLS records, or none that decrypt; then a connection cut off in a record."""
    context = endpoint.context()
    for number in range(count):
        tls = open_connection(endpoint, context)
        with closing(socket.socket(fileno=tls.detach())) as connection, suppress(OSError):
            connection.sendall(_GARBAGE[number % len(_GARBAGE)])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(_RECEIVE_BYTES):
                pass
    return Counter({NO_ANSWER: count})


def end_of_file(endpoint: Endpoint, count: int) -> Statuses:
    """FIN without a close_notify after so many bytes of a request."""
    context = endpoint.context()
    for cut in _cuts(len(SCRAPE), count):
        with closing(open_connection(endpoint, context)) as connection, suppress(OSError):
            connection.sendall(SCRAPE[:cut])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(_RECEIVE_BYTES):
                pass
    return Counter({NO_ANSWER: count})


def connections_in_turn(endpoint: Endpoint, count: int) -> Statuses:
    """One scrape a connection, again and again."""
    context = endpoint.context()
    return Counter(ask(endpoint, SCRAPE, context) for _ in range(count))


def requests_over_one(endpoint: Endpoint, count: int) -> Statuses:
    """Scrape after scrape over one connection, without a pause."""
    with endpoint.client() as client:
        return Counter(client.get("/metrics")[0].status for _ in range(count))


def _attack(
    run: Callable[[Endpoint, int], Statuses], count: int, full_count: int, statuses: Iterable[int] = (NO_ANSWER,)
) -> Attack:
    return Attack(run, frozenset(statuses), count, full_count)


ATTACKS: Final[dict[str, Attack]] = {
    "never shake hands": _attack(never_shake_hands, 80, 500),
    "stop in the hello": _attack(stop_in_hello, 80, 500),
    "stop after the hello": _attack(stop_after_hello, 40, 500),
    "reset in the hello": _attack(reset_in_hello, 40, 500),
    "garbage": _attack(garbage, 36, 900),
    "garbage and stay": _attack(garbage_and_stay, 80, 500),
    "half open": _attack(half_open, 20, 500),
    "reset after the handshake": _attack(reset_after_handshake, 10, 200),
    "reset in the request": _attack(reset_in_request, 10, 200),
    "reset in the answer": _attack(reset_in_answer, 10, 200),
    "pipeline and reset": _attack(pipeline_and_reset, 10, 200),
    "never read": _attack(never_read, 3, 30),
    "slow headers": _attack(slow_headers, 3, 30),
    "garbage records": _attack(garbage_records, 18, 180),
    "end of file": _attack(end_of_file, 8, 100),
    "connections in turn": _attack(connections_in_turn, 20, 5000, (200,)),
    "requests over one connection": _attack(requests_over_one, 200, 20000, (200,)),
    **{name: _attack(_asking(odd.requests), 1, 20, odd.statuses) for name, odd in ODD_REQUESTS.items()},
}
