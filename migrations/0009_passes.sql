-- What an archiver remembers of its own work, besides what it has sealed.

-- How much goes into a chunk of the hour that is being sealed. The setting may change between a run that
-- died and the next one; an hour that was begun comes to the same chunks all the same, so that no
-- object is left behind that nothing names.
CREATE TABLE sealing (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    hour          bigint NOT NULL CHECK (hour >= 0),
    rows          bigint NOT NULL CHECK (rows > 0),
    payload_bytes bigint NOT NULL CHECK (payload_bytes > 0)
);

-- How its last passes ended, for `tally-archiver status`.
CREATE TABLE passes (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    ok_at     bigint CHECK (ok_at >= 0),
    failures  bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failed_at bigint CHECK (failed_at >= 0),
    code      smallint,
    error     text,
    CHECK (failures = 0 OR (failed_at, code, error) IS NOT NULL)
);

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['sealing', 'passes'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', made);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO tally_archiver', made);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        EXECUTE format('CREATE POLICY of_archive ON %I FOR ALL TO tally_archiver
                        USING (true) WITH CHECK (true)', made);
    END LOOP;
END $$;
