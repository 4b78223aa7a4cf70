-- Reads jobs, their disks, events and machines. `{conditions}` joins fixed fragments of
-- app/store/jobs.py: with unused filters in the statement ("$1 IS NULL OR …") a generic plan would
-- scan the newest jobs for a machine that ran a year ago. `{job_columns}` are those of
-- app.store.jobs.Job.

-- name: list_jobs
SELECT {job_columns}
FROM jobs
WHERE {conditions}
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s

-- name: read_job
-- One statement, so that the job and its disks are of the same commit.
SELECT {job_columns}, performance_metrics,
       (SELECT coalesce(jsonb_agg(to_jsonb(disk) - 'field_times' ORDER BY disk.disk_index), '[]')
        FROM job_disks AS disk WHERE disk.job_id = jobs.job_id) AS disks
FROM jobs
WHERE job_id = %(job_id)s

-- name: count_jobs_by_status
SELECT status, count(*) FROM jobs WHERE {conditions} GROUP BY status

-- name: list_events
SELECT id, time, kind, from_status, to_status, actor, reason, evidence
FROM job_events
WHERE job_id = %(job_id)s AND id > %(after_id)s
ORDER BY id
LIMIT %(limit)s

-- name: job_exists
SELECT EXISTS (SELECT FROM jobs WHERE job_id = %(job_id)s)

-- name: list_machines
-- The names by a loose index scan of jobs_machine_idx: one lookup per name, not per job.
WITH RECURSIVE names AS (
    (SELECT vm_name, 1 AS position FROM jobs
     WHERE vm_name > %(after_name)s ORDER BY vm_name LIMIT 1)
    UNION ALL
    SELECT following.vm_name, names.position + 1
    FROM names CROSS JOIN LATERAL (
        SELECT jobs.vm_name FROM jobs
        WHERE jobs.vm_name > names.vm_name ORDER BY jobs.vm_name LIMIT 1) AS following
    WHERE names.position < %(limit)s
)
SELECT names.vm_name, counts.by_status, newest.job_id, newest.job_type, newest.status,
       newest.started_at, newest.completed_at, newest.newest_update_at,
       newest.bytes_transferred, newest.error_message
FROM names
CROSS JOIN LATERAL (
    SELECT * FROM jobs WHERE jobs.vm_name = names.vm_name
    ORDER BY jobs.created_at DESC, jobs.id DESC LIMIT 1) AS newest
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(per_status.status, per_status.jobs) AS by_status
    FROM (SELECT jobs.status, count(*) AS jobs FROM jobs
          WHERE jobs.vm_name = names.vm_name GROUP BY jobs.status) AS per_status) AS counts
ORDER BY names.vm_name
