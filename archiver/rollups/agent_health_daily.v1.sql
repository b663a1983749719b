-- tallystick/rollup-sql/v1
-- name agent_health_daily
-- version 1
-- before 0
-- after 1
-- key day actor_id
--
-- Runs of agents that started in a day, by actor. An actor that is absent counts as an empty one.
--
-- A run is a session_id that has an agent_run_started in the day; its start is the first of them. It is finished by the
-- first agent_run_finished of the session from its start to the end of the day after; without one it is unfinished. It
-- succeeded where that event (all of them, if several share its time) says success. Its steps are the llm_call
-- and tool_call events of the session between the two, both times included. Steps are of all runs, durations of those
-- that are finished; a percentile is the nearest rank, and durations are cut off to whole milliseconds.
WITH started AS (
    SELECT session_id, min(coalesce(actor_id, '')) AS actor_id, min(occurred_us) AS started_us
    FROM period CROSS JOIN events
    WHERE event_type = 'agent_run_started' AND session_id IS NOT NULL
        AND occurred_us >= starts_us AND occurred_us < ends_us
    GROUP BY session_id
),
finished AS (
    SELECT started.session_id AS session_id, min(events.occurred_us) AS finished_us
    FROM started
    INNER JOIN events ON events.session_id = started.session_id
    WHERE events.event_type = 'agent_run_finished' AND events.occurred_us >= started.started_us
    GROUP BY started.session_id
),
outcomes AS (
    SELECT
        finished.session_id AS session_id,
        min(CASE WHEN events.success THEN 1 WHEN NOT events.success THEN 0 END) AS success
    FROM finished
    INNER JOIN events
        ON events.session_id = finished.session_id AND events.occurred_us = finished.finished_us
    WHERE events.event_type = 'agent_run_finished'
    GROUP BY finished.session_id
),
runs AS (
    SELECT
        started.session_id AS session_id,
        started.actor_id AS actor_id,
        started.started_us AS started_us,
        finished.finished_us AS finished_us,
        outcomes.success AS success,
        CAST(floor(CAST(finished.finished_us - started.started_us AS double) / 1e3) AS bigint) AS duration_ms
    FROM started
    LEFT JOIN finished ON finished.session_id = started.session_id
    LEFT JOIN outcomes ON outcomes.session_id = started.session_id
),
steps AS (
    SELECT runs.actor_id AS actor_id, count(*) AS steps
    FROM runs
    INNER JOIN events ON events.session_id = runs.session_id
    WHERE (events.event_type = 'llm_call' OR events.event_type = 'tool_call')
        AND events.occurred_us >= runs.started_us
        AND (runs.finished_us IS NULL OR events.occurred_us <= runs.finished_us)
    GROUP BY runs.actor_id
),
durations AS (
    SELECT actor_id, duration_ms, count(*) AS runs
    FROM runs
    WHERE duration_ms IS NOT NULL
    GROUP BY actor_id, duration_ms
),
ranked AS (
    SELECT
        actor_id,
        duration_ms,
        sum(runs) OVER (PARTITION BY actor_id ORDER BY duration_ms) AS upto,
        sum(runs) OVER (PARTITION BY actor_id) AS total
    FROM durations
),
percentiles AS (
    SELECT actor_id, min(CASE WHEN upto * 100 >= total * 90 THEN duration_ms END) AS duration_p90_ms
    FROM ranked
    GROUP BY actor_id
),
sums AS (
    SELECT
        actor_id,
        count(*) AS runs,
        count(finished_us) AS finished,
        count(success) AS judged,
        sum(success) AS successes,
        sum(CAST(duration_ms AS decimal(19, 0))) AS duration_ms
    FROM runs
    GROUP BY actor_id
)
SELECT
    period.day AS day,
    sums.actor_id AS actor_id,
    CAST(sums.runs AS bigint) AS runs,
    CAST(sums.finished AS bigint) AS finished_runs,
    CAST(sums.judged AS bigint) AS judged_runs,
    CAST(coalesce(sums.successes, 0) AS bigint) AS successful_runs,
    CASE WHEN sums.judged > 0 THEN CAST(sums.successes AS double) / CAST(sums.judged AS double) END AS success_rate,
    CAST(coalesce(steps.steps, 0) AS double) / CAST(sums.runs AS double) AS steps_mean,
    CASE WHEN sums.finished > 0 THEN CAST(sums.duration_ms AS double) / CAST(sums.finished AS double) END
        AS duration_mean_ms,
    percentiles.duration_p90_ms AS duration_p90_ms
FROM period
CROSS JOIN sums
LEFT JOIN steps ON steps.actor_id = sums.actor_id
LEFT JOIN percentiles ON percentiles.actor_id = sums.actor_id
ORDER BY actor_id
