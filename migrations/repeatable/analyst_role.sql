-- The role that may read everything and write nothing. Applied again whenever this text changes;
-- tables of later migrations are covered by the default privileges.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'analyst') THEN
        CREATE ROLE analyst NOLOGIN;
    END IF;
    GRANT USAGE ON SCHEMA public TO analyst;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO analyst;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO analyst;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'no right to create the role analyst: ask the server''s administrator';
END
$$;
COMMENT ON SCHEMA public IS
    'Telemetry Hub. bps are BYTES per second; network_*_rate_mbps are MEGABYTES per second.';
