-- Storing node snapshots: the node's row first, then the series.

-- Nothing is stored behind what was dropped, where no refresh reaches.
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
SELECT node_id, clock_offset_seconds, state = 'offline'
FROM nodes
WHERE node_id = ANY(%(node_ids)s::text[])
ORDER BY node_id
FOR UPDATE

-- name: find_snapshots
SELECT node_id, time, seq, sender_time, cpu_percent, memory_percent, memory_used_mb,
       memory_total_mb, disk_percent, disk_used_gb, disk_total_gb, network_rx_bytes,
       network_tx_bytes, network_rx_rate_mbps, network_tx_rate_mbps, uptime_seconds,
       process_count, active_connections, load_avg_1m, load_avg_5m, load_avg_15m
FROM node_telemetry
JOIN unnest(%(node_ids)s::text[], %(times)s::bigint[]) AS v (node, micros)
    ON node_id = v.node AND time = from_micros(v.micros)
UNION
SELECT node_id, time, seq, sender_time, cpu_percent, memory_percent, memory_used_mb,
       memory_total_mb, disk_percent, disk_used_gb, disk_total_gb, network_rx_bytes,
       network_tx_bytes, network_rx_rate_mbps, network_tx_rate_mbps, uptime_seconds,
       process_count, active_connections, load_avg_1m, load_avg_5m, load_avg_15m
FROM node_telemetry
JOIN unnest(%(node_ids)s::text[], %(times)s::bigint[]) AS v (node, micros)
    ON node_id = v.node AND sender_time = from_micros(v.micros)

-- name: insert_snapshots
INSERT INTO node_telemetry (
    time, received_at, node_id, seq, sender_time, cpu_percent, memory_percent, memory_used_mb,
    memory_total_mb, disk_percent, disk_used_gb, disk_total_gb, network_rx_bytes,
    network_tx_bytes, network_rx_rate_mbps, network_tx_rate_mbps, uptime_seconds, process_count,
    active_connections, load_avg_1m, load_avg_5m, load_avg_15m)
SELECT from_micros(v.time), from_micros(%(now)s), v.node_id, v.seq, from_micros(v.sender_time),
       v.cpu_percent, v.memory_percent, v.memory_used_mb, v.memory_total_mb, v.disk_percent,
       v.disk_used_gb, v.disk_total_gb, v.network_rx_bytes, v.network_tx_bytes,
       v.network_rx_rate_mbps, v.network_tx_rate_mbps, v.uptime_seconds, v.process_count,
       v.active_connections, v.load_avg_1m, v.load_avg_5m, v.load_avg_15m
FROM unnest(
    %(time)s::bigint[], %(node_id)s::text[], %(seq)s::integer[], %(sender_time)s::bigint[],
    %(cpu_percent)s::double precision[], %(memory_percent)s::double precision[],
    %(memory_used_mb)s::double precision[], %(memory_total_mb)s::double precision[],
    %(disk_percent)s::double precision[], %(disk_used_gb)s::double precision[],
    %(disk_total_gb)s::double precision[], %(network_rx_bytes)s::bigint[],
    %(network_tx_bytes)s::bigint[], %(network_rx_rate_mbps)s::double precision[],
    %(network_tx_rate_mbps)s::double precision[], %(uptime_seconds)s::bigint[],
    %(process_count)s::bigint[], %(active_connections)s::bigint[],
    %(load_avg_1m)s::double precision[], %(load_avg_5m)s::double precision[],
    %(load_avg_15m)s::double precision[]
) AS v (
    time, node_id, seq, sender_time, cpu_percent, memory_percent, memory_used_mb,
    memory_total_mb, disk_percent, disk_used_gb, disk_total_gb, network_rx_bytes,
    network_tx_bytes, network_rx_rate_mbps, network_tx_rate_mbps, uptime_seconds, process_count,
    active_connections, load_avg_1m, load_avg_5m, load_avg_15m)

-- The row of a node shows its newest snapshot; every snapshot is a sign of life.
-- name: update_nodes
UPDATE nodes SET
    last_seen_at = from_micros(%(now)s),
    oldest_snapshot_at = least(nodes.oldest_snapshot_at, from_micros(v.oldest)),
    clock_offset_seconds = v.clock_offset_seconds
FROM unnest(%(node_ids)s::text[], %(oldest)s::bigint[], %(clock_offsets)s::double precision[])
    AS v (node_id, oldest, clock_offset_seconds)
WHERE nodes.node_id = v.node_id

-- name: show_newest_snapshots
UPDATE nodes SET
    newest_snapshot_at = newest.time,
    cpu_percent = newest.cpu_percent,
    memory_percent = newest.memory_percent,
    memory_used_mb = newest.memory_used_mb,
    memory_total_mb = newest.memory_total_mb,
    disk_percent = newest.disk_percent,
    disk_used_gb = newest.disk_used_gb,
    disk_total_gb = newest.disk_total_gb,
    network_rx_bytes = newest.network_rx_bytes,
    network_tx_bytes = newest.network_tx_bytes,
    network_rx_rate_mbps = newest.network_rx_rate_mbps,
    network_tx_rate_mbps = newest.network_tx_rate_mbps,
    uptime_seconds = newest.uptime_seconds,
    process_count = newest.process_count,
    active_connections = newest.active_connections,
    load_avg_1m = newest.load_avg_1m,
    load_avg_5m = newest.load_avg_5m,
    load_avg_15m = newest.load_avg_15m
FROM unnest(%(node_ids)s::text[]) AS v (id)
CROSS JOIN LATERAL (
    SELECT * FROM node_telemetry
    WHERE node_id = v.id
    ORDER BY time DESC, seq DESC
    LIMIT 1
) AS newest
WHERE nodes.node_id = v.id AND nodes.newest_snapshot_at <= newest.time
