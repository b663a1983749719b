-- The hot store: keys, heads and records of every workspace (FORMAT sections 3, 4 and 6).
--
-- Times are microseconds since 1970-01-01T00:00:00Z as bigint, as they are hashed: a timestamptz
-- would be rounded and printed by rules of its own. Names are compared by bytes (COLLATE "C").

-- Which ledger this database is. One row; a service with another origin refuses to start.
CREATE TABLE ledger (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    origin text NOT NULL
);

-- The newest link of each workspace. Its row lock decides who appends next.
CREATE TABLE heads (
    workspace   text COLLATE "C" PRIMARY KEY,
    last_seq    bigint NOT NULL CHECK (last_seq > 0),
    link        bytea  NOT NULL CHECK (octet_length(link) = 32),
    recorded_at bigint NOT NULL CHECK (recorded_at >= 0)
);

-- One row a submission: what was signed, and where it lies in the chain.
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
    last_link       bytea    NOT NULL CHECK (octet_length(last_link) = 32),
    PRIMARY KEY (workspace, first_seq)
);
CREATE UNIQUE INDEX submissions_hash ON submissions (workspace, submission_hash);
-- A counter names one submission of a key; 0 stands for "keeps no count".
CREATE UNIQUE INDEX submissions_counter ON submissions (workspace, public_key, counter)
    WHERE counter > 0;

-- One row an event. What its whole submission shares stands in `submissions`.
CREATE TABLE entries (
    workspace      text COLLATE "C" NOT NULL,
    seq            bigint NOT NULL CHECK (seq > 0),
    recorded_at    bigint NOT NULL CHECK (recorded_at >= 0),
    event_id       uuid   NOT NULL,
    payload_digest bytea  NOT NULL CHECK (octet_length(payload_digest) = 32),
    link           bytea  NOT NULL CHECK (octet_length(link) = 32),
    payload        bytea  NOT NULL,
    PRIMARY KEY (workspace, seq)
);
CREATE UNIQUE INDEX entries_event_id ON entries (workspace, event_id);
-- Payloads of agents compress well, but not for free: the archive compresses them once and better.
ALTER TABLE entries ALTER COLUMN payload SET STORAGE EXTERNAL;

-- The keys of each workspace, as its chain has set them: derived, kept so that a submission need
-- not read the chain.
CREATE TABLE keys (
    workspace         text COLLATE "C" NOT NULL,
    public_key        bytea  NOT NULL CHECK (octet_length(public_key) = 32),
    role              text   NOT NULL CHECK (role IN ('root', 'agent', 'custodian')),
    actor_id          text,
    registered_seq    bigint NOT NULL CHECK (registered_seq > 0),
    revoked_seq       bigint CHECK (revoked_seq > registered_seq),
    compromised_since bigint,
    PRIMARY KEY (workspace, public_key)
);

-- Records are never changed, whoever asks.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: records of the ledger are never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER submissions_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON submissions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER heads_fixed BEFORE DELETE OR TRUNCATE ON heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A head only moves on.
CREATE FUNCTION refuse_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.workspace <> OLD.workspace OR NEW.last_seq <= OLD.last_seq
        OR NEW.recorded_at < OLD.recorded_at THEN
        RAISE EXCEPTION 'head of % cannot go from seq % back to %', OLD.workspace, OLD.last_seq, NEW.last_seq
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER heads_forward BEFORE UPDATE ON heads
    FOR EACH ROW EXECUTE FUNCTION refuse_going_back();
