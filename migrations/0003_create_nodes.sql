-- Nodes: the current state of each, and every snapshot. `network_*_rate_mbps` are MEGABYTES per
-- second under the senders' name.

CREATE TABLE nodes (
    node_id text NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    newest_snapshot_at timestamptz NOT NULL,
    clock_offset_seconds double precision,
    cpu_percent double precision,
    memory_percent double precision,
    memory_used_mb double precision,
    memory_total_mb double precision,
    disk_percent double precision,
    disk_used_gb double precision,
    disk_total_gb double precision,
    network_rx_bytes bigint,
    network_tx_bytes bigint,
    network_rx_rate_mbps double precision,
    network_tx_rate_mbps double precision,
    uptime_seconds bigint,
    process_count bigint,
    active_connections bigint,
    load_avg_1m double precision,
    load_avg_5m double precision,
    load_avg_15m double precision,
    CONSTRAINT nodes_pkey PRIMARY KEY (node_id),
    CONSTRAINT nodes_node_id_length CHECK (char_length(node_id) BETWEEN 1 AND 255)
) WITH (fillfactor = 70);

CREATE TABLE node_telemetry (
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    node_id text NOT NULL,
    seq integer NOT NULL DEFAULT 0,
    cpu_percent double precision,
    memory_percent double precision,
    memory_used_mb double precision,
    memory_total_mb double precision,
    disk_percent double precision,
    disk_used_gb double precision,
    disk_total_gb double precision,
    network_rx_bytes bigint,
    network_tx_bytes bigint,
    network_rx_rate_mbps double precision,
    network_tx_rate_mbps double precision,
    uptime_seconds bigint,
    process_count bigint,
    active_connections bigint,
    load_avg_1m double precision,
    load_avg_5m double precision,
    load_avg_15m double precision,
    sender_time timestamptz
);

SELECT create_hypertable(
    'node_telemetry', by_range('time', INTERVAL '7 days'), create_default_indexes => false);

CREATE UNIQUE INDEX node_telemetry_key ON node_telemetry (node_id, time, seq);
COMMENT ON INDEX node_telemetry_key IS 'One row per snapshot; the chart of one node.';
CREATE INDEX node_telemetry_shifted_idx ON node_telemetry (node_id, sender_time)
    WHERE sender_time IS NOT NULL;
COMMENT ON INDEX node_telemetry_shifted_idx IS 'Repeats of snapshots whose timestamp was shifted.';
