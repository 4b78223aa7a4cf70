-- What live runs show of themselves: no progress, too little, or a second run beside them. The live
-- jobs are read from jobs_status_idx or series_runs_live_idx, never all runs.

-- Runs that report but have not progressed for some time.
-- name: read_motionless
SELECT {run_columns}
FROM jobs
WHERE status = 'running' AND last_progress_at <= %(since)s

-- Runs that have moved less than they should have at their age, by their sender's clock: see Pace in
-- app/domain/attention/usual.py. The last step counts for all that is later.
-- name: read_slow
SELECT {run_columns}, age.seconds, least.bytes, (usual -> 'bytes' ->> 'median')::double precision
FROM series_runs AS placed
JOIN series ON series.id = placed.series_id
JOIN jobs ON jobs.id = placed.id
CROSS JOIN LATERAL (
    SELECT date_part('epoch', newest_update_at - jobs.started_at) AS seconds
) AS age
CROSS JOIN LATERAL (
    SELECT least(pace_low[
        least(cardinality(pace_low), floor((age.seconds - %(slack)s) / pace_step_seconds))::integer
    ], nullif(total_bytes, 0)) AS bytes
) AS least
WHERE placed.is_live AND status = 'running' AND pace_step_seconds > 0
  -- Implied by what follows, and known without the series.
  AND newest_update_at > jobs.started_at + make_interval(secs => %(slack)s)
  AND (total_bytes = 0 OR bytes_transferred < %(share)s * total_bytes)
  AND age.seconds >= pace_step_seconds + %(slack)s
  AND bytes_transferred < %(share)s * least.bytes
  AND {bytes_are_known}

-- Live runs of one series that are at work at the same time, by their sender's clock, and since when.
-- One that died is not: it has no update after the start of the other.
-- name: read_overlapping
SELECT series.id, series.vm_name, series.job_id, series.job_type, series.repository_id,
       series.backup_type, live.runs, live.since
FROM (
    SELECT series_id, array_agg(job_id ORDER BY started_at, id) AS runs,
           (array_agg(started_at ORDER BY started_at, id))[2] AS since
    FROM (
        SELECT placed.series_id, jobs.id, jobs.job_id, jobs.started_at,
               newest_update_at > min(jobs.started_at) OVER (
                   PARTITION BY placed.series_id ORDER BY jobs.started_at, jobs.id
                   ROWS BETWEEN 1 FOLLOWING AND 1 FOLLOWING) AS outlasts_next,
               jobs.started_at < max(newest_update_at) OVER (
                   PARTITION BY placed.series_id ORDER BY jobs.started_at, jobs.id
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS begins_within
        FROM (
            SELECT series_id FROM series_runs WHERE is_live GROUP BY series_id HAVING count(*) > 1
        ) AS several
        JOIN series_runs AS placed ON placed.series_id = several.series_id AND placed.is_live
        JOIN jobs ON jobs.id = placed.id
        WHERE status IN ('running', 'stalled')
    ) AS compared
    WHERE outlasts_next OR begins_within
    GROUP BY series_id
    HAVING count(*) > 1
) AS live
JOIN series ON series.id = live.series_id
ORDER BY series.id

-- Runs that were registered long ago and never began, without a later run of their series.
-- name: read_never_started
SELECT {run_columns}
FROM jobs
WHERE status = 'pending' AND registered_at BETWEEN %(after)s AND %(before)s
  AND NOT EXISTS (
      SELECT FROM series_runs AS mine JOIN series_runs AS later USING (series_id)
      WHERE mine.id = jobs.id
        AND (later.started_at, later.id) > (mine.started_at, mine.id))
ORDER BY jobs.id

-- Live runs whose senders' clocks are ahead, or whose senders have lost updates.
-- name: read_troubled_senders
SELECT {run_columns}
FROM jobs
WHERE status IN ('running', 'stalled')
  AND (clock_skew_seconds > %(clock_seconds)s OR warnings ? 'sender_lost')

-- The longest time between two updates of a run in which bytes, percent or phase had changed.
-- name: read_longest_pause
SELECT max(extract(epoch FROM time - before))::double precision
FROM (
    SELECT time, lag(time) OVER (ORDER BY time, seq) AS before
    FROM (
        SELECT time, seq,
               (bytes_transferred, progress_percent, current_phase)
               IS DISTINCT FROM lag((bytes_transferred, progress_percent, current_phase))
                   OVER (ORDER BY time, seq) AS is_progress
        FROM job_telemetry
        WHERE job_id = %(key)s
          AND time BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
    ) AS updates
    WHERE is_progress
) AS progress

-- How long earlier completed runs of the series were in a phase, and what they moved in it.
-- name: read_earlier_phases
SELECT run.id, (phase ->> 'to_t')::double precision - (phase ->> 'from_t')::double precision,
       (phase ->> 'bytes')::bigint
FROM (
    SELECT jobs.id, performance_metrics
    FROM (
        SELECT id FROM series_runs
        WHERE series_id = %(series_id)s
        ORDER BY started_at DESC, id DESC
        LIMIT %(limit)s
    ) AS recent
    JOIN jobs USING (id)
    WHERE status = 'completed' AND performance_metrics IS NOT NULL
) AS run
CROSS JOIN LATERAL jsonb_array_elements(performance_metrics -> 'phases') AS phase
WHERE phase ->> 'phase' = %(phase)s

-- When the newest completed runs of the series had moved how much: times, bytes and percents of the
-- charts in their summaries.
-- name: read_earlier_progress
SELECT jsonb_path_query_array(performance_metrics, '$.chart_data[*].t'),
       jsonb_path_query_array(performance_metrics, '$.chart_data[*].b'),
       jsonb_path_query_array(performance_metrics, '$.chart_data[*].p')
FROM (
    SELECT id FROM series_runs
    WHERE series_id = %(series_id)s
    ORDER BY started_at DESC, id DESC
    LIMIT %(limit)s
) AS recent
JOIN jobs USING (id)
WHERE status = 'completed' AND performance_metrics IS NOT NULL
