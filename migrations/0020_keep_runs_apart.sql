-- A job's id may be used again: each use is a run with a row of its own in `jobs`. The `job_id` of a
-- first run is the job's id, as before; that of others is `<id>/<run>` (docs/decisions/0025). All jobs
-- so far have one run.

CREATE FUNCTION job_of(run_key text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT split_part(run_key, '/', 1) $$;
CREATE FUNCTION run_of(run_key text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT coalesce(nullif(split_part(run_key, '/', 2), '')::integer, 1) $$;

ALTER TABLE jobs
    ADD COLUMN begins_at timestamptz,
    ADD COLUMN is_announced boolean NOT NULL DEFAULT false,
    ADD COLUMN registered_at timestamptz,
    DROP CONSTRAINT jobs_job_id_length,
    ADD CONSTRAINT jobs_job_id_length CHECK (
        char_length(split_part(job_id, '/', 1)) BETWEEN 1 AND 255);
UPDATE jobs SET registered_at = created_at WHERE status = 'pending';

-- Only jobs with several runs.
CREATE TABLE job_runs (
    job_id text NOT NULL,
    runs integer NOT NULL,
    newest text NOT NULL,
    CONSTRAINT job_runs_pkey PRIMARY KEY (job_id),
    CONSTRAINT job_runs_job_fkey FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    CONSTRAINT job_runs_several CHECK (runs > 1)
);
