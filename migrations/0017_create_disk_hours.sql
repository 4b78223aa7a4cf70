-- The hours of disks, kept for ever like those of jobs: charts of disks once the minutes are dropped.

CREATE MATERIALIZED VIEW disk_speed_1h
WITH (timescaledb.continuous, timescaledb.materialized_only = false,
      timescaledb.chunk_interval = '30 days') AS
SELECT job_id,
       disk_index,
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
           AS progress_last_bp
FROM disk_speed_1m
GROUP BY job_id, disk_index, time_bucket(INTERVAL '1 hour', bucket)
WITH NO DATA;

ALTER MATERIALIZED VIEW disk_speed_1h SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'job_id, disk_index',
    timescaledb.compress_orderby = 'bucket');
