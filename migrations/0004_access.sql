-- Who may do what: the roles of Postgres, row-level security, and the tokens of readers.
--
-- Roles belong to the whole cluster, everything else to this database: a role that is there already,
-- also one that another migration makes at this moment, is taken as it is. None can log in: an
-- operator makes logins and puts them into these groups (policies/postgres/README.md).
DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['tally_owner', 'tally_writer', 'tally_api', 'tally_archiver',
                                'tally_reader']
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = made);
        BEGIN
            -- Binary COPY into a table under row-level security needs BYPASSRLS. The writer's rights
            -- are those of its grants all the same, and they are the same for every workspace.
            EXECUTE format('CREATE ROLE %I NOLOGIN %s', made,
                           CASE made WHEN 'tally_writer' THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is not there, and % may not make it', made, current_user
                    USING HINT = 'Have a superuser run policies/postgres/roles.sql first.';
        END;
    END LOOP;
    IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'tally_writer') THEN
        RAISE EXCEPTION 'role tally_writer lacks BYPASSRLS, without which it cannot COPY'
            USING HINT = 'Have a superuser run policies/postgres/roles.sql first.';
    END IF;
END $$;

-- Tokens with which a workspace is read over HTTP. The token itself is shown once and kept nowhere.
CREATE TABLE reader_tokens (
    token_id   text COLLATE "C" PRIMARY KEY CHECK (token_id ~ '^[0-9a-f]{16}$'),
    workspace  text COLLATE "C" NOT NULL,
    name       text   NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 128),
    sha256     bytea  NOT NULL CHECK (octet_length(sha256) = 32),
    created_at bigint NOT NULL CHECK (created_at >= 0),
    created_by text   NOT NULL,
    revoked_at bigint CHECK (revoked_at >= 0),
    revoked_by text,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX reader_tokens_of ON reader_tokens (workspace, created_at, token_id);

-- Which workspaces a tenant's own SQL login may read. The owner alone writes here.
CREATE TABLE reader_roles (
    login     name NOT NULL,
    workspace text COLLATE "C" NOT NULL,
    PRIMARY KEY (login, workspace)
);

-- The workspaces of whoever logged in. SET ROLE and settings do not change who that was.
CREATE FUNCTION readable_workspaces() RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce(array_agg(workspace::text), '{}') FROM reader_roles WHERE login = session_user
$$;

-- A token is revoked for good, and nothing else of it changes.
CREATE FUNCTION refuse_restoring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.token_id, NEW.workspace, NEW.name, NEW.sha256, NEW.created_at, NEW.created_by)
        IS DISTINCT FROM
       (OLD.token_id, OLD.workspace, OLD.name, OLD.sha256, OLD.created_at, OLD.created_by)
       OR OLD.revoked_at IS NOT NULL THEN
        RAISE EXCEPTION 'token % cannot be changed, only revoked, and that once', OLD.token_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reader_tokens_revoke BEFORE UPDATE ON reader_tokens
    FOR EACH ROW EXECUTE FUNCTION refuse_restoring();
CREATE TRIGGER reader_tokens_fixed BEFORE DELETE OR TRUNCATE ON reader_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Keys follow the chain: one is registered once, revoked once, and never counts back.
CREATE FUNCTION refuse_rewriting_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.workspace, NEW.public_key, NEW.role, NEW.actor_id, NEW.registered_seq)
        IS DISTINCT FROM
       (OLD.workspace, OLD.public_key, OLD.role, OLD.actor_id, OLD.registered_seq)
       OR NEW.highest_counter < OLD.highest_counter
       OR (OLD.revoked_seq IS NOT NULL AND (NEW.revoked_seq, NEW.compromised_since)
           IS DISTINCT FROM (OLD.revoked_seq, OLD.compromised_since)) THEN
        RAISE EXCEPTION 'key of % registered at seq % cannot be rewritten', OLD.workspace, OLD.registered_seq
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keys_forward BEFORE UPDATE ON keys
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting_key();
CREATE TRIGGER keys_fixed BEFORE DELETE OR TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Everything belongs to the owner, whoever ran the migrations so far.
GRANT USAGE, CREATE ON SCHEMA public TO tally_owner;
DO $$
DECLARE
    made text;
BEGIN
    FOR made IN
        SELECT format('TABLE %s', c.oid::regclass) FROM pg_class c
        WHERE c.oid IN (SELECT t.name::regclass
                        FROM unnest(ARRAY['_sqlx_migrations', 'ledger', 'heads', 'submissions',
                                          'entries', 'keys', 'fence', 'sealed_chunks',
                                          'sealed_hours', 'published', 'days', 'reader_tokens',
                                          'reader_roles']) AS t (name))
           OR c.oid IN (SELECT relid FROM pg_partition_tree('submissions'))
           OR c.oid IN (SELECT relid FROM pg_partition_tree('entries'))
        UNION ALL
        SELECT format('FUNCTION %s', p.oid::regprocedure) FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
          AND p.proname IN ('refuse_change', 'refuse_going_back', 'refuse_lowering', 'ensure_day',
                            'readable_workspaces', 'refuse_restoring', 'refuse_rewriting_key')
    LOOP
        EXECUTE format('ALTER %s OWNER TO tally_owner', made);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', made);
    END LOOP;
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO tally_writer, tally_api, tally_archiver, tally_reader;

-- What a service asks before it starts.
GRANT SELECT ON ledger, _sqlx_migrations TO tally_writer, tally_api, tally_archiver;

-- The writer adds records, moves heads on and keeps keys and tokens. No right on a partition: all
-- goes through the tables above them.
GRANT SELECT, INSERT ON submissions, entries, heads, keys, reader_tokens TO tally_writer;
GRANT UPDATE (last_seq, link, recorded_at) ON heads TO tally_writer;
GRANT UPDATE (revoked_seq, compromised_since, highest_counter) ON keys TO tally_writer;
GRANT UPDATE (revoked_at, revoked_by) ON reader_tokens TO tally_writer;
GRANT SELECT ON fence, days TO tally_writer;
GRANT EXECUTE ON FUNCTION ensure_day(bigint) TO tally_writer;

-- What answers over HTTP reads one workspace at a time: the one that its transaction names.
GRANT SELECT ON submissions, entries, heads, keys, reader_tokens TO tally_api;
GRANT SELECT ON fence, days, sealed_chunks, sealed_hours, published TO tally_api;

-- The archiver reads records and writes what it remembers of the archive.
GRANT SELECT ON submissions, entries, heads, keys, days TO tally_archiver;
GRANT SELECT, UPDATE (not_before) ON fence TO tally_archiver;
GRANT SELECT, INSERT ON sealed_chunks, sealed_hours TO tally_archiver;
GRANT SELECT, INSERT, UPDATE (log_size, checkpoint) ON published TO tally_archiver;

-- A tenant's SQL login reads its own workspaces.
GRANT SELECT ON submissions, entries, heads, keys TO tally_reader;
GRANT EXECUTE ON FUNCTION readable_workspaces() TO tally_reader;

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['submissions', 'entries', 'heads', 'keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        -- Of a login that has not taken on the role, and so not BYPASSRLS either.
        EXECUTE format('CREATE POLICY of_writer ON %I FOR ALL TO tally_writer
                        USING (true) WITH CHECK (true)', made);
        EXECUTE format('CREATE POLICY of_request ON %I FOR SELECT TO tally_api
                        USING (workspace = current_setting(''tally.workspace'', true))', made);
        EXECUTE format('CREATE POLICY of_archive ON %I FOR SELECT TO tally_archiver
                        USING (true)', made);
        EXECUTE format('CREATE POLICY of_tenant ON %I FOR SELECT TO tally_reader
                        USING (workspace = ANY (readable_workspaces()))', made);
    END LOOP;
END $$;
