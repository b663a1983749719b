-- The ids of the first entry of a stream that is there, and of the last that ever was. '' for none.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return {'', ''}
end
local about = redis.call('XINFO', 'STREAM', KEYS[1])
local first, last = '', ''
for at = 1, #about, 2 do
    if about[at] == 'last-generated-id' then
        last = about[at + 1]
    elseif about[at] == 'first-entry' and about[at + 1] then
        first = about[at + 1][1]
    end
end
return {first, last}
