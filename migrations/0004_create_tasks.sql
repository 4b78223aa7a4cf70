-- The scheduled tasks and the stale detector: leases and last runs, who watches for updates, and
-- what a verdict of the detector hides.

-- A release that drops a task deletes its row in a migration, or it would be late for ever.
CREATE TABLE tasks (
    task_id text NOT NULL,
    interval_seconds integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    lease_holder text,
    lease_expires_at timestamptz,
    last_started_at timestamptz,
    last_finished_at timestamptz,
    last_duration_seconds double precision,
    last_result jsonb,
    last_error text,
    CONSTRAINT tasks_pkey PRIMARY KEY (task_id),
    CONSTRAINT tasks_interval_positive CHECK (interval_seconds > 0),
    CONSTRAINT tasks_lease_complete CHECK (
        (lease_holder IS NULL) = (lease_expires_at IS NULL))
) WITH (fillfactor = 50);
COMMENT ON TABLE tasks IS
    'One row per scheduled task: who runs it now, and what became of its last run.';
COMMENT ON COLUMN tasks.interval_seconds IS 'How often it is due.';
COMMENT ON COLUMN tasks.created_at IS 'When it was first claimed.';
COMMENT ON COLUMN tasks.lease_holder IS
    'The process that runs it now; NULL while nobody does. Void once lease_expires_at has passed.';
COMMENT ON COLUMN tasks.last_result IS 'What the last run returned; NULL after a failure.';
COMMENT ON COLUMN tasks.last_error IS 'Why the last run failed; NULL after a success.';

CREATE TABLE ingest_beats (
    process_id text NOT NULL,
    up_since timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    CONSTRAINT ingest_beats_pkey PRIMARY KEY (process_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE ingest_beats IS
    'One row per web process that takes updates: without a gap it has done so from up_since to '
    'beat_at. Only what some process watched counts as a job''s silence.';

ALTER TABLE jobs ADD COLUMN before_verdict jsonb;
COMMENT ON COLUMN jobs.before_verdict IS
    'What the sender had said and the detector''s verdict hides: {"error_message": text or null, '
    '"disks": {disk_index: status}}. An update that revives the job brings it back.';
