-- read: where a stream stands, and its rows after a position. It writes
-- nothing, so it runs on a replica too (EVALSHA_RO), and when Redis is full.
--
-- KEYS  the five of a stream
-- ARGV  1 after: a number; '' for all that is kept; '$' for the position alone
--       2 rows at most  3 bytes at which to stop, 0 for no such limit
--       4 '1' for the description too
-- ->    {word, from, base, top, toptag, closed, state, owner, user,
--        final type, final data, completedAt, known, {row, ...}, {description}}
--   anchor   rows[1] is event `after` itself: compare its tag, then drop it
--   all      everything since event 1 follows
--   none     nothing is newer than `after`; where it is the top, compare toptag
--   edge     nothing newer is missing, but `after` itself is gone: unproved
--   gap      rows between `after` and `from` are gone
--   ahead    no event has this number yet: from the start
--   wrongtype
--
-- `from` is the number of rows[1], or would be. `closed` is the number of the
-- last event of a stream that has ended, or -1. `known` is 0 where there is neither a registration nor
-- a row nor a completion. The description is {type, startedAt, lastHeartbeat,
-- metadata}. A page ends after the rows that reach a limit, in steps, and has
-- two rows or more where there are: with an anchor, one of them is new.

local STEP = 16

return run(function()
    local stream, events, meta, completion = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
    local most, bytes_most = math.max(2, number(2)), number(3)
    local s, p = registered(stream), position(meta, events)
    local final = call('HMGET', completion, 'terminalEventType',
                       'terminalEventData', 'completedAt')
    local after, word, from = tonumber(ARGV[1]), 'gap', p.base + 1

    if ARGV[1] == '$' then
        word, from = 'none', p.top + 1
    elseif not after then
        word = p.base == 0 and 'all' or 'gap'
    elseif after > p.top then
        word = 'ahead'
    elseif after > p.base then
        word, from = 'anchor', after
    elseif after == p.top then
        word = 'none'
    elseif after == p.base then
        word = after == 0 and 'all' or 'edge'
    end

    local rows, bytes, at = {}, 0, from
    while at <= p.top and #rows < most and
          (bytes_most == 0 or bytes < bytes_most) do
        local start = at - p.base - 1
        local step = call('LRANGE', events, start,
                          start + math.min(STEP, most - #rows) - 1)
        for _, row in ipairs(step) do
            rows[#rows + 1] = row
            bytes = bytes + #row
        end
        at = at + #step
    end

    local known = s.known or p.kept > 0 or final[1]
    local described = {}
    if ARGV[4] == '1' and s.known then
        local h = call('HMGET', stream, 'streamType', 'startedAt',
                       'lastHeartbeat', 'metadata')
        described = {h[1] or '', h[2] or '', h[3] or '', h[4] or ''}
    end
    return {word, from, p.base, p.top, p.tag, not s.live and p.closed or -1,
            s.state, s.owner, s.user, final[1] or '', final[2] or '',
            final[3] or '', known and 1 or 0, rows, described}
end)
