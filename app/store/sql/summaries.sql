-- Keeping the summary of ended jobs.

-- What was refreshed before a job's last update was committed may lack that update. An update is
-- stamped before its commit, and no commit takes a minute. A refresh of the future was before the
-- clock was set back: it says nothing of what was stamped since.
-- name: read_refreshed_at
SELECT min(refreshed_at) - interval '1 minute'
FROM rollup_refreshes
WHERE rollup IN ('job_speed_1m', 'job_speed_1h')
HAVING count(*) = 2
   AND max(refreshed_at) <= clock_timestamp() + make_interval(secs => %(future_seconds)s)

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
