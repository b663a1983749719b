-- Before the first tenant gets an SQL login: once for each database, by a superuser. Running it again
-- changes nothing.
--
-- Row-level security keeps tenants from each other's rows. What is taken away here is what any login
-- may do besides: hold the ledger's advisory locks, so that nobody could record, and fill the disk
-- with large objects or messages in the server's log.
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND (proname LIKE 'pg\_advisory\_%' OR proname LIKE 'pg\_try\_advisory\_%'
               OR proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite',
                              'lo_open', 'lo_truncate', 'lo_truncate64', 'pg_logical_emit_message'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
        IF function::text LIKE 'pg\_%advisory%' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO tally_owner, tally_writer, tally_archiver',
                           function);
        END IF;
    END LOOP;
END $$;
