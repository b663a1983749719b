-- What the archiver remembers of archive retention: chunks whose objects are gone, by a signed record in
-- the log (docs/decisions/0015-retention.md). And of what it is about to publish.

-- Chunks that the log says are pruned. `removed_at`: when their objects were seen to be gone; none as
-- long as the store keeps one.
CREATE TABLE pruned_chunks (
    workspace  text COLLATE "C" NOT NULL,
    first_seq  bigint NOT NULL CHECK (first_seq > 0),
    log_index  bigint NOT NULL CHECK (log_index >= 0),
    removed_at bigint CHECK (removed_at >= 0),
    PRIMARY KEY (workspace, first_seq)
);
CREATE INDEX ON pruned_chunks (workspace, first_seq) WHERE removed_at IS NULL;

-- Notes that are to be the log's next leaves, kept before any object holds one: what was begun is finished
-- with the same bytes, whatever the next run has to do. Gone once they are logged.
CREATE TABLE planned_leaves (
    log_index bigint PRIMARY KEY CHECK (log_index >= 0),
    note      text   NOT NULL
);

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['pruned_chunks', 'planned_leaves'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', made);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO tally_archiver', made);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        EXECUTE format('CREATE POLICY of_archive ON %I FOR ALL TO tally_archiver
                        USING (true) WITH CHECK (true)', made);
    END LOOP;
END $$;
GRANT UPDATE (removed_at) ON pruned_chunks TO tally_archiver;
GRANT DELETE ON planned_leaves TO tally_archiver;
