"""What a subscriber to STATE_DB's keyspace notifications hears of the ports, as xcvrd and intfmgrd do."""

from types import TracebackType
from typing import Any, Self

from portsyncd.testing.switch import Switch
from portsyncd.wire import schema

_MARK = "MARK|here"


class Subscriber:
    """A context manager; hears from when the block is entered."""

    def __init__(self, switch: Switch) -> None:
        self._client = switch.state_db
        self._pubsub: Any = self._client.pubsub()  # type: ignore[no-untyped-call] # redis-py has no types here
        self._number = schema.DEFAULT_NUMBERS[schema.STATE_DB]

    def heard(self) -> list[tuple[str, str]]:
        """(operation, port) of everything since the last call, in order; what was done before this call included."""
        self._client.set(_MARK, "1")
        found: list[tuple[str, str]] = []
        while True:
            message = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=10.0)
            if message is None:
                continue
            key = str(message["channel"]).partition(":")[2]
            if key == _MARK:
                return found
            found.append((str(message["data"]), key.partition("|")[2]))

    def __enter__(self) -> Self:
        prefix = f"__keyspace@{self._number}__:"
        self._pubsub.psubscribe(f"{prefix}{schema.STATE_PORT_TABLE}|*", prefix + _MARK)
        self.heard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pubsub.close()
