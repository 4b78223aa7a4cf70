-- The runs of a job. Instants are passed as microseconds (see from_micros).

-- A new run has the identity of the one before it until its sender names another.
-- name: create_runs
INSERT INTO jobs (
    job_id, job_type, begins_at, is_announced, clock_offset_seconds, registered, registered_at)
SELECT v.job_id, before.job_type, from_micros(v.begins_at), v.is_announced,
       v.clock_offset_seconds,
       CASE WHEN v.is_registered THEN '{}' ELSE jsonb_strip_nulls(jsonb_build_object(
           'vm_name', before.vm_name, 'repository_id', before.repository_id,
           'backup_type', before.backup_type)) END,
       CASE WHEN v.is_registered THEN clock_timestamp() END
FROM unnest(
    %(job_id)s::text[], %(before)s::text[], %(begins_at)s::bigint[], %(is_announced)s::boolean[],
    %(clock_offset_seconds)s::double precision[], %(is_registered)s::boolean[]
) WITH ORDINALITY AS v (
    job_id, before, begins_at, is_announced, clock_offset_seconds, is_registered, position)
JOIN jobs AS before ON before.job_id = v.before
ORDER BY v.position

-- name: count_runs
INSERT INTO job_runs (job_id, runs, newest)
SELECT * FROM unnest(%(job_id)s::text[], %(runs)s::integer[], %(newest)s::text[])
ON CONFLICT (job_id) DO UPDATE SET runs = excluded.runs, newest = excluded.newest

-- Also changes the version of the row of a run that is no longer the newest: another process must
-- not take later updates for updates of that run.
-- name: set_begins
UPDATE jobs SET begins_at = from_micros(v.begins_at), is_announced = v.is_announced
FROM unnest(%(job_id)s::text[], %(begins_at)s::bigint[], %(is_announced)s::boolean[])
    AS v (job_id, begins_at, is_announced)
WHERE jobs.job_id = v.job_id

-- name: move_updates
SELECT move_updates(%(source)s, %(target)s, from_micros(%(from_at)s))

-- name: read_ends
SELECT time, status
FROM job_telemetry
WHERE job_id = %(job_id)s AND status <> 'running'
  AND time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
ORDER BY time, seq

-- name: read_extent
SELECT min(time), max(time)
FROM job_telemetry
WHERE job_id = %(job_id)s AND time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
