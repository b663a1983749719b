-- The seal keys in order (FORMAT section 11): which is in force from which leaf on. No row: there was
-- only the one that is configured. The log says all of this too.
CREATE TABLE seal_keys (
    place        bigint PRIMARY KEY CHECK (place >= 0),
    -- Not unique: a key that is stolen right after it took over has signed no leaf alone.
    from_index   bigint NOT NULL CHECK (from_index >= 0),
    root         bytea  NOT NULL CHECK (octet_length(root) = 32),
    entrance     text   NOT NULL CHECK (entrance IN ('first', 'succession', 'revocation')),
    verifier_key text   NOT NULL UNIQUE
);

-- The notes that say so, each before any object of the archive holds it: what was begun is finished
-- with the same bytes, whoever comes next. One whose index the log has not reached is still to be logged.
CREATE TABLE seal_key_notes (
    log_index bigint PRIMARY KEY CHECK (log_index > 0),
    note      text   NOT NULL
);

CREATE TRIGGER seal_keys_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON seal_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER seal_key_notes_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON seal_key_notes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['seal_keys', 'seal_key_notes'] LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', made);
        EXECUTE format('GRANT SELECT, INSERT ON %s TO tally_archiver', made);
    END LOOP;
END $$;
