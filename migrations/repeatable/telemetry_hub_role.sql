-- The role of the web workers, with only the rights that their statements need: it cannot drop,
-- alter, create or refresh anything, or delete an update. Applied last (by name): all tables exist.
-- tests/integration/test_rights.py compares the list with the statements in app/store/sql.
DO $$
DECLARE
    relation regclass;
    verbs text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'telemetry_hub') THEN
        BEGIN
            CREATE ROLE telemetry_hub NOLOGIN;
        EXCEPTION
            -- Roles belong to the server, and another of its databases may be migrated now.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    GRANT USAGE ON SCHEMA public TO telemetry_hub;
    -- Rights of a series also apply to its chunks. Only for tables that this user owns.
    FOR relation, verbs IN
        SELECT oid, needed.verbs
        FROM pg_class
        LEFT JOIN (VALUES
            ('jobs', 'SELECT, INSERT, UPDATE'),
            ('job_runs', 'SELECT, INSERT, UPDATE'),
            ('job_disks', 'SELECT, INSERT, UPDATE, DELETE'),
            ('job_events', 'SELECT, INSERT'),
            ('sender_losses', 'SELECT, INSERT, UPDATE'),
            ('series', 'SELECT'),
            ('series_runs', 'SELECT'),
            ('attention', 'SELECT, UPDATE'),
            ('job_counts', 'SELECT'),
            ('machine_job_counts', 'SELECT'),
            ('job_count_changes', 'SELECT'),
            ('job_ends', 'SELECT'),
            ('job_telemetry', 'SELECT, INSERT'),
            ('disk_telemetry', 'SELECT, INSERT'),
            ('wide_writes', 'SELECT, INSERT'),
            ('nodes', 'SELECT, INSERT, UPDATE'),
            ('node_events', 'SELECT, INSERT'),
            ('node_telemetry', 'SELECT, INSERT'),
            ('ingest_beats', 'SELECT, INSERT, UPDATE, DELETE'),
            ('ingest_presence', 'SELECT, INSERT, UPDATE'),
            ('hub_absences', 'SELECT, INSERT'),
            ('tokens', 'SELECT, INSERT, UPDATE'),
            ('rules', 'SELECT, INSERT, UPDATE, DELETE'),
            ('maintenance', 'SELECT, INSERT, UPDATE'),
            ('destinations', 'SELECT, INSERT, UPDATE, DELETE'),
            ('destination_addresses', 'SELECT, INSERT, UPDATE'),
            ('notification_routes', 'SELECT, INSERT, UPDATE, DELETE'),
            ('notifications', 'SELECT, INSERT, UPDATE'),
            ('tasks', 'SELECT'),
            ('series_edges', 'SELECT'),
            ('rollup_refreshes', 'SELECT'),
            ('schema_migrations', 'SELECT'),
            ('stale_hours', 'SELECT'),
            ('job_speed_1m_materialised', 'SELECT'),
            ('job_speed_1h_materialised', 'SELECT'),
            ('disk_speed_1m_materialised', 'SELECT'),
            ('disk_speed_1h_materialised', 'SELECT'),
            -- What charts of the previous release read, while its processes still run.
            ('job_speed_1m', 'SELECT'),
            ('job_speed_1h', 'SELECT'),
            ('disk_speed_1m', 'SELECT'),
            ('node_telemetry_1m', 'SELECT'),
            ('node_telemetry_1h', 'SELECT')
        ) AS needed (name, verbs) ON needed.name = relname
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
          AND pg_has_role(relowner, 'USAGE')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM telemetry_hub', relation);
        IF verbs IS NOT NULL THEN
            EXECUTE format('GRANT %s ON TABLE %s TO telemetry_hub', verbs, relation);
        END IF;
    END LOOP;
    GRANT EXECUTE ON FUNCTION move_updates(text, text, timestamptz) TO telemetry_hub;
    GRANT EXECUTE ON FUNCTION return_from_future(text, timestamptz) TO telemetry_hub;
    GRANT EXECUTE ON FUNCTION return_snapshots_from_future(text, timestamptz) TO telemetry_hub;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the role telemetry_hub lacks its rights: %', SQLERRM
            USING HINT = 'As the server''s administrator run CREATE ROLE telemetry_hub NOLOGIN; '
                'then run this file again as the owner of the tables.';
END
$$;
