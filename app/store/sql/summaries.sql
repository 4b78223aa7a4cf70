-- Stores the summary of ended jobs.

-- A refresh may lack updates that were stamped before it but committed after it: no commit takes a
-- minute. A refresh in the future was before the clock was set back, and does not count.
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

-- An update in the meantime has changed the row's version.
-- name: write_summary
UPDATE jobs SET performance_metrics = %(summary)s::jsonb
WHERE job_id = %(job_id)s AND xmin::text = %(version)s
