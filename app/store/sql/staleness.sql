-- The stale detector: beats, silent jobs, and their status changes. `now` is for tests: by default
-- the database's clock counts. A time further ahead of it than `future_seconds` was written before
-- the clock was set back.

-- The first beat after a gap records the gap.
-- name: beat
WITH clock AS (
    SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now
), before AS (
    SELECT last_beat_at FROM ingest_presence FOR UPDATE
), noted AS (
    INSERT INTO hub_absences (from_at, to_at)
    SELECT last_beat_at, clock.now
    FROM before, clock
    WHERE last_beat_at < clock.now - make_interval(secs => %(gap_seconds)s)
    ON CONFLICT (from_at) DO NOTHING
), present AS (
    -- Joined, so that the row is read before it is written.
    INSERT INTO ingest_presence (last_beat_at)
    SELECT clock.now FROM clock LEFT JOIN before ON true
    ON CONFLICT (is_only) DO UPDATE SET
        last_beat_at = CASE
            WHEN ingest_presence.last_beat_at
                 > excluded.last_beat_at + make_interval(secs => %(future_seconds)s)
            THEN excluded.last_beat_at
            ELSE greatest(ingest_presence.last_beat_at, excluded.last_beat_at) END
)
INSERT INTO ingest_beats (process_id, up_since, beat_at)
SELECT %(process_id)s, clock.now, clock.now
FROM clock
ON CONFLICT (process_id) DO UPDATE SET
    up_since = CASE
        WHEN ingest_beats.beat_at < excluded.beat_at - make_interval(secs => %(gap_seconds)s)
          OR ingest_beats.beat_at > excluded.beat_at + make_interval(secs => %(future_seconds)s)
        THEN excluded.up_since ELSE ingest_beats.up_since END,
    beat_at = excluded.beat_at

-- name: end_beat
DELETE FROM ingest_beats WHERE process_id = %(process_id)s

-- Rows of killed processes, so old that no process is writing them.
-- name: forget_old_beats
DELETE FROM ingest_beats WHERE beat_at < clock_timestamp() - interval '1 day'

-- name: read_clock
SELECT coalesce(%(now)s::timestamptz, clock_timestamp())

-- With beats in the future every job would look silent after the clock was set back.
-- name: read_watches
SELECT up_since, least(beat_at, %(now)s) AS beat_at
FROM ingest_beats
WHERE beat_at >= %(now)s - make_interval(secs => %(gap_seconds)s)
  AND beat_at <= %(now)s + make_interval(secs => %(future_seconds)s)

-- With a time in the future a silent job would be running until then: its silence counts from now.
-- Skips rows that are being written.
-- name: reset_future_jobs
UPDATE jobs SET last_telemetry_at = %(now)s
FROM (
    SELECT id
    FROM jobs
    WHERE status IN ('running', 'stalled')
      AND last_telemetry_at > %(now)s + make_interval(secs => %(future_seconds)s)
    FOR NO KEY UPDATE SKIP LOCKED
) AS ahead
WHERE jobs.id = ahead.id

-- One page by (started_at, id), from jobs_status_idx: every job of the status is looked at. An index
-- by last_telemetry_at would have to be written at each update of a job (docs/decisions/0020). NULL
-- is never silent: an older sender without telemetry. Of the jobs that have been silent for a shorter
-- time only those are read that a rule may be about.
-- name: read_silent_jobs
SELECT id, started_at, last_telemetry_at, job_id, job_type, current_phase, vm_name,
       interval_seconds, pause_seconds
FROM jobs
WHERE status = %(status)s
  AND last_telemetry_at <= %(least_since)s::timestamptz
  AND (last_telemetry_at <= %(silent_since)s::timestamptz
       OR job_type = ANY(%(job_types)s::text[]) OR current_phase = ANY(%(phases)s::text[])
       OR vm_name = ANY(%(vm_names)s::text[]) OR vm_name LIKE ANY(%(vm_patterns)s::text[])
       OR job_of(job_id) = ANY(%(job_names)s::text[])
       OR job_of(job_id) LIKE ANY(%(job_patterns)s::text[]))
  AND (started_at, id) > (%(after_at)s::timestamptz, %(after_id)s::bigint)
ORDER BY started_at, id
LIMIT %(limit)s

-- Checks the jobs of the page again with their rows locked: they may have reported or ended. Skips
-- rows that are locked by an update of the job, so that this never waits for ingest, which also
-- locks jobs before disks. `clock` is when the sweep began: after the clock is set back, a job that
-- has reported since would look silent.
-- name: stall_jobs
WITH due AS MATERIALIZED (
    SELECT jobs.id, v.text, v.evidence
    FROM unnest(
        %(ids)s::bigint[], %(silent_since)s::timestamptz[], %(texts)s::text[],
        %(evidence)s::text[]) AS v (id, silent_since, text, evidence)
    JOIN jobs ON jobs.id = v.id
    WHERE status = 'running' AND last_telemetry_at <= v.silent_since
      AND (%(clock)s::timestamptz IS NULL OR clock_timestamp() >= %(clock)s)
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
), stalled AS (
    UPDATE jobs SET
        status = 'stalled',
        before_verdict = jsonb_build_object('error_message', jobs.error_message),
        error_message = due.text
    FROM due
    WHERE jobs.id = due.id
    RETURNING jobs.job_id, jobs.last_telemetry_at, due.text, due.evidence
), noted AS (
    INSERT INTO job_events (job_id, time, kind, from_status, to_status, actor, reason, evidence)
    SELECT job_id, %(now)s, 'transition', 'running', 'stalled', 'detector', text,
           evidence::jsonb || jsonb_build_object(
               'last_seen',
               to_char(last_telemetry_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'silent_seconds',
               round(extract(epoch FROM %(now)s - last_telemetry_at), 3))
    FROM stalled
    ORDER BY job_id
)
SELECT job_id, text, extract(epoch FROM %(now)s - last_telemetry_at)::double precision
FROM stalled
ORDER BY job_id

-- completed_at is the time of the status change on the sender's clock, as in the series: the newest
-- update plus the time that the hub has waited.
-- name: fail_jobs
WITH due AS MATERIALIZED (
    SELECT jobs.id, job_id, v.text, v.evidence
    FROM unnest(
        %(ids)s::bigint[], %(silent_since)s::timestamptz[], %(texts)s::text[],
        %(evidence)s::text[]) AS v (id, silent_since, text, evidence)
    JOIN jobs ON jobs.id = v.id
    WHERE status = 'stalled' AND last_telemetry_at <= v.silent_since
      AND (%(clock)s::timestamptz IS NULL OR clock_timestamp() >= %(clock)s)
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
), hidden AS (
    SELECT due.id, due.text, due.evidence, coalesce(disks.statuses, '{}') AS disks
    FROM due
    CROSS JOIN LATERAL (
        SELECT jsonb_object_agg(disk_index, status) AS statuses
        FROM job_disks
        WHERE job_disks.job_id = due.job_id AND status IN ('pending', 'transferring')) AS disks
), failed_disks AS (
    UPDATE job_disks SET status = 'failed'
    FROM due
    WHERE job_disks.job_id = due.job_id AND job_disks.status IN ('pending', 'transferring')
), failed AS (
    UPDATE jobs SET
        status = 'failed',
        ended_by = 'detector',
        completed_at =
            %(now)s + coalesce(jobs.newest_update_at - jobs.last_telemetry_at, interval '0'),
        before_verdict = coalesce(jobs.before_verdict, '{}')
            || jsonb_build_object('disks', hidden.disks),
        error_message = hidden.text
    FROM hidden
    WHERE jobs.id = hidden.id
    RETURNING jobs.job_id, jobs.last_telemetry_at, hidden.text, hidden.evidence, hidden.disks
), noted AS (
    INSERT INTO job_events (job_id, time, kind, from_status, to_status, actor, reason, evidence)
    SELECT job_id, %(now)s, 'transition', 'stalled', 'failed', 'detector', text,
           evidence::jsonb || jsonb_build_object(
               'last_seen',
               to_char(last_telemetry_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'silent_seconds',
               round(extract(epoch FROM %(now)s - last_telemetry_at), 3),
               'unfinished_disks', disks)
    FROM failed
    ORDER BY job_id
)
SELECT job_id, text, extract(epoch FROM %(now)s - last_telemetry_at)::double precision
FROM failed
ORDER BY job_id
