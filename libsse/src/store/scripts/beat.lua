-- beat: life signs of many streams. It renews what keeps them: hash, events,
-- meta, and their place in the user's set.
--
-- KEYS  1 active, then for each stream: stream, events, meta, the user's set
--       (the stream's key again where it has no user)
-- ARGV  1 the time in ISO 8601  2 stream TTL, 0 leaves it  3 events TTL
--       4 meta TTL, then for each stream: id, owner token or ''
-- ->    {'ok', word, ...}, a word for each stream
--   active     renewed; an orphan is an active stream again
--   closed     it has ended, or was removed
--   stolen     another owner has it
--   gone       not registered, by expiry or by others' hand. Its owner can
--              register it again with the same token: rows stay (`kept`), and
--              what Redis lost can be restored. That is not for an owner that
--              knows of a removal
--   wrongtype  nothing changed of this one
-- or {'wrongtype'} where `active` is something else.

return run(function()
    local active, time = KEYS[1], ARGV[1]
    local stream_ttl, events_ttl, meta_ttl = number(2), seconds(3), seconds(4)
    local now = score(now_ms())
    call('ZCARD', active)

    local function one(id, owner, stream, events, meta, user_set)
        local s = registered(stream)
        if user_set ~= stream then
            call('SCARD', user_set)
        end
        if not s.known then
            local closed = position(meta, events).closed
            call('ZREM', active, id)
            return closed and 'closed' or 'gone'
        elseif not s.live then
            return 'closed'
        elseif owner ~= '' and s.owner ~= '' and s.owner ~= owner then
            return 'stolen'
        end
        call('HSET', stream, 'lastHeartbeat', time, 'state', 'active')
        call('ZADD', active, now, id)
        if stream_ttl > 0 then
            call('EXPIRE', stream, stream_ttl)
        end
        call('EXPIRE', events, events_ttl)
        call('EXPIRE', meta, meta_ttl)
        if user_set ~= stream then
            call('SADD', user_set, id)
            expire_upward(user_set, math.max(stream_ttl, call('TTL', stream)))
        end
        return 'active'
    end

    local words = {'ok'}
    for i = 1, (#KEYS - 1) / 4 do
        local k, a = 4 * i - 2, 3 + 2 * i
        local ok, word = pcall(one, ARGV[a], ARGV[a + 1], KEYS[k], KEYS[k + 1],
                               KEYS[k + 2], KEYS[k + 3])
        if not ok then
            local text = type(word) == 'table' and word.err or tostring(word)
            if not string.find(text, 'WRONGTYPE', 1, true) then
                error(word, 0)
            end
            word = 'wrongtype'
        end
        words[i + 1] = word
    end
    return words
end)
