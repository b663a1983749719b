-- Entries of streams (KEYS) behind the last ones that were read, at most ARGV[2] of them and not much more than
-- ARGV[1] bytes. Of each stream ARGV has the id of that last one, and its mark ('' where it need not be there).
-- Gives the entries, each as the place of its stream in KEYS, its id, its fields and its mark; and the places of
-- streams in which the last one is not there any more, or another one, or that are no streams.
local bytes, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local found, lost = {}, {}
local function mark(fields)
    return redis.sha1hex(table.concat(fields, '\n'))
end
for at = 1, #KEYS do
    local behind, known = ARGV[2 * at + 1], ARGV[2 * at + 2]
    local is_whole = false
    while not is_whole and bytes > 0 and count > 0 do
        -- Few at a time: how large they are shows only once they are here.
        local entries = redis.pcall('XRANGE', KEYS[at], '(' .. behind, '+', 'COUNT', 8)
        local last = known ~= '' and redis.pcall('XRANGE', KEYS[at], behind, behind) or {}
        if entries.err or last.err or known ~= '' and
            (#last ~= 1 or #entries > 0 and mark(last[1][2]) ~= known) then
            lost[#lost + 1] = at
            break
        end
        is_whole = #entries < 8
        for _, entry in ipairs(entries) do
            if bytes > 0 and count > 0 then
                known = mark(entry[2])
                found[#found + 1] = {at, entry[1], entry[2], known}
                behind, count = entry[1], count - 1
                for _, part in ipairs(entry[2]) do
                    bytes = bytes - #part
                end
            end
        end
    end
end
return {found, lost}
