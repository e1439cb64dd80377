-- append: one or more events, and the end of the stream with the last of them.
--
-- KEYS  the five of a stream
-- ARGV  1 id  2 owner token, or '' for a writer among others
--       3 claim of a guardian, or ''  4 top expected, or ''
--       5 writer (letters and digits)  6 batch, a number that grows
--       7 events kept  8 events TTL  9 meta TTL  10 stream TTL, 0 leaves it
--          (all in s)
--       11 a life sign: the time in ISO 8601, or ''
--       12 channel, or ''  13 PUBLISH or SPUBLISH
--       14 '', or the state at the end: completed, failed, cancelled
--       15 its event's type  16 its data, JSON  17 completedAt  18 its TTL
--       19.. tag, row, for each event
-- ->    {word, first, base, top, toptag, state, owner, readers, before}
--   ok       appended; `first` is the number of the first row, the tag that of
--            the last, `readers` how many were told, or -1: not allowed to,
--            `before` the tag of the event before the first, or ''
--   dup      this batch had been appended; `first` as then, 0 if not known
--   closed   the stream has ended; `first` is the number of its last event
--   revived  the claim is no longer held
--   gone     an owner's stream is not registered, or another's has no row either
--   stolen   another owner has it
--   owned    a running producer has it, and others may not write
--   moved    top is not what was expected
--   wrongtype
--
-- A claim stands above the owner, whose time is over, but only for an end. A
-- stop that reached no producer ends the stream with the token it saw as the
-- owner, and no expected top.

local stream, events, meta = KEYS[1], KEYS[2], KEYS[3]
local completion, active = KEYS[4], KEYS[5]
local id, owner, claim, expected = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local writer, beat, channel, final = ARGV[5], ARGV[11], ARGV[12], ARGV[14]

-- What became of this batch before: the number of its first row, 0 where that
-- is forgotten, nil for a new one. And what to keep of the other writers.
local function earlier(writers, batch)
    local others, kept = '', 0
    for w, b, first in string.gmatch(writers, '(%w+):(%d+):(%d+)') do
        if w == writer and batch <= tonumber(b) then
            return batch == tonumber(b) and tonumber(first) or 0
        elseif w ~= writer and kept < 3 then
            kept = kept + 1
            others = others .. ' ' .. w .. ':' .. b .. ':' .. first
        end
    end
    return nil, others
end

-- Why the rows may not be appended, or nil.
local function refusal(s, p, held)
    if claim ~= '' then
        if held ~= claim then
            return 'revived'
        end
    elseif owner ~= '' then
        if not s.known then
            return 'gone'
        elseif s.owner ~= '' and s.owner ~= owner then
            return 'stolen'
        end
    elseif s.owner ~= '' then
        return 'owned'
    elseif not s.known and p.kept == 0 then
        return 'gone'
    end
    if expected ~= '' and tonumber(expected) ~= p.top then
        return 'moved'
    end
end

local function finish(s, ttl)
    call('HSET', completion, 'streamId', id, 'terminalEventType', ARGV[15],
         'terminalEventData', ARGV[16], 'completedAt', ARGV[17])
    call('EXPIRE', completion, ttl)
    if s.known then
        call('HSET', stream, 'state', final)
        s.state = final
    end
    call('ZREM', active, id)
end

local function revive(s)
    call('HSET', stream, 'lastHeartbeat', beat, 'state', 'active')
    call('ZADD', active, score(now_ms()), id)
    s.state = 'active'
end

local function tell(first, before)
    local lines = {first .. ' ' .. (before == '' and '-' or before) ..
                   (final == '' and '' or ' ' .. final)}
    for i = 19, #ARGV, 2 do
        lines[#lines + 1] = ARGV[i] .. ' ' .. ARGV[i + 1]
    end
    return publish(ARGV[13], channel, table.concat(lines, '\n'))
end

return run(function()
    local batch, cap = number(6), math.max(1, number(7))
    local events_ttl, meta_ttl, stream_ttl = seconds(8), seconds(9), number(10)
    local final_ttl = final ~= '' and seconds(18)
    if #ARGV < 20 or #ARGV % 2 == 1 or claim ~= '' and final == '' then
        error('ERR a malformed append', 0)
    end
    local rows = {}
    for i = 20, #ARGV, 2 do
        rows[#rows + 1] = ARGV[i]
    end

    local s, p = registered(stream), position(meta, events)
    local ended, held = has_ended(s, p, completion), nil
    if claim ~= '' or beat ~= '' or final ~= '' then
        held = call('ZSCORE', active, id)
    end
    if final ~= '' then
        call('HLEN', completion) -- it must be of its type
    end

    local function answer(word, first, readers)
        return {word, first, p.base, p.top, p.tag, s.state, s.owner, readers}
    end

    -- The retry comes first: the end that it finds may be its own work.
    local first, others = earlier(p.writers, batch)
    if first then
        return answer('dup', first, 0)
    elseif ended then
        return answer('closed', p.closed or p.top, 0)
    end
    local refused = refusal(s, p, held)
    if refused then
        return answer(refused, 0, 0)
    end

    local before = p.tag
    first = p.top + 1
    push(events, rows)
    p.top, p.tag = p.top + #rows, ARGV[#ARGV - 1]
    if p.top - p.base > cap then
        call('LTRIM', events, -cap, -1)
        p.base = p.top - cap
    end
    p.closed = final ~= '' and p.top or nil
    p.writers = writer .. ':' .. batch .. ':' .. first .. others
    write_meta(meta, p, meta_ttl)
    call('EXPIRE', events, events_ttl)

    if final ~= '' then
        finish(s, final_ttl)
    elseif beat ~= '' and s.live then
        revive(s)
    end
    if stream_ttl > 0 and s.known and (final ~= '' or beat ~= '') then
        call('EXPIRE', stream, stream_ttl)
    end
    local told = answer('ok', first, channel ~= '' and tell(first, before) or 0)
    told[9] = before
    return told
end)
