-- What the scripts share: this text stands in front of each of them.
--
-- Every script reads all that it needs before it writes anything. A key of
-- another type, a Redis that is full or read-only, and a malformed argument
-- then fail before the first change, and Redis lets no script fail of these
-- after it. So a script has happened whole or not at all.
--
-- The KEYS of a stream are always the same five, whatever a script uses:
--   1 stream (hash)  2 events (list)  3 meta (string)  4 completion (hash)
--   5 active (sorted set)
--
-- meta is "base top toptag closed writer:batch:first ...": rows that left the
-- head of the list, number of the last row, its tag or nothing, number of the
-- row it ended with or nothing, and the last batch of up to four writers,
-- newest first. Row i of the list, from 0, is event base + 1 + i.

local call = redis.call
local LARGEST = 99999999999999 -- above, Lua would print a number with an e
local AT_ONCE = 1000           -- what unpack() surely has room for

-- Runs a script. A key that holds something else is an answer, {'wrongtype'};
-- any other error begins with Redis' own code, whatever the version of Redis.
local function run(script)
    local ok, reply = pcall(script)
    if ok then
        return reply
    end
    local text = type(reply) == 'table' and reply.err or tostring(reply)
    if string.find(text, 'WRONGTYPE', 1, true) then
        return {'wrongtype'}
    elseif not string.find(text, '^%u+ ') then
        text = 'ERR ' .. text
    end
    return redis.error_reply(text)
end

local function number(i)
    local n = tonumber(ARGV[i])
    if not n or n ~= math.floor(n) or n < 0 or n > LARGEST then
        error('ERR argument ' .. i .. ' is no number', 0)
    end
    return n
end

-- A time to live. Zero would delete the key at once.
local function seconds(i)
    return math.max(1, number(i))
end

-- Redis' clock in milliseconds, the same for all nodes.
local function now_ms()
    local time = call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A score as Redis prints it, so that it can be compared as text.
local function score(ms)
    return string.format('%.17g', ms)
end

-- What the registry says. `known` is false where there is no hash, or only the
-- few fields that a late heartbeat or a late change of state left behind;
-- `live` is true until the end.
local function registered(key)
    local h = call('HMGET', key, 'streamId', 'state', 'owner', 'userId')
    local known = h[1] and h[2] and true or false
    return {
        known = known,
        live = known and (h[2] == 'active' or h[2] == 'orphaned'),
        state = known and h[2] or '',
        owner = known and h[3] or '',
        user = known and h[4] or '',
    }
end

-- Where the numbering stands. Rows that were pushed without a word in meta are
-- counted in; where rows have gone, their numbers are not given out again.
local function position(meta_key, events_key)
    local p = {base = 0, top = 0, tag = '', closed = nil, writers = ''}
    local meta = call('GET', meta_key) or ''
    local base, top, tag, closed, writers =
        string.match(meta, '^(%d+) (%d+) (%x*) (%d*) ?(.*)$')
    base, top = tonumber(base), tonumber(top)
    p.kept = call('LLEN', events_key)
    p.written = base and base <= top and top <= LARGEST or false
    if p.written then
        p.base, p.top, p.tag, p.writers = base, top, tag, writers
        p.closed = tonumber(closed)
    end
    if p.base + p.kept < p.top then
        p.base = p.top
    end
    if p.base + p.kept > p.top then
        p.tag = ''
    end
    p.top = math.max(p.top, p.base + p.kept)
    return p
end

local function write_meta(meta_key, p, ttl)
    call('SET', meta_key, p.base .. ' ' .. p.top .. ' ' .. p.tag .. ' ' ..
         (p.closed or '') .. ' ' .. p.writers, 'EX', ttl)
end

-- Whether the stream has ended: by what libsse wrote, by its state, or, where
-- the registry has forgotten it, by a stored completion. A program that knows
-- only the plain layout may have registered it anew: then it has not.
local function has_ended(s, p, completion_key)
    if s.live then
        return false
    end
    return p.closed or s.known or call('HLEN', completion_key) > 0
end

local function push(events_key, rows)
    for i = 1, #rows, AT_ONCE do
        call('RPUSH', events_key,
             unpack(rows, i, math.min(#rows, i + AT_ONCE - 1)))
    end
end

-- Tells readers, and how many there were; -1 where Redis forbids it. It comes
-- last, and does not undo what was written.
local function publish(command, channel, message)
    if channel == '' then
        return 0
    end
    local count = redis.pcall(command, channel, message)
    return type(count) == 'number' and count or -1
end

-- A time to live only ever grows here: others share the key.
local function expire_upward(key, ttl)
    if call('TTL', key) < ttl then
        call('EXPIRE', key, ttl)
    end
end

