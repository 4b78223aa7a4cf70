-- Registering a job before it starts. A register's instant 0 is older than any update.

-- name: insert_job
INSERT INTO jobs (
    job_id, job_type, vm_name, repository_id, backup_type, total_bytes, field_times)
VALUES (
    %(job_id)s, %(job_type)s, %(vm_name)s, %(repository_id)s, %(backup_type)s,
    coalesce(%(total_bytes)s, 0), %(field_times)s)
ON CONFLICT (job_id) DO NOTHING
RETURNING job_id

-- name: lock_job
SELECT job_type, vm_name, repository_id, backup_type, field_times
FROM jobs
WHERE job_id = %(job_id)s
FOR UPDATE

-- name: fill_job
UPDATE jobs SET
    vm_name = coalesce(vm_name, %(vm_name)s),
    repository_id = coalesce(repository_id, %(repository_id)s),
    backup_type = coalesce(backup_type, %(backup_type)s),
    total_bytes = CASE
        WHEN field_times[3] IS NULL THEN coalesce(%(total_bytes)s, total_bytes)
        ELSE total_bytes END,
    field_times = %(field_times)s
WHERE job_id = %(job_id)s

-- name: upsert_disks
INSERT INTO job_disks (job_id, disk_index, size_bytes)
SELECT %(job_id)s, v.disk_index, v.size_bytes
FROM unnest(%(indexes)s::smallint[], %(sizes)s::bigint[]) AS v (disk_index, size_bytes)
ORDER BY v.disk_index
ON CONFLICT (job_id, disk_index) DO UPDATE
    SET size_bytes = coalesce(job_disks.size_bytes, excluded.size_bytes)

-- name: insert_event
INSERT INTO job_events (job_id, kind, to_status, actor, reason)
VALUES (%(job_id)s, 'transition', 'pending', 'sender', 'Registered')
