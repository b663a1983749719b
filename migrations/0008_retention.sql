-- Retention of the database: a day that the archive holds loses its payloads here, and nothing else. Its
-- ids, digests and links stay for ever, so that duplicates, counters, receipts and heads go on as
-- they were (docs/decisions/0010-dedupe-across-days.md).

-- An archived row has its payload in the archive alone.
ALTER TABLE entries ADD COLUMN archived boolean NOT NULL DEFAULT false;
-- What was archived can be erased later, and says so as any other.
ALTER TABLE entries DROP CONSTRAINT entries_withheld;
ALTER TABLE entries ADD CONSTRAINT entries_withheld CHECK (
    CASE WHEN payload IS NOT NULL THEN erased_by IS NULL AND NOT archived
         WHEN archived THEN erased_by IS NULL OR erased_by > seq
         ELSE erased_by IS NOT NULL AND erased_by > seq END);

-- When a day was archived, in microseconds since 1970; null where its payloads are here.
ALTER TABLE days ADD COLUMN archived_at bigint CHECK (archived_at >= 0);

-- One change of a record there is: its payload goes, and the chain has an entry that names it; where it
-- is in the archive alone, the mark that it goes there. This looks into the chain itself, whoever
-- asks, the owner too.
CREATE OR REPLACE FUNCTION refuse_all_but_erasure() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (NEW.workspace, NEW.seq, NEW.recorded_at, NEW.event_id, NEW.payload_digest, NEW.link,
        NEW.archived)
        IS DISTINCT FROM
       (OLD.workspace, OLD.seq, OLD.recorded_at, OLD.event_id, OLD.payload_digest, OLD.link,
        OLD.archived)
       OR NEW.payload IS NOT NULL
       OR OLD.payload IS NULL AND NOT (OLD.archived AND OLD.erased_by IS NULL) THEN
        RAISE EXCEPTION 'UPDATE of entries is refused: records of the ledger are never changed'
            USING ERRCODE = 'restrict_violation';
    END IF;
    -- An archived row has none of the ledger's own events: their payloads stay.
    IF NOT OLD.archived AND event_type_of(OLD.payload) LIKE 'ledger.%' OR NOT EXISTS (
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

-- Withholds the payloads that the entry `by_seq` of a chain names, marks those that are in the archive
-- alone, and says how many it were of both.
--
-- Once that entry is sealed, all of them: what it names lies before it, and is sealed too. Before
-- that, those of its own hour alone: an hour is never sealed without a payload whose erasure another
-- hour records, as an auditor who came in between would find a payload missing.
CREATE OR REPLACE FUNCTION erase_payloads(of_workspace text, by_seq bigint) RETURNS bigint
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
      AND e.recorded_at >= since
      AND CASE WHEN e.payload IS NULL THEN e.archived AND e.erased_by IS NULL
               ELSE event_type_of(e.payload) NOT LIKE 'ledger.%' END;
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$;

-- Takes the payloads of the day that begins at `first` out of the database, at the time `at` (both in
-- microseconds since 1970), and says how many they were. Those of `ledger.` events stay: they say
-- what keys there are and what is to be erased.
--
-- The day's partition is replaced by a thin one with the same rows. Who calls this has read the
-- day's chunks back from the archive; what the database itself can tell is checked here again. It
-- wants a transaction of its own: that holds the lock of the archiver, and in the end, for a moment,
-- every reader and writer of records.
CREATE FUNCTION archive_day(first bigint, at bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    attempts CONSTANT int := 30;
    ends     bigint;
    suffix   text;
    name     text;
    since    bigint;
    astray   record;
    rows     bigint;
    signed   bigint;
    copied   bigint;
    gone     bigint;
BEGIN
    IF first IS NULL OR at IS NULL OR at < 0 THEN
        RAISE EXCEPTION 'archive_day takes the first microsecond of a day, and the time'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The lock `tally_a` (README.md): nothing is sealed or erased meanwhile. An archiver has it, and
    -- gets it again in the same session. As for archivers, that of a connection which has just ended
    -- may be there for a moment.
    PERFORM set_config('lock_timeout', '2s', true);
    BEGIN
        PERFORM pg_advisory_xact_lock(x'74616c6c795f61'::bigint);
    EXCEPTION WHEN lock_not_available THEN
        RAISE EXCEPTION 'another session is the archiver that is at work'
            USING ERRCODE = 'lock_not_available';
    END;
    SELECT d.archived_at INTO since FROM days d WHERE d.day = first FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no day of records begins at the microsecond %', first
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    ends := first + 86400000000;
    suffix := to_char(to_timestamp(first / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD');
    IF since IS NOT NULL THEN
        RAISE EXCEPTION 'day % is archived already, since the microsecond %', suffix, since
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF (SELECT f.not_before FROM fence f) < ends THEN
        RAISE EXCEPTION 'day % is open: the fence does not stand behind it', suffix
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF NOT EXISTS (SELECT FROM sealed_hours h WHERE h.hour = ends - 3600000000) THEN
        RAISE EXCEPTION 'day % is not sealed: its last hour has no note in the log', suffix
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    -- From here on the day's rows stay as they are; they can be read all the time.
    name := 'entries_' || suffix;
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', name);
    EXECUTE format(
        'SELECT e.workspace, e.seq FROM %s e
         WHERE NOT EXISTS (
             SELECT FROM (SELECT c.last_seq, c.hour FROM sealed_chunks c
                          WHERE c.workspace = e.workspace AND c.first_seq <= e.seq
                          ORDER BY c.first_seq DESC LIMIT 1) c
             WHERE c.last_seq >= e.seq AND c.hour = e.recorded_at - e.recorded_at %% 3600000000)
         LIMIT 1', name) INTO astray;
    IF astray.seq IS NOT NULL THEN
        RAISE EXCEPTION 'day % has % seq %, which lies in no sealed chunk of its hour',
            suffix, astray.workspace, astray.seq USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format(
        'SELECT s.workspace, s.first_seq FROM submissions_%s s
         WHERE s.event_count <> (
             SELECT count(*) FROM %s e
             WHERE e.workspace = s.workspace AND e.seq >= s.first_seq
               AND e.seq < s.first_seq + s.event_count AND e.recorded_at = s.recorded_at)
         LIMIT 1', suffix, name) INTO astray;
    IF astray.first_seq IS NOT NULL THEN
        RAISE EXCEPTION 'day % lacks entries of the submission of % at seq %',
            suffix, astray.workspace, astray.first_seq
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('SELECT (SELECT count(*) FROM %s),
                           (SELECT coalesce(sum(event_count), 0) FROM submissions_%s)', name, suffix)
        INTO rows, signed;
    IF rows <> signed THEN
        RAISE EXCEPTION 'day % has % entries, its submissions have %', suffix, rows, signed
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    -- As `ensure_day` makes one. By its constraint the table is known to hold this day alone: it is
    -- not read again where it is attached.
    EXECUTE format('CREATE TABLE %s_thin (LIKE entries INCLUDING ALL, CONSTRAINT of_day
                    CHECK (recorded_at >= %s AND recorded_at < %s))', name, first, ends);
    -- A `ledger.` event stands alone in its submission, signed by a root key: no other payload is
    -- looked into, which the CASE sees to.
    EXECUTE format(
        'INSERT INTO %1$s_thin (workspace, seq, recorded_at, event_id, payload_digest, link, payload,
                                erased_by, archived)
         SELECT e.workspace, e.seq, e.recorded_at, e.event_id, e.payload_digest, e.link,
                CASE WHEN l.seq IS NOT NULL THEN e.payload END, e.erased_by,
                e.archived OR e.payload IS NOT NULL AND l.seq IS NULL
         FROM %1$s e
         LEFT JOIN (SELECT o.workspace, o.seq
                    FROM submissions_%2$s s
                    JOIN keys k ON k.workspace = s.workspace AND k.public_key = s.public_key
                    JOIN %1$s o ON o.workspace = s.workspace AND o.seq = s.first_seq
                    WHERE CASE WHEN s.event_count = 1 AND k.role = ''root''
                               THEN event_type_of(o.payload) LIKE ''ledger.%%'' END) l
                ON l.workspace = e.workspace AND l.seq = e.seq', name, suffix);
    GET DIAGNOSTICS copied = ROW_COUNT;
    IF copied <> rows THEN
        RAISE EXCEPTION 'day % has % entries, of which % were copied', suffix, rows, copied
            USING ERRCODE = 'data_exception';
    END IF;
    EXECUTE format('SELECT count(*) FROM %s_thin WHERE archived', name) INTO gone;
    EXECUTE format('CREATE UNIQUE INDEX %1$s_thin_seq ON %1$s_thin (workspace, seq)', name);
    EXECUTE format('CREATE UNIQUE INDEX %1$s_thin_event_id ON %1$s_thin (event_id, workspace)', name);
    EXECUTE format('CREATE TRIGGER entries_fixed BEFORE UPDATE OR DELETE OR TRUNCATE
                    ON %s_thin FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
    EXECUTE format('ANALYZE %s_thin', name);

    -- The moment in which nobody reads or writes records. Whoever comes while this waits for a long
    -- reader waits behind it: so it waits for half a second and then lets them all pass, again and
    -- again, before it gives up. The table above all first, as everyone takes them.
    PERFORM set_config('lock_timeout', '500ms', true);
    FOR attempt IN 1..attempts LOOP
        BEGIN
            LOCK TABLE ONLY entries IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', name);
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = attempts THEN
                RAISE EXCEPTION 'day % is not archived: somebody has read records all the time', suffix
                    USING ERRCODE = 'lock_not_available',
                          HINT = 'Call it again once long queries and backups have ended.';
            END IF;
        END;
        PERFORM pg_sleep(2);
    END LOOP;
    EXECUTE format('ALTER TABLE entries DETACH PARTITION %s', name);
    EXECUTE format('DROP TABLE %s', name);
    EXECUTE format('ALTER TABLE %1$s_thin RENAME TO %1$s', name);
    EXECUTE format('ALTER INDEX %1$s_thin_seq RENAME TO %1$s_workspace_seq_idx', name);
    EXECUTE format('ALTER INDEX %1$s_thin_event_id RENAME TO %1$s_event_id_workspace_idx', name);
    EXECUTE format('ALTER TABLE entries ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
                   name, first, ends);
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT of_day', name);
    UPDATE days d SET archived_at = at WHERE d.day = first;
    -- The commit waits for no replica: it would hold the lock meanwhile, until that has all of the
    -- copy. A replica that takes over without it has the day as it was.
    PERFORM set_config('synchronous_commit', 'local', true);
    RETURN gone;
END $$;

ALTER FUNCTION archive_day(bigint, bigint) OWNER TO tally_owner;
REVOKE ALL ON FUNCTION archive_day(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION archive_day(bigint, bigint) TO tally_archiver;
