-- Every update, and the disk part of every update. No foreign key: together with the job's own
-- row in one transaction it would deadlock when a new chunk is made (timescaledb#7429).

CREATE TABLE job_telemetry (
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    job_id text NOT NULL,
    seq integer NOT NULL DEFAULT 0,
    status text NOT NULL,
    current_phase text,
    bytes_transferred bigint,
    total_bytes bigint,
    transfer_speed_bps bigint,
    eta_seconds bigint,
    progress_percent double precision,
    error_message text,
    vm_name text,
    repository_id text,
    backup_type text,
    sender_time timestamptz
);

SELECT create_hypertable(
    'job_telemetry', by_range('time', INTERVAL '1 day'), create_default_indexes => false);

CREATE UNIQUE INDEX job_telemetry_key ON job_telemetry (job_id, time, seq);
COMMENT ON INDEX job_telemetry_key IS
    'One row per update (invariant 2); the chart of one job; the look-up of repeats.';
CREATE INDEX job_telemetry_shifted_idx ON job_telemetry (job_id, sender_time)
    WHERE sender_time IS NOT NULL;
COMMENT ON INDEX job_telemetry_shifted_idx IS 'Repeats of updates whose timestamp was shifted.';

CREATE TABLE disk_telemetry (
    time timestamptz NOT NULL,
    job_id text NOT NULL,
    seq integer NOT NULL DEFAULT 0,
    disk_index smallint NOT NULL,
    status text,
    bytes_transferred bigint,
    total_bytes bigint,
    transfer_speed_bps bigint,
    progress_percent double precision,
    error_message text
);

SELECT create_hypertable(
    'disk_telemetry', by_range('time', INTERVAL '1 day'), create_default_indexes => false);

CREATE UNIQUE INDEX disk_telemetry_key ON disk_telemetry (job_id, time, seq, disk_index);
COMMENT ON INDEX disk_telemetry_key IS 'The disk part of an update; the chart of a disk.';
