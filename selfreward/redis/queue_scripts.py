"""The atomic steps of the work queue, in Lua for Redis 6.2 and later.

Each step begins with a write that Redis accepts even when its memory is full, except for those that add work: so a full
Redis refuses new work as a whole, and still lets work be taken, finished and set aside. The hash `known` has the entry
id of each unfinished key. An entry that is no longer in the stream is finished.
"""

PUT = """
-- KEYS: stream, known; ARGV: limit, time, then key and body of each item.
-- Returns how many items from the first on are in the queue now, and how many of these are new.
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local handled, added = 0, 0
for i = 3, #ARGV, 2 do
  local id = redis.call('HGET', KEYS[2], ARGV[i])
  if not id or #redis.call('XRANGE', KEYS[1], id, id) == 0 then
    if room <= 0 then break end
    id = redis.call('XADD', KEYS[1], '*', 'key', ARGV[i], 'body', ARGV[i + 1], 'queued_at', ARGV[2])
    redis.call('HSET', KEYS[2], ARGV[i], id)
    room = room - 1
    added = added + 1
  end
  handled = handled + 1
end
return {handled, added}
"""

_SET_ASIDE = """
local function value(entry, name)
  for i = 1, #entry[2], 2 do if entry[2][i] == name then return entry[2][i + 1] end end
  return ''
end
local function set_aside(entry, group, deliveries, why)
  local key = value(entry, 'key')
  redis.call('XACK', KEYS[1], group, entry[1])
  redis.call('XDEL', KEYS[1], entry[1])
  redis.call('XADD', KEYS[4], '*', 'key', key, 'body', value(entry, 'body'), 'error', why, 'deliveries', deliveries,
    'queued_at', value(entry, 'queued_at'))
  redis.call('HDEL', KEYS[2], key)
  redis.call('HDEL', KEYS[3], key)
end
"""

TAKE = (
    _SET_ASIDE
    + """
-- KEYS: stream, known, errors, dead; ARGV: group, consumer, claim after ms, cursor, count, most deliveries.
-- Returns the next cursor, and {id, key, body, deliveries} of each item: the abandoned ones first, then new ones.
local group, consumer, most = ARGV[1], ARGV[2], tonumber(ARGV[6])
local claimed = redis.call('XAUTOCLAIM', KEYS[1], group, consumer, ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local taken = {}
for _, entry in ipairs(claimed[2]) do
  if entry then
    local pending = redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1)
    if pending[1][4] > most then
      local why = redis.call('HGET', KEYS[3], value(entry, 'key'))
      set_aside(entry, group, pending[1][4], why or ('no consumer finished it in ' .. most .. ' deliveries'))
    else
      taken[#taken + 1] = {entry[1], value(entry, 'key'), value(entry, 'body'), pending[1][4]}
    end
  end
end
local room = tonumber(ARGV[5]) - #taken
if room > 0 then
  local new = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', room, 'STREAMS', KEYS[1], '>')
  for _, entry in ipairs(new and new[1][2] or {}) do
    taken[#taken + 1] = {entry[1], value(entry, 'key'), value(entry, 'body'), 1}
  end
end
return {claimed[1], taken}
"""
)

DONE = """
-- KEYS: stream, known, errors; ARGV: group, then id and key of each item. Returns how many were still unfinished.
local finished = 0
for i = 2, #ARGV, 2 do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    redis.call('HDEL', KEYS[2], ARGV[i + 1])
    redis.call('HDEL', KEYS[3], ARGV[i + 1])
    finished = finished + 1
  end
end
return finished
"""

DONE_WITH = """
-- KEYS: stream, known, errors, results; ARGV: group, id, key, result. Returns 1 when this result counts.
-- The result first: where Redis is too full for it, the item must stay.
if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 0 then return 0 end
local counts = redis.call('HSETNX', KEYS[4], ARGV[3], ARGV[4])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[3])
redis.call('HDEL', KEYS[3], ARGV[3])
return counts
"""

NOTE = """
-- KEYS: known, errors; ARGV: id, key, error. An item that another has finished gets no note: none would remove it.
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
"""

SET_ASIDE = (
    _SET_ASIDE
    + """
-- KEYS: stream, known, errors, dead; ARGV: group, id, deliveries, error. Returns 1 when the item was still unfinished.
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not entry then return 0 end
set_aside(entry, ARGV[1], ARGV[3], ARGV[4])
return 1
"""
)

REPLAY = """
-- KEYS: stream, known, dead; ARGV: letter's id, time. Returns 1 when the item is queued anew, 0 when it already was,
-- -1 when there is no such letter any more.
local letter = redis.call('XRANGE', KEYS[3], ARGV[1], ARGV[1])[1]
if not letter then return -1 end
local field = {}
for i = 1, #letter[2], 2 do field[letter[2][i]] = letter[2][i + 1] end
redis.call('XDEL', KEYS[3], ARGV[1])
local id = redis.call('HGET', KEYS[2], field.key)
if id and #redis.call('XRANGE', KEYS[1], id, id) == 1 then return 0 end
id = redis.call('XADD', KEYS[1], '*', 'key', field.key, 'body', field.body, 'queued_at', ARGV[2])
redis.call('HSET', KEYS[2], field.key, id)
return 1
"""
