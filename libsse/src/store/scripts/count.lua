-- count: how many streams run, and how many of them are silent.
--
-- KEYS  1 active
-- ARGV  1 silent for so long (ms)
-- ->    {'ok', running, silent}, or {'wrongtype'}

return run(function()
    local stale = now_ms() - number(1)
    return {'ok', call('ZCARD', KEYS[1]),
            call('ZCOUNT', KEYS[1], '-inf', stale)}
end)
