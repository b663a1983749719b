-- Erasure (FORMAT section 10): a payload may be withheld where the chain itself says so, and only there
-- (docs/decisions/0013-erasure.md).

-- The `event_type` of a recorded payload. What is recorded has passed the ledger's own scanner, so
-- Postgres reads it as the ledger does; where it cannot be read, this fails, and so does what asked.
CREATE FUNCTION event_type_of(payload bytea) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = public, pg_temp AS $$
    SELECT convert_from(payload, 'UTF8')::json ->> 'event_type'
$$;

-- Where chains ask for erasures: their `ledger.payload_erased` entries. Derived, kept so that nobody
-- has to read the chains to find them.
CREATE TABLE erasures (
    workspace   text COLLATE "C" NOT NULL,
    seq         bigint NOT NULL CHECK (seq > 0),
    recorded_at bigint NOT NULL CHECK (recorded_at >= 0),
    PRIMARY KEY (workspace, seq)
);
-- Each stands alone in its submission, signed by a root key.
INSERT INTO erasures (workspace, seq, recorded_at)
SELECT e.workspace, e.seq, e.recorded_at
FROM keys k
JOIN submissions s ON s.workspace = k.workspace AND s.public_key = k.public_key AND s.event_count = 1
JOIN entries e ON e.workspace = s.workspace AND e.seq = s.first_seq AND e.recorded_at = s.recorded_at
WHERE k.role = 'root' AND event_type_of(e.payload) = 'ledger.payload_erased';
CREATE TRIGGER erasures_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON erasures
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A withheld payload names the entry that allows it.
ALTER TABLE entries ALTER COLUMN payload DROP NOT NULL;
ALTER TABLE entries ADD COLUMN erased_by bigint;
ALTER TABLE entries ADD CONSTRAINT entries_withheld CHECK (
    CASE WHEN payload IS NULL THEN erased_by IS NOT NULL AND erased_by > seq
         ELSE erased_by IS NULL END);

-- One change of a record there is: its payload goes, and the chain has an entry that names it. This
-- looks into the chain itself, whoever asks, the owner too.
CREATE FUNCTION refuse_all_but_erasure() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (NEW.workspace, NEW.seq, NEW.recorded_at, NEW.event_id, NEW.payload_digest, NEW.link)
        IS DISTINCT FROM
       (OLD.workspace, OLD.seq, OLD.recorded_at, OLD.event_id, OLD.payload_digest, OLD.link)
       OR OLD.payload IS NULL OR NEW.payload IS NOT NULL THEN
        RAISE EXCEPTION 'UPDATE of entries is refused: records of the ledger are never changed'
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF event_type_of(OLD.payload) LIKE 'ledger.%' OR NOT EXISTS (
        SELECT FROM erasures r
        JOIN entries e ON e.workspace = r.workspace AND e.seq = r.seq
                      AND e.recorded_at = r.recorded_at
        CROSS JOIN LATERAL json_array_elements_text(
            convert_from(e.payload, 'UTF8')::json #> '{context,event_ids}') AS named (id)
        WHERE r.workspace = OLD.workspace AND r.seq = NEW.erased_by AND r.seq > OLD.seq
          AND event_type_of(e.payload) = 'ledger.payload_erased'
          AND named.id::uuid = OLD.event_id) THEN
        RAISE EXCEPTION 'the payload of % seq % cannot be erased: no later entry of its chain allows it',
            OLD.workspace, OLD.seq USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- Of the table as a whole. Partitions keep their own trigger, which refuses every UPDATE that names one.
DROP TRIGGER entries_fixed ON entries;
CREATE TRIGGER entries_fixed BEFORE DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_erasure BEFORE UPDATE ON entries
    FOR EACH ROW EXECUTE FUNCTION refuse_all_but_erasure();

-- Withholds the payloads that the entry `by_seq` of a chain names, and says how many it were.
--
-- Once that entry is sealed, all of them: what it names lies before it, and is sealed too. Before
-- that, those of its own hour alone: an hour is never sealed without a payload whose erasure another
-- hour records, as an auditor who came in between would find a payload missing.
CREATE FUNCTION erase_payloads(of_workspace text, by_seq bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    erasing entries;
    since   bigint;
    erased  bigint;
BEGIN
    SELECT e.* INTO erasing FROM erasures r
    JOIN entries e ON e.workspace = r.workspace AND e.seq = r.seq AND e.recorded_at = r.recorded_at
    WHERE r.workspace = of_workspace AND r.seq = by_seq;
    IF NOT FOUND OR event_type_of(erasing.payload) IS DISTINCT FROM 'ledger.payload_erased' THEN
        RAISE EXCEPTION 'seq % of % erases nothing', by_seq, of_workspace
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    since := erasing.recorded_at - erasing.recorded_at % 3600000000;
    IF EXISTS (SELECT FROM sealed_chunks c WHERE c.workspace = of_workspace AND c.last_seq >= by_seq) THEN
        since := 0;
    END IF;
    UPDATE entries e SET payload = NULL, erased_by = by_seq
    FROM (SELECT DISTINCT id::uuid AS id
          FROM json_array_elements_text(
              convert_from(erasing.payload, 'UTF8')::json #> '{context,event_ids}') AS t (id)) named
    WHERE e.workspace = of_workspace AND e.event_id = named.id AND e.seq < by_seq
      AND e.recorded_at >= since AND e.payload IS NOT NULL AND event_type_of(e.payload) NOT LIKE 'ledger.%';
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$;

-- Manifests in the log that amend another: `erasure` is the n of `.e<n>` in their objects' keys.
CREATE TABLE amended_chunks (
    workspace     text COLLATE "C" NOT NULL,
    first_seq     bigint NOT NULL CHECK (first_seq > 0),
    erasure       bigint NOT NULL CHECK (erasure > 0),
    manifest_hash bytea  NOT NULL CHECK (octet_length(manifest_hash) = 32),
    log_index     bigint NOT NULL UNIQUE CHECK (log_index >= 0),
    PRIMARY KEY (workspace, first_seq, erasure)
);

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['TABLE erasures', 'TABLE amended_chunks',
                                'FUNCTION event_type_of(bytea)', 'FUNCTION refuse_all_but_erasure()',
                                'FUNCTION erase_payloads(text, bigint)'] LOOP
        EXECUTE format('ALTER %s OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', made);
    END LOOP;
END $$;

-- The writer says where erasures are asked for. It cannot record a payload as withheld.
GRANT SELECT, INSERT ON erasures TO tally_writer;
GRANT EXECUTE ON FUNCTION event_type_of(bytea) TO tally_writer, tally_archiver;
REVOKE INSERT ON entries FROM tally_writer;
GRANT INSERT (workspace, seq, recorded_at, event_id, payload_digest, link, payload) ON entries
    TO tally_writer;
GRANT SELECT ON erasures TO tally_archiver;
GRANT EXECUTE ON FUNCTION erase_payloads(text, bigint) TO tally_archiver;
GRANT SELECT, INSERT ON amended_chunks TO tally_archiver;

ALTER TABLE erasures ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_writer ON erasures FOR ALL TO tally_writer USING (true) WITH CHECK (true);
CREATE POLICY of_archive ON erasures FOR SELECT TO tally_archiver USING (true);
ALTER TABLE amended_chunks ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_archive ON amended_chunks FOR ALL TO tally_archiver
    USING (true) WITH CHECK (true);
