-- Shares out partitions among consumers that are alive. KEYS: the set of consumers, then the lease of each
-- partition. ARGV: who asks, and for how many milliseconds a consumer is alive after it has asked. Gives the
-- partitions that this consumer has now, from 0. Only the work is shared out here: who may record a
-- partition, the ledger's database says.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
-- The server's clock was ahead.
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ARGV[2], '+inf')
local share = math.ceil((#KEYS - 1) / redis.call('ZCARD', KEYS[1]))
local held = {}
for at = 2, #KEYS do
    if #held < share and redis.call('GET', KEYS[at]) == ARGV[1] then
        redis.call('PEXPIRE', KEYS[at], ARGV[2])
        held[#held + 1] = at - 2
    end
end
for at = 2, #KEYS do
    if #held < share and redis.call('SET', KEYS[at], ARGV[1], 'NX', 'PX', ARGV[2]) then
        held[#held + 1] = at - 2
    end
end
return held
