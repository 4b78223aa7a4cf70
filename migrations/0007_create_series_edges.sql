-- How far back each series and rollup reaches, and how chunks are compressed.

-- A refresh that reaches behind the edge of its source would find no rows there and erase the
-- rollup (timescaledb#2592). So the edge is kept in the transaction that drops the chunks, and no
-- setting that is changed later moves it back.
CREATE TABLE series_edges (
    series text NOT NULL,
    dropped_before timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT series_edges_pkey PRIMARY KEY (series)
);
INSERT INTO series_edges (series) VALUES
    ('job_telemetry'), ('disk_telemetry'), ('node_telemetry'),
    ('job_speed_1m'), ('disk_speed_1m'), ('node_telemetry_1m');

-- Every column of the unique keys is a segment or order key, so that a late update unpacks one
-- batch of its own job and no more (docs/decisions/0009).
ALTER TABLE job_telemetry SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'job_id',
    timescaledb.compress_orderby = 'time, seq');
ALTER TABLE disk_telemetry SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'job_id, disk_index',
    timescaledb.compress_orderby = 'time, seq');
ALTER TABLE node_telemetry SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'node_id',
    timescaledb.compress_orderby = 'time, seq');
ALTER MATERIALIZED VIEW job_speed_1m SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'job_id',
    timescaledb.compress_orderby = 'bucket');
ALTER MATERIALIZED VIEW job_speed_1h SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'job_id',
    timescaledb.compress_orderby = 'bucket');
ALTER MATERIALIZED VIEW disk_speed_1m SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'job_id, disk_index',
    timescaledb.compress_orderby = 'bucket');
ALTER MATERIALIZED VIEW node_telemetry_1m SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'node_id',
    timescaledb.compress_orderby = 'bucket');
ALTER MATERIALIZED VIEW node_telemetry_1h SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'node_id',
    timescaledb.compress_orderby = 'bucket');

CREATE INDEX jobs_unsummarised_idx ON jobs (id)
    WHERE status IN ('completed', 'failed', 'cancelled') AND performance_metrics IS NULL;
COMMENT ON INDEX jobs_unsummarised_idx IS 'The task summarise_finished_jobs: what is left to do.';
