"""Whatever answers in place of Redis: only our errors leave the backend, and they say that it is no Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from itertools import cycle

import pytest
import trio
import trio.abc
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.backends.connection import Access
from portsyncd.backends.redis import RedisStore
from portsyncd.errors import StoreError, StoreUnavailableError
from portsyncd.model.commands import Op, PortWrite
from portsyncd.wire import schema
from portsyncd.wire.producer import set_row
from tests.backends.scripted import Answer, scripted

Ask = Callable[[RedisStore], Awaitable[object]]

PATIENT = Access(timeout=30.0)
# Ends a wait for a confirmation that never comes, which is as good an end as any here.
IMPATIENT = Access(timeout=0.2)
NAMES = ["Ethernet0", "Ethernet4"]
WRITES = [PortWrite(name, Op.REPLACE, ("ok", "up", "up", "9100")) for name in NAMES]
# With which a session opens.
HANDSHAKE: dict[str, Answer] = {
    "CONFIG": b"*2\r\n$22\r\nnotify-keyspace-events\r\n$3\r\nAKE\r\n",
    "PSUBSCRIBE": b"",
    "SUBSCRIBE": b"",
}
COMMANDS = (
    *("CONFIG", "PSUBSCRIBE", "SUBSCRIBE", "UNSUBSCRIBE", "PING", "GET", "HGET", "HSET", "HGETALL"),
    *("DBSIZE", "EXISTS", "KEYS", "SCAN", "EVAL", "EVALSHA"),
)
OK, NULL, ONE, LIST = b"+OK\r\n", b"$-1\r\n", b":1\r\n", b"*1\r\n$1\r\na\r\n"


async def watch(store: RedisStore) -> None:
    await store.watch(lambda _: None)


async def subscribe(store: RedisStore) -> None:
    """Who waits for a confirmation or an answer to a probe is told by who listens; here all of them are one."""
    failures: list[StoreError] = []

    async def keep(ask: Ask) -> None:
        try:
            await ask(store)
        except StoreError as problem:
            failures.append(problem)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep, watch)
        await keep(lambda store: store.wait_for_ports(NAMES))
        await keep(lambda store: store.probe())
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


ASK: dict[str, Ask] = {
    "config_initialized": lambda store: store.config_initialized(),
    "config_is_empty": lambda store: store.config_is_empty(),
    "snapshot": lambda store: store.snapshot(),
    "port_names": lambda store: store.port_names(),
    "read_ports": lambda store: store.read_ports(NAMES),
    "write_ports": lambda store: store.write_ports(WRITES),
    "produce": lambda store: store.produce([set_row("Ethernet0", {"mtu": "9100"})]),
    "set_hash": lambda store: store.set_hash(schema.STATE_DB, "key", {"a": "b"}),
    "look": lambda store: store.look(),
    "config_port_names": lambda store: store.config_port_names(),
    "log_level": lambda store: store.log_level(),
    "subscribe": subscribe,
}


@asynccontextmanager
async def session(
    answers: dict[str, Answer], *, apart: bool = False, access: Access = PATIENT
) -> AsyncIterator[RedisStore]:
    """A store on such a server, or on two of them; not open yet."""
    async with scripted(answers) as one, scripted(answers) as other:
        places = {schema.APPL_DB: one, schema.CONFIG_DB: one, schema.STATE_DB: other if apart else one}
        databases = {
            name: replace(place, name=name, number=schema.DEFAULT_NUMBERS[name], separator="|")
            for name, place in places.items()
        }
        with closing(RedisStore(databases, access)) as store:
            yield store


# ---- one reply that does not fit


@pytest.mark.parametrize(
    ("ask", "command", "answer"),
    [
        ("config_initialized", "GET", ONE),
        ("config_is_empty", "DBSIZE", OK),
        ("snapshot", "KEYS", OK),
        ("snapshot", "KEYS", b"*1\r\n:1\r\n"),
        ("snapshot", "HGETALL", LIST),
        ("snapshot", "HGET", LIST),
        ("port_names", "SCAN", OK),
        ("port_names", "SCAN", b"*3\r\n+a\r\n+b\r\n+c\r\n"),
        ("port_names", "SCAN", b"*2\r\n+0\r\n:1\r\n"),
        ("read_ports", "EVALSHA", NULL),
        ("read_ports", "EVALSHA", LIST),
        ("read_ports", "EVALSHA", b"*2\r\n*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n"),
        ("read_ports", "EVALSHA", b"*2\r\n*1\r\n+ok\r\n*1\r\n+ok\r\n"),
        ("write_ports", "EVALSHA", ONE),
        ("write_ports", "EVALSHA", NULL),
        ("write_ports", "EVALSHA", b"+1\r\n"),
        ("write_ports", "EVALSHA", b"*1\r\n-ERR within\r\n"),
        ("look", "EXISTS", b"#t\r\n"),
        ("set_hash", "HSET", b",1.5\r\n"),
        ("log_level", "HGET", b">0\r\n"),
        ("log_level", "HGET", b">1\r\n+a\r\n" * 2000),
        ("log_level", "HGET", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ],
)
async def test_what_does_not_fit_is_told_with_its_command(ask: str, command: str, answer: bytes) -> None:
    good: dict[str, Answer] = {"KEYS": LIST, "HGETALL": b"*0\r\n", "EXISTS": ONE, "GET": NULL, "HGET": NULL}
    async with session({**HANDSHAKE, **good, command: answer}) as store:
        await store.open()
        with pytest.raises(StoreUnavailableError, match=rf"in reply to {command}; it is no Redis") as caught:
            await ASK[ask](store)
        assert "at 127.0.0.1:" in str(caught.value)


@pytest.mark.parametrize(
    "answer", [OK, ONE, NULL, LIST, b"*3\r\n:1\r\n:2\r\n:3\r\n", b"*3\r\n+message\r\n*0\r\n+set\r\n"]
)
async def test_what_no_subscriber_hears_ends_the_watch(answer: bytes) -> None:
    async with session({**HANDSHAKE, "SUBSCRIBE": answer}) as store:
        await store.open()
        with pytest.raises(StoreUnavailableError, match=r"in reply to SUBSCRIBE; it is no Redis"):
            await watch(store)


async def test_a_session_that_was_lied_to_is_over() -> None:
    """What comes next may be the answer to anything."""
    async with session({**HANDSHAKE, "GET": ONE}) as store:
        await store.open()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await store.config_initialized()
        with pytest.raises(StoreUnavailableError, match="closed"):
            await store.config_is_empty()


@pytest.mark.parametrize("answer", [b">0\r\n", LIST, ONE, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_who_answers_the_handshake_like_this_is_not_available(answer: bytes) -> None:
    async with session({"SELECT": answer}) as store:
        with pytest.raises(StoreUnavailableError):
            await store.open()


# ---- any replies


def array(kind: str, elements: list[bytes]) -> bytes:
    return f"{kind}{len(elements)}\r\n".encode() + b"".join(elements)


SCALARS = st.sampled_from(
    [
        *(
            OK,
            NULL,
            ONE,
            b":0\r\n",
            b"$1\r\n0\r\n",
            b"$2\r\n11\r\n",
            b"$0\r\n\r\n",
            b"*-1\r\n",
            b"$13\r\nPORT|\n\x1b[2J\xff*?\r\n",
        ),
        *(b"#t\r\n", b",nan\r\n", b"_\r\n", b"(123456789012345678901234567890\r\n", b"=7\r\ntxt:abc\r\n"),
        *(b"-ERR x\r\n", b"-WRONGTYPE x\r\n", b"-NOSCRIPT x\r\n", b"-LOADING x\r\n", b"-MOVED 1 a:1\r\n", b"-ASK\r\n"),
        *(b"+message\r\n", b"+subscribe\r\n", b"+__keyspace@4__:PORT|a\r\n"),
    ]
)
# No maps: hiredis 3.5 can crash on them, see docs/security.md.
REPLIES = st.recursive(
    SCALARS, lambda inner: st.builds(array, st.sampled_from("***~"), st.lists(inner, max_size=5)), max_leaves=12
)


@given(st.sampled_from(sorted(ASK)), st.booleans(), st.lists(REPLIES, min_size=1, max_size=4))
def test_whatever_is_answered_only_our_errors_leave_the_backend(ask: str, apart: bool, replies: list[bytes]) -> None:
    said: Iterator[bytes] = cycle(replies)
    # Cursors that never end among them: in the end it hangs up.
    left = 40

    async def answer(stream: trio.abc.Stream) -> None:
        nonlocal left
        left -= 1
        if left:
            await stream.send_all(next(said))
        else:
            await stream.aclose()

    async def main() -> None:
        async with session(dict.fromkeys(COMMANDS, answer), apart=apart, access=IMPATIENT) as store:
            try:
                await store.open()
                await ASK[ask](store)
            except StoreError:
                pass

    trio.run(main)
