-- The statements of the task vacuum_tables.

-- TimescaleDB's tables of what refreshes have to do, whichever this version has.
-- name: read_refresh_logs
SELECT format('%%I.%%I', schemaname, tablename)
FROM pg_tables
WHERE schemaname = '_timescaledb_catalog' AND tablename LIKE 'continuous_aggs_%%'
ORDER BY tablename

-- name: should_analyse
SELECT NOT EXISTS (SELECT FROM pg_statistic WHERE starelid = relid)
    OR last_analyze IS NULL
    OR last_analyze < clock_timestamp() - make_interval(secs => %(every_seconds)s)
FROM pg_stat_all_tables WHERE relid = %(table)s::regclass

-- 300 rows for each unit. Its default, 100, would read 30,000 rows, most of them from pages of their
-- own: 4 s for a million jobs, in which nothing else runs.
-- name: use_small_samples
SET LOCAL default_statistics_target = 10
