-- Reads jobs, their disks, events and machines. `{conditions}` joins fixed fragments of
-- app/store/jobs.py: with unused filters in the statement ("$1 IS NULL OR …") a generic plan would
-- scan the newest jobs for a machine that ran a year ago. `{limit}` is a number, because a generic
-- plan expects a LIMIT that it does not know to return a tenth of the table. `{direction}` is ASC or
-- DESC. `{job_columns}` are those of app.store.jobs.Job; `{listed_columns}` have short texts only.

-- A list takes the keys of a page first, from an index that has every column of the conditions; then
-- the rows. `key` is what the list is sorted by. Each of the next three is a `{keys}`.
-- name: keys_by_start
SELECT id, started_at AS key
FROM jobs
WHERE {conditions}
ORDER BY started_at {direction}, id {direction}
LIMIT {limit}

-- The same by the indexes that begin with the status, or with another column and the status: the
-- first jobs of each status, merged. One scan over several statuses is not in the order of time.
-- name: keys_by_start_of_statuses
SELECT first.id, first.started_at AS key
FROM unnest(%(statuses)s::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT id, started_at
    FROM jobs
    WHERE jobs.status = wanted.status AND {conditions}
    ORDER BY started_at {direction}, id {direction}
    LIMIT {limit}) AS first
ORDER BY first.started_at {direction}, first.id {direction}
LIMIT {limit}

-- By bytes, duration or speed. Those of ended jobs are final, and have an index; those of live jobs
-- change with every update, so all live jobs are read.
-- name: keys_by_figure
SELECT id, key
FROM (
    (SELECT id, {final} AS key
     FROM jobs
     WHERE {final} IS NOT NULL AND {ended_conditions}
     ORDER BY {final} {direction}, id {direction}
     LIMIT {limit})
    UNION ALL
    (SELECT id, {current} AS key
     FROM jobs
     WHERE {live_conditions}
     ORDER BY {current} {direction}, id {direction}
     LIMIT {limit})
) AS figures
ORDER BY key {direction}, id {direction}
LIMIT {limit}

-- name: list_jobs
WITH page AS (
    {keys}
)
SELECT {listed_columns}, page.key
FROM page
JOIN jobs USING (id)
ORDER BY page.key {direction}, id {direction}

-- Looks for a text in the first `{examined}` jobs of the order. `is_last`: the last of them, which is
-- returned even if it does not match, as the next page begins after it.
-- name: search_jobs
WITH examined AS MATERIALIZED (
    SELECT id, key, row_number() OVER (ORDER BY key {direction}, id {direction}) AS position
    FROM (
        {keys}
    ) AS page
), found AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT id, key, position,
               job_id ILIKE %(pattern)s OR coalesce(vm_name ILIKE %(pattern)s, false)
               OR coalesce(repository_id ILIKE %(pattern)s, false)
               OR coalesce(error_message ILIKE %(pattern)s, false) AS matches
        FROM examined
        JOIN jobs USING (id)
    ) AS compared
    WHERE matches OR position = {examined}
    ORDER BY position
    LIMIT {limit}
)
SELECT {listed_columns}, found.key, found.matches, found.position = {examined} AS is_last
FROM found
JOIN jobs USING (id)
ORDER BY found.position

-- name: read_job
-- One statement, so that the job and its disks are of the same commit.
SELECT {job_columns}, performance_metrics,
       coalesce((SELECT findings FROM series_runs
                 WHERE series_runs.id = jobs.id AND status = 'completed'), '[]') AS findings,
       (SELECT series_id FROM series_runs WHERE series_runs.id = jobs.id) AS series_id,
       (SELECT coalesce(jsonb_agg({disk} ORDER BY disk.disk_index), '[]')
        FROM job_disks AS disk WHERE disk.job_id = jobs.job_id) AS disks
FROM jobs
WHERE job_id = find_run(%(name)s)

-- name: count_jobs
SELECT status, count(*) FROM jobs WHERE {conditions} GROUP BY status

-- name: count_warnings
SELECT count(*)
FROM jobs
WHERE id IN (SELECT id FROM series_runs WHERE result = 'warning')
  AND status = 'completed' AND {conditions}

-- The kept counts and the changes that are not added to them yet, in one snapshot.
-- name: read_counts
SELECT status, sum(jobs)::bigint
FROM (
    SELECT status, jobs FROM job_counts WHERE {conditions}
    UNION ALL
    SELECT status, jobs FROM job_count_changes WHERE {conditions}
) AS counted
GROUP BY status

-- name: read_counts_of_machine
SELECT status, sum(jobs)::bigint
FROM (
    SELECT status, jobs FROM machine_job_counts WHERE {conditions}
    UNION ALL
    SELECT status, jobs FROM job_count_changes WHERE {conditions}
) AS counted
GROUP BY status

-- name: list_events
SELECT id, time, kind, from_status, to_status, actor, reason,
       CASE WHEN length(evidence ->> 'error') > {longest_text}
            THEN jsonb_set(evidence, ARRAY['error'], to_jsonb({cut_evidence}))
            ELSE evidence END AS evidence
FROM job_events
WHERE job_id = find_run(%(name)s) AND id > %(after_id)s
ORDER BY id
LIMIT %(limit)s

-- name: read_span
SELECT job_id, least(started_at, completed_at, newest_update_at),
       coalesce(newest_update_at, started_at)
FROM jobs
WHERE job_id = find_run(%(name)s)

-- `first` and `after_seq` are the key that the page begins after.
-- name: list_updates
SELECT time, seq, time + arrival_lag_ms * interval '1 millisecond', sender_time, status,
       {job_fields: $reported}
FROM job_telemetry
WHERE job_id = %(job_id)s AND time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
  AND (time, seq) > (%(first)s::timestamptz, %(after_seq)s)
ORDER BY time, seq
LIMIT %(limit)s

-- name: job_exists
SELECT EXISTS (SELECT FROM jobs WHERE job_id = find_run(%(name)s))

-- name: list_machines
-- The names by a loose index scan of jobs_machine_idx: one lookup per name, not per job. Their counts
-- are a range of machine_job_counts, as the names of a page follow each other.
WITH RECURSIVE names AS (
    (SELECT vm_name, 1 AS position FROM jobs
     WHERE vm_name > %(after_name)s ORDER BY vm_name LIMIT 1)
    UNION ALL
    SELECT following.vm_name, names.position + 1
    FROM names CROSS JOIN LATERAL (
        SELECT jobs.vm_name FROM jobs
        WHERE jobs.vm_name > names.vm_name ORDER BY jobs.vm_name LIMIT 1) AS following
    WHERE names.position < %(limit)s
), counted AS (
    SELECT vm_name, status, sum(jobs)::bigint AS jobs
    FROM (
        SELECT vm_name, status, jobs
        FROM machine_job_counts
        WHERE vm_name > %(after_name)s AND vm_name <= (SELECT max(vm_name) FROM names)
        UNION ALL
        SELECT vm_name, status, jobs
        FROM job_count_changes
        WHERE vm_name > %(after_name)s AND vm_name <= (SELECT max(vm_name) FROM names)
    ) AS parts
    GROUP BY vm_name, status
    HAVING sum(jobs) <> 0
)
SELECT names.vm_name, counts.by_status,
       (SELECT count(*) FROM series JOIN series_runs ON series_id = series.id
        WHERE series.vm_name = names.vm_name AND result = 'warning') AS warnings,
       job_of(newest.job_id) AS job_id,
       run_of(newest.job_id) AS run,
       coalesce((SELECT runs FROM job_runs WHERE job_id = job_of(newest.job_id)), 1) AS runs,
       newest.job_type, newest.status,
       (SELECT result FROM series_runs WHERE id = newest.id AND newest.status = 'completed')
           AS result,
       newest.started_at, newest.completed_at, newest.newest_update_at,
       newest.bytes_transferred, newest.error_message
FROM names
CROSS JOIN LATERAL (
    SELECT id, job_id, job_type, status, started_at, completed_at, newest_update_at,
           bytes_transferred, {short_error_message}
    FROM jobs WHERE jobs.vm_name = names.vm_name
    ORDER BY jobs.started_at DESC, jobs.id DESC LIMIT 1) AS newest
JOIN (
    SELECT vm_name, jsonb_object_agg(status, jobs) AS by_status
    FROM counted
    GROUP BY vm_name
) AS counts ON counts.vm_name = names.vm_name
ORDER BY names.vm_name
