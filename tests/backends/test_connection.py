"""One connection to Redis: its deadlines, its errors, and what it leaves behind; on a real Redis where one can do it."""

import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.abc
from trio.testing import wait_all_tasks_blocked

from portsyncd.backends import connection as module
from portsyncd.backends.connection import Access, RedisConnection, ScriptUnknownError
from portsyncd.errors import StoreLoadingError, StoreRefusedError, StoreUnavailableError
from portsyncd.testing.certificates import Certificates
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.wait import until
from portsyncd.wire.database_config import Database, Endpoint
from tests.backends.scripted import scripted

PATIENT = Access(timeout=30.0)
# Ends a wait for what never comes; connecting takes no thread for so long.
IMPATIENT = Access(timeout=0.5)
# What is "at once" beside PATIENT's time-out.
SOON = 10.0
ODD = "Ethernet\udcff0"

MakeServer = Callable[..., RedisServer]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(RedisServer(tmp_path, **options))


@pytest.fixture
def server(make_server: MakeServer) -> RedisServer:
    return make_server()


@pytest.fixture
async def connection(server: RedisServer) -> AsyncIterator[RedisConnection]:
    with closing(connect(server)) as connection:
        await connection.open()
        yield connection


def connect(server: RedisServer, access: Access = PATIENT, number: int = 6) -> RedisConnection:
    return RedisConnection(Database("STATE_DB", Endpoint(unix_socket=server.socket_path), number, "|"), access)


async def ask(database: Database, *requests: Any, access: Access = PATIENT) -> list[Any]:
    """Connect, ask, close."""
    with closing(RedisConnection(database, access)) as connection:
        await connection.open()
        return await connection.call(*requests)


# ---- requests and replies


async def test_requests_are_answered_in_order_on_the_database_that_was_asked_for(
    server: RedisServer, connection: RedisConnection
) -> None:
    replies = await connection.call(("HSET", "key", "a", "1"), ("HGETALL", "key"), ("HGET", "key", "b"))
    assert replies == [1, ["a", "1"], None]
    assert server.client(6).hgetall("key") == {"a": "1"}


async def test_a_refusal_is_raised_after_all_replies_and_the_connection_stays_in_step(
    connection: RedisConnection,
) -> None:
    await connection.call(("SET", "text", "x"))
    with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
        await connection.call(("HGET", "text", "a"), ("SET", "after", "1"), ("NOSUCHCOMMAND",))
    assert await connection.call(("GET", "after"), ("GET", "text")) == ["1", "x"]


async def test_odd_bytes_go_in_and_come_out(connection: RedisConnection) -> None:
    await connection.call(("HSET", ODD, "alias", ODD), ("SET", "Ethernetü", b"\xff"))
    assert await connection.call(("HGETALL", ODD), ("GET", "Ethernetü")) == [["alias", ODD], "\udcff"]


async def test_more_than_the_sockets_hold_goes_through_both_ways(connection: RedisConnection) -> None:
    text = "x" * 5_000_000
    with trio.fail_after(SOON):
        await connection.call(("SET", "long", text))
        assert await connection.call(("GET", "long"), ("GET", "long")) == [text, text]


async def test_requests_that_redis_does_not_take_in_end_by_the_deadline(server: RedisServer) -> None:
    with closing(connect(server, IMPATIENT)) as connection:
        await connection.open()
        server.pause()
        with pytest.raises(StoreUnavailableError):
            await connection.call(("SET", "long", "x" * 5_000_000))


async def test_requests_that_redis_does_not_take_in_hold_nobody_up(
    server: RedisServer, connection: RedisConnection
) -> None:
    server.pause()
    with trio.fail_after(SOON), trio.move_on_after(0.05) as scope:
        await connection.call(("SET", "long", "x" * 5_000_000))
    assert scope.cancelled_caught


async def test_what_comes_unasked_is_received_without_a_deadline(server: RedisServer) -> None:
    with closing(connect(server, IMPATIENT)) as connection:
        await connection.open()
        await connection.send(("SUBSCRIBE", "channel"))
        assert await connection.receive() == [["subscribe", "channel", 1]]
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def publish() -> None:
                await trio.sleep(1.5 * IMPATIENT.timeout)
                server.client(0).publish("channel", "text")

            assert await connection.receive() == [["message", "channel", "text"]]


async def test_an_answer_may_come_in_pieces() -> None:
    async def answer(stream: trio.abc.Stream) -> None:
        for byte in b"$5\r\nwhole\r\n":
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.001)

    async with scripted({"GET": answer}) as database:
        assert await ask(database, ("GET", "key")) == ["whole"]


# ---- deadlines, cancellation, closing


async def test_a_deadline_counts_for_the_whole_answer_and_not_for_each_piece() -> None:
    async def dribble(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"$1000\r\n")
        while True:
            await stream.send_all(b"x")
            await trio.sleep(IMPATIENT.timeout / 10)

    async with scripted({"GET": dribble}) as database:
        with trio.fail_after(SOON), pytest.raises(StoreUnavailableError, match=r"did not answer within 0\.5 s"):
            await ask(database, ("GET", "key"), access=IMPATIENT)


async def test_a_cancelled_request_ends_at_once_and_its_connection_with_it(
    server: RedisServer, connection: RedisConnection
) -> None:
    server.pause()
    with trio.fail_after(SOON), trio.move_on_after(0.05) as scope:
        await connection.call(("SET", "key", "1"))
    assert scope.cancelled_caught
    server.resume()
    with pytest.raises(StoreUnavailableError):
        await connection.call(("GET", "key"))
    until(lambda: not clients(server), what="Redis sees that the connection is closed")


async def test_a_handshake_given_up_frees_its_thread_at_once(server: RedisServer) -> None:
    with closing(connect(server)) as connection:
        ended = threading.Event()
        handshake = connection._connect

        def note_end() -> None:
            try:
                handshake()
            finally:
                ended.set()

        connection._connect = note_end  # type: ignore[method-assign]
        server.pause()
        with trio.move_on_after(0.05):
            await connection.open()
        # redis-py itself would wait for as long as the time-out says.
        until(ended.is_set, SOON, "the thread ends")
        with pytest.raises(StoreUnavailableError):
            await connection.call(("PING",))
    server.resume()
    until(lambda: not clients(server), what="Redis sees that the connection is closed")


async def test_closing_while_connecting_leaves_nothing_open(server: RedisServer) -> None:
    server.pause()
    connection = connect(server)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def open_it() -> None:
            with pytest.raises(StoreUnavailableError):
                await connection.open()

        await trio.sleep(0.05)
        connection.close()
        server.resume()
    until(lambda: not clients(server), what="Redis sees that the connection is closed")


async def test_a_connection_that_comes_about_after_it_was_closed_is_given_back(server: RedisServer) -> None:
    connection = connect(server)
    closed, ended = threading.Event(), threading.Event()
    handshake: Callable[[], None] = connection._connection.connect

    def connect_late() -> None:
        closed.wait()
        handshake()
        ended.set()

    connection._connection.connect = connect_late  # type: ignore[method-assign]
    with trio.move_on_after(0.05):
        await connection.open()
    closed.set()
    until(ended.is_set, SOON, "the handshake ends")
    until(lambda: not clients(server), what="Redis sees that the connection is closed")


async def test_connections_given_up_while_they_are_made_take_no_threads_from_others(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    begun: list[RedisConnection] = []

    def connect_late(connection: RedisConnection) -> None:
        begun.append(connection)
        released.wait()

    async def fail(connection: RedisConnection) -> None:
        with pytest.raises(StoreUnavailableError):
            await connection.open()

    try:
        with monkeypatch.context() as patch:
            patch.setattr(RedisConnection, "_connect", connect_late)
            connections = [connect(server) for _ in range(20)]
            async with trio.open_nursery() as nursery:
                for one in connections:
                    nursery.start_soon(fail, one)
                await wait_all_tasks_blocked()
                for one in connections:
                    one.close()
            assert 0 < len(begun) <= 8
            assert not trio.to_thread.current_default_thread_limiter().borrowed_tokens
            # The next waits for one of them, no longer than for Redis.
            with trio.fail_after(SOON), pytest.raises(StoreUnavailableError, match="did not answer within"):
                await connect(server, Access(timeout=0.05)).open()
    finally:
        released.set()
    with closing(connect(server)) as connection:
        await connection.open()


async def test_a_reply_that_has_come_counts_whatever_the_time_is() -> None:
    heard = trio.Event()

    async def answer_before_it_is_asked(stream: trio.abc.Stream) -> None:
        # As where the process was stopped until after its deadline.
        await stream.send_all(b"+OK\r\n")
        await heard.wait()
        await stream.send_all(b"+PONG\r\n+PO")
        await trio.sleep_forever()

    async with scripted({"GET": answer_before_it_is_asked}) as database:
        with closing(RedisConnection(database, PATIENT)) as connection:
            await connection.open()
            await connection.call(("GET", "key"))
            heard.set()
            with trio.fail_after(SOON):
                await trio.lowlevel.wait_readable(connection._socket())
            with trio.CancelScope() as scope:
                scope.cancel()
                assert await connection.call(("PING",)) == ["PONG"]
            assert not scope.cancelled_caught
            # One that is not whole does not.
            with trio.CancelScope() as scope:
                scope.cancel()
                await connection.call(("PING",))
            assert scope.cancelled_caught


async def test_closing_one_whose_descriptor_somebody_closed_does_not_fail() -> None:
    async with scripted({}) as database:
        connection = RedisConnection(database, PATIENT)
        await connection.open()
        os.close(connection._socket().fileno())
        connection.close()
        with pytest.raises(StoreUnavailableError):
            await connection.call(("PING",))


def clients(server: RedisServer) -> list[str]:
    """The connections to database 6, which nobody but the connection under test uses."""
    return [client["addr"] for client in server.client(0).client_list() if client["db"] == "6"]


# ---- errors


async def test_a_server_whose_socket_another_one_has_taken_is_left(server: RedisServer) -> None:
    connection = connect(server)
    with closing(connection):
        await connection.open()
        await connection.ping()
        server.supersede()
        # It is still there for who is connected to it.
        await connection.call(("PING",))
        with pytest.raises(StoreUnavailableError, match="another server has taken"):
            await connection.ping()


async def test_a_server_whose_socket_is_gone_serves_as_long_as_it_does(server: RedisServer) -> None:
    connection = connect(server)
    with closing(connection):
        await connection.open()
        server.remove_socket()
        await connection.ping()


def change_mode(server: RedisServer) -> None:
    Path(server.socket_path).chmod(0o777)


def replace_socket(server: RedisServer) -> None:
    """By a file that is none; the former one keeps its inode, under another name."""
    path = Path(server.socket_path)
    path.rename(path.with_suffix(".former"))
    path.touch()


async def test_a_socket_that_changes_its_mode_or_its_owner_is_still_the_same_servers(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(connect(server)) as connection:
        await connection.open()
        change_mode(server)
        await connection.ping()
        # It is asked once, not again and again.
        with monkeypatch.context() as patch:
            patch.setattr(module, "_listener", None)
            await connection.ping()
        server.supersede()
        with pytest.raises(StoreUnavailableError, match="another server has taken"):
            await connection.ping()


async def test_a_socket_that_takes_nobody_says_nothing_of_who_is_connected(server: RedisServer) -> None:
    with closing(connect(server)) as connection:
        await connection.open()
        replace_socket(server)
        await connection.ping()
        await connection.ping()


async def test_where_no_server_has_a_process_id_its_file_tells(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container of our own.
    monkeypatch.setattr(module, "_peer", lambda _sock: 0)
    with closing(connect(server)) as connection:
        await connection.open()
        change_mode(server)
        await connection.ping()
        replace_socket(server)
        server.supersede()
        with pytest.raises(StoreUnavailableError, match="another server has taken"):
            await connection.ping()


async def test_nobody_listens(server: RedisServer) -> None:
    server.kill()
    with pytest.raises(StoreUnavailableError, match=r"STATE_DB at unix:.* is unreachable"):
        await connect(server).open()


async def test_a_script_that_redis_forgot(connection: RedisConnection) -> None:
    with pytest.raises(ScriptUnknownError):
        await connection.call(("EVALSHA", "0" * 40, 0))


async def test_a_database_that_redis_does_not_have(server: RedisServer) -> None:
    with pytest.raises(StoreRefusedError, match="DB index is out of range"):
        await connect(server, number=16).open()


@pytest.mark.parametrize(
    ("username", "password", "said"),
    [(None, None, "Authentication required"), (None, "wrong", "invalid"), ("nobody", "secret", "invalid")],
)
async def test_a_password_that_is_missing_or_wrong_is_a_refusal_that_does_not_tell_it(
    make_server: MakeServer, username: str | None, password: str | None, said: str
) -> None:
    server = make_server(password="secret")
    with closing(connect(server, Access(username=username, password=password))) as connection:
        with pytest.raises(StoreRefusedError, match=said) as raised:
            await connection.open()
        assert password is None or password not in str(raised.value)


async def test_the_right_password_opens(make_server: MakeServer) -> None:
    server = make_server(password="secret")
    for access in (Access(password="secret"), Access(username="default", password="secret")):
        with closing(connect(server, access)) as connection:
            await connection.open()
            assert await connection.call(("PING",)) == ["PONG"]


async def test_a_user_who_may_not_is_refused_and_stays_connected(server: RedisServer) -> None:
    server.client(0).acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-hset"])
    with closing(connect(server, Access(username="reader", password="secret"))) as connection:
        await connection.open()
        with pytest.raises(StoreRefusedError, match="no permissions"):
            await connection.call(("HSET", "key", "a", "1"))
        assert await connection.call(("PING",)) == ["PONG"]


async def test_over_tls_only_who_is_to_be_trusted_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, systems = Certificates(tmp_path / "ours"), Certificates(tmp_path / "systems")
    monkeypatch.setenv("SSL_CERT_FILE", str(systems.ca))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(systems.server_cert, systems.server_key)
    async with scripted({"PING": b"+PONG\r\n"}, tls=context) as database:
        for told in (None, str(systems.ca)):
            access = Access(tls=True, tls_ca=told, timeout=SOON)
            assert await ask(database, ("PING",), access=access) == ["PONG"]
        with pytest.raises(StoreUnavailableError, match="certificate verify failed"):
            await ask(database, ("PING",), access=Access(tls=True, tls_ca=str(ours.ca), timeout=SOON))


class LoadingServer(RedisServer):
    """Takes half a second over every key of its snapshot, and counts as started when it says so."""

    def _answers(self) -> bool:
        return "Loading RDB" in self.log() or super()._answers()


async def test_a_redis_that_loads_its_data_is_not_unavailable(tmp_path: Path) -> None:
    # It looks after its clients after each 2 MB.
    with RedisServer(tmp_path, arguments=("--rdbcompression", "no")) as server:
        for number in range(10):
            server.client(0).set(f"key{number}", "x" * 2_200_000)
        server.save()
    with LoadingServer(tmp_path, arguments=("--key-load-delay", "500000")) as server:
        with closing(connect(server)) as connection:
            await connection.open()
            with pytest.raises(StoreLoadingError):
                await connection.call(("GET", "key0"))
        assert "Done loading" not in server.log()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", StoreLoadingError),
        (b"-READONLY You can't write against a read only replica.\r\n", StoreRefusedError),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", StoreRefusedError),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", StoreRefusedError),
        (b"-NOAUTH Authentication required.\r\n", StoreRefusedError),
        (b"-NOPERM this user has no permissions\r\n", StoreRefusedError),
        (b"-CLUSTERDOWN The cluster is down\r\n", StoreRefusedError),
        (b"-BUSY Redis is busy running a script.\r\n", StoreRefusedError),
        (b"-ERR max number of clients reached\r\n", StoreUnavailableError),
        (b"!no such thing in this protocol\r\n", StoreUnavailableError),
    ],
    ids=lambda value: value[1:8].decode() if isinstance(value, bytes) else None,
)
async def test_error_replies_become_our_errors(answer: bytes, error: type[Exception]) -> None:
    async with scripted({"GET": answer}) as database:
        with pytest.raises(error):
            await ask(database, ("GET", "key"))


@pytest.mark.parametrize("command", ["SELECT", "GET"])
async def test_a_server_that_hangs_up_is_unavailable(command: str) -> None:
    async with scripted({command: lambda stream: stream.aclose()}) as database:
        with trio.fail_after(SOON), pytest.raises(StoreUnavailableError):
            await ask(database, ("GET", "key"))


async def test_a_connection_over_tcp_that_is_given_up_delivers_nothing_late() -> None:
    # What the kernel still held would arrive after the path has healed, behind what the next session wrote.
    async def ask_in_vain(connection: RedisConnection) -> None:
        with pytest.raises(StoreUnavailableError):
            await connection.call(("SET", "key", "x" * 50_000_000))

    async def read_to_its_end(stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            pass

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        endpoint = Endpoint(host="127.0.0.1", port=listener.socket.getsockname()[1])
        connection = RedisConnection(Database("APPL_DB", endpoint, 0, ":"), PATIENT)
        await connection.open()
        async with await listener.accept() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(ask_in_vain, connection)
            await stream.receive_some()
            connection.close()
            # Not the orderly end after which all of it would have arrived.
            with pytest.raises(trio.BrokenResourceError):
                await read_to_its_end(stream)
