-- Stores node snapshots: the node's row first, then the series.

-- No snapshot is stored before the edge, because no refresh reads there.
-- name: read_clock
SELECT clock_timestamp(), greatest(max(dropped_before), TIMESTAMPTZ 'epoch')
FROM series_edges
WHERE series = 'node_telemetry'

-- name: create_missing_nodes
INSERT INTO nodes (node_id, newest_snapshot_at)
SELECT v.node_id, '-infinity'
FROM unnest(%(node_ids)s::text[]) AS v (node_id)
ORDER BY v.node_id
ON CONFLICT (node_id) DO NOTHING

-- name: lock_nodes
SELECT node_id, clock_offset_seconds, state = 'offline',
       CASE WHEN isfinite(newest_snapshot_at) THEN newest_snapshot_at END
FROM nodes
WHERE node_id = ANY(%(node_ids)s::text[])
ORDER BY node_id
FOR UPDATE

-- name: return_snapshots_from_future
SELECT return_snapshots_from_future(%(node_id)s, from_micros(%(latest)s))

-- name: find_snapshots
SELECT node_id, time, seq, sender_time, {metrics}
FROM node_telemetry
JOIN unnest(%(node_ids)s::text[], %(times)s::bigint[]) AS v (node, micros)
    ON node_id = v.node AND time = from_micros(v.micros)
UNION
SELECT node_id, time, seq, sender_time, {metrics}
FROM node_telemetry
JOIN unnest(%(node_ids)s::text[], %(times)s::bigint[]) AS v (node, micros)
    ON node_id = v.node AND sender_time = from_micros(v.micros)

-- name: insert_snapshots
INSERT INTO node_telemetry (time, received_at, node_id, seq, sender_time, {metrics})
SELECT from_micros(time), from_micros(%(now)s), node_id, seq, from_micros(sender_time), {metrics}
FROM unnest(
    %(time)s::bigint[], %(node_id)s::text[], %(seq)s::integer[], %(sender_time)s::bigint[],
    {metrics: %($name)s::$type[]}
) AS v (time, node_id, seq, sender_time, {metrics})

-- The row of a node shows its newest snapshot; every snapshot is a sign of life.
-- name: update_nodes
UPDATE nodes SET
    last_seen_at = from_micros(%(now)s),
    oldest_snapshot_at = least(nodes.oldest_snapshot_at, from_micros(v.oldest)),
    clock_offset_seconds = v.clock_offset_seconds
FROM unnest(%(node_ids)s::text[], %(oldest)s::bigint[], %(clock_offsets)s::double precision[])
    AS v (node_id, oldest, clock_offset_seconds)
WHERE nodes.node_id = v.node_id

-- name: count_lost
UPDATE nodes SET lost_snapshots = lost_snapshots + v.lost, lost_at = from_micros(%(now)s)
FROM unnest(%(node_ids)s::text[], %(lost)s::bigint[]) AS v (id, lost)
WHERE nodes.node_id = v.id

-- name: show_newest_snapshots
UPDATE nodes SET
    newest_snapshot_at = newest.time,
    {metrics: $name = newest.$name}
FROM unnest(%(node_ids)s::text[]) AS v (id)
CROSS JOIN LATERAL (
    SELECT * FROM node_telemetry
    WHERE node_id = v.id
    ORDER BY time DESC, seq DESC
    LIMIT 1
) AS newest
WHERE nodes.node_id = v.id AND nodes.newest_snapshot_at <= newest.time
