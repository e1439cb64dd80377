-- stop: asks the producer of a stream to stop, on whichever node it runs.
--
-- KEYS  the five of a stream
-- ARGV  1 id  2 owner token that is meant, or '' for whoever has it
--       3 what a control channel begins with (sse:ctl:)
-- ->    {word, count, state, owner}
--   told    `stop <owner token> <id>` reached `count` listeners on the control
--           channel of the owner's node; a token is <node>.<run>
--   nobody  no owner, or nobody listens for it. The caller may end the stream:
--           append, with this owner, no expected top and the state cancelled.
--           The producer, should it live, is then told `closed`
--   ended   nothing to stop
--   stale   another run than the one that was meant
--   gone    not registered
--   wrongtype

return run(function()
    local s = registered(KEYS[1])
    local word, count = 'nobody', 0
    local node = string.match(s.owner, '^(.*)%.')

    if not s.known then
        word = 'gone'
    elseif ARGV[2] ~= '' and s.owner ~= ARGV[2] then
        word = 'stale'
    elseif not s.live then
        word = 'ended'
    elseif node then
        count = call('PUBLISH', ARGV[3] .. node,
                     'stop ' .. s.owner .. ' ' .. ARGV[1])
        word = count > 0 and 'told' or 'nobody'
    end
    return {word, count, s.state, s.owner}
end)
