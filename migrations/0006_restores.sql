-- That this database was made from the archive. `tally-archiver restore` leaves a row, as the owner;
-- the service puts it into the ledger's own workspace before it takes anything, and says when.
CREATE TABLE restores (
    restored_at       bigint PRIMARY KEY CHECK (restored_at >= 0),
    restored_by       text   NOT NULL,
    log_size          bigint NOT NULL CHECK (log_size > 0),
    checkpoint_sha256 bytea  NOT NULL CHECK (octet_length(checkpoint_sha256) = 32),
    told_at           bigint CHECK (told_at >= 0)
);

-- It is told once, and nothing else of it changes.
CREATE FUNCTION refuse_untelling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.restored_at, NEW.restored_by, NEW.log_size, NEW.checkpoint_sha256) IS DISTINCT FROM
       (OLD.restored_at, OLD.restored_by, OLD.log_size, OLD.checkpoint_sha256)
       OR OLD.told_at IS NOT NULL THEN
        RAISE EXCEPTION 'the restore at % cannot be changed, only told, and that once', OLD.restored_at
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER restores_tell BEFORE UPDATE ON restores
    FOR EACH ROW EXECUTE FUNCTION refuse_untelling();
CREATE TRIGGER restores_fixed BEFORE DELETE OR TRUNCATE ON restores
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE restores OWNER TO tally_owner;
ALTER FUNCTION refuse_untelling() OWNER TO tally_owner;
REVOKE ALL ON restores FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_untelling() FROM PUBLIC;
GRANT SELECT, UPDATE (told_at) ON restores TO tally_writer;
