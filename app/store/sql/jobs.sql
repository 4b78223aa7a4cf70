-- Reads jobs, their disks, events and machines. `{conditions}` joins fixed fragments of
-- app/store/jobs.py: with unused filters in the statement ("$1 IS NULL OR …") a generic plan would
-- scan the newest jobs for a machine that ran a year ago. `{limit}` is a number, because a generic
-- plan expects a LIMIT that it does not know to return a tenth of the table. `{job_columns}` are
-- those of app.store.jobs.Job.

-- The keys first, from an index that has every column of the conditions; then the rows of one page.
-- name: list_jobs
WITH page AS (
    SELECT id
    FROM jobs
    WHERE {conditions}
    ORDER BY created_at DESC, id DESC
    LIMIT {limit}
)
SELECT {job_columns}
FROM page
JOIN jobs USING (id)
ORDER BY created_at DESC, id DESC

-- The same by the indexes that begin with the status, or with another column and the status: the
-- newest jobs of each status, merged. One scan over several statuses is not in the order of time.
-- name: list_jobs_by_status
WITH page AS (
    SELECT newest.id
    FROM unnest(%(statuses)s::text[]) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT id, created_at
        FROM jobs
        WHERE jobs.status = wanted.status AND {conditions}
        ORDER BY created_at DESC, id DESC
        LIMIT {limit}) AS newest
    ORDER BY newest.created_at DESC, newest.id DESC
    LIMIT {limit}
)
SELECT {job_columns}
FROM page
JOIN jobs USING (id)
ORDER BY created_at DESC, id DESC

-- name: read_job
-- One statement, so that the job and its disks are of the same commit.
SELECT {job_columns}, performance_metrics,
       (SELECT coalesce(jsonb_agg(to_jsonb(disk) - 'field_times' ORDER BY disk.disk_index), '[]')
        FROM job_disks AS disk WHERE disk.job_id = jobs.job_id) AS disks
FROM jobs
WHERE job_id = %(job_id)s

-- name: count_jobs
SELECT status, count(*) FROM jobs WHERE {conditions} GROUP BY status

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
SELECT id, time, kind, from_status, to_status, actor, reason, evidence
FROM job_events
WHERE job_id = %(job_id)s AND id > %(after_id)s
ORDER BY id
LIMIT %(limit)s

-- name: job_exists
SELECT EXISTS (SELECT FROM jobs WHERE job_id = %(job_id)s)

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
SELECT names.vm_name, counts.by_status, newest.job_id, newest.job_type, newest.status,
       newest.started_at, newest.completed_at, newest.newest_update_at,
       newest.bytes_transferred, newest.error_message
FROM names
CROSS JOIN LATERAL (
    SELECT * FROM jobs WHERE jobs.vm_name = names.vm_name
    ORDER BY jobs.created_at DESC, jobs.id DESC LIMIT 1) AS newest
JOIN (
    SELECT vm_name, jsonb_object_agg(status, jobs) AS by_status
    FROM counted
    GROUP BY vm_name
) AS counts ON counts.vm_name = names.vm_name
ORDER BY names.vm_name
