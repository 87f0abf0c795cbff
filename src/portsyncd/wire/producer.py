"""ProducerStateTable set and del, as data and as the one Lua script that carries them out.

The protocol is swss-common's (``producerstatetable.cpp``): a producer stages a row under ``_PORT_TABLE:<key>``, adds
the key to ``PORT_TABLE_KEY_SET`` and says "G" on the channel once per key that was not waiting already; the consumer
pops up to 128 keys per message that it hears, so that one message for many keys would leave keys unread.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from portsyncd.wire import schema


class Row(NamedTuple):
    """One producer set: the key and its fields in order. No fields stands for a producer del."""

    key: str
    fields: tuple[tuple[str, str], ...]


def set_row(key: str, fields: Mapping[str, str]) -> Row:
    """A row for ``fields`` as C++ portsyncd copies a CONFIG_DB hash: a field name is cut at ``@``.

    (swss-common marks list-valued CONFIG_DB fields with a trailing ``@``.) An empty hash becomes ``NULL: NULL``, as
    swss-common stores it.
    """
    pairs = tuple((name.partition("@")[0], value) for name, value in fields.items())
    return Row(key, pairs or (("NULL", "NULL"),))


def delete_row(key: str) -> Row:
    """A producer del of ``key``."""
    return Row(key, ())


# KEYS: key set, del set. ARGV: channel, staged table prefix, then per row: key, number of fields, field, value, ...
# Each row does what ProducerStateTable's own two scripts do; the whole call is atomic, which is stricter than theirs.
SCRIPT: Final = """
local added
local i = 3
while ARGV[i] do
  local key, count = ARGV[i], tonumber(ARGV[i + 1])
  i = i + 2
  added = redis.call('SADD', KEYS[1], key)
  if count == 0 then
    redis.call('SADD', KEYS[2], key)
    redis.call('DEL', ARGV[2] .. key)
  else
    for _ = 1, count do
      redis.call('HSET', ARGV[2] .. key, ARGV[i], ARGV[i + 1])
      i = i + 2
    end
  end
  if added > 0 then redis.call('PUBLISH', ARGV[1], 'G') end
end
return i - 3
"""


def script_arguments(rows: Iterable[Row], *, db_number: int) -> list[str]:
    """KEYS and ARGV of ``SCRIPT`` for these rows, in one flat list (two keys)."""
    arguments = [
        schema.PORT_KEY_SET,
        schema.PORT_DEL_SET,
        f"{schema.PORT_CHANNEL_PREFIX}{db_number}",
        f"{schema.STAGED_PORT_TABLE}:",
    ]
    for row in rows:
        arguments += (row.key, str(len(row.fields)))
        for pair in row.fields:
            arguments += pair
    return arguments


def batches(rows: Sequence[Row], size: int) -> Iterable[Sequence[Row]]:
    """Cut rows into batches, so that no single script keeps Redis from its other clients for long."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
