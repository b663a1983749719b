-- Removes entries of a stream before one (ARGV[3]), where the last one that was read (ARGV[1]) is still there with
-- its mark (ARGV[2]). Gives how many.
local last = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #last ~= 1 or redis.sha1hex(table.concat(last[1][2], '\n')) ~= ARGV[2] then
    return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[3])
