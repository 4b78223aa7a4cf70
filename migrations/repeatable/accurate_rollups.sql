-- What the rollups of jobs and disks lack until their next refresh, so that readers take it from the
-- updates (docs/decisions/0023). Applied before analyst_views.sql, which uses it.

-- The materialised part of each rollup, without the real-time view's union with its source.
DO $$
DECLARE
    rollup record;
    member name;
BEGIN
    FOR rollup IN
        SELECT view_name AS name, materialization_hypertable_schema AS schema,
               materialization_hypertable_name AS made
        FROM timescaledb_information.continuous_aggregates
        WHERE view_schema = current_schema()
          AND view_name IN ('job_speed_1m', 'job_speed_1h', 'disk_speed_1m', 'disk_speed_1h')
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW %I AS SELECT * FROM %I.%I',
                       rollup.name || '_materialised', rollup.schema, rollup.made);
        EXECUTE format('COMMENT ON VIEW %I IS %L', rollup.name || '_materialised',
                       'The part of ' || rollup.name || ' that is materialised: where it is not '
                       'stale (stale_parts), for the hub''s charts.');
        FOR member IN
            SELECT attname FROM pg_attribute
            WHERE attrelid = (rollup.name || '_materialised')::regclass AND attnum > 0
        LOOP
            EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', rollup.name || '_materialised', member,
                           'As in ' || rollup.name || '.');
        END LOOP;
    END LOOP;
END
$$;

-- Functions with a string body do not depend on TimescaleDB's views, which an upgrade of the
-- extension may replace.

-- From TimescaleDB's log of changed ranges, and for a transaction with a row in wide_writes only the
-- hours that it wrote to. The rows of one transaction in both tables have the same xmin. In PL/pgSQL,
-- which keeps its plan: planning takes longer than the query, and every chart asks.
CREATE OR REPLACE FUNCTION changed_ranges(rollup_name text)
    RETURNS TABLE (first_micros bigint, last_micros bigint) LANGUAGE plpgsql STABLE ROWS 10 AS $$
BEGIN
RETURN QUERY
WITH noted AS (
    SELECT wide_writes.xmin AS transaction, hours
    FROM wide_writes
    JOIN timescaledb_information.continuous_aggregates ON hypertable_name = series
    WHERE view_schema = current_schema() AND view_name = rollup_name
)
SELECT DISTINCT hour * 3600000000, hour * 3600000000 + 3599999999
FROM noted
CROSS JOIN unnest(hours) AS hour
UNION ALL
SELECT coalesce(log.first_micros, -9223372036854775808),
       coalesce(log.last_micros, 9223372036854775807)
FROM logged_changes(rollup_name) AS log
WHERE NOT EXISTS (SELECT FROM noted WHERE noted.transaction = log.transaction);
END
$$;
COMMENT ON FUNCTION changed_ranges(text) IS
    'The ranges (microseconds since 1970-01-01, both ends included) in which the source of a rollup '
    'has changed and that stale_hours does not hold yet.';

-- Nothing behind an edge is stale: it was in the rollup before it was dropped from the source. An
-- hour is stale if its rollup lacks a change of the minutes, or those lack a change of the updates.
-- Callers pass whole hours, or infinity.
CREATE OR REPLACE FUNCTION stale_parts(series text, from_at timestamptz, before_at timestamptz)
    RETURNS TABLE (minutes tstzmultirange, hours tstzmultirange) LANGUAGE sql STABLE AS $$
WITH rollups (name, step, source) AS (
    VALUES (series || '_speed_1m', INTERVAL '1 minute', series || '_telemetry'),
           (series || '_speed_1h', INTERVAL '1 hour', series || '_speed_1m')
), stale (name, start, before) AS (
    SELECT name, coalesce(refreshed_until, '-infinity'), TIMESTAMPTZ 'infinity'
    FROM rollups
    LEFT JOIN rollup_refreshes ON rollup = name
    UNION ALL
    SELECT rollup, hour, hour + INTERVAL '1 hour'
    FROM stale_hours
    JOIN rollups ON rollup = name
    UNION ALL
    SELECT name, to_timestamp(greatest(first_micros, instants.first) / 1000000.0),
           to_timestamp((least(last_micros, instants.last) + 1) / 1000000.0)
    FROM rollups
    CROSS JOIN (VALUES (0, 253402300799999999)) AS instants (first, last)  -- 1970 to 9999
    CROSS JOIN LATERAL changed_ranges(name)
    WHERE last_micros >= instants.first AND first_micros <= instants.last
), whole (name, parts) AS (
    SELECT rollups.name, coalesce(range_agg(tstzrange(
               date_bin(step, start, TIMESTAMPTZ 'epoch'),
               date_bin(step, before - INTERVAL '1 microsecond', TIMESTAMPTZ 'epoch') + step))
               FILTER (WHERE start IS NOT NULL), '{}')
    FROM rollups
    LEFT JOIN stale ON (stale.name = rollups.name OR stale.name = rollups.source)
        AND start < before_at AND before > from_at
    GROUP BY rollups.name
), readable (name, parts) AS (
    SELECT rollups.name,
           parts * tstzmultirange(tstzrange(from_at, before_at))
               * tstzmultirange(tstzrange(coalesce(dropped_before, '-infinity'), 'infinity'))
    FROM rollups
    JOIN whole USING (name)
    LEFT JOIN series_edges ON series_edges.series = source
)
SELECT (SELECT parts FROM readable WHERE name LIKE '%1m'),
       (SELECT parts FROM readable WHERE name LIKE '%1h')
$$;
COMMENT ON FUNCTION stale_parts(text, timestamptz, timestamptz) IS
    'The parts of a range in which the materialised minutes and hours of a series (job or disk) may '
    'differ from its updates.';

-- The minutes of rollups, from the updates of some parts of time. Each part is looked up by itself
-- (OFFSET 0). The bounds of all are repeated because, where they are constants, other chunks are left
-- out of the plan.
CREATE OR REPLACE FUNCTION job_minutes_of_updates(job text, parts tstzmultirange)
    RETURNS SETOF job_speed_1m_materialised LANGUAGE sql STABLE AS $$
SELECT job_id,
       time_bucket(INTERVAL '1 minute', time),
       count(*),
       sum(transfer_speed_bps)::double precision,
       count(transfer_speed_bps),
       min(transfer_speed_bps),
       max(transfer_speed_bps),
       count(*) FILTER (WHERE transfer_speed_bps > 0),
       CASE WHEN min(transfer_speed_bps) = 0
            THEN min(transfer_speed_bps) FILTER (WHERE transfer_speed_bps > 0) END,
       first(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL),
       last(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL),
       last(basis_points(reported_percent(
                progress_percent, percent_scale, bytes_transferred, total_bytes)),
            series_place(time, seq))
           FILTER (WHERE progress_percent IS NOT NULL OR percent_scale IS NOT NULL),
       milliseconds_between(time_bucket(INTERVAL '1 minute', time), min(time)),
       milliseconds_between(time_bucket(INTERVAL '1 minute', time), max(time)),
       first(current_phase, series_place(time, seq)) FILTER (WHERE current_phase IS NOT NULL),
       last(current_phase, series_place(time, seq)) FILTER (WHERE current_phase IS NOT NULL),
       min(current_phase COLLATE "C") <> max(current_phase COLLATE "C")
           OR count(current_phase) BETWEEN 1 AND count(*) - 1
FROM unnest(parts) AS part
CROSS JOIN LATERAL (
    SELECT *
    FROM job_telemetry
    WHERE job_id = job AND time >= lower(part) AND time < upper(part)
        AND time >= lower(parts) AND time < upper(parts)
    OFFSET 0
) AS updates
GROUP BY job_id, time_bucket(INTERVAL '1 minute', time)
$$;
COMMENT ON FUNCTION job_minutes_of_updates(text, tstzmultirange) IS
    'The rows of job_speed_1m of a job in some parts of time, in whole minutes, from its updates.';

CREATE OR REPLACE FUNCTION disk_minutes_of_updates(job text, disk smallint, parts tstzmultirange)
    RETURNS SETOF disk_speed_1m_materialised LANGUAGE sql STABLE AS $$
SELECT job_id,
       disk_index,
       time_bucket(INTERVAL '1 minute', time),
       count(*),
       sum(transfer_speed_bps)::double precision,
       count(transfer_speed_bps),
       min(transfer_speed_bps),
       max(transfer_speed_bps),
       count(*) FILTER (WHERE transfer_speed_bps > 0),
       CASE WHEN min(transfer_speed_bps) = 0
            THEN min(transfer_speed_bps) FILTER (WHERE transfer_speed_bps > 0) END,
       first(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL),
       last(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL),
       last(basis_points(progress_percent), series_place(time, seq))
           FILTER (WHERE progress_percent IS NOT NULL)
FROM unnest(parts) AS part
CROSS JOIN LATERAL (
    SELECT *
    FROM disk_telemetry
    WHERE job_id = job AND disk_index = disk AND time >= lower(part) AND time < upper(part)
        AND time >= lower(parts) AND time < upper(parts)
    OFFSET 0
) AS updates
GROUP BY job_id, disk_index, time_bucket(INTERVAL '1 minute', time)
$$;
COMMENT ON FUNCTION disk_minutes_of_updates(text, smallint, tstzmultirange) IS
    'The rows of disk_speed_1m of a disk in some parts of time, in whole minutes, from its updates.';
