-- claim: takes streams whose life signs have stopped, for one guardian among
-- any number. The claim is the stream's new score: it becomes stale again when
-- the lease runs out, and any life sign in between changes it.
--
-- KEYS  1 active
-- ARGV  1 what a stream's key begins with (sse:stream:)
--       2 what a completion's key begins with (sse:completion:)
--       3 silent for so long (ms)  4 lease (ms)  5 streams at most
-- ->    {'ok', dropped, {id, claim, state, owner, user, type, startedAt,
--        lastHeartbeat, metadata, final type}, ...}, or {'wrongtype'}
--
-- Dropped are ids that had ended, expired, or never were: they cost as much as
-- others and count for the limit. A `final type` says that a completion is
-- stored and only the state was not set.

return run(function()
    local active, streams, completions = KEYS[1], ARGV[1], ARGV[2]
    local silent, lease, most = number(3), number(4), number(5)
    local stale = now_ms() - silent
    -- Life signs are whole milliseconds: none has the same score.
    local claim = score(stale + lease + 0.5)
    local ids = call('ZRANGEBYSCORE', active, '-inf', stale, 'LIMIT', 0, most)
    local reply, taken, dead = {'ok', 0}, {}, {}

    for _, id in ipairs(ids) do
        local h = redis.pcall('HMGET', streams .. id, 'streamId', 'state',
                              'owner', 'userId', 'streamType', 'startedAt',
                              'lastHeartbeat', 'metadata')
        local live = not h.err and h[1] and
                     (h[2] == 'active' or h[2] == 'orphaned')
        if live then
            local final = redis.pcall('HGET', completions .. id,
                                      'terminalEventType')
            taken[#taken + 1] = {id, claim, h[2], h[3] or '', h[4] or '',
                                 h[5] or '', h[6] or '', h[7] or '',
                                 h[8] or '',
                                 type(final) == 'string' and final or ''}
        else
            dead[#dead + 1] = {id, not h.err and not h[1]}
        end
    end
    for _, stream in ipairs(taken) do
        call('ZADD', active, claim, stream[1])
        reply[#reply + 1] = stream
    end
    for _, id in ipairs(dead) do
        call('ZREM', active, id[1])
        if id[2] then -- no hash, or what a late heartbeat left
            call('DEL', streams .. id[1])
        end
    end
    reply[2] = #dead
    return reply
end)
