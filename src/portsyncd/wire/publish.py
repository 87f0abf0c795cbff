"""Port writes to STATE_DB as data and as the one Lua script that carries them out.

Where APPL_DB and STATE_DB share an instance, one call checks APPL_DB's entry and writes STATE_DB's, so that nothing can
come in between. ``SELECT`` inside a script leaves the connection's own database as it is (since Redis 2.8.12).
"""

from collections.abc import Iterable
from typing import Final

from portsyncd.wire import schema

# ARGV: number of APPL_DB, number of STATE_DB, key prefix in APPL_DB, key prefix in STATE_DB; then per write: name,
# operation, oper, admin, MTU. Operations: s set if APPL_DB has the port, d delete if the entry is ours, r first d then s.
# Returns one character a write: 1 carried out, 0 APPL_DB has no such port. A key of another type where the hash should be
# is not ours to delete, but gives way to what is set.
SCRIPT: Final = """
local function put(key, at)
  return redis.pcall('HSET', key, 'state', 'ok', 'netdev_oper_status', ARGV[at + 2], 'admin_status', ARGV[at + 3],
    'mtu', ARGV[at + 4])
end
local function refused(reply)
  return type(reply) == 'table' and not string.find(reply.err, 'WRONGTYPE', 1, true)
end
local writes = (#ARGV - 4) / 5
local present = {}
redis.call('SELECT', ARGV[1])
for n = 0, writes - 1 do
  if ARGV[6 + 5 * n] ~= 'd' then present[n] = redis.call('EXISTS', ARGV[3] .. ARGV[5 + 5 * n]) end
end
redis.call('SELECT', ARGV[2])
local answer = {}
for n = 0, writes - 1 do
  local at = 5 + 5 * n
  local key, operation = ARGV[4] .. ARGV[at], ARGV[at + 1]
  local reply = 0
  if operation ~= 's' then reply = redis.pcall('HEXISTS', key, 'state') end
  if reply == 1 then redis.call('DEL', key) end
  if refused(reply) then return reply end
  if operation ~= 'd' and present[n] == 1 then
    reply = put(key, at)
    if type(reply) == 'table' and not refused(reply) then
      redis.call('DEL', key)
      reply = put(key, at)
    end
    if refused(reply) then return reply end
  end
  answer[n + 1] = present[n] or 1
end
return table.concat(answer)
"""

# KEYS: one STATE_DB entry. The removal alone, for where the databases live in different instances.
REMOVE_SCRIPT: Final = """
local reply = redis.pcall('HEXISTS', KEYS[1], 'state')
if reply == 1 then redis.call('DEL', KEYS[1]) end
if type(reply) == 'table' and not string.find(reply.err, 'WRONGTYPE', 1, true) then return reply end
"""

# KEYS: one STATE_DB entry; ARGV: fields and values. The HSET alone.
PUT_SCRIPT: Final = """
local reply = redis.pcall('HSET', KEYS[1], unpack(ARGV))
if type(reply) == 'table' and string.find(reply.err, 'WRONGTYPE', 1, true) then
  redis.call('DEL', KEYS[1])
  return redis.call('HSET', KEYS[1], unpack(ARGV))
end
return reply
"""

# ARGV: key prefix in STATE_DB, then names. Returns per name our four fields, or nil where the entry does not carry state, or
# is no hash.
READ_SCRIPT: Final = """
local rows = {}
for n = 2, #ARGV do
  local row = redis.pcall('HMGET', ARGV[1] .. ARGV[n], 'state', 'netdev_oper_status', 'admin_status', 'mtu')
  if row.err and not string.find(row.err, 'WRONGTYPE', 1, true) then return row end
  rows[n - 1] = row[1] and row or false
end
return rows
"""

SET: Final = "s"
DELETE: Final = "d"
REPLACE: Final = "r"


def script_arguments(
    writes: Iterable[tuple[str, str, tuple[str, str, str, str] | None]],
    *,
    appl_number: int,
    state_number: int,
    appl_prefix: str,
    state_prefix: str,
) -> list[str]:
    """ARGV of ``SCRIPT`` (no keys). writes: name, operation, and the fields of ``schema.STATE_FIELDS`` or None."""
    arguments = [str(appl_number), str(state_number), appl_prefix, state_prefix]
    for name, operation, fields in writes:
        _, oper, admin, mtu = fields or ("", "", "", "")
        arguments += (name, operation, oper, admin, mtu)
    return arguments


def field_pairs(fields: tuple[str, str, str, str]) -> list[str]:
    """The four fields as HSET takes them, in SONiC's order."""
    return [text for pair in zip(schema.STATE_FIELDS, fields, strict=True) for text in pair]
