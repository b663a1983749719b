-- tallystick/rollup-sql/v1
-- name errors_daily
-- version 1
-- before 0
-- after 0
-- key day error_type tool_name model
--
-- Errors of a day by their type, tool and model. A tool or model that is absent counts as an empty one.
--
-- An agent may record a failure twice: as an error, and in the call that failed. So the two are counted apart.
SELECT
    period.day AS day,
    events.error_type AS error_type,
    coalesce(events.tool_name, '') AS tool_name,
    coalesce(events.model, '') AS model,
    CAST(count(CASE WHEN events.event_type = 'error' THEN 1 END) AS bigint) AS errors,
    CAST(count(CASE WHEN events.event_type = 'llm_call' OR events.event_type = 'tool_call' THEN 1 END) AS bigint)
        AS failed_calls,
    CAST(count(DISTINCT events.session_id) AS bigint) AS sessions
FROM period
CROSS JOIN events
WHERE events.error_type IS NOT NULL
    AND (events.event_type = 'error' OR events.event_type = 'llm_call' OR events.event_type = 'tool_call')
GROUP BY period.day, events.error_type, coalesce(events.tool_name, ''), coalesce(events.model, '')
ORDER BY error_type, tool_name, model
