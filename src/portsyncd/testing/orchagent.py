"""A strict stand-in for orchagent as the consumer of APPL_DB PORT_TABLE.

It follows swss-common's ``ConsumerStateTable``: it takes up to 128 keys per message heard on the channel, and at its
start as often as keys are waiting. And it follows orchagent's ``PortsOrch``: a cold one knows a port only from a pop,
whatever lies in ``PORT_TABLE``; a warm one takes over what is there if the markers vouch for it.
"""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import redis

from portsyncd.errors import PortsyncdError
from portsyncd.wire import schema

POP_BATCH: Final = 128
_HEAR_SECONDS: Final = 0.05

# KEYS: key set, del set. ARGV: how many, table prefix, staged table prefix. Returns the pops, {key, asked to delete,
# {field, value, ...}} each, and the keys that still wait.
_POP: Final = """
local pops = {}
for i, key in ipairs(redis.call('SPOP', KEYS[1], ARGV[1])) do
  local staged = ARGV[3] .. key
  local deleted = redis.call('SREM', KEYS[2], key)
  if deleted == 1 then redis.call('DEL', ARGV[2] .. key) end
  local fields = redis.call('HGETALL', staged)
  if #fields > 0 then redis.call('HSET', ARGV[2] .. key, unpack(fields)) end
  redis.call('DEL', staged)
  pops[i] = {key, deleted, fields}
end
return {pops, redis.call('SMEMBERS', KEYS[1])}
"""


class StrictOrchagentError(PortsyncdError):
    """The producer broke orchagent's rules. Caused by the daemon under test; the message says what was popped when."""


class Pop(NamedTuple):
    """One key taken: its new fields (none: it was deleted), and whether a deletion preceded them."""

    key: str
    fields: dict[str, str]
    deleted: bool


class Orchagent:
    """Plays orchagent on APPL_DB, in steps (``pop``, ``pop_all``) or in a thread (``start``, ``stop``).

    client: a client of APPL_DB that decodes to text. db: its number, which names the channel.

    One life goes from ``begin`` (which ``start`` does) to the next: ``pops`` in order, ``ports`` known, ``count`` of
    PortConfigDone, ``init_done``. ``errors`` outlives them all. As a context manager it starts a cold life.
    """

    def __init__(self, client: redis.Redis, db: int = schema.DEFAULT_NUMBERS[schema.APPL_DB]) -> None:
        self.errors: list[StrictOrchagentError] = []
        self.pops: list[Pop] = []
        self.ports: dict[str, dict[str, str]] = {}
        self.count: int | None = None
        self.init_done = False
        self._client = client
        self._channel = f"{schema.PORT_CHANNEL_PREFIX}{db}"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def configured(self) -> bool:
        """Whether it has heard PortConfigDone and of as many ports as that counts: then it makes the ports."""
        return self.count is not None and len(self.ports) >= self.count

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self.errors:
            raise self.errors[0]

    def begin(self, *, warm: bool = False) -> None:
        """Begin a new life: knowing nothing, or (warm) what PORT_TABLE holds.

        As ``PortsOrch::bake``, a warm start takes the table over only if both markers are there and the count is
        the number of the other keys; else it wipes the table and is a cold one.
        """
        self.pops, self.ports, self.count, self.init_done = [], {}, None, False
        if not warm:
            return
        prefix = f"{schema.PORT_TABLE}:"
        keys = [str(key) for key in self._client.scan_iter(match=f"{prefix}*", count=1000)]
        rows: dict[str, dict[str, str]] = {key.removeprefix(prefix): _text(self._client.hgetall(key)) for key in keys}
        markers = {name: rows.pop(name) for name in schema.MARKERS if name in rows}
        count = int(markers.get(schema.PORT_CONFIG_DONE, {}).get("count", -1))
        if len(markers) == len(schema.MARKERS) and count == len(rows):
            self.ports, self.count, self.init_done = rows, count, True
        elif keys:
            self._client.delete(*keys)

    def pop(self) -> list[Pop]:
        """Take up to 128 keys, and learn from them in orchagent's order (its queue is sorted by key)."""
        found, waiting = self._client.eval(
            _POP,
            2,
            schema.PORT_KEY_SET,
            schema.PORT_DEL_SET,
            str(POP_BATCH),
            f"{schema.PORT_TABLE}:",
            f"{schema.STAGED_PORT_TABLE}:",
        )
        pops = sorted(
            Pop(key, dict(zip(fields[::2], fields[1::2], strict=True)), bool(deleted)) for key, deleted, fields in found
        )
        for pop in pops:
            self._learn(pop, waiting)
        return pops

    def pop_all(self) -> list[Pop]:
        """Pop until nothing waits."""
        taken: list[Pop] = []
        while more := self.pop():
            taken += more
        return taken

    def _learn(self, pop: Pop, waiting: list[str]) -> None:
        self.pops.append(pop)
        if pop.key == schema.PORT_CONFIG_DONE:
            self.count = int(pop.fields.get("count", 0))
        elif pop.key == schema.PORT_INIT_DONE:
            self._judge_init_done(waiting)
            self.init_done = True
        elif pop.fields:
            self.ports[pop.key] = pop.fields
        else:
            self.ports.pop(pop.key, None)

    def _judge_init_done(self, waiting: list[str]) -> None:
        # SPOP takes keys at random: with more than a batch of them waiting, PortInitDone may well be taken early.
        if self.count is None and schema.PORT_CONFIG_DONE not in waiting:
            self.errors.append(StrictOrchagentError("PortInitDone was popped, and PortConfigDone never was"))
        elif self.count is not None and len(self.ports) + len(waiting) < self.count:
            self.errors.append(
                StrictOrchagentError(f"PortInitDone was popped with {len(self.ports)} of {self.count} ports known")
            )

    def run(self, stopping: threading.Event) -> None:
        """Consume until ``stopping`` is set: one pop per waiting key at the start, then one per message heard.

        A Redis that is away or refuses is tried again; the life goes on, as the tests' faults are Redis', not orchagent's.
        """
        while not stopping.is_set():
            try:
                self._consume(stopping)
            except redis.RedisError:
                stopping.wait(_HEAR_SECONDS)

    def _consume(self, stopping: threading.Event) -> None:
        client: Any = self._client  # redis-py gives pubsub() no types
        with client.pubsub() as pubsub:
            pubsub.subscribe(self._channel)
            due = 0
            while not stopping.is_set():
                message = pubsub.get_message(timeout=0 if due else _HEAR_SECONDS)
                if message is not None:
                    # What was staged before the subscription was confirmed is counted, what comes later is heard.
                    due += self._client.scard(schema.PORT_KEY_SET) if message["type"] == "subscribe" else 1
                elif due:
                    self.pop()
                    due -= 1

    def start(self, *, warm: bool = False) -> None:
        """Begin a new life in a thread of its own, ending the present one."""
        self.stop()
        self.begin(warm=warm)
        self._stopping.clear()
        self._thread = threading.Thread(target=self.run, args=(self._stopping,), name="orchagent", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what waits stays waiting. Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _text(fields: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in fields.items()}
