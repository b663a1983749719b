-- tallystick/rollup-sql/v1
-- name workspace_cost_daily
-- version 1
-- before 28
-- after 0
-- key day
--
-- What the calls of models in a day cost, beside the 28 days before: one row, with or without calls.
--
-- A cost is the sum over the calls that state a price, of input_tokens * unit_cost_input + output_tokens *
-- unit_cost_output, in exact decimals. It is null where the sum may not fit 38 digits.
-- The trailing days are those of the 28 before that have a call. Where they are 7 or more, z_score is the day's distance
-- from their mean in sample standard deviations, in binary floating point: null where they all cost the same.
-- is_anomaly says that z_score is above 3 or below -3, or that they all cost the same and the day does not.
WITH calls AS (
    SELECT
        CAST(floor(CAST(occurred_us - starts_us AS double) / 8.64e10) AS bigint) AS day_offset,
        input_tokens,
        output_tokens,
        CAST(input_tokens AS decimal(19, 0)) * unit_cost_input AS cost_input,
        CAST(output_tokens AS decimal(19, 0)) * unit_cost_output AS cost_output
    FROM period CROSS JOIN events
    WHERE event_type = 'llm_call'
),
sums AS (
    SELECT
        day_offset,
        count(*) AS calls,
        count(CASE WHEN cost_input IS NOT NULL OR cost_output IS NOT NULL THEN 1 END) AS priced_calls,
        sum(CAST(input_tokens AS decimal(19, 0))) AS input_tokens,
        sum(CAST(output_tokens AS decimal(19, 0))) AS output_tokens,
        sum(coalesce(CAST(cost_input AS double), 0) + coalesce(CAST(cost_output AS double), 0)) AS rough,
        sum(cost_input) AS cost_input,
        sum(cost_output) AS cost_output
    FROM calls
    GROUP BY day_offset
),
days AS (
    SELECT
        day_offset,
        calls,
        priced_calls,
        input_tokens,
        output_tokens,
        CASE WHEN rough < 1e28
            THEN CAST(coalesce(cost_input, 0) + coalesce(cost_output, 0) AS decimal(38, 9)) END AS cost
    FROM sums
),
today AS (
    SELECT
        coalesce(max(calls), 0) AS calls,
        coalesce(max(priced_calls), 0) AS priced_calls,
        coalesce(max(input_tokens), 0) AS input_tokens,
        coalesce(max(output_tokens), 0) AS output_tokens,
        CASE WHEN count(*) = 0 THEN CAST(0 AS decimal(38, 9)) ELSE max(cost) END AS cost
    FROM days
    WHERE day_offset = 0
),
earlier AS (
    SELECT day_offset, cost, CAST(cost AS double) AS rough
    FROM days
    WHERE day_offset < 0 AND cost IS NOT NULL
),
means AS (
    SELECT
        count(*) AS days,
        min(cost) = max(cost) AS alike,
        CAST(sum(cost) AS double) / CAST(count(*) AS double) AS mean
    FROM earlier
    HAVING count(*) >= 7
),
-- Sums of floats follow the order of the days, so that they come to the same bits however the work is spread.
squared AS (
    SELECT sum((earlier.rough - means.mean) * (earlier.rough - means.mean)) OVER (ORDER BY earlier.day_offset) AS squares
    FROM earlier CROSS JOIN means
),
spread AS (
    SELECT max(squares) AS squares
    FROM squared
),
counted AS (
    SELECT count(*) AS days
    FROM earlier
),
compared AS (
    SELECT
        today.calls AS calls,
        today.priced_calls AS priced_calls,
        today.input_tokens AS input_tokens,
        today.output_tokens AS output_tokens,
        today.cost AS cost,
        counted.days AS days,
        means.mean AS mean,
        CASE WHEN means.alike THEN CAST(0 AS double)
            ELSE sqrt(spread.squares / CAST(means.days - 1 AS double)) END AS deviation
    FROM today
    CROSS JOIN counted
    CROSS JOIN spread
    LEFT JOIN means ON means.days = counted.days
)
SELECT
    period.day AS day,
    CAST(compared.calls AS bigint) AS calls,
    CAST(compared.priced_calls AS bigint) AS priced_calls,
    CAST(compared.input_tokens AS decimal(38, 0)) AS input_tokens,
    CAST(compared.output_tokens AS decimal(38, 0)) AS output_tokens,
    CAST(compared.cost AS decimal(38, 9)) AS cost,
    CAST(compared.days AS bigint) AS trailing_days,
    compared.mean AS trailing_mean,
    compared.deviation AS trailing_deviation,
    CASE WHEN compared.deviation > 0
        THEN (CAST(compared.cost AS double) - compared.mean) / compared.deviation END AS z_score,
    CASE WHEN compared.deviation > 0
            THEN abs((CAST(compared.cost AS double) - compared.mean) / compared.deviation) > 3
        WHEN compared.deviation = 0 THEN CAST(compared.cost AS double) <> compared.mean END AS is_anomaly
FROM period
CROSS JOIN compared
ORDER BY day
