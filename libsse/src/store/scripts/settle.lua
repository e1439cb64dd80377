-- settle: what a guardian decides about a stream it claimed, where there is no
-- event to append. (With one: append, with the claim.)
--
-- KEYS  the five of a stream
-- ARGV  1 id  2 claim
--       3 orphaned: look again later; or an end without an event: expired,
--         completed, failed, cancelled
--       4 look again in so long (ms); for orphaned
--       5 stream TTL from now; for an end  6 meta TTL
--       7 channel, or ''  8 PUBLISH or SPUBLISH
-- ->    {word, state}
--   ok       done, and readers told to look
--   revived  the claim is no longer held: a life sign, another guardian, or the
--            first try of this one
--   gone     the registration has expired meanwhile
--   wrongtype

return run(function()
    local stream, events, meta, active = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
    local id, claim, state = ARGV[1], ARGV[2], ARGV[3]
    local later, stream_ttl, meta_ttl = number(4), seconds(5), seconds(6)
    local s, p = registered(stream), position(meta, events)

    if call('ZSCORE', active, id) ~= claim then
        return {'revived', s.state}
    elseif not s.known then
        call('ZREM', active, id)
        return {'gone', ''}
    end

    call('HSET', stream, 'state', state)
    if state == 'orphaned' then
        -- Found again by whoever calls a stream stale after the time that this
        -- claim was taken with: the claim is that much behind the lease's end.
        call('ZADD', active, score(tonumber(claim) + later), id)
    else
        p.closed = p.top
        write_meta(meta, p, meta_ttl)
        call('EXPIRE', stream, stream_ttl)
        call('ZREM', active, id)
    end
    publish(ARGV[8], ARGV[7], '')
    return {'ok', state}
end)
