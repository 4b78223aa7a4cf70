-- The statements of the task vacuum_tables.

-- name: should_analyse
SELECT NOT EXISTS (SELECT FROM pg_statistic WHERE starelid = relid)
    OR last_analyze IS NULL
    OR last_analyze < clock_timestamp() - make_interval(secs => %(every_seconds)s)
FROM pg_stat_all_tables WHERE relid = %(table)s::regclass
