-- What reports say of a time: runs that ended, items, series and nodes.

-- name: count_runs
SELECT job_type,
       count(*) FILTER (WHERE status = 'completed' AND result IS DISTINCT FROM 'warning') AS good,
       count(*) FILTER (WHERE status = 'completed' AND result = 'warning') AS warnings,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       coalesce(sum(bytes_transferred) FILTER (WHERE status = 'completed'), 0)::bigint AS bytes
FROM jobs LEFT JOIN series_runs USING (id)
WHERE completed_at >= %(from_at)s AND completed_at < %(to_at)s
  AND active_during && tstzrange(%(from_at)s::timestamptz - interval '1 s', %(to_at)s)  -- by index
GROUP BY job_type
ORDER BY count(*) DESC, job_type

-- name: count_items
SELECT count(*) FILTER (WHERE noticed_at >= %(from_at)s AND noticed_at < %(to_at)s) AS noticed,
       count(*) FILTER (WHERE until >= %(from_at)s AND until < %(to_at)s) AS ended,
       count(*) FILTER (WHERE NOT is_ended) AS open,
       count(*) FILTER (WHERE acknowledged_at >= %(from_at)s AND acknowledged_at < %(to_at)s
                        AND note ILIKE '%%false alarm%%') AS false_alarms
FROM attention

-- name: read_changes
SELECT {item} FROM attention
WHERE kind = 'unusual' AND noticed_at >= %(from_at)s AND noticed_at < %(to_at)s
ORDER BY noticed_at DESC
LIMIT %(limit)s

-- name: read_worst
SELECT {item} FROM attention WHERE NOT is_ended ORDER BY rank, since, attention.id LIMIT %(limit)s

-- name: read_never_good
SELECT name, job_type, runs, count(*) OVER () AS series
FROM series
WHERE last_good_at IS NULL AND runs > 0
ORDER BY runs DESC, id
LIMIT %(limit)s

-- name: read_repositories
SELECT repository_id AS name, sum(bytes_transferred)::bigint AS bytes, count(*) AS runs
FROM jobs
WHERE completed_at >= %(from_at)s AND completed_at < %(to_at)s
  AND active_during && tstzrange(%(from_at)s::timestamptz - interval '1 s', %(to_at)s)  -- by index
  AND status = 'completed' AND repository_id IS NOT NULL
GROUP BY repository_id
ORDER BY 2 DESC, 1
LIMIT %(limit)s

-- name: read_disks
SELECT node_id AS name, disk_percent, disk_used_gb, disk_total_gb
FROM nodes
WHERE disk_percent IS NOT NULL
ORDER BY disk_percent DESC, node_id
LIMIT %(limit)s
