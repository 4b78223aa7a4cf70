-- Reads nodes, their events and their charts. `{chosen}` and `{aggregates}` are the requested
-- metrics, checked and quoted by the caller; `{rollup}` is one of two names.

-- name: list_nodes
SELECT node_id, state, state_since, first_seen_at, last_seen_at, newest_snapshot_at,
       clock_offset_seconds, lost_snapshots, lost_at,
       greatest(0, extract(epoch FROM now() - last_seen_at))::double precision AS age_seconds,
       {metrics}
FROM nodes
WHERE node_id > %(after_id)s
ORDER BY node_id
LIMIT %(limit)s

-- name: read_node
SELECT node_id, state, state_since, first_seen_at, last_seen_at, newest_snapshot_at,
       clock_offset_seconds, lost_snapshots, lost_at,
       greatest(0, extract(epoch FROM now() - last_seen_at))::double precision AS age_seconds,
       {metrics}
FROM nodes
WHERE node_id = %(node_id)s

-- name: list_events
SELECT id, time, from_state, to_state, reason, evidence
FROM node_events
WHERE node_id = %(node_id)s AND id < %(before_id)s
ORDER BY id DESC
LIMIT %(limit)s

-- name: node_exists
SELECT EXISTS (SELECT FROM nodes WHERE node_id = %(node_id)s)

-- name: read_charted_node
-- Python has no 'infinity'; nothing is older than 1970.
SELECT node_id, state = 'online' AS is_online,
       least(oldest_snapshot_at, newest_snapshot_at) AS oldest_snapshot_at, newest_snapshot_at,
       (SELECT greatest(dropped_before, TIMESTAMPTZ 'epoch') FROM series_edges
        WHERE series = 'node_telemetry') AS snapshots_from,
       (SELECT greatest(dropped_before, TIMESTAMPTZ 'epoch') FROM series_edges
        WHERE series = 'node_telemetry_1m') AS minutes_from
FROM nodes
WHERE node_id = %(node_id)s

-- name: count_snapshots
SELECT count(*)
FROM (
    SELECT FROM node_telemetry
    WHERE node_id = %(node_id)s AND time >= %(from_at)s AND time < %(before_at)s
    LIMIT %(limit)s
) AS counted

-- name: list_snapshots
SELECT time, {chosen}
FROM node_telemetry
WHERE node_id = %(node_id)s AND time >= %(from_at)s AND time < %(before_at)s
ORDER BY time, seq
LIMIT %(limit)s

-- name: summarise_snapshots
-- Steps are counted from 1970, in UTC, as app.domain.chart does.
SELECT time_bucket(make_interval(secs => %(step_seconds)s), time, TIMESTAMPTZ 'epoch') AS bucket_at,
       count(*), {aggregates}
FROM node_telemetry
WHERE node_id = %(node_id)s AND time >= %(from_at)s AND time < %(before_at)s
GROUP BY bucket_at
ORDER BY bucket_at

-- name: summarise_rollup
-- The cast to integer makes the sum a bigint: a sum of bigints is numeric, which takes longer. No
-- bucket holds 2 billion snapshots.
SELECT time_bucket(make_interval(secs => %(step_seconds)s), bucket, TIMESTAMPTZ 'epoch')
           AS bucket_at,
       sum(snapshots::integer), {aggregates}
FROM {rollup}
WHERE node_id = %(node_id)s AND bucket >= %(from_at)s AND bucket < %(before_at)s
GROUP BY bucket_at
ORDER BY bucket_at
