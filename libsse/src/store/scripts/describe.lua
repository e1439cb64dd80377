-- describe: who a stream belongs to, its type and its metadata, after it was
-- registered.
--
-- KEYS  the five of a stream, then the new user's set, where there is a user
-- ARGV  1 id  2 owner token, or '' for a stream that anybody writes
--       3 type  4 user, or ''  5 metadata, JSON  6 stream TTL
--       7 what a user's key begins with (sse:user:)  8 how it ends (:streams)
--       9 channel, or ''  10 PUBLISH or SPUBLISH
-- ->    {word, state, owner, user}, the user as it was
--   ok      it is described so, and readers were told to look
--   closed  it has ended: its description stays as it was
--   gone    not registered
--   stolen  another owner has it
--   wrongtype

return run(function()
    local stream, user_set = KEYS[1], KEYS[6]
    local id, owner, user, ttl = ARGV[1], ARGV[2], ARGV[4], seconds(6)
    local s, word = registered(stream), 'ok'
    if user_set then
        call('SCARD', user_set)
    end

    if not s.known then
        word = 'gone'
    elseif not s.live then
        word = 'closed'
    elseif s.owner ~= '' and s.owner ~= owner then
        word = 'stolen'
    end
    if word ~= 'ok' then
        return {word, s.state, s.owner, s.user}
    end

    call('HSET', stream, 'streamType', ARGV[3], 'userId', user,
         'metadata', ARGV[5])
    if s.user ~= '' and s.user ~= user then
        redis.pcall('SREM', ARGV[7] .. s.user .. ARGV[8], id)
    end
    if user_set then
        call('SADD', user_set, id)
        expire_upward(user_set, ttl)
    end
    publish(ARGV[10], ARGV[9], '')
    return {'ok', s.state, s.owner, s.user}
end)
