-- Charts: every statement reads one job and a range of time by one index. `{series}` is replaced by
-- the statement that reads the rows of the job, or of its disk; `{version}`, `{rolled_up_before}`
-- and others of these blocks by their text.

-- name: use_one_snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- The version of a job's charts: it changes with everything that can change the charts of a settled
-- job. Every stored update, status change and summary changes the job's row; drops, absences of the
-- hub and rebuilt rollups do not. (xmin alone may recur after a failover to another server.)
-- name: version
SELECT job_id, last_telemetry_at, performance_metrics IS NOT NULL AS has_summary,
       ROW(xmin, last_telemetry_at,
           (SELECT array_agg(dropped_before ORDER BY series) FROM series_edges),
           (SELECT count(*) FROM hub_absences),
           (SELECT max(rebuilt_at) FROM rollup_refreshes))::text AS version
FROM jobs

-- name: read_versions
SELECT name, version
FROM unnest(%(names)s::text[]) AS name
JOIN ({version}) AS current ON job_id = find_run(name)

-- Updates that arrived before this are in the rollups: a refresh may lack those that were stamped
-- before it but committed after it, and no commit takes a minute. A refresh in the future was before
-- the clock was set back, and does not count.
-- name: rolled_up_before
SELECT min(refreshed_at) - INTERVAL '1 minute'
FROM rollup_refreshes
WHERE rollup IN ('job_speed_1m', 'job_speed_1h', 'disk_speed_1m', 'disk_speed_1h')
HAVING count(*) = 4
   AND max(refreshed_at) <= clock_timestamp() + make_interval(secs => %(future_seconds)s)

-- name: read_version
-- A job is settled if it has its summary and all its updates are in the rollups. Then a refresh does
-- not change its charts.
SELECT version,
       CASE WHEN NOT has_summary OR version = %(held)s THEN false
            WHEN coalesce(last_telemetry_at, '-infinity') < ({rolled_up_before})
            THEN {hold_sources}
            ELSE false END
FROM ({version}) AS current
WHERE job_id = find_run(%(name)s)

-- The lock of `alone` in app/store/rollups.py, shared; false if a refresh, a compression or a drop
-- holds it or waits for it. Not on the embedded engine, where no statement runs beside another.
-- name: hold_sources
pg_try_advisory_lock_shared(7305118043)

-- name: release_sources
SELECT pg_advisory_unlock_shared(7305118043)

-- name: read_charted_job
-- Python has no '-infinity'; nothing is older than 1970.
SELECT job_id, job_type, vm_name, status, started_at, completed_at, newest_update_at,
       bytes_transferred, total_bytes, xmin::text,
       extract(epoch FROM clock_timestamp() - last_telemetry_at)::double precision,
       coalesce(last_telemetry_at < ({rolled_up_before})
                AND newest_update_at < (SELECT min(refreshed_until) FROM rollup_refreshes
                                        WHERE rollup LIKE 'job%%' OR rollup LIKE 'disk%%'), false),
       (SELECT greatest(dropped_before, TIMESTAMPTZ 'epoch') FROM series_edges
        WHERE series = 'job_telemetry'),
       (SELECT greatest(dropped_before, TIMESTAMPTZ 'epoch') FROM series_edges
        WHERE series = 'job_speed_1m'),
       (SELECT greatest(dropped_before, TIMESTAMPTZ 'epoch') FROM series_edges
        WHERE series = 'disk_telemetry'),
       (SELECT greatest(dropped_before, TIMESTAMPTZ 'epoch') FROM series_edges
        WHERE series = 'disk_speed_1m'),
       performance_metrics::text
FROM jobs
WHERE job_id = find_run(%(name)s)

-- name: read_charted_disk
-- The disk's row, or its newest update if it has none.
SELECT bytes_transferred, total_bytes
FROM (
    SELECT 1 AS preference, bytes_transferred, total_bytes
    FROM job_disks
    WHERE job_id = %(job_id)s AND disk_index = %(disk)s
    UNION ALL
    (SELECT 2, coalesce(bytes_transferred, 0), coalesce(total_bytes, 0)
     FROM disk_telemetry
     WHERE job_id = %(job_id)s AND disk_index = %(disk)s
         AND time >= %(from_at)s AND time < %(before_at)s
     ORDER BY time DESC, seq DESC
     LIMIT 1)
) AS known
ORDER BY preference
LIMIT 1

-- The disks of a job: size, and what each had come to before an instant.
-- name: read_disks_before
SELECT disk_index, coalesce(size_bytes, nullif(total_bytes, 0)), before.bytes, before.progress_bp
FROM job_disks
LEFT JOIN (
    SELECT disk_index, last(bytes_transferred, series_place(time, seq))
               FILTER (WHERE bytes_transferred IS NOT NULL) AS bytes,
           last(basis_points(progress_percent), series_place(time, seq))
               FILTER (WHERE progress_percent IS NOT NULL) AS progress_bp
    FROM disk_telemetry
    WHERE job_id = %(job_id)s AND time >= %(from_at)s AND time < %(before_at)s
    GROUP BY disk_index
) AS before USING (disk_index)
WHERE job_id = %(job_id)s
ORDER BY disk_index

-- name: job_updates
SELECT time, seq, transfer_speed_bps AS speed,
       basis_points(reported_percent(
           progress_percent, percent_scale, bytes_transferred, total_bytes)) AS progress_bp,
       bytes_transferred AS bytes
FROM job_telemetry
WHERE job_id = %(job_id)s AND time >= %(from_at)s AND time < %(before_at)s

-- name: disk_updates
SELECT time, seq, transfer_speed_bps AS speed, basis_points(progress_percent) AS progress_bp,
       bytes_transferred AS bytes
FROM disk_telemetry
WHERE job_id = %(job_id)s AND disk_index = %(disk)s
    AND time >= %(from_at)s AND time < %(before_at)s

-- name: read_stale_parts
SELECT minutes, hours FROM stale_parts(%(series)s, %(from_at)s, %(before_at)s)

-- name: rollup_columns
bucket, updates, speed_sum, speed_count, speed_min, speed_max, moving_count, moving_min,
progress_last_bp, bytes_last

-- name: minutes
-- A rollup, where nothing is stale.
SELECT {rollup_columns}
FROM {whose}_speed_1m_materialised
WHERE job_id = %(job_id)s {of_disk} AND bucket >= %(from_at)s AND bucket < %(before_at)s

-- name: hours
SELECT {rollup_columns}
FROM {whose}_speed_1h_materialised
WHERE job_id = %(job_id)s {of_disk} AND bucket >= %(from_at)s AND bucket < %(before_at)s

-- name: accurate_minutes
-- The same with what is stale read from the updates.
{minutes} AND NOT bucket <@ %(stale_minutes)s::tstzmultirange
UNION ALL
SELECT {rollup_columns}
FROM {whose}_minutes_of_updates(
    %(job_id)s, {disk} %(stale_minutes)s::tstzmultirange) AS fresh

-- name: accurate_hours
-- The same with what is stale read from the minutes, and what is stale there from the updates.
{hours} AND NOT bucket <@ %(stale_hours)s::tstzmultirange
UNION ALL
SELECT {rollup_columns}
FROM unnest(%(stale_hours)s::tstzmultirange - %(stale_minutes)s::tstzmultirange) AS part
CROSS JOIN LATERAL (
    {minutes} AND bucket >= lower(part) AND bucket < upper(part)
    OFFSET 0  -- or else it may read all minutes of the job, and then look for the parts
) AS minute
UNION ALL
SELECT {rollup_columns}
FROM {whose}_minutes_of_updates(
    %(job_id)s, {disk} %(stale_minutes)s::tstzmultirange) AS fresh

-- name: disk
%(disk)s::smallint,

-- name: of_disk
AND disk_index = %(disk)s

-- name: read_senders_now
SELECT date_trunc('second', clock_timestamp() - INTERVAL '1 millisecond' * coalesce(
    (SELECT arrival_lag_ms
     FROM job_telemetry
     WHERE job_id = %(job_id)s AND time = %(newest_update_at)s
     ORDER BY seq DESC
     LIMIT 1), 0))

-- name: count_updates
SELECT count(*) FROM (SELECT FROM ({series}) AS updates LIMIT %(limit)s) AS counted

-- name: read_updates
SELECT time, 1, speed, (speed IS NOT NULL)::integer, speed, speed,
       coalesce(speed > 0, false)::integer, CASE WHEN speed > 0 THEN speed END,
       progress_bp, bytes
FROM ({series}) AS updates
ORDER BY time, seq
LIMIT %(limit)s

-- name: read_buckets
-- The sum is a float because that of two large bigints may exceed a bigint.
SELECT date_bin(make_interval(secs => %(step_seconds)s), time, TIMESTAMPTZ 'epoch') AS bucket_at,
       count(*), sum(speed)::double precision, count(speed), min(speed), max(speed),
       count(*) FILTER (WHERE speed > 0), min(speed) FILTER (WHERE speed > 0),
       last(progress_bp, series_place(time, seq)) FILTER (WHERE progress_bp IS NOT NULL),
       last(bytes, series_place(time, seq)) FILTER (WHERE bytes IS NOT NULL)
FROM ({series}) AS updates
GROUP BY bucket_at
ORDER BY bucket_at

-- name: read_rollup_points
-- Only what points need, for a window whose statistics are known: a quarter faster.
SELECT date_bin(make_interval(secs => %(step_seconds)s), bucket, TIMESTAMPTZ 'epoch') AS bucket_at,
       0, sum(speed_sum), sum(speed_count::integer), min(speed_min), max(speed_max), 0, NULL,
       last(progress_last_bp, bucket) FILTER (WHERE progress_last_bp IS NOT NULL),
       last(bytes_last, bucket) FILTER (WHERE bytes_last IS NOT NULL)
FROM ({series}) AS rollup
GROUP BY bucket_at
ORDER BY bucket_at

-- name: read_rollup
-- The casts to integer make the sums bigint: a sum of bigints is numeric, which takes longer than
-- all the rest. No bucket holds 2 billion updates.
SELECT date_bin(make_interval(secs => %(step_seconds)s), bucket, TIMESTAMPTZ 'epoch') AS bucket_at,
       sum(updates::integer), sum(speed_sum), sum(speed_count::integer), min(speed_min),
       max(speed_max), sum(moving_count::integer),
       min(CASE WHEN speed_min > 0 THEN speed_min ELSE moving_min END),
       last(progress_last_bp, bucket) FILTER (WHERE progress_last_bp IS NOT NULL),
       last(bytes_last, bucket) FILTER (WHERE bytes_last IS NOT NULL)
FROM ({series}) AS rollup
GROUP BY bucket_at
ORDER BY bucket_at
