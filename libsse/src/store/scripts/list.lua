-- list: a page of a user's streams, or of all that run. Ids whose stream is no
-- more are taken off on the way (where Redis takes writes).
--
-- KEYS  1 the user's set, or active
-- ARGV  1 what a stream's key begins with (sse:stream:)
--       2 the user, or '' when KEYS[1] is active
--       3 about how many  4 cursor: '0' at first, then as answered
-- ->    {'ok', cursor, pruned, {id, type, user, startedAt, lastHeartbeat,
--        state, metadata, owner}, ...}, or {'wrongtype'}
--
-- The cursor is '0' after the last page. What is there from first to last page
-- comes at least once; it may come twice when the set grows meanwhile. A page
-- can be longer than asked for where Redis keeps a small set in one piece.

return run(function()
    local prefix, user, count = ARGV[1], ARGV[2], math.max(1, number(3))
    local of_user = user ~= ''
    local page = call(of_user and 'SSCAN' or 'ZSCAN', KEYS[1], ARGV[4],
                      'COUNT', count)
    local reply, dead = {'ok', page[1], 0}, {}

    for i = 1, #page[2], of_user and 1 or 2 do
        local id = page[2][i]
        local h = redis.pcall('HMGET', prefix .. id, 'streamId', 'streamType',
                              'userId', 'startedAt', 'lastHeartbeat', 'state',
                              'metadata', 'owner')
        local there = not h.err and h[1] and h[6]
        if there and (not of_user or h[3] == user) then
            for field = 1, 8 do
                h[field] = h[field] or ''
            end
            h[1] = id
            reply[#reply + 1] = h
        else
            dead[#dead + 1] = id
        end
    end
    for i = 1, #dead, AT_ONCE do
        local gone = redis.pcall(of_user and 'SREM' or 'ZREM', KEYS[1],
            unpack(dead, i, math.min(#dead, i + AT_ONCE - 1)))
        reply[3] = reply[3] + (type(gone) == 'number' and gone or 0)
    end
    return reply
end)
