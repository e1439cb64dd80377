-- restore: the owner gives back what Redis lost: a flush, a restart without
-- data, a fail-over to a copy that was behind.
--
-- KEYS  the five of a stream
-- ARGV  1 owner token  2 top that the owner saw  3 base of what follows
--       4 tag of the last row  5 the last batch, writer:batch:first
--       6 events TTL  7 meta TTL  8 channel, or ''  9 PUBLISH or SPUBLISH
--       10.. rows; without any, only the numbering goes on, behind `base`
-- ->    {word, base, top, toptag, owner}
--   ok       the list is now what was given
--   moved    top is not what the owner saw, or it is more than what follows
--   gone     not registered: register, then restore with the top it told
--   stolen   another owner has it
--   closed   the stream has ended
--   wrongtype

return run(function()
    local stream, events, meta, completion = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
    local seen, base = number(2), number(3)
    local events_ttl, meta_ttl = seconds(6), seconds(7)
    local rows = {}
    for i = 10, #ARGV do
        rows[#rows + 1] = ARGV[i]
    end
    local s, p = registered(stream), position(meta, events)
    local word = 'ok'

    if has_ended(s, p, completion) then
        word = 'closed'
    elseif not s.known then
        word = 'gone'
    elseif s.owner ~= ARGV[1] then
        word = 'stolen'
    elseif p.top ~= seen or base + #rows < p.top then
        word = 'moved'
    end
    if word ~= 'ok' then
        return {word, p.base, p.top, p.tag, s.owner}
    end

    p.base, p.top, p.tag = base, base + #rows, ARGV[4]
    p.closed, p.writers = nil, ARGV[5]
    write_meta(meta, p, meta_ttl)
    call('DEL', events)
    if #rows > 0 then
        push(events, rows)
        call('EXPIRE', events, events_ttl)
    end
    publish(ARGV[9], ARGV[8], '')
    return {'ok', p.base, p.top, p.tag, s.owner}
end)
