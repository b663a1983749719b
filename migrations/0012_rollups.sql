-- What the archiver remembers of rollups: figures computed from sealed chunks, each by a signed manifest in the log
-- (docs/spec/rollups.md). And the marts that they are published to, for whoever reads by SQL.

-- Rollups whose manifest is in the log. `day`, as everywhere here, in days since 1970-01-01.
CREATE TABLE rollups (
    log_index     bigint  PRIMARY KEY CHECK (log_index >= 0),
    manifest_hash bytea   NOT NULL CHECK (octet_length(manifest_hash) = 32),
    name          text    COLLATE "C" NOT NULL,
    version       bigint  NOT NULL CHECK (version > 0),
    sql_sha256    bytea   NOT NULL CHECK (octet_length(sql_sha256) = 32),
    workspace     text    COLLATE "C" NOT NULL,
    day           integer NOT NULL CHECK (day >= 0),
    revision      bigint  NOT NULL CHECK (revision >= 0),
    inputs_root   bytea   NOT NULL CHECK (octet_length(inputs_root) = 32),
    object        text    NOT NULL,
    UNIQUE (workspace, name, version, day, revision)
);

-- On which days the events of a chunk occurred, as its object says: so that a run reads the new chunks alone. `days`
-- is null where they are too many to tell.
CREATE TABLE chunk_days (
    workspace text    COLLATE "C" NOT NULL,
    first_seq bigint  NOT NULL CHECK (first_seq > 0),
    erasure   bigint  NOT NULL CHECK (erasure >= 0),
    days      integer[],
    PRIMARY KEY (workspace, first_seq, erasure)
);

-- Objects of rollups that are written and not logged yet: what a run that died has left is removed by the next one.
CREATE TABLE rollup_drafts (
    object text PRIMARY KEY
);

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['rollups', 'chunk_days', 'rollup_drafts'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', made);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO tally_archiver', made);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        EXECUTE format('CREATE POLICY of_archive ON %I FOR ALL TO tally_archiver
                        USING (true) WITH CHECK (true)', made);
    END LOOP;
END $$;
GRANT DELETE ON rollup_drafts TO tally_archiver;

-- The marts: a copy of the newest revision of each day, made again from the archive at any time.
CREATE SCHEMA marts;

-- Which manifest each day's rows came from.
CREATE TABLE marts.periods (
    rollup        text    COLLATE "C" NOT NULL,
    workspace     text    COLLATE "C" NOT NULL,
    day           date    NOT NULL,
    version       bigint  NOT NULL,
    revision      bigint  NOT NULL,
    log_index     bigint  NOT NULL,
    manifest      text    NOT NULL,
    withheld      bigint  NOT NULL,
    rows          bigint  NOT NULL,
    published_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace, rollup, day)
);

CREATE TABLE marts.llm_daily (
    workspace        text COLLATE "C" NOT NULL,
    day              date NOT NULL,
    model            text NOT NULL,
    provider         text NOT NULL,
    calls            bigint NOT NULL,
    judged_calls     bigint NOT NULL,
    successful_calls bigint NOT NULL,
    success_rate     double precision,
    latency_p50_ms   bigint,
    latency_p90_ms   bigint,
    latency_p99_ms   bigint,
    input_tokens     numeric(38, 0),
    output_tokens    numeric(38, 0),
    priced_calls     bigint NOT NULL,
    cost             numeric(38, 9),
    manifest         text NOT NULL,
    PRIMARY KEY (workspace, day, model, provider)
);

CREATE TABLE marts.tool_reliability_hourly (
    workspace        text COLLATE "C" NOT NULL,
    day              date NOT NULL,
    hour             bigint NOT NULL CHECK (hour BETWEEN 0 AND 23),
    -- What charts put on an axis.
    hour_starts_at   timestamp GENERATED ALWAYS AS (day + make_interval(hours => hour::integer)) STORED,
    tool_name        text NOT NULL,
    calls            bigint NOT NULL,
    successful_calls bigint NOT NULL,
    failed_calls     bigint NOT NULL,
    timed_out_calls  bigint NOT NULL,
    success_rate     double precision NOT NULL,
    failure_rate     double precision NOT NULL,
    timeout_rate     double precision NOT NULL,
    latency_mean_ms  double precision,
    latency_p90_ms   bigint,
    manifest         text NOT NULL,
    PRIMARY KEY (workspace, day, hour, tool_name)
);

CREATE TABLE marts.agent_health_daily (
    workspace        text COLLATE "C" NOT NULL,
    day              date NOT NULL,
    actor_id         text NOT NULL,
    runs             bigint NOT NULL,
    finished_runs    bigint NOT NULL,
    judged_runs      bigint NOT NULL,
    successful_runs  bigint NOT NULL,
    success_rate     double precision,
    steps_mean       double precision NOT NULL,
    duration_mean_ms double precision,
    duration_p90_ms  bigint,
    manifest         text NOT NULL,
    PRIMARY KEY (workspace, day, actor_id)
);

CREATE TABLE marts.errors_daily (
    workspace    text COLLATE "C" NOT NULL,
    day          date NOT NULL,
    error_type   text NOT NULL,
    tool_name    text NOT NULL,
    model        text NOT NULL,
    errors       bigint NOT NULL,
    failed_calls bigint NOT NULL,
    sessions     bigint NOT NULL,
    manifest     text NOT NULL,
    PRIMARY KEY (workspace, day, error_type, tool_name, model)
);

CREATE TABLE marts.prompts_failing_daily (
    workspace    text COLLATE "C" NOT NULL,
    day          date NOT NULL,
    prompt_hash  text NOT NULL,
    calls        bigint NOT NULL,
    failed_calls bigint NOT NULL,
    failure_rate double precision NOT NULL,
    models       bigint NOT NULL,
    manifest     text NOT NULL,
    PRIMARY KEY (workspace, day, prompt_hash)
);

CREATE TABLE marts.workspace_cost_daily (
    workspace          text COLLATE "C" NOT NULL,
    day                date NOT NULL,
    calls              bigint NOT NULL,
    priced_calls       bigint NOT NULL,
    input_tokens       numeric(38, 0) NOT NULL,
    output_tokens      numeric(38, 0) NOT NULL,
    cost               numeric(38, 9),
    trailing_days      bigint NOT NULL,
    trailing_mean      double precision,
    trailing_deviation double precision,
    z_score            double precision,
    is_anomaly         boolean,
    manifest           text NOT NULL,
    PRIMARY KEY (workspace, day)
);

ALTER SCHEMA marts OWNER TO tally_owner;
REVOKE ALL ON SCHEMA marts FROM PUBLIC;
GRANT USAGE ON SCHEMA marts TO tally_archiver, tally_reader;
DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['periods', 'llm_daily', 'tool_reliability_hourly', 'agent_health_daily',
                                'errors_daily', 'prompts_failing_daily', 'workspace_cost_daily'] LOOP
        EXECUTE format('ALTER TABLE marts.%I OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON marts.%I FROM PUBLIC', made);
        -- A copy: it is not a record, and may be made again.
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON marts.%I TO tally_archiver', made);
        EXECUTE format('GRANT SELECT ON marts.%I TO tally_reader', made);
        EXECUTE format('ALTER TABLE marts.%I ENABLE ROW LEVEL SECURITY', made);
        EXECUTE format('CREATE POLICY of_archive ON marts.%I FOR ALL TO tally_archiver
                        USING (true) WITH CHECK (true)', made);
        EXECUTE format('CREATE POLICY of_tenant ON marts.%I FOR SELECT TO tally_reader
                        USING (workspace = ANY (readable_workspaces()))', made);
    END LOOP;
END $$;
