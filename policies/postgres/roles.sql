-- The groups of a ledger's database, once for each Postgres cluster, by a superuser. Running it again
-- changes nothing. What each may do is in migrations/0004_access.sql; see README.md beside this file.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tally_owner') THEN
        CREATE ROLE tally_owner NOLOGIN;
    END IF;
    -- COPY into tables under row-level security needs BYPASSRLS. It widens nothing: the writer's
    -- rights are its grants, and they are the same for every workspace.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tally_writer') THEN
        CREATE ROLE tally_writer NOLOGIN;
    END IF;
    ALTER ROLE tally_writer BYPASSRLS;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tally_api') THEN
        CREATE ROLE tally_api NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tally_archiver') THEN
        CREATE ROLE tally_archiver NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tally_reader') THEN
        CREATE ROLE tally_reader NOLOGIN;
    END IF;
END $$;
