-- What the time left of running jobs is computed from (docs/decisions/0024), for all jobs of a list in
-- one statement each.

-- The last update with a count at or before each distance from the newest. The bounds of time are
-- constants, so that other chunks are left out of the plan.
-- name: read_samples
SELECT live.id, sample.time, sample.bytes_transferred, sample.progress_percent,
       sample.current_phase,
       extract(epoch FROM asked.time - sample.time)::double precision AS silence
FROM unnest(%(ids)s::bigint[], %(job_ids)s::text[], %(started)s::timestamptz[],
            %(newest)s::timestamptz[]) AS live (id, job_id, started_at, newest_at)
CROSS JOIN LATERAL (
    SELECT live.newest_at - distance * interval '1 second' AS time
    FROM unnest(%(distances)s::integer[]) AS distance
) AS asked
CROSS JOIN LATERAL (
    SELECT time, bytes_transferred,
           reported_percent(progress_percent, percent_scale, bytes_transferred, total_bytes)
               AS progress_percent,
           current_phase
    FROM job_telemetry
    WHERE job_id = live.job_id AND time <= asked.time AND time >= live.started_at
      AND time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
      AND (bytes_transferred IS NOT NULL OR progress_percent IS NOT NULL
           OR percent_scale IS NOT NULL)
    ORDER BY time DESC, seq DESC
    LIMIT 1
) AS sample
WHERE asked.time >= live.started_at
ORDER BY live.id, sample.time DESC

-- The last completed runs of the same machine, type and repository, among the last `recent` runs of the
-- machine: when each had reached which percent.
-- name: read_earlier_runs
SELECT live.id, run.final_seconds,
       jsonb_path_query_array(run.performance_metrics, '$.chart_data[*].t'),
       jsonb_path_query_array(run.performance_metrics, '$.chart_data[*].p')
FROM jobs AS live
CROSS JOIN LATERAL (
    SELECT *
    FROM (
        SELECT status, job_type, repository_id, backup_type, final_seconds, performance_metrics,
               started_at
        FROM jobs AS run
        WHERE run.vm_name = live.vm_name AND run.started_at < live.started_at
        ORDER BY run.started_at DESC, run.id DESC
        LIMIT %(recent)s
    ) AS recent
    WHERE status = 'completed' AND job_type = live.job_type
      AND repository_id IS NOT DISTINCT FROM live.repository_id
      AND backup_type IS NOT DISTINCT FROM live.backup_type
      AND performance_metrics IS NOT NULL AND final_seconds > 0
    ORDER BY started_at DESC
    LIMIT %(runs)s
) AS run
WHERE live.id = ANY(%(ids)s::bigint[])
