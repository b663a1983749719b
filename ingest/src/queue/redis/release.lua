-- Gives up leases (KEYS) that a consumer (ARGV[1]) has.
for _, lease in ipairs(KEYS) do
    if redis.call('GET', lease) == ARGV[1] then
        redis.call('DEL', lease)
    end
end
