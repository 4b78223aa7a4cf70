-- The state of the database for GET /metrics. Nothing here reads more than its bound, or a table that
-- grows with the number of runs.

-- A sender may name any job type: those after the first `limit` are counted together. The first ones
-- stay the first, so that no counter decreases.
-- name: count_ends
SELECT coalesce(known.job_type, %(other)s), status, ended_by, sum(ends)::bigint
FROM job_ends
LEFT JOIN (
    SELECT job_type FROM job_ends GROUP BY job_type ORDER BY min(n) LIMIT %(limit)s
) AS known USING (job_type)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3

-- name: count_items
SELECT kind, severity, acknowledged_at IS NOT NULL, count(*)
FROM attention
WHERE until IS NULL
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3

-- name: list_series
SELECT id, name, job_type, coalesce(repository_id, ''), coalesce(backup_type, ''), state,
       date_part('epoch', last_good_at), last_bytes, last_seconds,
       date_part('epoch', next_expected_at)
FROM series
ORDER BY last_started_at DESC NULLS LAST, id DESC
LIMIT %(limit)s

-- name: list_nodes
SELECT node_id, state = 'online'
FROM nodes
ORDER BY last_seen_at DESC, node_id
LIMIT %(limit)s

-- name: count_series
SELECT count(*) FROM series

-- name: count_nodes
SELECT count(*) FROM nodes

-- name: read_version
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'
