-- Registrations, stored apart from the registers, which updates overwrite.

-- name: read_registered
SELECT registered, job_type, {identity_fields}
FROM jobs
WHERE job_id = %(job_id)s

-- When a run was first registered: then a later registration is of the next run.
-- name: note_registration
UPDATE jobs SET registered_at = clock_timestamp()
WHERE job_id = %(job_id)s AND registered_at IS NULL

-- Whether a run that has ended was registered before its end, or that arrived some time ago.
-- name: is_past
SELECT coalesce(registered_at < ended_at, false)
    OR ended_at < clock_timestamp() - INTERVAL '60 seconds'
FROM (SELECT job_id, registered_at, coalesce(last_telemetry_at, completed_at) AS ended_at
      FROM jobs) AS known
WHERE job_id = %(job_id)s

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
