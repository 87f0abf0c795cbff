"""Requests to Redis, what carries them, and what their replies look like by command: what answers otherwise is no Redis, or
what it says is garbled on the way.

redis-py's parser (hiredis) makes of them: text, whole numbers, None and lists; of an error within a list an exception, and
values of other kinds of RESP3's, which nobody has asked for.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

# One command: its name and arguments.
Request = tuple[str | bytes | int, ...]
# Whether this can be the reply to that request.
Fits = Callable[[Request, Any], bool]


def fits(request: Request, reply: Any) -> bool:
    """``Fits`` for commands whose replies have one shape; what others answer is left to who asks."""
    judge = _JUDGES.get(request[0])
    return judge is None or judge(reply)


def fits_message(message: Any) -> bool:
    """Whether this can be what a subscriber hears: its kind, then a pattern or none, the channel, and what there is to say."""
    return type(message) is list and len(message) in (3, 4) and _is_text(message[0]) and _is_text(message[-2])


class Connection(Protocol):
    """What a ``Store`` over Redis stands on: a connection to one database of one server.

    waiting_since: since when a request has waited for its reply (monotonic seconds), None: none does. To be opened is a
    request, too; to wait in ``receive`` is none. All methods raise ``StoreError``; after any but ``StoreRefusedError`` the
    connection is closed and beyond use.
    """

    waiting_since: float | None

    async def open(self) -> None:
        """Connect, authenticate, select the database."""

    async def call(self, *requests: Request, fits: Fits = fits) -> list[Any]:
        """Send these requests in one write and read all replies. An error reply is raised, after all of them have been
        read; a reply that does not fit its request at once."""

    async def ping(self) -> None:
        """A round trip, which must be with the server that others find now."""

    async def send(self, *requests: Request) -> None:
        """Send without reading; for a connection of which another task reads with ``receive``."""

    async def receive(self) -> list[Any]:
        """Wait without limit until something comes in unasked, and read all of it."""

    def close(self) -> None:
        """Close at once; tasks that wait for the connection are told, who opens it among them."""


def rows_of(count: int) -> Fits:
    """For the script that reads this many names (``wire.publish.READ_SCRIPT``)."""
    return lambda _, reply: type(reply) is list and len(reply) == count and all(map(_is_row, reply))


def marks_of(count: int) -> Fits:
    """For the script that carries out this many writes (``wire.publish.SCRIPT``)."""
    return lambda _, reply: type(reply) is str and len(reply) == count


def _is_text(reply: Any) -> bool:
    return type(reply) is str


def _is_text_or_nothing(reply: Any) -> bool:
    return reply is None or type(reply) is str


def _is_texts(reply: Any) -> bool:
    return type(reply) is list and all(map(_is_text, reply))


def _is_number(reply: Any) -> bool:
    return type(reply) is int


def _is_pairs(reply: Any) -> bool:
    return _is_texts(reply) and len(reply) % 2 == 0


def _is_row(reply: Any) -> bool:
    return reply is None or (
        type(reply) is list and len(reply) == 4 and _is_text(reply[0]) and all(map(_is_text_or_nothing, reply))
    )


def _is_page(reply: Any) -> bool:
    return type(reply) is list and len(reply) == 2 and _is_text(reply[0]) and _is_texts(reply[1])


_JUDGES: Final[Mapping[str | bytes | int, Callable[[Any], bool]]] = MappingProxyType(
    {
        "CONFIG": _is_texts,
        "DBSIZE": _is_number,
        "EXISTS": _is_number,
        "GET": _is_text_or_nothing,
        "HGET": _is_text_or_nothing,
        "HGETALL": _is_pairs,
        "HSET": _is_number,
        "INFO": _is_text,
        "KEYS": _is_texts,
        "PING": _is_text,
        "SCAN": _is_page,
    }
)
