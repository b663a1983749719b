-- What the archiver remembers of the archive. The archive itself is the truth: all of this can be
-- read again from its log.

-- No entry may be recorded before this time any more: the hours below it are sealed or being
-- sealed. The archiver advances it under an exclusive advisory lock that every writer shares, so
-- that no transaction with an older recorded_at is still open (docs/decisions/0005-fence.md).
CREATE TABLE fence (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    not_before bigint NOT NULL CHECK (not_before >= 0)
);
INSERT INTO fence (not_before) VALUES (0);

CREATE FUNCTION refuse_lowering() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.not_before < OLD.not_before THEN
        RAISE EXCEPTION 'the fence cannot go back from % to %', OLD.not_before, NEW.not_before
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fence_forward BEFORE UPDATE ON fence
    FOR EACH ROW EXECUTE FUNCTION refuse_lowering();
CREATE TRIGGER fence_fixed BEFORE DELETE OR TRUNCATE ON fence
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Chunks whose manifest is in the log.
CREATE TABLE sealed_chunks (
    workspace     text COLLATE "C" NOT NULL,
    first_seq     bigint NOT NULL CHECK (first_seq > 0),
    last_seq      bigint NOT NULL CHECK (last_seq >= first_seq),
    hour          bigint NOT NULL,
    part          bigint NOT NULL CHECK (part >= 0),
    last_link     bytea  NOT NULL CHECK (octet_length(last_link) = 32),
    manifest_hash bytea  NOT NULL CHECK (octet_length(manifest_hash) = 32),
    log_index     bigint NOT NULL UNIQUE CHECK (log_index >= 0),
    PRIMARY KEY (workspace, first_seq)
);

-- Hours whose note is in the log. `hour` is the hour's first microsecond.
CREATE TABLE sealed_hours (
    hour      bigint PRIMARY KEY,
    note_hash bytea  NOT NULL CHECK (octet_length(note_hash) = 32),
    log_index bigint NOT NULL UNIQUE CHECK (log_index >= 0)
);

-- The newest checkpoint that was published: kept outside the store, so that a store that was
-- rolled back does not go unnoticed.
CREATE TABLE published (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    log_size   bigint NOT NULL CHECK (log_size > 0),
    checkpoint text   NOT NULL
);
