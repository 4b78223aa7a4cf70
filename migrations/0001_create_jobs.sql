-- Jobs, their disks, and the log of their transitions: ordinary tables, one row per thing.

-- The hub counts instants in whole microseconds since 1970. STABLE, so that PostgreSQL inlines it.
CREATE FUNCTION from_micros(micros bigint) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT 'epoch'::timestamptz + micros * interval '1 microsecond' $$;

-- Fill factor: room for HOT updates, as a row is rewritten at every commit with an update of it.
CREATE TABLE jobs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    job_id text NOT NULL,
    job_type text NOT NULL,
    vm_name text,
    repository_id text,
    backup_type text,
    status text NOT NULL DEFAULT 'pending',
    current_phase text NOT NULL DEFAULT 'pending',
    bytes_transferred bigint NOT NULL DEFAULT 0,
    total_bytes bigint NOT NULL DEFAULT 0,
    transfer_speed_bps bigint NOT NULL DEFAULT 0,
    eta_seconds bigint NOT NULL DEFAULT 0,
    progress_percent double precision NOT NULL DEFAULT 0,
    error_message text,
    warnings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    ended_by text,
    newest_update_at timestamptz,
    last_telemetry_at timestamptz,
    last_progress_at timestamptz,
    clock_offset_seconds double precision,
    performance_metrics jsonb,
    field_times bigint[] NOT NULL DEFAULT '{}',
    registered jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT jobs_job_id_key UNIQUE (job_id),
    CONSTRAINT jobs_job_id_length CHECK (char_length(job_id) BETWEEN 1 AND 255),
    CONSTRAINT jobs_status_known CHECK (
        status IN ('pending', 'running', 'stalled', 'completed', 'failed', 'cancelled')),
    CONSTRAINT jobs_phase_length CHECK (char_length(current_phase) <= 255),
    CONSTRAINT jobs_numbers_not_negative CHECK (
        bytes_transferred >= 0 AND total_bytes >= 0 AND transfer_speed_bps >= 0
        AND eta_seconds >= 0),
    CONSTRAINT jobs_progress_range CHECK (progress_percent BETWEEN 0 AND 100),
    CONSTRAINT jobs_ended_by_known CHECK (ended_by IN ('sender', 'detector', 'operator')),
    CONSTRAINT jobs_end_complete CHECK (
        (status IN ('completed', 'failed', 'cancelled'))
        = (completed_at IS NOT NULL AND ended_by IS NOT NULL))
) WITH (fillfactor = 70);

CREATE INDEX jobs_live_idx ON jobs (status, last_telemetry_at)
    WHERE status IN ('running', 'stalled');
COMMENT ON INDEX jobs_live_idx IS 'The stale scan: live jobs by their last sign of life.';
CREATE INDEX jobs_newest_idx ON jobs (created_at DESC, id DESC);
COMMENT ON INDEX jobs_newest_idx IS 'GET /jobs: newest first, by keyset.';
CREATE INDEX jobs_machine_idx ON jobs (vm_name, created_at DESC, id DESC);
COMMENT ON INDEX jobs_machine_idx IS 'GET /jobs?vm_name=, GET /machines, the donut of a machine.';

CREATE TABLE job_disks (
    job_id text NOT NULL,
    disk_index smallint NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    size_bytes bigint,
    bytes_transferred bigint NOT NULL DEFAULT 0,
    total_bytes bigint NOT NULL DEFAULT 0,
    transfer_speed_bps bigint NOT NULL DEFAULT 0,
    progress_percent double precision NOT NULL DEFAULT 0,
    error_message text,
    newest_update_at timestamptz,
    field_times bigint[] NOT NULL DEFAULT '{}',
    CONSTRAINT job_disks_pkey PRIMARY KEY (job_id, disk_index),
    CONSTRAINT job_disks_job_fkey FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    CONSTRAINT job_disks_index_range CHECK (disk_index BETWEEN 0 AND 1023),
    CONSTRAINT job_disks_status_known CHECK (
        status IN ('pending', 'transferring', 'completed', 'failed', 'cancelled')),
    CONSTRAINT job_disks_numbers_not_negative CHECK (
        size_bytes >= 0 AND bytes_transferred >= 0 AND total_bytes >= 0
        AND transfer_speed_bps >= 0),
    CONSTRAINT job_disks_progress_range CHECK (progress_percent BETWEEN 0 AND 100)
) WITH (fillfactor = 70);

CREATE TABLE job_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    job_id text NOT NULL,
    time timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    from_status text,
    to_status text,
    actor text NOT NULL,
    reason text NOT NULL,
    evidence jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT job_events_pkey PRIMARY KEY (id),
    CONSTRAINT job_events_job_fkey FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    CONSTRAINT job_events_kind_known CHECK (kind IN ('transition', 'warning')),
    CONSTRAINT job_events_actor_known CHECK (actor IN ('sender', 'detector', 'operator', 'hub'))
);

CREATE INDEX job_events_job_idx ON job_events (job_id, id);
COMMENT ON INDEX job_events_job_idx IS 'GET /jobs/{job_id}/events, in order.';
