-- Reading nodes and their snapshots. `{…}` stands for metric names, which the caller has checked
-- against the known ones and quoted as identifiers.

-- name: list_nodes
SELECT node_id, first_seen_at, last_seen_at, newest_snapshot_at, clock_offset_seconds,
       cpu_percent, memory_percent, memory_used_mb, memory_total_mb,
       disk_percent, disk_used_gb, disk_total_gb,
       network_rx_bytes, network_tx_bytes, network_rx_rate_mbps, network_tx_rate_mbps,
       uptime_seconds, process_count, active_connections,
       load_avg_1m, load_avg_5m, load_avg_15m,
       greatest(0, extract(epoch FROM now() - last_seen_at))::double precision AS age_seconds,
       now() - last_seen_at > make_interval(secs => %(offline_after_seconds)s) AS is_offline
FROM nodes
WHERE node_id > %(after_id)s
ORDER BY node_id
LIMIT %(limit)s

-- name: read_node
SELECT node_id, first_seen_at, last_seen_at, newest_snapshot_at, clock_offset_seconds,
       cpu_percent, memory_percent, memory_used_mb, memory_total_mb,
       disk_percent, disk_used_gb, disk_total_gb,
       network_rx_bytes, network_tx_bytes, network_rx_rate_mbps, network_tx_rate_mbps,
       uptime_seconds, process_count, active_connections,
       load_avg_1m, load_avg_5m, load_avg_15m,
       greatest(0, extract(epoch FROM now() - last_seen_at))::double precision AS age_seconds,
       now() - last_seen_at > make_interval(secs => %(offline_after_seconds)s) AS is_offline
FROM nodes
WHERE node_id = %(node_id)s

-- name: find_span
SELECT (SELECT min(time) FROM node_telemetry WHERE node_id = nodes.node_id), newest_snapshot_at
FROM nodes
WHERE node_id = %(node_id)s

-- name: list_snapshots
SELECT time, {metrics}
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
