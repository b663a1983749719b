-- tallystick/rollup-sql/v1
-- name llm_daily
-- version 1
-- before 0
-- after 0
-- key day model provider
--
-- Calls of models in a day, by model and provider. A provider that is absent counts as an empty one.
--
-- A percentile is the nearest rank: the smallest latency that so many of a hundred calls do not exceed, of the calls
-- that state a latency. It is one of the values that were recorded, never one between two of them.
-- A cost is the sum over the calls that state a price, of input_tokens * unit_cost_input + output_tokens *
-- unit_cost_output, in exact decimals: nothing is rounded. It is null where the sum may not fit 38 digits.
WITH calls AS (
    SELECT
        model,
        coalesce(provider, '') AS provider,
        latency_ms,
        input_tokens,
        output_tokens,
        success,
        CAST(input_tokens AS decimal(19, 0)) * unit_cost_input AS cost_input,
        CAST(output_tokens AS decimal(19, 0)) * unit_cost_output AS cost_output
    FROM events
    WHERE event_type = 'llm_call'
),
latencies AS (
    SELECT model, provider, latency_ms, count(*) AS calls
    FROM calls
    WHERE latency_ms IS NOT NULL
    GROUP BY model, provider, latency_ms
),
ranked AS (
    SELECT
        model,
        provider,
        latency_ms,
        sum(calls) OVER (PARTITION BY model, provider ORDER BY latency_ms) AS upto,
        sum(calls) OVER (PARTITION BY model, provider) AS total
    FROM latencies
),
percentiles AS (
    SELECT
        model,
        provider,
        min(CASE WHEN upto * 100 >= total * 50 THEN latency_ms END) AS latency_p50_ms,
        min(CASE WHEN upto * 100 >= total * 90 THEN latency_ms END) AS latency_p90_ms,
        min(CASE WHEN upto * 100 >= total * 99 THEN latency_ms END) AS latency_p99_ms
    FROM ranked
    GROUP BY model, provider
),
sums AS (
    SELECT
        model,
        provider,
        count(*) AS calls,
        count(success) AS judged,
        count(CASE WHEN success THEN 1 END) AS successes,
        sum(CAST(input_tokens AS decimal(19, 0))) AS input_tokens,
        sum(CAST(output_tokens AS decimal(19, 0))) AS output_tokens,
        count(CASE WHEN cost_input IS NOT NULL OR cost_output IS NOT NULL THEN 1 END) AS priced_calls,
        sum(coalesce(CAST(cost_input AS double), 0) + coalesce(CAST(cost_output AS double), 0)) AS rough,
        sum(cost_input) AS cost_input,
        sum(cost_output) AS cost_output
    FROM calls
    GROUP BY model, provider
)
SELECT
    period.day AS day,
    sums.model AS model,
    sums.provider AS provider,
    CAST(sums.calls AS bigint) AS calls,
    CAST(sums.judged AS bigint) AS judged_calls,
    CAST(sums.successes AS bigint) AS successful_calls,
    CASE WHEN sums.judged > 0 THEN CAST(sums.successes AS double) / CAST(sums.judged AS double) END AS success_rate,
    percentiles.latency_p50_ms AS latency_p50_ms,
    percentiles.latency_p90_ms AS latency_p90_ms,
    percentiles.latency_p99_ms AS latency_p99_ms,
    CAST(sums.input_tokens AS decimal(38, 0)) AS input_tokens,
    CAST(sums.output_tokens AS decimal(38, 0)) AS output_tokens,
    CAST(sums.priced_calls AS bigint) AS priced_calls,
    CASE WHEN sums.rough < 1e28
        THEN CAST(coalesce(sums.cost_input, 0) + coalesce(sums.cost_output, 0) AS decimal(38, 9)) END AS cost
FROM period
CROSS JOIN sums
LEFT JOIN percentiles ON percentiles.model = sums.model AND percentiles.provider = sums.provider
ORDER BY model, provider
