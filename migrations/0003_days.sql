-- Records lie in one partition a day, so that a day can be dropped as a whole once it is sealed and
-- read back, and so that an index never outgrows its day.
--
-- A unique index of a partition holds within its day only. Beyond it the writer looks for itself,
-- under the lock of the workspace's head (docs/decisions/0010-dedupe-across-days.md).

ALTER TABLE entries RENAME TO entries_0001;
ALTER TABLE submissions RENAME TO submissions_0001;

CREATE TABLE submissions (
    workspace       text COLLATE "C" NOT NULL,
    first_seq       bigint   NOT NULL CHECK (first_seq > 0),
    event_count     smallint NOT NULL CHECK (event_count > 0),
    recorded_at     bigint   NOT NULL CHECK (recorded_at >= 0),
    counter         bigint   NOT NULL CHECK (counter >= 0),
    submission_hash bytea    NOT NULL CHECK (octet_length(submission_hash) = 32),
    public_key      bytea    NOT NULL CHECK (octet_length(public_key) = 32),
    signature       bytea    NOT NULL CHECK (octet_length(signature) = 64),
    -- link of the submission's last entry, as its receipt states it
    last_link       bytea    NOT NULL CHECK (octet_length(last_link) = 32)
) PARTITION BY RANGE (recorded_at);

CREATE TABLE entries (
    workspace      text COLLATE "C" NOT NULL,
    seq            bigint NOT NULL CHECK (seq > 0),
    recorded_at    bigint NOT NULL CHECK (recorded_at >= 0),
    event_id       uuid   NOT NULL,
    payload_digest bytea  NOT NULL CHECK (octet_length(payload_digest) = 32),
    link           bytea  NOT NULL CHECK (octet_length(link) = 32),
    payload        bytea  NOT NULL
) PARTITION BY RANGE (recorded_at);
-- Payloads of agents compress well, but not for free: the archive compresses them once and better.
ALTER TABLE entries ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TRIGGER submissions_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON submissions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Which days have partitions: the first microsecond of each.
CREATE TABLE days (
    day bigint PRIMARY KEY CHECK (day >= 0 AND day % 86400000000 = 0)
);

-- Makes the partitions of the day that `at` (microseconds since 1970) lies in, if they are not there.
--
-- A table is made on its own and then attached: that waits for no writer, and no writer for it. The
-- caller needs no right to make tables.
CREATE FUNCTION ensure_day(at bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first  bigint := at - at % 86400000000;
    suffix text;
BEGIN
    IF at IS NULL OR at < 0 OR at > 253402300799999999 THEN
        RAISE EXCEPTION 'no day of the ledger has the microsecond %', at
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM days WHERE day = first) THEN
        RETURN;
    END IF;
    -- The lock `tally_d` (README.md): whoever comes second finds the day made.
    PERFORM pg_advisory_xact_lock(x'74616c6c795f64'::bigint);
    IF EXISTS (SELECT FROM days WHERE day = first) THEN
        RETURN;
    END IF;
    suffix := to_char(to_timestamp(first / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD');

    EXECUTE format('CREATE TABLE submissions_%s (LIKE submissions INCLUDING ALL)', suffix);
    EXECUTE format('CREATE UNIQUE INDEX ON submissions_%s (workspace, first_seq)', suffix);
    EXECUTE format('CREATE UNIQUE INDEX ON submissions_%s (submission_hash, workspace)', suffix);
    -- A counter names one submission of a key; 0 stands for "keeps no count".
    EXECUTE format('CREATE UNIQUE INDEX ON submissions_%s (workspace, public_key, counter)
                    WHERE counter > 0', suffix);
    EXECUTE format('CREATE TRIGGER submissions_fixed BEFORE UPDATE OR DELETE OR TRUNCATE
                    ON submissions_%s FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', suffix);
    EXECUTE format('ALTER TABLE submissions ATTACH PARTITION submissions_%s
                    FOR VALUES FROM (%s) TO (%s)', suffix, first, first + 86400000000);

    EXECUTE format('CREATE TABLE entries_%s (LIKE entries INCLUDING ALL)', suffix);
    EXECUTE format('CREATE UNIQUE INDEX ON entries_%s (workspace, seq)', suffix);
    -- The id first: ids that begin with the time (UUID version 7) then all go to the index's end.
    EXECUTE format('CREATE UNIQUE INDEX ON entries_%s (event_id, workspace)', suffix);
    EXECUTE format('CREATE TRIGGER entries_fixed BEFORE UPDATE OR DELETE OR TRUNCATE
                    ON entries_%s FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', suffix);
    EXECUTE format('ALTER TABLE entries ATTACH PARTITION entries_%s
                    FOR VALUES FROM (%s) TO (%s)', suffix, first, first + 86400000000);

    INSERT INTO days (day) VALUES (first);
END $$;
REVOKE ALL ON FUNCTION ensure_day(bigint) FROM PUBLIC;

-- What lies there already moves to its days.
SELECT ensure_day(day)
FROM (SELECT DISTINCT recorded_at - recorded_at % 86400000000 AS day FROM submissions_0001) d;
INSERT INTO submissions SELECT * FROM submissions_0001 ORDER BY workspace, first_seq;
INSERT INTO entries SELECT * FROM entries_0001 ORDER BY workspace, seq;
DROP TABLE entries_0001, submissions_0001;

-- The highest counter that a key has used: a higher one was never used, and need not be looked for.
-- Derived from `submissions`.
ALTER TABLE keys ADD COLUMN highest_counter bigint NOT NULL DEFAULT 0 CHECK (highest_counter >= 0);
UPDATE keys k SET highest_counter = s.highest
FROM (SELECT workspace, public_key, max(counter) AS highest FROM submissions GROUP BY 1, 2) s
WHERE k.workspace = s.workspace AND k.public_key = s.public_key;
