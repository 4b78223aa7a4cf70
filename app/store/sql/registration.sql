-- Registrations, stored apart from the registers, which updates overwrite.

-- name: lock_job
SELECT registered, job_type, {identity_fields}
FROM jobs
WHERE job_id = %(job_id)s
FOR UPDATE

-- name: keep_registered
UPDATE jobs SET registered = %(registered)s::jsonb WHERE job_id = %(job_id)s

-- The first size of a disk stays. Counts only disks whose size is new.
-- name: keep_disks
INSERT INTO job_disks (job_id, disk_index, size_bytes)
SELECT %(job_id)s, v.disk_index, v.size_bytes
FROM unnest(%(indexes)s::smallint[], %(sizes)s::bigint[]) AS v (disk_index, size_bytes)
ORDER BY v.disk_index
ON CONFLICT (job_id, disk_index) DO UPDATE SET size_bytes = excluded.size_bytes
    WHERE job_disks.size_bytes IS NULL
