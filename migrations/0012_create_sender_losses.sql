-- What senders lost: updates that they had to drop before the hub ever saw them. The next update
-- that arrives tells of them (docs/decisions/0012). A few rows, kept for ever, as the gaps that they
-- explain are.

CREATE TABLE sender_losses (
    job_id text NOT NULL,
    time timestamptz NOT NULL,
    lost_updates integer NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT sender_losses_pkey PRIMARY KEY (job_id, time),
    CONSTRAINT sender_losses_job_fkey FOREIGN KEY (job_id) REFERENCES jobs (job_id)
        ON DELETE CASCADE,
    CONSTRAINT sender_losses_some CHECK (lost_updates > 0)
);
COMMENT ON TABLE sender_losses IS
    'One row per update that told of updates its sender had lost: dropped, because it could not '
    'send them and had no more room to keep them. Kept for ever.';
COMMENT ON COLUMN sender_losses.job_id IS 'The job.';
COMMENT ON COLUMN sender_losses.time IS
    'Time of the update that told of it, as in job_telemetry; sender''s clock. What was lost was '
    'due before.';
COMMENT ON COLUMN sender_losses.lost_updates IS
    'How many updates of this job were lost since the one delivered before: the most that an '
    'update of this instant said.';
COMMENT ON COLUMN sender_losses.received_at IS
    'When the hub first heard of it, database''s clock.';
