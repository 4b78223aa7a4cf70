-- The series keeps what cannot be told from its other columns (docs/decisions/0008). The view
-- job_updates shows every update as it was reported.

-- What a percent is that follows from the bytes: unrounded (0, and -1 for the other order of the
-- same two operations, which may differ in the last bit), or rounded to 1/scale.
CREATE FUNCTION percent_by_bytes(bytes bigint, total bigint, scale smallint)
    RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN total <= 0 THEN NULL
        WHEN scale = 0 THEN bytes::double precision / total * 100
        WHEN scale = -1 THEN 100 * bytes::double precision / total
        ELSE floor(100 * bytes::double precision / total * scale + 0.5) / scale END;

-- The scale that gives back exactly the percent that was reported; NULL where none does.
CREATE FUNCTION percent_scale_of(percent double precision, bytes bigint, total bigint)
    RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE percent
        WHEN percent_by_bytes(bytes, total, 100::smallint) THEN 100
        WHEN percent_by_bytes(bytes, total, 0::smallint) THEN 0
        WHEN percent_by_bytes(bytes, total, (-1)::smallint) THEN -1
        WHEN percent_by_bytes(bytes, total, 10::smallint) THEN 10
        WHEN percent_by_bytes(bytes, total, 1::smallint) THEN 1
        WHEN percent_by_bytes(bytes, total, 1000::smallint) THEN 1000 END::smallint;

CREATE FUNCTION reported_percent(
    percent double precision, scale smallint, bytes bigint, total bigint)
    RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN scale IS NULL THEN percent ELSE percent_by_bytes(bytes, total, scale) END;

ALTER TABLE job_telemetry
    ADD COLUMN arrival_lag_ms bigint,
    ADD COLUMN percent_scale smallint;
UPDATE job_telemetry SET
    arrival_lag_ms = round(extract(epoch FROM received_at - time) * 1000),
    percent_scale = percent_scale_of(progress_percent, bytes_transferred, total_bytes),
    progress_percent = CASE
        WHEN percent_scale_of(progress_percent, bytes_transferred, total_bytes) IS NULL
        THEN progress_percent END;
ALTER TABLE job_telemetry
    ALTER COLUMN arrival_lag_ms SET NOT NULL,
    DROP COLUMN received_at;

-- Chunks are compressed and dropped whole, and updates for one wait meanwhile: a quarter of a day
-- of updates is compressed in a quarter of the time.
SELECT set_chunk_time_interval('job_telemetry', INTERVAL '6 hours');
SELECT set_chunk_time_interval('disk_telemetry', INTERVAL '6 hours');
