-- Reads the days of series for the API.

-- Of each day the run that counts: a live one, else the newest that ended, else one that was
-- cancelled. `{conditions}`: see app/store/series_lists.py.
-- name: list_nights
SELECT series.id, series.vm_name, series.job_id, series.job_type, series.repository_id,
       series.backup_type, series.last_run, series.distance_seconds,
       series.overdue_at, night.*
FROM (
    SELECT * FROM series WHERE {conditions} ORDER BY series.name, series.id LIMIT %(limit)s
) AS series
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(day ORDER BY day), '{}') AS days,
           array_agg(state ORDER BY day) AS states, array_agg(key ORDER BY day) AS keys,
           array_agg(bytes ORDER BY day) AS bytes, array_agg(seconds ORDER BY day) AS seconds,
           array_agg(runs ORDER BY day) AS runs, array_agg(failures ORDER BY day) AS failures
    FROM (
        SELECT DISTINCT ON (day) run.*, count(*) OVER day AS runs,
               count(*) FILTER (WHERE state = 'failed') OVER day AS failures
        FROM (
            SELECT width_bucket(placed.started_at, %(bounds)s::timestamptz[]) - 1 AS day,
                   placed.started_at, placed.id, jobs.job_id AS key,
                   CASE status WHEN 'completed' THEN coalesce(result, 'good') ELSE status END
                       AS state,
                   CASE WHEN status IN ('running', 'stalled') THEN 0
                        WHEN status = 'cancelled' THEN 2 ELSE 1 END AS rank,
                   {run_bytes} AS bytes,
                   extract(epoch FROM completed_at - jobs.started_at)::float8 AS seconds
            FROM series_runs AS placed
            JOIN jobs USING (id)
            WHERE placed.series_id = series.id
              AND placed.started_at >= %(from)s AND placed.started_at < %(before)s
              AND status <> 'pending'
        ) AS run
        WINDOW day AS (PARTITION BY day)
        ORDER BY day, rank, started_at DESC, id DESC
    ) AS counting
) AS night
ORDER BY series.name, series.id

-- When the runs of each series began since an instant, ascending, and the good ones of them. One that
-- contradicts itself is not good; one that is registered has not begun.
-- name: read_starts
SELECT v.series_id,
       coalesce(array_agg(at ORDER BY at) FILTER (WHERE is_good), '{}'),
       coalesce(array_agg(at ORDER BY at), '{}')
FROM unnest(%(series)s::bigint[], %(since)s::timestamptz[]) AS v (series_id, since)
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM started_at)::float8 AS at,
           result IS NOT NULL AND NOT findings @> %(bad)s::jsonb AS is_good
    FROM series_runs
    WHERE series_id = v.series_id AND started_at >= v.since
      AND (result IS NOT NULL OR is_live OR NOT EXISTS (
          SELECT FROM jobs WHERE jobs.id = series_runs.id AND status = 'pending'))
) AS run
GROUP BY v.series_id
