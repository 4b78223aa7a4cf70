-- Marks nodes offline (task detect_offline_nodes) and online again, each change with its event.

-- See reset_future_jobs.
-- name: reset_future_nodes
UPDATE nodes SET last_seen_at = %(now)s
FROM (
    SELECT node_id
    FROM nodes
    WHERE state = 'online'
      AND last_seen_at > %(now)s + make_interval(secs => %(future_seconds)s)
    FOR NO KEY UPDATE SKIP LOCKED
) AS ahead
WHERE nodes.node_id = ahead.node_id

-- One page by (last_seen_at, node_id); the state as a constant for the partial index.
-- name: read_silent_nodes
SELECT node_id, last_seen_at
FROM nodes
WHERE state = 'online'
  AND last_seen_at <= %(silent_since)s
  AND (last_seen_at, node_id) > (%(after_at)s::timestamptz, %(after_id)s::text)
ORDER BY last_seen_at, node_id
LIMIT %(limit)s

-- Checks the nodes of the page again with their rows locked. Skips rows that are locked by a
-- snapshot of the node, so that this never waits for ingest.
-- name: mark_nodes_offline
WITH due AS MATERIALIZED (
    SELECT node_id
    FROM nodes
    WHERE node_id = ANY(%(node_ids)s::text[])
      AND state = 'online' AND last_seen_at <= %(silent_since)s
      AND (%(clock)s::timestamptz IS NULL OR clock_timestamp() >= %(clock)s)
    FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE nodes SET state = 'offline', state_since = %(now)s
    FROM due
    WHERE nodes.node_id = due.node_id
    RETURNING nodes.node_id, nodes.last_seen_at
), noted AS (
    INSERT INTO node_events (node_id, time, from_state, to_state, reason, evidence)
    SELECT node_id, %(now)s, 'online', 'offline', %(text)s,
           jsonb_build_object(
               'last_seen',
               to_char(last_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'silent_seconds', round(extract(epoch FROM %(now)s - last_seen_at), 3),
               'threshold_seconds', %(threshold_seconds)s::integer)
    FROM marked
    ORDER BY node_id
)
SELECT node_id, extract(epoch FROM %(now)s - last_seen_at)::double precision
FROM marked
ORDER BY node_id

-- The caller holds the rows' locks, and has not yet updated last_seen_at.
-- name: mark_nodes_online
WITH marked AS (
    UPDATE nodes SET state = 'online', state_since = from_micros(%(now)s)
    WHERE node_id = ANY(%(node_ids)s::text[]) AND state = 'offline'
    RETURNING node_id, last_seen_at
)
INSERT INTO node_events (node_id, time, from_state, to_state, reason, evidence)
SELECT node_id, from_micros(%(now)s), 'offline', 'online', 'A snapshot arrived',
       jsonb_build_object(
           'last_seen', to_char(last_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'silent_seconds',
           round(extract(epoch FROM from_micros(%(now)s) - last_seen_at), 3))
FROM marked
ORDER BY node_id
