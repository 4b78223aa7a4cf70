-- Undoes what a clock of the hub that was ahead has done to jobs and nodes (docs/decisions/0029). With the rights
-- of the tables' owner, because the web workers may not change an update: this only gives back the
-- times that the sender named.
CREATE OR REPLACE FUNCTION return_from_future(of_job text, latest timestamptz)
    RETURNS TABLE (first_at timestamptz, newest_at timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := clock_timestamp();
BEGIN
    IF latest < clock THEN
        RAISE invalid_parameter_value USING MESSAGE = 'what is not in the future stays';
    END IF;
    -- An update without a timestamp was stamped by the hub: the newest of them came just now.
    WITH taken AS (
        DELETE FROM job_telemetry WHERE job_id = of_job AND time > latest RETURNING *
    ), taken_disks AS (
        DELETE FROM disk_telemetry WHERE job_id = of_job AND time > latest RETURNING *
    ), placed AS (
        SELECT taken AS update, taken.time AS was, taken.seq AS was_seq, instant,
               taken.seq + coalesce((
                   SELECT max(other.seq) + 1 FROM job_telemetry AS other
                   WHERE other.job_id = of_job AND other.time = instant), 0) AS new_seq
        FROM (SELECT max(time) - clock AS ahead FROM taken) AS all_taken
        CROSS JOIN taken
        CROSS JOIN LATERAL (
            SELECT CASE WHEN taken.sender_time <= latest THEN taken.sender_time
                        ELSE taken.time - ahead END) AS right_time (instant)
    ), updates AS (
        INSERT INTO job_telemetry
        SELECT (jsonb_populate_record(
                    NULL::job_telemetry,
                    to_jsonb(update) || jsonb_build_object(
                        'time', instant, 'seq', new_seq, 'sender_time', NULL,
                        'arrival_lag_ms', 0))).*
        FROM placed
    ), disks AS (
        INSERT INTO disk_telemetry
        SELECT (jsonb_populate_record(
                    NULL::disk_telemetry,
                    to_jsonb(taken_disks) || jsonb_build_object(
                        'time', instant, 'seq', new_seq))).*
        FROM taken_disks
        JOIN placed ON was = taken_disks.time AND was_seq = taken_disks.seq
    )
    INSERT INTO wide_writes (series, hours)
    SELECT series, array_agg(DISTINCT hour ORDER BY hour)
    FROM (VALUES ('job_telemetry'), ('disk_telemetry')) AS both_series (series)
    CROSS JOIN (
        SELECT floor(extract(epoch FROM at) / 3600)::bigint AS hour
        FROM placed
        CROSS JOIN LATERAL unnest(ARRAY[was, instant, clock]) AS at
    ) AS touched
    GROUP BY series;
    -- They blamed the sender.
    DELETE FROM job_events
    WHERE job_id = of_job AND time > latest AND kind = 'warning' AND reason LIKE '%sender''s clock%';
    RETURN QUERY
    SELECT min(time), max(time) FROM job_telemetry WHERE job_id = of_job AND time <= latest;
END
$$;
REVOKE EXECUTE ON FUNCTION return_from_future(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION return_from_future(text, timestamptz) IS
    'Stores the updates of a job after an instant in the future at the times that its sender named; '
    'returns its first and newest update then.';

CREATE OR REPLACE FUNCTION return_snapshots_from_future(of_node text, latest timestamptz)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := clock_timestamp();
BEGIN
    IF latest < clock THEN
        RAISE invalid_parameter_value USING MESSAGE = 'what is not in the future stays';
    END IF;
    WITH taken AS (
        DELETE FROM node_telemetry WHERE node_id = of_node AND time > latest RETURNING *
    ), placed AS (
        SELECT taken AS snapshot, taken.time AS was, instant,
               taken.seq + coalesce((
                   SELECT max(other.seq) + 1 FROM node_telemetry AS other
                   WHERE other.node_id = of_node AND other.time = instant), 0) AS new_seq
        FROM (SELECT max(time) - clock AS ahead FROM taken) AS all_taken
        CROSS JOIN taken
        CROSS JOIN LATERAL (
            SELECT CASE WHEN taken.sender_time <= latest THEN taken.sender_time
                        ELSE taken.time - ahead END) AS right_time (instant)
    ), snapshots AS (
        INSERT INTO node_telemetry
        SELECT (jsonb_populate_record(
                    NULL::node_telemetry,
                    to_jsonb(snapshot) || jsonb_build_object(
                        'time', instant, 'seq', new_seq, 'sender_time', NULL,
                        'received_at', instant))).*
        FROM placed
    )
    INSERT INTO wide_writes (series, hours)
    SELECT 'node_telemetry', array_agg(DISTINCT hour ORDER BY hour)
    FROM (
        SELECT floor(extract(epoch FROM at) / 3600)::bigint AS hour
        FROM placed
        CROSS JOIN LATERAL unnest(ARRAY[was, instant, clock]) AS at
    ) AS touched
    HAVING count(*) > 0;
    UPDATE nodes SET newest_snapshot_at = '-infinity', clock_offset_seconds = NULL
    WHERE node_id = of_node;
END
$$;
REVOKE EXECUTE ON FUNCTION return_snapshots_from_future(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION return_snapshots_from_future(text, timestamptz) IS
    'Stores the snapshots of a node after an instant in the future at the times that it named. The '
    'next snapshot sets the row''s newest_snapshot_at.';
