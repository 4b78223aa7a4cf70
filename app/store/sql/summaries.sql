-- Keeping the summary of ended jobs.

-- What was refreshed before a job's last update came may lack that update.
-- name: read_refreshed_at
SELECT last_started_at
FROM tasks
WHERE task_id = 'refresh_rollups' AND last_error IS NULL AND last_finished_at >= last_started_at

-- name: read_unsummarised_jobs
SELECT id, job_id
FROM jobs
WHERE status IN ('completed', 'failed', 'cancelled') AND performance_metrics IS NULL
  AND id > %(after_id)s
  AND (last_telemetry_at IS NULL OR last_telemetry_at < %(refreshed_at)s)
ORDER BY id
LIMIT %(limit)s

-- An update that came meanwhile has made a new version of the row.
-- name: write_summary
UPDATE jobs SET performance_metrics = %(summary)s::jsonb
WHERE job_id = %(job_id)s AND xmin::text = %(version)s
