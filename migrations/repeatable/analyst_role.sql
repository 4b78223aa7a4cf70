-- The role that may read everything but secrets, and write nothing. The default privileges cover tables and
-- views that the same user creates later.
DO $$
DECLARE
    relation regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'analyst') THEN
        BEGIN
            CREATE ROLE analyst NOLOGIN;
        EXCEPTION
            -- Roles belong to the server, and another of its databases may be migrated now.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    GRANT USAGE ON SCHEMA public TO analyst;
    -- One by one: ON ALL TABLES fails if one has another owner (pg_stat_statements).
    FOR relation IN
        SELECT oid FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
          AND pg_has_role(relowner, 'USAGE')
          AND relname <> 'destination_addresses'  -- secrets
    LOOP
        EXECUTE format('GRANT SELECT ON TABLE %s TO analyst', relation);
    END LOOP;
    REVOKE ALL ON TABLE destination_addresses FROM analyst;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO analyst;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the role analyst may not read: %', SQLERRM
            USING HINT = 'docs/analysts.md says what the server''s administrator has to do.';
END
$$;
