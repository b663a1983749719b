-- tallystick/rollup-sql/v1
-- name prompts_failing_daily
-- version 1
-- before 0
-- after 0
-- key day prompt_hash
--
-- Prompts of a day that a call of a model failed with, by prompt_hash. A call failed where it says so: success is
-- false, or it has an error_type.
WITH calls AS (
    SELECT
        prompt_hash,
        model,
        CASE WHEN NOT coalesce(success, true) OR error_type IS NOT NULL THEN 1 ELSE 0 END AS failed
    FROM events
    WHERE event_type = 'llm_call' AND prompt_hash IS NOT NULL
),
sums AS (
    SELECT prompt_hash, count(*) AS calls, sum(failed) AS failures, count(DISTINCT model) AS models
    FROM calls
    GROUP BY prompt_hash
)
SELECT
    period.day AS day,
    sums.prompt_hash AS prompt_hash,
    CAST(sums.calls AS bigint) AS calls,
    CAST(sums.failures AS bigint) AS failed_calls,
    CAST(sums.failures AS double) / CAST(sums.calls AS double) AS failure_rate,
    CAST(sums.models AS bigint) AS models
FROM period
CROSS JOIN sums
WHERE sums.failures > 0
ORDER BY prompt_hash
