-- The series of runs: membership, results, what is usual, and what is expected next.

-- The oldest changes. Deleted in the transaction that judges them; one that comes in the meantime has
-- a row of its own.
-- name: claim_changes
DELETE FROM changed_runs
WHERE n IN (SELECT n FROM changed_runs ORDER BY n LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id

-- A run belongs to the series of its machine, or of its job if it names no machine.
-- name: add_missing_series
INSERT INTO series (vm_name, job_id, name, job_type, repository_id, backup_type)
SELECT DISTINCT vm_name, CASE WHEN vm_name IS NULL THEN job_of(job_id) END,
       coalesce(vm_name, job_of(job_id)), job_type,
       repository_id, backup_type
FROM jobs
WHERE id = ANY(%(ids)s::bigint[])
ON CONFLICT DO NOTHING

-- The series that runs belonged to before, and do now. Looked up by name: no index serves IS NOT
-- DISTINCT FROM, and a page of runs would be compared with each series.
-- name: place_runs
WITH places AS (
    SELECT jobs.id, jobs.started_at, status IN ('running', 'stalled') AS is_live,
           series.id AS series_id
    FROM jobs
    JOIN series ON series.name = coalesce(jobs.vm_name, job_of(jobs.job_id))
        AND series.vm_name IS NOT DISTINCT FROM jobs.vm_name
        AND series.job_id IS NOT DISTINCT FROM
            CASE WHEN jobs.vm_name IS NULL THEN job_of(jobs.job_id) END
        AND series.job_type = jobs.job_type
        AND series.repository_id IS NOT DISTINCT FROM jobs.repository_id
        AND series.backup_type IS NOT DISTINCT FROM jobs.backup_type
    WHERE jobs.id = ANY(%(ids)s::bigint[])
), before AS (
    SELECT series_id FROM series_runs WHERE id = ANY(%(ids)s::bigint[])
), placed AS (
    INSERT INTO series_runs (id, series_id, started_at, is_live)
    SELECT id, series_id, started_at, is_live FROM places
    ON CONFLICT (id) DO UPDATE SET
        series_id = excluded.series_id, started_at = excluded.started_at,
        is_live = excluded.is_live
    WHERE (series_runs.series_id, series_runs.started_at, series_runs.is_live)
          IS DISTINCT FROM (excluded.series_id, excluded.started_at, excluded.is_live)
)
SELECT series_id FROM before
UNION
SELECT series_id FROM places

-- The newest runs of each series, newest first.
-- name: read_histories
SELECT series.id AS series_id, run.*
FROM unnest(%(series)s::bigint[]) AS series (id)
CROSS JOIN LATERAL (
    SELECT {run_columns}
    FROM (
        SELECT id, result, findings
        FROM series_runs
        WHERE series_id = series.id
        ORDER BY started_at DESC, id DESC
        LIMIT %(limit)s
    ) AS placed
    JOIN jobs USING (id)
) AS run
ORDER BY series.id, run.started_at DESC, run.id DESC

-- When the newest good runs of each series began. A row without a result is a run that did not
-- complete; one that contradicts itself is not good (app/domain/attention/series.py, is_good).
-- name: read_starts
SELECT series.id,
       ARRAY(
           SELECT started_at
           FROM series_runs
           WHERE series_id = series.id AND result IS NOT NULL
             AND NOT findings @> %(bad)s::jsonb
           ORDER BY started_at DESC, id DESC
           LIMIT %(limit)s)
FROM unnest(%(series)s::bigint[]) AS series (id)

-- name: read_runs
SELECT placed.series_id, {run_columns}
FROM (
    SELECT id, series_id, result, findings FROM series_runs WHERE id = ANY(%(ids)s::bigint[])
) AS placed
JOIN jobs USING (id)
ORDER BY started_at, jobs.id

-- name: read_disks
SELECT jobs.id, disk_index, job_disks.status,
       CASE WHEN job_disks.{disk_bytes_time} IS NOT NULL THEN job_disks.bytes_transferred END
FROM jobs
JOIN job_disks ON job_disks.job_id = jobs.job_id
WHERE jobs.id = ANY(%(ids)s::bigint[])
ORDER BY jobs.id, disk_index

-- When each run had moved how much, from its summary.
-- name: read_progress
SELECT id,
       jsonb_path_query_array(performance_metrics, '$.chart_data[*].t'),
       jsonb_path_query_array(performance_metrics, '$.chart_data[*].b'),
       jsonb_path_query_array(performance_metrics, '$.chart_data[*].p')
FROM jobs
WHERE id = ANY(%(ids)s::bigint[]) AND performance_metrics IS NOT NULL

-- name: write_results
UPDATE series_runs SET result = v.result, findings = v.findings::jsonb
FROM unnest(%(ids)s::bigint[], %(results)s::text[], %(findings)s::text[])
    AS v (id, result, findings)
WHERE series_runs.id = v.id

-- name: read_series
SELECT id, vm_name, job_id, job_type, repository_id, backup_type
FROM series
WHERE id = ANY(%(ids)s::bigint[])
ORDER BY id

-- name: write_states
UPDATE series SET
    state = v.state,
    runs = (SELECT count(*) FROM series_runs WHERE series_id = series.id),
    last_run = v.last_run,
    last_started_at = v.last_started_at,
    last_ended_at = v.last_ended_at,
    last_bytes = v.last_bytes,
    last_seconds = v.last_seconds,
    last_good_run = v.last_good_run,
    last_good_at = v.last_good_at,
    failures = v.failures,
    usual = coalesce(v.usual, series.usual),
    distance_seconds = v.distance_seconds,
    next_expected_at = v.next_expected_at,
    overdue_at = v.overdue_at,
    pace_step_seconds = CASE WHEN v.usual IS NULL THEN series.pace_step_seconds
                             ELSE v.pace_step_seconds END,
    pace_low = CASE WHEN v.usual IS NULL THEN series.pace_low ELSE v.pace_low::bigint[] END
FROM unnest(
    %(id)s::bigint[], %(state)s::text[], %(last_run)s::text[], %(last_started_at)s::timestamptz[],
    %(last_ended_at)s::timestamptz[], %(last_bytes)s::bigint[],
    %(last_seconds)s::double precision[], %(last_good_run)s::text[],
    %(last_good_at)s::timestamptz[], %(failures)s::integer[], %(usual)s::jsonb[],
    %(distance_seconds)s::double precision[],
    %(next_expected_at)s::timestamptz[], %(overdue_at)s::timestamptz[],
    %(pace_step_seconds)s::double precision[], %(pace_low)s::text[]
) AS v (id, state, last_run, last_started_at, last_ended_at, last_bytes, last_seconds,
        last_good_run, last_good_at, failures, usual, distance_seconds, next_expected_at,
        overdue_at, pace_step_seconds, pace_low)
WHERE series.id = v.id

-- A series that lost all its runs, because their identity became known later.
-- name: delete_empty_series
DELETE FROM series WHERE id = ANY(%(ids)s::bigint[])

-- Series without a live run whose next run is overdue, and without a failure that says so already.
-- name: read_overdue
SELECT id, vm_name, job_id, job_type, repository_id, backup_type, last_run, last_good_at,
       distance_seconds, next_expected_at, overdue_at
FROM series
WHERE overdue_at <= %(now)s AND greatest(overdue_at, last_started_at) >= %(since)s
  AND NOT EXISTS (
      SELECT FROM attention
      WHERE attention.series_id = series.id AND until IS NULL AND kind IN ('failed', 'silent'))
  AND NOT EXISTS (
      SELECT FROM jobs WHERE jobs.job_id = series.last_run AND status IN ('running', 'stalled'))
ORDER BY id

-- name: note_newest_runs
SELECT note_newest_runs()

-- Each newest run once, although a series may have several items.
-- name: note_retired
INSERT INTO changed_runs (id)
SELECT DISTINCT jobs.id
FROM attention
JOIN series ON series.id = attention.series_id
JOIN jobs ON jobs.job_id = series.last_run
WHERE until IS NULL AND kind = ANY(%(kinds)s::text[]) AND subject = 'series:' || series.id
  AND coalesce(last_ended_at, last_started_at) < %(since)s
