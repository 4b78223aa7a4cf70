-- Charts from the hypertables: every statement names its job and a range of time, and walks the
-- unique index once. `{series}` stands for job_series or disk_series.

-- name: use_one_snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: read_charted_job
SELECT job_id, job_type, vm_name, status, started_at, completed_at, newest_update_at,
       bytes_transferred, total_bytes
FROM jobs
WHERE job_id = %(job_id)s

-- name: read_charted_disk
-- The disk's row; where it has none, its newest update.
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

-- name: job_series
SELECT time, seq, transfer_speed_bps AS speed,
       reported_percent(progress_percent, percent_scale, bytes_transferred, total_bytes) AS percent,
       bytes_transferred AS bytes
FROM job_telemetry
WHERE job_id = %(job_id)s AND time >= %(from_at)s AND time < %(before_at)s

-- name: disk_series
SELECT time, seq, transfer_speed_bps AS speed, progress_percent AS percent,
       bytes_transferred AS bytes
FROM disk_telemetry
WHERE job_id = %(job_id)s AND disk_index = %(disk)s
    AND time >= %(from_at)s AND time < %(before_at)s

-- name: count_updates
SELECT count(*) FROM (SELECT FROM ({series}) AS updates LIMIT %(limit)s) AS counted

-- name: read_updates
SELECT time, 1, speed, (speed IS NOT NULL)::integer, speed, speed,
       coalesce(speed > 0, false)::integer, CASE WHEN speed > 0 THEN speed END,
       percent, bytes
FROM ({series}) AS updates
ORDER BY time, seq

-- name: read_buckets
-- last() cannot order by two columns, and updates of one instant differ by seq only, so `place` is
-- the time since the window's start with room for every seq (a smallint) between two microseconds,
-- exact as far as an interval's days reach (179 years). A row_number() would double the cost of
-- the statement. The sum leaves as a float because that of two large bigints is no bigint.
SELECT time_bucket(make_interval(secs => %(step_seconds)s), time, TIMESTAMPTZ 'epoch') AS bucket_at,
       count(*), sum(speed)::double precision, count(speed), min(speed), max(speed),
       count(*) FILTER (WHERE speed > 0), min(speed) FILTER (WHERE speed > 0),
       last(percent, place) FILTER (WHERE percent IS NOT NULL),
       last(bytes, place) FILTER (WHERE bytes IS NOT NULL)
FROM (
    SELECT updates.*,
           (time - %(from_at)s) * 32768 + seq * INTERVAL '1 microsecond' AS place
    FROM ({series}) AS updates
) AS placed
GROUP BY bucket_at
ORDER BY bucket_at

-- name: read_stretches
-- Gaps that overlap the window, and the phases of the whole run, in one pass over the run.
WITH steps AS (
    -- Each update beside the one before it.
    SELECT time, seq, current_phase AS phase, bytes_transferred AS bytes,
           lag(time) OVER in_order AS time_before,
           lag(current_phase) OVER in_order AS phase_before,
           lag(bytes_transferred) OVER in_order AS bytes_before
    FROM job_telemetry
    WHERE job_id = %(job_id)s AND time >= %(from_at)s AND time < %(before_at)s
    WINDOW in_order AS (ORDER BY time, seq)
),
turns AS (
    -- The few updates at which anything turns; what follows works on these alone. lag() sees one
    -- update back, and an absent value means "unchanged": where values come and go, the updates
    -- at both edges are kept, so that the last known value is always at hand.
    SELECT steps.*, row_number() OVER (ORDER BY time, seq) AS n
    FROM steps
    WHERE time_before IS NULL
        OR time = %(newest_update_at)s
        OR time - time_before > make_interval(secs => %(gap_seconds)s)
        OR (phase IS NOT NULL AND phase IS DISTINCT FROM phase_before)
        OR bytes < bytes_before
        OR (bytes IS NULL) <> (bytes_before IS NULL)
),
silences AS (
    SELECT n, greatest(time_before, %(window_from_at)s) AS from_at,
           least(time, %(window_before_at)s) AS to_at
    FROM turns
    WHERE time - time_before > make_interval(secs => %(gap_seconds)s)
        AND time_before < %(window_before_at)s AND time > %(window_from_at)s
),
gaps AS (
    SELECT 'gap' AS kind, n, NULL AS phase, from_at, to_at, NULL::bigint AS bytes,
           count(*) OVER () AS found
    FROM silences
    ORDER BY to_at - from_at DESC, n
    LIMIT %(most)s
),
known AS (
    -- The last phase and the last bytes named before each turn, and the first bytes of all.
    SELECT n, time, phase, bytes,
           last(phase, n) FILTER (WHERE phase IS NOT NULL) OVER earlier AS phase_before,
           coalesce(
               bytes_before,
               last(coalesce(bytes, bytes_before), n)
                   FILTER (WHERE coalesce(bytes, bytes_before) IS NOT NULL) OVER earlier
           )::numeric AS bytes_before,
           first(bytes, n) FILTER (WHERE bytes IS NOT NULL) OVER so_far AS bytes_first,
           lead(n) OVER (ORDER BY n) IS NULL AS is_newest
    FROM turns
    WINDOW so_far AS (ORDER BY n ROWS UNBOUNDED PRECEDING),
           earlier AS (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
moves AS (
    -- `moved`: bytes since the first count of them; a counter that restarts takes nothing back.
    SELECT n, time, phase, is_newest,
           phase IS NOT NULL AND phase IS DISTINCT FROM phase_before AS begins,
           coalesce(bytes, bytes_before) - bytes_first
               + sum(greatest(bytes_before - bytes, 0))
                   OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) AS moved
    FROM known
),
runs AS (
    SELECT n, phase, begins, time AS from_at, lead(time, 1, time) OVER (ORDER BY n) AS to_at,
           lead(moved, 1, moved) OVER (ORDER BY n) - coalesce(moved, 0) AS bytes
    FROM moves
    WHERE begins OR is_newest
),
phases AS (
    SELECT 'phase' AS kind, n, phase, from_at, to_at,
           -- Restarts can add up to more than a bigint; least() alone would take a NULL for it.
           CASE WHEN bytes IS NOT NULL THEN least(bytes, 9223372036854775807)::bigint END AS bytes,
           count(*) OVER () AS found
    FROM runs
    WHERE begins
    ORDER BY to_at - from_at DESC, n
    LIMIT %(most)s
)
SELECT kind, phase, from_at, to_at, bytes, found
FROM (SELECT * FROM gaps UNION ALL SELECT * FROM phases) AS stretches
ORDER BY kind, n
