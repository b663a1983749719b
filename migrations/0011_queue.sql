-- The queue between API and chain, where there is one (docs/decisions/0019-queue.md): how far each of
-- its partitions is recorded, and what of it was refused.

-- How far a partition is recorded. Written in the transaction that records what lies before it: so a
-- message is recorded once, however often it is delivered.
--
-- `epoch` counts claims: who claims a partition shuts out whoever had it, as each transaction that goes
-- on holds the row and compares the epoch. `major` and `minor` name the last message that was taken (of
-- Kafka: its offset, and 0), `digest` its bytes, so that another queue of the same name is found out.
CREATE TABLE queue_positions (
    queue      text COLLATE "C" NOT NULL CHECK (octet_length(queue) BETWEEN 1 AND 512),
    partition  integer NOT NULL CHECK (partition >= 0),
    epoch      bigint  NOT NULL CHECK (epoch > 0),
    owner      text    NOT NULL,
    claimed_at bigint  NOT NULL CHECK (claimed_at >= 0),
    major      bigint CHECK (major >= 0),
    minor      bigint CHECK (minor >= 0),
    digest     bytea CHECK (octet_length(digest) = 32),
    PRIMARY KEY (queue, partition),
    CHECK ((major IS NULL) = (minor IS NULL) AND (digest IS NULL OR major IS NOT NULL))
);

-- A position only goes on, but for the owner's own act below.
CREATE FUNCTION refuse_reading_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.queue, NEW.partition) IS DISTINCT FROM (OLD.queue, OLD.partition)
        OR NEW.epoch < OLD.epoch
        OR (current_user <> 'tally_owner' AND OLD.major IS NOT NULL
            AND (NEW.major IS NULL OR (NEW.major, NEW.minor) < (OLD.major, OLD.minor))) THEN
        RAISE EXCEPTION 'the position of partition % of % only goes on', OLD.partition, OLD.queue
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER queue_positions_forward BEFORE UPDATE ON queue_positions
    FOR EACH ROW EXECUTE FUNCTION refuse_reading_again();
CREATE TRIGGER queue_positions_fixed BEFORE DELETE OR TRUNCATE ON queue_positions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Acts by which an operator went over a gap, or back.
CREATE TABLE queue_moves (
    queue      text COLLATE "C" NOT NULL,
    partition  integer NOT NULL,
    moved_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    moved_by   text   NOT NULL DEFAULT session_user,
    old_major  bigint,
    old_minor  bigint,
    new_major  bigint,
    new_minor  bigint,
    reason     text   NOT NULL CHECK (octet_length(reason) BETWEEN 1 AND 1024)
);
CREATE TRIGGER queue_moves_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON queue_moves
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Moves a position, on record: to behind the message that is named, or (nulls) to the beginning. Whoever
-- has the partition is shut out. What is delivered again because of it is recorded once all the same.
CREATE FUNCTION move_queue_position(of_queue text, of_partition integer, to_major bigint, to_minor bigint,
                                    why text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    old queue_positions;
BEGIN
    SELECT * INTO old FROM queue_positions q
    WHERE q.queue = of_queue AND q.partition = of_partition FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'partition % of % was never claimed', of_partition, of_queue
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO queue_moves (queue, partition, old_major, old_minor, new_major, new_minor, reason)
    VALUES (of_queue, of_partition, old.major, old.minor, to_major, to_minor, why);
    UPDATE queue_positions q
    SET epoch = q.epoch + 1, major = to_major, minor = to_minor, digest = NULL
    WHERE q.queue = of_queue AND q.partition = of_partition;
END $$;

-- Messages that were not recorded, each with the reason. Their bytes are kept, so that one can be sent
-- again once the reason is gone; of those that no client of ours can have sent, only the digest.
CREATE TABLE dead_letters (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue           text COLLATE "C" NOT NULL,
    partition       integer NOT NULL,
    major           bigint  NOT NULL,
    minor           bigint  NOT NULL,
    -- as the message names it; null where it names none
    workspace       text COLLATE "C",
    -- null where it holds no submission, or one that its key did not sign
    submission_hash bytea CHECK (octet_length(submission_hash) = 32),
    refused_at      bigint NOT NULL CHECK (refused_at >= 0),
    kind            text   NOT NULL,
    problem         text   NOT NULL,
    headers         text   NOT NULL,
    value           bytea,
    value_bytes     bigint NOT NULL CHECK (value_bytes >= 0),
    value_sha256    bytea  NOT NULL CHECK (octet_length(value_sha256) = 32),
    -- when it was put on the dead-letter topic
    sent_at         bigint CHECK (sent_at >= 0),
    -- when it was last put on the queue again
    retried_at      bigint CHECK (retried_at >= 0)
);
CREATE INDEX dead_letters_of ON dead_letters (workspace, submission_hash, id);
CREATE INDEX dead_letters_unsent ON dead_letters (id) WHERE sent_at IS NULL;

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['queue_positions', 'queue_moves', 'dead_letters'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', made);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        EXECUTE format('CREATE POLICY of_writer ON %I FOR ALL TO tally_writer
                        USING (true) WITH CHECK (true)', made);
    END LOOP;
END $$;
CREATE POLICY of_request ON dead_letters FOR SELECT TO tally_api
    USING (workspace = current_setting('tally.workspace', true));

ALTER FUNCTION refuse_reading_again() OWNER TO tally_owner;
ALTER FUNCTION move_queue_position(text, integer, bigint, bigint, text) OWNER TO tally_owner;
REVOKE ALL ON FUNCTION refuse_reading_again() FROM PUBLIC;
REVOKE ALL ON FUNCTION move_queue_position(text, integer, bigint, bigint, text) FROM PUBLIC;

GRANT SELECT, INSERT ON queue_positions TO tally_writer;
GRANT UPDATE (epoch, owner, claimed_at, major, minor, digest) ON queue_positions TO tally_writer;
GRANT SELECT ON queue_moves TO tally_writer;
GRANT SELECT, INSERT ON dead_letters TO tally_writer;
GRANT UPDATE (sent_at, retried_at) ON dead_letters TO tally_writer;
GRANT SELECT ON dead_letters TO tally_api;
