-- remove: forgets a stream, whatever is left of it, and of whatever type.
--
-- KEYS  the five of a stream
-- ARGV  1 id  2 owner token that it must have, or ''
--       3 what a user's key begins with (sse:user:)  4 how it ends (:streams)
--       5 for how long (s) late writers are told that it is closed, or 0
--       6 channel, or ''  7 PUBLISH or SPUBLISH
--       8 what a control channel begins with (sse:ctl:), or ''
-- ->    {word, state, owner, user}
--   ok      it was there, or something of it, and is no more
--   gone    nothing was there
--   stolen  another owner has it, and nothing was done
--
-- Readers get `removed` on the channel, and a producer that was still running
-- `removed <owner token> <id>` on its node's control channel. What late writers
-- need is kept in meta: the numbering, closed. A registration goes on from there.

local function failed(reply)
    return type(reply) == 'table' and reply.err
end

return run(function()
    local stream, events, meta = KEYS[1], KEYS[2], KEYS[3]
    local completion, active = KEYS[4], KEYS[5]
    local id, wanted, keep = ARGV[1], ARGV[2], number(5)
    local ok, s = pcall(registered, stream)
    if not ok then
        s = {known = false, live = false, state = '', owner = '', user = ''}
    end
    if s.known and wanted ~= '' and s.owner ~= '' and s.owner ~= wanted then
        return {'stolen', s.state, s.owner, s.user}
    end

    local found, p = pcall(position, meta, events)
    local there = call('DEL', stream, events, completion)
    if not (found and p.written and p.closed) then
        there = there + call('EXISTS', meta)
    end
    if keep == 0 or not found then
        call('DEL', meta)
    elseif there > 0 then
        p.base, p.closed, p.writers = p.top, p.top, ''
        write_meta(meta, p, keep)
    end
    local listed = redis.pcall('ZREM', active, id)
    if s.user ~= '' then
        redis.pcall('SREM', ARGV[3] .. s.user .. ARGV[4], id)
    end
    if there == 0 and (failed(listed) or listed == 0) then
        return {'gone', '', '', ''}
    end

    publish(ARGV[7], ARGV[6], 'removed')
    local node = string.match(s.owner, '^(.*)%.')
    if s.live and node and ARGV[8] ~= '' then
        publish('PUBLISH', ARGV[8] .. node, 'removed ' .. s.owner .. ' ' .. id)
    end
    return {'ok', s.state, s.owner, s.user}
end)
