-- Reads series for the API.

-- `{conditions}`: see app/store/series_lists.py.
-- name: list_series
SELECT series.id, series.vm_name, series.job_id, series.job_type, series.repository_id,
       series.backup_type, series.state,
       ARRAY(SELECT DISTINCT kind FROM attention
             WHERE attention.series_id = series.id AND until IS NULL ORDER BY kind) AS attention,
       series.runs, series.failures,
       {last_run} AS last_run,
       {last_good_run} AS last_good_run,
       series.usual, series.distance_seconds, series.next_expected_at, series.overdue_at
FROM series
WHERE {conditions}
ORDER BY series.name, series.id
LIMIT %(limit)s
