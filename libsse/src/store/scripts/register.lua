-- register: claims an id. Of any number of callers one wins.
--
-- KEYS  the five of a stream, then the user's set, where there is a user
-- ARGV  1 id  2 type  3 user, or ''  4 startedAt  5 lastHeartbeat (ISO 8601)
--       6 metadata, JSON  7 owner token, or '' for a stream that anybody writes
--       8 stream TTL  9 meta TTL  10 channel, or ''  11 PUBLISH or SPUBLISH
-- ->    {'ok', how, base, top, toptag} or {'exists', state, owner, user}
--       or {'wrongtype'}
--   new       nothing was there: the first event will be 1
--   reopened  an earlier run had ended. Its rows and its result are gone, and
--             the numbers go on, so that an old cursor is no place in the new
--   kept      rows without a registration: they stay, and the numbers go on.
--             So an owner whose registration was taken away gets it back
--   again     this very token had it: a retry
--
-- A hash that a late heartbeat left without its streamId does not count, and
-- goes. An orphan exists: let the guardian settle it first.

return run(function()
    local stream, events, meta = KEYS[1], KEYS[2], KEYS[3]
    local completion, active, user_set = KEYS[4], KEYS[5], KEYS[6]
    local id, owner = ARGV[1], ARGV[7]
    local stream_ttl, meta_ttl = seconds(8), seconds(9)
    local s, p = registered(stream), position(meta, events)
    local result = call('HLEN', completion)
    call('ZSCORE', active, id)
    if user_set then
        call('SCARD', user_set)
    end

    if s.live and owner ~= '' and s.owner == owner then
        return {'ok', 'again', p.base, p.top, p.tag}
    elseif s.live then
        return {'exists', s.state, s.owner, s.user}
    end

    local how = p.top > 0 and 'kept' or 'new'
    call('ZADD', active, score(now_ms()), id)
    if s.known or p.closed or result > 0 then
        how = p.top > 0 and 'reopened' or 'new'
        p.base, p.closed = p.top, nil
        call('DEL', events, completion)
    end
    if p.written or p.top > 0 then
        write_meta(meta, p, meta_ttl)
    end
    call('DEL', stream)
    call('HSET', stream, 'streamId', id, 'streamType', ARGV[2],
         'userId', ARGV[3], 'startedAt', ARGV[4], 'lastHeartbeat', ARGV[5],
         'state', 'active', 'metadata', ARGV[6])
    if owner ~= '' then
        call('HSET', stream, 'owner', owner)
    end
    call('EXPIRE', stream, stream_ttl)
    if user_set then
        call('SADD', user_set, id)
        expire_upward(user_set, stream_ttl)
    end
    publish(ARGV[11], ARGV[10], '')
    return {'ok', how, p.base, p.top, p.tag}
end)
