-- Stores the summary of ended jobs.

-- A job that still gets updates is left out: each would delete its summary. A last update in the
-- future was before the clock was set back, and does not count.
-- name: read_unsummarised_jobs
SELECT id, job_id
FROM jobs
WHERE status IN ('completed', 'failed', 'cancelled') AND performance_metrics IS NULL
  AND id > %(after_id)s
  AND (last_telemetry_at IS NULL OR last_telemetry_at NOT BETWEEN
       clock_timestamp() - make_interval(secs => %(quiet_seconds)s) AND clock_timestamp())
ORDER BY id
LIMIT %(limit)s

-- An update in the meantime has changed the row's version.
-- name: write_summary
UPDATE jobs SET performance_metrics = %(summary)s::jsonb
WHERE job_id = %(job_id)s AND xmin::text = %(version)s
