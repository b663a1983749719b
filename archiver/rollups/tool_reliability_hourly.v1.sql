-- tallystick/rollup-sql/v1
-- name tool_reliability_hourly
-- version 1
-- before 0
-- after 0
-- key day hour tool_name
--
-- Calls of tools in each hour of a day (0 to 23, UTC), by tool.
--
-- Rates are of all calls of the hour. The mean and the percentile (nearest rank) of the latency are of the calls that
-- state one.
WITH calls AS (
    SELECT
        CAST(floor(CAST(occurred_us - starts_us AS double) / 3.6e9) AS bigint) AS hour,
        tool_name,
        status,
        latency_ms
    FROM period CROSS JOIN events
    WHERE event_type = 'tool_call'
),
latencies AS (
    SELECT hour, tool_name, latency_ms, count(*) AS calls
    FROM calls
    WHERE latency_ms IS NOT NULL
    GROUP BY hour, tool_name, latency_ms
),
ranked AS (
    SELECT
        hour,
        tool_name,
        latency_ms,
        sum(calls) OVER (PARTITION BY hour, tool_name ORDER BY latency_ms) AS upto,
        sum(calls) OVER (PARTITION BY hour, tool_name) AS total
    FROM latencies
),
percentiles AS (
    SELECT
        hour,
        tool_name,
        min(CASE WHEN upto * 100 >= total * 90 THEN latency_ms END) AS latency_p90_ms
    FROM ranked
    GROUP BY hour, tool_name
),
sums AS (
    SELECT
        hour,
        tool_name,
        count(*) AS calls,
        count(CASE WHEN status = 'success' THEN 1 END) AS successes,
        count(CASE WHEN status = 'failure' THEN 1 END) AS failures,
        count(CASE WHEN status = 'timeout' THEN 1 END) AS timeouts,
        count(latency_ms) AS timed,
        sum(CAST(latency_ms AS decimal(19, 0))) AS latency_ms
    FROM calls
    GROUP BY hour, tool_name
)
SELECT
    period.day AS day,
    sums.hour AS hour,
    sums.tool_name AS tool_name,
    CAST(sums.calls AS bigint) AS calls,
    CAST(sums.successes AS bigint) AS successful_calls,
    CAST(sums.failures AS bigint) AS failed_calls,
    CAST(sums.timeouts AS bigint) AS timed_out_calls,
    CAST(sums.successes AS double) / CAST(sums.calls AS double) AS success_rate,
    CAST(sums.failures AS double) / CAST(sums.calls AS double) AS failure_rate,
    CAST(sums.timeouts AS double) / CAST(sums.calls AS double) AS timeout_rate,
    CASE WHEN sums.timed > 0 THEN CAST(sums.latency_ms AS double) / CAST(sums.timed AS double) END AS latency_mean_ms,
    percentiles.latency_p90_ms AS latency_p90_ms
FROM period
CROSS JOIN sums
LEFT JOIN percentiles ON percentiles.hour = sums.hour AND percentiles.tool_name = sums.tool_name
ORDER BY hour, tool_name
