-- Continuous aggregates: what charts of any length are drawn from, and all that is left of a series
-- once its chunks are dropped. Sums and counts, and no means, so that buckets can be added up;
-- UTC; real-time, so that what is not yet materialised is seen as well. They are refreshed, by the
-- task refresh_rollups, and never behind series_edges.

-- Among updates of one instant the last is the one with the highest seq. first() and last() order
-- by one value, so this is the time since 2000 with room for every seq between two microseconds,
-- exact as far as an interval's days reach (179 years either way).
CREATE FUNCTION series_place(at timestamptz, seq integer) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (at - TIMESTAMPTZ '2000-01-01 00:00:00+00') * 32768
        + seq * INTERVAL '1 microsecond';

-- A percent in basis points (hundredths of a percent), the two decimals that charts show.
CREATE FUNCTION basis_points(percent double precision) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN round(percent * 100)::integer;

-- Milliseconds, cut off, from one instant to another.
CREATE FUNCTION milliseconds_between(from_at timestamptz, to_at timestamptz) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN floor(extract(epoch FROM to_at - from_at) * 1000)::integer;

-- moving_*: speeds above zero. moving_min is kept only where it is not speed_min, first_ms and
-- last_ms (of the earliest and the latest update) count from the bucket: both compress better so.
-- phase_varies: its updates did not all report one phase, or all none.
CREATE MATERIALIZED VIEW job_speed_1m
WITH (timescaledb.continuous, timescaledb.materialized_only = false,
      timescaledb.chunk_interval = '1 day') AS
SELECT job_id,
       time_bucket(INTERVAL '1 minute', time) AS bucket,
       count(*) AS updates,
       sum(transfer_speed_bps)::double precision AS speed_sum,
       count(transfer_speed_bps) AS speed_count,
       min(transfer_speed_bps) AS speed_min,
       max(transfer_speed_bps) AS speed_max,
       count(*) FILTER (WHERE transfer_speed_bps > 0) AS moving_count,
       CASE WHEN min(transfer_speed_bps) = 0
            THEN min(transfer_speed_bps) FILTER (WHERE transfer_speed_bps > 0) END AS moving_min,
       first(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL) AS bytes_first,
       last(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL) AS bytes_last,
       last(basis_points(reported_percent(
                progress_percent, percent_scale, bytes_transferred, total_bytes)),
            series_place(time, seq))
           FILTER (WHERE progress_percent IS NOT NULL OR percent_scale IS NOT NULL)
           AS progress_last_bp,
       milliseconds_between(time_bucket(INTERVAL '1 minute', time), min(time)) AS first_ms,
       milliseconds_between(time_bucket(INTERVAL '1 minute', time), max(time)) AS last_ms,
       first(current_phase, series_place(time, seq))
           FILTER (WHERE current_phase IS NOT NULL) AS phase_first,
       last(current_phase, series_place(time, seq))
           FILTER (WHERE current_phase IS NOT NULL) AS phase_last,
       min(current_phase COLLATE "C") <> max(current_phase COLLATE "C")
           OR count(current_phase) BETWEEN 1 AND count(*) - 1 AS phase_varies
FROM job_telemetry
GROUP BY job_id, time_bucket(INTERVAL '1 minute', time)
WITH NO DATA;

-- minutes, longest_head_ms and longest_tail_ms (of a minute, before its first and after its last
-- update) tell which hours may hide a gap.
CREATE MATERIALIZED VIEW job_speed_1h
WITH (timescaledb.continuous, timescaledb.materialized_only = false,
      timescaledb.chunk_interval = '30 days') AS
SELECT job_id,
       time_bucket(INTERVAL '1 hour', bucket) AS bucket,
       sum(updates)::bigint AS updates,
       sum(speed_sum) AS speed_sum,
       sum(speed_count)::bigint AS speed_count,
       min(speed_min) AS speed_min,
       max(speed_max) AS speed_max,
       sum(moving_count)::bigint AS moving_count,
       min(CASE WHEN speed_min > 0 THEN speed_min ELSE moving_min END) AS moving_min,
       first(bytes_first, bucket) FILTER (WHERE bytes_first IS NOT NULL) AS bytes_first,
       last(bytes_last, bucket) FILTER (WHERE bytes_last IS NOT NULL) AS bytes_last,
       last(progress_last_bp, bucket) FILTER (WHERE progress_last_bp IS NOT NULL)
           AS progress_last_bp,
       milliseconds_between(time_bucket(INTERVAL '1 hour', bucket),
                            min(bucket + first_ms * INTERVAL '1 millisecond')) AS first_ms,
       milliseconds_between(time_bucket(INTERVAL '1 hour', bucket),
                            max(bucket + last_ms * INTERVAL '1 millisecond')) AS last_ms,
       first(phase_first, bucket) FILTER (WHERE phase_first IS NOT NULL) AS phase_first,
       last(phase_last, bucket) FILTER (WHERE phase_last IS NOT NULL) AS phase_last,
       bool_or(phase_varies)
           OR min(phase_first COLLATE "C") <> max(phase_first COLLATE "C")
           OR count(phase_first) BETWEEN 1 AND count(*) - 1 AS phase_varies,
       count(*) AS minutes,
       max(first_ms) AS longest_head_ms,
       max(60000 - last_ms) AS longest_tail_ms
FROM job_speed_1m
GROUP BY job_id, time_bucket(INTERVAL '1 hour', bucket)
WITH NO DATA;

CREATE MATERIALIZED VIEW disk_speed_1m
WITH (timescaledb.continuous, timescaledb.materialized_only = false,
      timescaledb.chunk_interval = '1 day') AS
SELECT job_id,
       disk_index,
       time_bucket(INTERVAL '1 minute', time) AS bucket,
       count(*) AS updates,
       sum(transfer_speed_bps)::double precision AS speed_sum,
       count(transfer_speed_bps) AS speed_count,
       min(transfer_speed_bps) AS speed_min,
       max(transfer_speed_bps) AS speed_max,
       count(*) FILTER (WHERE transfer_speed_bps > 0) AS moving_count,
       CASE WHEN min(transfer_speed_bps) = 0
            THEN min(transfer_speed_bps) FILTER (WHERE transfer_speed_bps > 0) END AS moving_min,
       first(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL) AS bytes_first,
       last(bytes_transferred, series_place(time, seq))
           FILTER (WHERE bytes_transferred IS NOT NULL) AS bytes_last,
       last(basis_points(progress_percent), series_place(time, seq))
           FILTER (WHERE progress_percent IS NOT NULL) AS progress_last_bp
FROM disk_telemetry
GROUP BY job_id, disk_index, time_bucket(INTERVAL '1 minute', time)
WITH NO DATA;

-- A node sends about one snapshot a minute: what is the sum already is not kept again as the
-- lowest, highest and last. Beyond 2^53 the sum, a float, does not hold a whole number exactly.
CREATE MATERIALIZED VIEW node_telemetry_1m
WITH (timescaledb.continuous, timescaledb.materialized_only = false,
      timescaledb.chunk_interval = '7 days') AS
SELECT node_id,
       time_bucket(INTERVAL '1 minute', time) AS bucket,
       count(*) AS snapshots,
       count(cpu_percent) AS cpu_percent_count,
       sum(cpu_percent)::double precision AS cpu_percent_sum,
       CASE WHEN count(cpu_percent) > 1 THEN min(cpu_percent) END AS cpu_percent_min,
       CASE WHEN count(cpu_percent) > 1 THEN max(cpu_percent) END AS cpu_percent_max,
       CASE WHEN count(cpu_percent) > 1 THEN last(cpu_percent, series_place(time, seq))
           FILTER (WHERE cpu_percent IS NOT NULL) END AS cpu_percent_last,
       count(memory_percent) AS memory_percent_count,
       sum(memory_percent)::double precision AS memory_percent_sum,
       CASE WHEN count(memory_percent) > 1 THEN min(memory_percent) END AS memory_percent_min,
       CASE WHEN count(memory_percent) > 1 THEN max(memory_percent) END AS memory_percent_max,
       CASE WHEN count(memory_percent) > 1 THEN last(memory_percent, series_place(time, seq))
           FILTER (WHERE memory_percent IS NOT NULL) END AS memory_percent_last,
       count(memory_used_mb) AS memory_used_mb_count,
       sum(memory_used_mb)::double precision AS memory_used_mb_sum,
       CASE WHEN count(memory_used_mb) > 1 THEN min(memory_used_mb) END AS memory_used_mb_min,
       CASE WHEN count(memory_used_mb) > 1 THEN max(memory_used_mb) END AS memory_used_mb_max,
       CASE WHEN count(memory_used_mb) > 1 THEN last(memory_used_mb, series_place(time, seq))
           FILTER (WHERE memory_used_mb IS NOT NULL) END AS memory_used_mb_last,
       count(memory_total_mb) AS memory_total_mb_count,
       sum(memory_total_mb)::double precision AS memory_total_mb_sum,
       CASE WHEN count(memory_total_mb) > 1 THEN min(memory_total_mb) END AS memory_total_mb_min,
       CASE WHEN count(memory_total_mb) > 1 THEN max(memory_total_mb) END AS memory_total_mb_max,
       CASE WHEN count(memory_total_mb) > 1 THEN last(memory_total_mb, series_place(time, seq))
           FILTER (WHERE memory_total_mb IS NOT NULL) END AS memory_total_mb_last,
       count(disk_percent) AS disk_percent_count,
       sum(disk_percent)::double precision AS disk_percent_sum,
       CASE WHEN count(disk_percent) > 1 THEN min(disk_percent) END AS disk_percent_min,
       CASE WHEN count(disk_percent) > 1 THEN max(disk_percent) END AS disk_percent_max,
       CASE WHEN count(disk_percent) > 1 THEN last(disk_percent, series_place(time, seq))
           FILTER (WHERE disk_percent IS NOT NULL) END AS disk_percent_last,
       count(disk_used_gb) AS disk_used_gb_count,
       sum(disk_used_gb)::double precision AS disk_used_gb_sum,
       CASE WHEN count(disk_used_gb) > 1 THEN min(disk_used_gb) END AS disk_used_gb_min,
       CASE WHEN count(disk_used_gb) > 1 THEN max(disk_used_gb) END AS disk_used_gb_max,
       CASE WHEN count(disk_used_gb) > 1 THEN last(disk_used_gb, series_place(time, seq))
           FILTER (WHERE disk_used_gb IS NOT NULL) END AS disk_used_gb_last,
       count(disk_total_gb) AS disk_total_gb_count,
       sum(disk_total_gb)::double precision AS disk_total_gb_sum,
       CASE WHEN count(disk_total_gb) > 1 THEN min(disk_total_gb) END AS disk_total_gb_min,
       CASE WHEN count(disk_total_gb) > 1 THEN max(disk_total_gb) END AS disk_total_gb_max,
       CASE WHEN count(disk_total_gb) > 1 THEN last(disk_total_gb, series_place(time, seq))
           FILTER (WHERE disk_total_gb IS NOT NULL) END AS disk_total_gb_last,
       count(network_rx_bytes) AS network_rx_bytes_count,
       sum(network_rx_bytes)::double precision AS network_rx_bytes_sum,
       CASE WHEN count(network_rx_bytes) > 1 OR max(network_rx_bytes) > 9007199254740992
            THEN min(network_rx_bytes) END AS network_rx_bytes_min,
       CASE WHEN count(network_rx_bytes) > 1 OR max(network_rx_bytes) > 9007199254740992
            THEN max(network_rx_bytes) END AS network_rx_bytes_max,
       CASE WHEN count(network_rx_bytes) > 1 OR max(network_rx_bytes) > 9007199254740992
            THEN last(network_rx_bytes, series_place(time, seq))
           FILTER (WHERE network_rx_bytes IS NOT NULL) END AS network_rx_bytes_last,
       count(network_tx_bytes) AS network_tx_bytes_count,
       sum(network_tx_bytes)::double precision AS network_tx_bytes_sum,
       CASE WHEN count(network_tx_bytes) > 1 OR max(network_tx_bytes) > 9007199254740992
            THEN min(network_tx_bytes) END AS network_tx_bytes_min,
       CASE WHEN count(network_tx_bytes) > 1 OR max(network_tx_bytes) > 9007199254740992
            THEN max(network_tx_bytes) END AS network_tx_bytes_max,
       CASE WHEN count(network_tx_bytes) > 1 OR max(network_tx_bytes) > 9007199254740992
            THEN last(network_tx_bytes, series_place(time, seq))
           FILTER (WHERE network_tx_bytes IS NOT NULL) END AS network_tx_bytes_last,
       count(network_rx_rate_mbps) AS network_rx_rate_mbps_count,
       sum(network_rx_rate_mbps)::double precision AS network_rx_rate_mbps_sum,
       CASE WHEN count(network_rx_rate_mbps) > 1
            THEN min(network_rx_rate_mbps) END AS network_rx_rate_mbps_min,
       CASE WHEN count(network_rx_rate_mbps) > 1
            THEN max(network_rx_rate_mbps) END AS network_rx_rate_mbps_max,
       CASE WHEN count(network_rx_rate_mbps) > 1
            THEN last(network_rx_rate_mbps, series_place(time, seq))
           FILTER (WHERE network_rx_rate_mbps IS NOT NULL) END AS network_rx_rate_mbps_last,
       count(network_tx_rate_mbps) AS network_tx_rate_mbps_count,
       sum(network_tx_rate_mbps)::double precision AS network_tx_rate_mbps_sum,
       CASE WHEN count(network_tx_rate_mbps) > 1
            THEN min(network_tx_rate_mbps) END AS network_tx_rate_mbps_min,
       CASE WHEN count(network_tx_rate_mbps) > 1
            THEN max(network_tx_rate_mbps) END AS network_tx_rate_mbps_max,
       CASE WHEN count(network_tx_rate_mbps) > 1
            THEN last(network_tx_rate_mbps, series_place(time, seq))
           FILTER (WHERE network_tx_rate_mbps IS NOT NULL) END AS network_tx_rate_mbps_last,
       count(uptime_seconds) AS uptime_seconds_count,
       sum(uptime_seconds)::double precision AS uptime_seconds_sum,
       CASE WHEN count(uptime_seconds) > 1 OR max(uptime_seconds) > 9007199254740992
            THEN min(uptime_seconds) END AS uptime_seconds_min,
       CASE WHEN count(uptime_seconds) > 1 OR max(uptime_seconds) > 9007199254740992
            THEN max(uptime_seconds) END AS uptime_seconds_max,
       CASE WHEN count(uptime_seconds) > 1 OR max(uptime_seconds) > 9007199254740992
            THEN last(uptime_seconds, series_place(time, seq))
           FILTER (WHERE uptime_seconds IS NOT NULL) END AS uptime_seconds_last,
       count(process_count) AS process_count_count,
       sum(process_count)::double precision AS process_count_sum,
       CASE WHEN count(process_count) > 1 OR max(process_count) > 9007199254740992
            THEN min(process_count) END AS process_count_min,
       CASE WHEN count(process_count) > 1 OR max(process_count) > 9007199254740992
            THEN max(process_count) END AS process_count_max,
       CASE WHEN count(process_count) > 1 OR max(process_count) > 9007199254740992
            THEN last(process_count, series_place(time, seq))
           FILTER (WHERE process_count IS NOT NULL) END AS process_count_last,
       count(active_connections) AS active_connections_count,
       sum(active_connections)::double precision AS active_connections_sum,
       CASE WHEN count(active_connections) > 1 OR max(active_connections) > 9007199254740992
            THEN min(active_connections) END AS active_connections_min,
       CASE WHEN count(active_connections) > 1 OR max(active_connections) > 9007199254740992
            THEN max(active_connections) END AS active_connections_max,
       CASE WHEN count(active_connections) > 1 OR max(active_connections) > 9007199254740992
            THEN last(active_connections, series_place(time, seq))
           FILTER (WHERE active_connections IS NOT NULL) END AS active_connections_last,
       count(load_avg_1m) AS load_avg_1m_count,
       sum(load_avg_1m)::double precision AS load_avg_1m_sum,
       CASE WHEN count(load_avg_1m) > 1 THEN min(load_avg_1m) END AS load_avg_1m_min,
       CASE WHEN count(load_avg_1m) > 1 THEN max(load_avg_1m) END AS load_avg_1m_max,
       CASE WHEN count(load_avg_1m) > 1 THEN last(load_avg_1m, series_place(time, seq))
           FILTER (WHERE load_avg_1m IS NOT NULL) END AS load_avg_1m_last,
       count(load_avg_5m) AS load_avg_5m_count,
       sum(load_avg_5m)::double precision AS load_avg_5m_sum,
       CASE WHEN count(load_avg_5m) > 1 THEN min(load_avg_5m) END AS load_avg_5m_min,
       CASE WHEN count(load_avg_5m) > 1 THEN max(load_avg_5m) END AS load_avg_5m_max,
       CASE WHEN count(load_avg_5m) > 1 THEN last(load_avg_5m, series_place(time, seq))
           FILTER (WHERE load_avg_5m IS NOT NULL) END AS load_avg_5m_last,
       count(load_avg_15m) AS load_avg_15m_count,
       sum(load_avg_15m)::double precision AS load_avg_15m_sum,
       CASE WHEN count(load_avg_15m) > 1 THEN min(load_avg_15m) END AS load_avg_15m_min,
       CASE WHEN count(load_avg_15m) > 1 THEN max(load_avg_15m) END AS load_avg_15m_max,
       CASE WHEN count(load_avg_15m) > 1 THEN last(load_avg_15m, series_place(time, seq))
           FILTER (WHERE load_avg_15m IS NOT NULL) END AS load_avg_15m_last
FROM node_telemetry
GROUP BY node_id, time_bucket(INTERVAL '1 minute', time)
WITH NO DATA;

CREATE MATERIALIZED VIEW node_telemetry_1h
WITH (timescaledb.continuous, timescaledb.materialized_only = false,
      timescaledb.chunk_interval = '70 days') AS
SELECT node_id,
       time_bucket(INTERVAL '1 hour', bucket) AS bucket,
       sum(snapshots)::bigint AS snapshots,
       sum(cpu_percent_count)::bigint AS cpu_percent_count,
       sum(cpu_percent_sum) AS cpu_percent_sum,
       min(coalesce(cpu_percent_min, cpu_percent_sum)) AS cpu_percent_min,
       max(coalesce(cpu_percent_max, cpu_percent_sum)) AS cpu_percent_max,
       last(coalesce(cpu_percent_last, cpu_percent_sum), bucket)
           FILTER (WHERE cpu_percent_count > 0) AS cpu_percent_last,
       sum(memory_percent_count)::bigint AS memory_percent_count,
       sum(memory_percent_sum) AS memory_percent_sum,
       min(coalesce(memory_percent_min, memory_percent_sum)) AS memory_percent_min,
       max(coalesce(memory_percent_max, memory_percent_sum)) AS memory_percent_max,
       last(coalesce(memory_percent_last, memory_percent_sum), bucket)
           FILTER (WHERE memory_percent_count > 0) AS memory_percent_last,
       sum(memory_used_mb_count)::bigint AS memory_used_mb_count,
       sum(memory_used_mb_sum) AS memory_used_mb_sum,
       min(coalesce(memory_used_mb_min, memory_used_mb_sum)) AS memory_used_mb_min,
       max(coalesce(memory_used_mb_max, memory_used_mb_sum)) AS memory_used_mb_max,
       last(coalesce(memory_used_mb_last, memory_used_mb_sum), bucket)
           FILTER (WHERE memory_used_mb_count > 0) AS memory_used_mb_last,
       sum(memory_total_mb_count)::bigint AS memory_total_mb_count,
       sum(memory_total_mb_sum) AS memory_total_mb_sum,
       min(coalesce(memory_total_mb_min, memory_total_mb_sum)) AS memory_total_mb_min,
       max(coalesce(memory_total_mb_max, memory_total_mb_sum)) AS memory_total_mb_max,
       last(coalesce(memory_total_mb_last, memory_total_mb_sum), bucket)
           FILTER (WHERE memory_total_mb_count > 0) AS memory_total_mb_last,
       sum(disk_percent_count)::bigint AS disk_percent_count,
       sum(disk_percent_sum) AS disk_percent_sum,
       min(coalesce(disk_percent_min, disk_percent_sum)) AS disk_percent_min,
       max(coalesce(disk_percent_max, disk_percent_sum)) AS disk_percent_max,
       last(coalesce(disk_percent_last, disk_percent_sum), bucket)
           FILTER (WHERE disk_percent_count > 0) AS disk_percent_last,
       sum(disk_used_gb_count)::bigint AS disk_used_gb_count,
       sum(disk_used_gb_sum) AS disk_used_gb_sum,
       min(coalesce(disk_used_gb_min, disk_used_gb_sum)) AS disk_used_gb_min,
       max(coalesce(disk_used_gb_max, disk_used_gb_sum)) AS disk_used_gb_max,
       last(coalesce(disk_used_gb_last, disk_used_gb_sum), bucket)
           FILTER (WHERE disk_used_gb_count > 0) AS disk_used_gb_last,
       sum(disk_total_gb_count)::bigint AS disk_total_gb_count,
       sum(disk_total_gb_sum) AS disk_total_gb_sum,
       min(coalesce(disk_total_gb_min, disk_total_gb_sum)) AS disk_total_gb_min,
       max(coalesce(disk_total_gb_max, disk_total_gb_sum)) AS disk_total_gb_max,
       last(coalesce(disk_total_gb_last, disk_total_gb_sum), bucket)
           FILTER (WHERE disk_total_gb_count > 0) AS disk_total_gb_last,
       sum(network_rx_bytes_count)::bigint AS network_rx_bytes_count,
       sum(network_rx_bytes_sum) AS network_rx_bytes_sum,
       min(coalesce(network_rx_bytes_min, network_rx_bytes_sum::bigint)) AS network_rx_bytes_min,
       max(coalesce(network_rx_bytes_max, network_rx_bytes_sum::bigint)) AS network_rx_bytes_max,
       last(coalesce(network_rx_bytes_last, network_rx_bytes_sum::bigint), bucket)
           FILTER (WHERE network_rx_bytes_count > 0) AS network_rx_bytes_last,
       sum(network_tx_bytes_count)::bigint AS network_tx_bytes_count,
       sum(network_tx_bytes_sum) AS network_tx_bytes_sum,
       min(coalesce(network_tx_bytes_min, network_tx_bytes_sum::bigint)) AS network_tx_bytes_min,
       max(coalesce(network_tx_bytes_max, network_tx_bytes_sum::bigint)) AS network_tx_bytes_max,
       last(coalesce(network_tx_bytes_last, network_tx_bytes_sum::bigint), bucket)
           FILTER (WHERE network_tx_bytes_count > 0) AS network_tx_bytes_last,
       sum(network_rx_rate_mbps_count)::bigint AS network_rx_rate_mbps_count,
       sum(network_rx_rate_mbps_sum) AS network_rx_rate_mbps_sum,
       min(coalesce(network_rx_rate_mbps_min, network_rx_rate_mbps_sum)) AS network_rx_rate_mbps_min,
       max(coalesce(network_rx_rate_mbps_max, network_rx_rate_mbps_sum)) AS network_rx_rate_mbps_max,
       last(coalesce(network_rx_rate_mbps_last, network_rx_rate_mbps_sum), bucket)
           FILTER (WHERE network_rx_rate_mbps_count > 0) AS network_rx_rate_mbps_last,
       sum(network_tx_rate_mbps_count)::bigint AS network_tx_rate_mbps_count,
       sum(network_tx_rate_mbps_sum) AS network_tx_rate_mbps_sum,
       min(coalesce(network_tx_rate_mbps_min, network_tx_rate_mbps_sum)) AS network_tx_rate_mbps_min,
       max(coalesce(network_tx_rate_mbps_max, network_tx_rate_mbps_sum)) AS network_tx_rate_mbps_max,
       last(coalesce(network_tx_rate_mbps_last, network_tx_rate_mbps_sum), bucket)
           FILTER (WHERE network_tx_rate_mbps_count > 0) AS network_tx_rate_mbps_last,
       sum(uptime_seconds_count)::bigint AS uptime_seconds_count,
       sum(uptime_seconds_sum) AS uptime_seconds_sum,
       min(coalesce(uptime_seconds_min, uptime_seconds_sum::bigint)) AS uptime_seconds_min,
       max(coalesce(uptime_seconds_max, uptime_seconds_sum::bigint)) AS uptime_seconds_max,
       last(coalesce(uptime_seconds_last, uptime_seconds_sum::bigint), bucket)
           FILTER (WHERE uptime_seconds_count > 0) AS uptime_seconds_last,
       sum(process_count_count)::bigint AS process_count_count,
       sum(process_count_sum) AS process_count_sum,
       min(coalesce(process_count_min, process_count_sum::bigint)) AS process_count_min,
       max(coalesce(process_count_max, process_count_sum::bigint)) AS process_count_max,
       last(coalesce(process_count_last, process_count_sum::bigint), bucket)
           FILTER (WHERE process_count_count > 0) AS process_count_last,
       sum(active_connections_count)::bigint AS active_connections_count,
       sum(active_connections_sum) AS active_connections_sum,
       min(coalesce(active_connections_min, active_connections_sum::bigint)) AS active_connections_min,
       max(coalesce(active_connections_max, active_connections_sum::bigint)) AS active_connections_max,
       last(coalesce(active_connections_last, active_connections_sum::bigint), bucket)
           FILTER (WHERE active_connections_count > 0) AS active_connections_last,
       sum(load_avg_1m_count)::bigint AS load_avg_1m_count,
       sum(load_avg_1m_sum) AS load_avg_1m_sum,
       min(coalesce(load_avg_1m_min, load_avg_1m_sum)) AS load_avg_1m_min,
       max(coalesce(load_avg_1m_max, load_avg_1m_sum)) AS load_avg_1m_max,
       last(coalesce(load_avg_1m_last, load_avg_1m_sum), bucket)
           FILTER (WHERE load_avg_1m_count > 0) AS load_avg_1m_last,
       sum(load_avg_5m_count)::bigint AS load_avg_5m_count,
       sum(load_avg_5m_sum) AS load_avg_5m_sum,
       min(coalesce(load_avg_5m_min, load_avg_5m_sum)) AS load_avg_5m_min,
       max(coalesce(load_avg_5m_max, load_avg_5m_sum)) AS load_avg_5m_max,
       last(coalesce(load_avg_5m_last, load_avg_5m_sum), bucket)
           FILTER (WHERE load_avg_5m_count > 0) AS load_avg_5m_last,
       sum(load_avg_15m_count)::bigint AS load_avg_15m_count,
       sum(load_avg_15m_sum) AS load_avg_15m_sum,
       min(coalesce(load_avg_15m_min, load_avg_15m_sum)) AS load_avg_15m_min,
       max(coalesce(load_avg_15m_max, load_avg_15m_sum)) AS load_avg_15m_max,
       last(coalesce(load_avg_15m_last, load_avg_15m_sum), bucket)
           FILTER (WHERE load_avg_15m_count > 0) AS load_avg_15m_last
FROM node_telemetry_1m
GROUP BY node_id, time_bucket(INTERVAL '1 hour', bucket)
WITH NO DATA;
