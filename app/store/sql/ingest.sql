-- The statements of one ingest transaction, in the order of its locks: job rows by id, disk rows,
-- then series. Instants are passed as microseconds (see from_micros).

-- name: lock_jobs
SELECT job_id, job_type, status, ended_by, started_at, completed_at, newest_update_at,
       last_telemetry_at IS NOT NULL AND (completed_at IS NULL OR started_at <> created_at),
       clock_offset_seconds, warnings, field_times, registered,
       before_verdict, begins_at, is_announced, clock_skew_seconds, coalesce(interval_seconds, 0),
       {job_fields: $named}
FROM jobs
WHERE job_id = ANY(%(job_ids)s::text[])
ORDER BY job_id
FOR UPDATE

-- The runs of the jobs that have several. The row of a job's first run is locked before, so that no
-- run is added meanwhile. A clock that was set back during one run is right in the next.
-- name: read_runs
SELECT job_runs.job_id, run.job_id, begins_at, is_announced,
       CASE WHEN last_telemetry_at IS NOT NULL THEN started_at END, newest_update_at,
       CASE WHEN ended_by <> 'detector' THEN completed_at END,
       CASE WHEN NOT warnings ? 'clock_set_back' THEN clock_offset_seconds END
FROM job_runs
CROSS JOIN LATERAL unnest(runs_of(job_runs.job_id)) AS key
JOIN jobs AS run ON run.job_id = key
WHERE job_runs.job_id = ANY(%(job_ids)s::text[])

-- The runs that pings have named, among the last ones of each job.
-- name: read_named_runs
SELECT asked.job_id, asked.name, event.job_id
FROM unnest(%(job_ids)s::text[], %(names)s::text[]) AS asked (job_id, name)
CROSS JOIN LATERAL (
    SELECT key FROM unnest(runs_of(asked.job_id)) AS key
    ORDER BY run_of(key) DESC LIMIT %(remembered)s
) AS run
JOIN job_events AS event ON event.job_id = run.key AND event.kind = 'transition'
    AND event.evidence ->> 'rid' = asked.name

-- name: count_logs
SELECT count(*) FROM job_events WHERE job_id = %(job_id)s AND kind = 'log'

-- Read after the locks, so that it is later than the times written by their previous holder. No
-- update is stored before the edge, because no refresh reads there. The last column is the version
-- of the rows that this transaction writes (xmin).
-- name: read_clock
SELECT clock_timestamp(), greatest(max(dropped_before), TIMESTAMPTZ 'epoch'),
       pg_current_xact_id()::xid::text::bigint
FROM series_edges
WHERE series IN ('job_telemetry', 'disk_telemetry')

-- After the writes of a transaction in one statement (see `write_at_once`): the version of the rows.
-- Fails if a row had another version, or if updates have been dropped since the edge was read.
-- name: require_unchanged
SELECT pg_current_xact_id()::xid::text::bigint, require_unchanged(
    (SELECT count(*) FROM update_jobs) = %(expected)s
    AND %(edge)s = (
        SELECT floor(extract(epoch FROM greatest(max(dropped_before), TIMESTAMPTZ 'epoch')) * 1e6)
        FROM series_edges
        WHERE series IN ('job_telemetry', 'disk_telemetry')))

-- name: limit_lock_waits
SET LOCAL lock_timeout = '200ms'

-- name: return_from_future
SELECT first_at, newest_at
FROM return_from_future(%(job_id)s, from_micros(%(latest)s))

-- name: create_missing_jobs
INSERT INTO jobs (job_id, job_type)
SELECT v.job_id, v.job_type
FROM unnest(%(job_ids)s::text[], %(job_types)s::text[]) AS v (job_id, job_type)
ORDER BY v.job_id
ON CONFLICT (job_id) DO NOTHING
RETURNING job_id

-- name: read_disks
SELECT job_id, disk_index, size_bytes, field_times, {disk_fields: $named}
FROM job_disks
WHERE job_id = ANY(%(job_ids)s::text[])

-- The next three repeat the bounds of time as constants: only then are other chunks left out of the
-- plan, which takes 30 ms with the chunks of a month.
-- name: find_updates
SELECT job_id, time, seq, sender_time, status, {job_fields: $reported}
FROM job_telemetry
JOIN unnest(%(job_ids)s::text[], %(times)s::bigint[]) AS v (job, micros)
    ON job_id = v.job AND time = from_micros(v.micros)
WHERE time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz

-- name: find_shifted_updates
SELECT job_id, time, seq, sender_time, status, {job_fields: $reported}
FROM job_telemetry
JOIN unnest(%(job_ids)s::text[], %(times)s::bigint[]) AS v (job, micros)
    ON job_id = v.job AND sender_time = from_micros(v.micros)
WHERE time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz

-- name: find_update_disks
SELECT job_id, time, seq, disk_index, {disk_fields}
FROM disk_telemetry
JOIN unnest(%(job_ids)s::text[], %(times)s::bigint[]) AS v (job, micros)
    ON job_id = v.job AND time = from_micros(v.micros)
WHERE time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz

-- Whether updates of a job's minute were stored and have been dropped since.
-- name: find_dropped
SELECT job_id, (extract(epoch FROM bucket) * 1000000)::bigint
FROM job_speed_1m_materialised
JOIN unnest(%(job_ids)s::text[], %(times)s::bigint[]) AS v (job, micros)
    ON job_id = v.job AND bucket = from_micros(v.micros)
WHERE bucket BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz

-- name: find_kept_as_events
SELECT job_id, evidence FROM job_events
WHERE job_id = ANY(%(job_ids)s::text[]) AND kind = 'warning' AND evidence ? 'update'

-- name: insert_updates
-- OFFSET 0 stops the planner from computing the scale twice.
INSERT INTO job_telemetry (
    time, arrival_lag_ms, job_id, seq, status, sender_time, percent_scale, {job_fields})
SELECT from_micros(time), (%(now)s::bigint - time) / 1000, job_id, seq, status,
       from_micros(sender_time), percent_scale, {job_fields: $stored}
FROM (
    SELECT *, percent_scale_of(progress_percent, bytes_transferred, total_bytes) AS percent_scale
    FROM unnest(
        %(time)s::bigint[], %(job_id)s::text[], %(seq)s::integer[], %(status)s::text[],
        %(sender_time)s::bigint[], {job_fields: %($name)s::$type[]}
    ) AS u (time, job_id, seq, status, sender_time, {job_fields})
    OFFSET 0
) AS v

-- name: insert_update_disks
INSERT INTO disk_telemetry (time, job_id, seq, disk_index, {disk_fields})
SELECT from_micros(time), job_id, seq, disk_index, {disk_fields}
FROM unnest(
    %(time)s::bigint[], %(job_id)s::text[], %(seq)s::integer[], %(disk_index)s::smallint[],
    {disk_fields: %($name)s::$type[]}
) AS v (time, job_id, seq, disk_index, {disk_fields})

-- name: add_losses
-- `known` shows the rows before this statement, so its own rows are joined.
WITH written AS (
    INSERT INTO sender_losses AS known (job_id, time, lost_updates, received_at)
    SELECT v.job_id, from_micros(v.time), v.lost_updates, from_micros(%(now)s)
    FROM unnest(%(job_ids)s::text[], %(times)s::bigint[], %(lost_updates)s::integer[])
        AS v (job_id, time, lost_updates)
    ON CONFLICT (job_id, time) DO UPDATE SET lost_updates = excluded.lost_updates
        WHERE known.lost_updates < excluded.lost_updates
    RETURNING job_id, time, lost_updates
)
SELECT job_id, sum(coalesce(written.lost_updates, known.lost_updates))::bigint, max(time),
       sum(coalesce(written.lost_updates - coalesce(known.lost_updates, 0), 0))::bigint
FROM (
    SELECT job_id, time, lost_updates FROM sender_losses WHERE job_id = ANY(%(job_ids)s::text[])
) AS known
FULL JOIN written USING (job_id, time)
GROUP BY job_id

-- name: warn_jobs
-- For repeats, which are not a sign of life. An outdated summary is deleted, unless the rollups
-- that it was made from have been dropped.
UPDATE jobs SET
    warnings = v.warnings::jsonb,
    performance_metrics = CASE
        WHEN jobs.started_at < (
            SELECT dropped_before FROM series_edges WHERE series = 'job_speed_1m')
        THEN jobs.performance_metrics END
FROM unnest(%(job_id)s::text[], %(warnings)s::text[]) AS v (job_id, warnings)
WHERE jobs.job_id = v.job_id

-- name: raise_intervals
-- The longest counts, whatever the order of the updates.
UPDATE jobs SET interval_seconds = greatest(jobs.interval_seconds, v.seconds)
FROM unnest(%(job_id)s::text[], %(seconds)s::integer[]) AS v (job_id, seconds)
WHERE jobs.job_id = v.job_id

-- name: update_jobs
-- An update undoes a status change by the detector. A registration does not: the row keeps the
-- detector's message (see job_columns). For the summary see warn_jobs. A job with a version has not
-- been locked: its row is changed only if it still has that version.
UPDATE jobs SET
    status = v.status,
    before_verdict = CASE
        WHEN v.status = 'stalled' OR v.ended_by = 'detector' THEN jobs.before_verdict END,
    performance_metrics = CASE
        WHEN jobs.started_at < (
            SELECT dropped_before FROM series_edges WHERE series = 'job_speed_1m')
        THEN jobs.performance_metrics END,
    ended_by = v.ended_by,
    -- The silence that the detector judged was a pause, which may come again.
    pause_seconds = CASE
        WHEN v.has_life AND jobs.before_verdict IS NOT NULL THEN greatest(
            jobs.pause_seconds, 1,
            least(extract(epoch FROM from_micros(%(now)s) - jobs.last_telemetry_at), 604800))
        ELSE jobs.pause_seconds END,
    started_at = from_micros(v.started_at),
    completed_at = from_micros(v.completed_at),
    newest_update_at = from_micros(v.newest),
    clock_offset_seconds = v.clock_offset_seconds,
    clock_skew_seconds = v.skew,
    warnings = v.warnings::jsonb,
    field_times = v.field_times::bigint[],
    named_percent = v.named_percent,
    {job_fields: $name = v.$name},
    last_telemetry_at = CASE
        WHEN v.has_life THEN from_micros(%(now)s) ELSE jobs.last_telemetry_at END,
    last_progress_at = CASE
        WHEN v.has_life AND (v.has_progress OR jobs.bytes_transferred <> v.bytes_transferred
                             OR jobs.progress_percent <> v.progress_percent
                             OR jobs.current_phase <> v.current_phase)
        THEN from_micros(%(now)s) ELSE jobs.last_progress_at END
FROM unnest(
    %(job_id)s::text[], %(status)s::text[], %(ended_by)s::text[], %(started_at)s::bigint[],
    %(completed_at)s::bigint[], %(newest)s::bigint[],
    %(clock_offset_seconds)s::double precision[], %(warnings)s::text[], %(field_times)s::text[],
    %(has_life)s::boolean[], %(has_progress)s::boolean[], %(version)s::xid[],
    %(named_percent)s::double precision[], %(skew)s::double precision[],
    {job_fields: %($name)s::$type[]}
) AS v (
    job_id, status, ended_by, started_at, completed_at, newest, clock_offset_seconds, warnings,
    field_times, has_life, has_progress, version, named_percent, skew, {job_fields})
WHERE jobs.job_id = v.job_id AND jobs.xmin = coalesce(v.version, jobs.xmin)

-- name: touch_jobs
UPDATE jobs SET
    started_at = from_micros(v.started_at),
    newest_update_at = from_micros(v.newest),
    clock_offset_seconds = v.clock_offset_seconds,
    clock_skew_seconds = v.skew,
    warnings = v.warnings::jsonb,
    performance_metrics = CASE
        WHEN jobs.started_at < (
            SELECT dropped_before FROM series_edges WHERE series = 'job_speed_1m')
        THEN jobs.performance_metrics END,
    last_telemetry_at = from_micros(%(now)s)
FROM unnest(
    %(job_id)s::text[], %(started_at)s::bigint[], %(newest)s::bigint[],
    %(clock_offset_seconds)s::double precision[], %(warnings)s::text[],
    %(skew)s::double precision[]
) AS v (job_id, started_at, newest, clock_offset_seconds, warnings, skew)
WHERE jobs.job_id = v.job_id

-- name: upsert_disks
INSERT INTO job_disks (
    job_id, disk_index, newest_update_at, field_times, named_percent, {disk_fields})
SELECT job_id, disk_index, from_micros(newest), field_times::bigint[], named_percent, {disk_fields}
FROM unnest(
    %(job_id)s::text[], %(disk_index)s::smallint[], %(newest)s::bigint[], %(field_times)s::text[],
    %(named_percent)s::double precision[], {disk_fields: %($name)s::$type[]}
) AS v (job_id, disk_index, newest, field_times, named_percent, {disk_fields})
ON CONFLICT (job_id, disk_index) DO UPDATE SET
    newest_update_at = excluded.newest_update_at,
    field_times = excluded.field_times,
    named_percent = excluded.named_percent,
    {disk_fields: $name = excluded.$name}

-- name: insert_events
INSERT INTO job_events (job_id, time, kind, from_status, to_status, actor, reason, evidence)
SELECT v.job_id, from_micros(%(now)s), v.kind, v.from_status, v.to_status, v.actor, v.reason,
       v.evidence::jsonb
FROM unnest(
    %(job_id)s::text[], %(kind)s::text[], %(from_status)s::text[], %(to_status)s::text[],
    %(actor)s::text[], %(reason)s::text[], %(evidence)s::text[]
) WITH ORDINALITY
    AS v (job_id, kind, from_status, to_status, actor, reason, evidence, position)
ORDER BY v.position

-- name: delete_other_disks
DELETE FROM job_disks
WHERE job_id = ANY(%(job_ids)s::text[])
  AND (job_id, disk_index) NOT IN (
      SELECT * FROM unnest(%(kept_ids)s::text[], %(kept_indexes)s::smallint[]))

-- The next three read each job from a first instant to a last one, and of ends only those with the
-- job's own status.
-- name: earliest_ends
SELECT job_id, min(time)
FROM job_telemetry
JOIN unnest(
    %(job_ids)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[], %(statuses)s::text[]
) AS v (job, first, last, end_status)
    ON job_id = v.job AND time BETWEEN from_micros(v.first) AND from_micros(v.last)
    AND status = v.end_status
WHERE time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
GROUP BY job_id

-- The instants whose updates decide the registers: for each field the newest that names it, in one
-- pass over the job's rows.
-- name: deciding_job_times
SELECT job_id, {job_fields: max(time) FILTER (WHERE $reported IS NOT NULL)}
FROM job_telemetry
JOIN unnest(
    %(job_ids)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[], %(statuses)s::text[]
) AS v (job, first, last, end_status)
    ON job_id = v.job AND time BETWEEN from_micros(v.first) AND from_micros(v.last)
    AND status IN ('running', v.end_status)
WHERE time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
GROUP BY job_id

-- name: deciding_disk_times
WITH v AS MATERIALIZED (
    SELECT job, from_micros(first) AS first, from_micros(last) AS last, end_status
    FROM unnest(
        %(job_ids)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[], %(statuses)s::text[]
    ) AS u (job, first, last, end_status)
), other_ends AS MATERIALIZED (
    SELECT job_id, time, seq
    FROM job_telemetry
    JOIN v ON job_id = v.job AND time BETWEEN v.first AND v.last
        AND status NOT IN ('running', v.end_status)
    WHERE time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
)
SELECT DISTINCT job_id, instant
FROM (
    SELECT job_id,
           ARRAY[max(time), {disk_fields: max(time) FILTER (WHERE $name IS NOT NULL)}] AS instants
    FROM disk_telemetry AS d
    JOIN v ON d.job_id = v.job AND d.time BETWEEN v.first AND v.last
    WHERE time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
      AND NOT EXISTS (
          SELECT FROM other_ends AS o
          WHERE o.job_id = d.job_id AND o.time = d.time AND o.seq = d.seq)
    GROUP BY job_id, disk_index
) AS newest,
LATERAL unnest(instants) AS instant
WHERE instant IS NOT NULL
