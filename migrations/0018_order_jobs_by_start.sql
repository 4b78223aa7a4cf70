-- Lists of jobs go by when a run took place (docs/decisions/0024). An older release keeps working: it
-- sorts by created_at without an index.

-- Values of the ended runs, for sorting: NULL while a job is live, so that no update of a live job
-- changes an indexed column. Writing the columns rewrites the table; without indexes it is faster.
DROP INDEX jobs_newest_idx;
DROP INDEX jobs_status_idx;
DROP INDEX jobs_type_idx;
DROP INDEX jobs_repository_idx;
DROP INDEX jobs_machine_idx;
ALTER TABLE jobs
    ADD COLUMN active_during tstzrange GENERATED ALWAYS AS (
        tstzrange(started_at, CASE WHEN completed_at IS NOT NULL
                              THEN greatest(completed_at, started_at) END, '[]')) STORED,
    ADD COLUMN final_bytes bigint GENERATED ALWAYS AS (
        CASE WHEN completed_at IS NOT NULL THEN bytes_transferred END) STORED,
    ADD COLUMN final_seconds double precision GENERATED ALWAYS AS (
        CASE WHEN completed_at IS NOT NULL
        THEN greatest(0, extract(epoch FROM completed_at - started_at))::double precision END)
        STORED,
    ADD COLUMN final_bps double precision GENERATED ALWAYS AS (
        CASE WHEN completed_at > started_at
             THEN bytes_transferred / extract(epoch FROM completed_at - started_at)::double precision
             WHEN completed_at IS NOT NULL THEN 0 END) STORED;

CREATE INDEX jobs_newest_idx ON jobs (started_at DESC, id DESC);
COMMENT ON INDEX jobs_newest_idx IS 'GET /jobs: newest run first, by keyset.';
CREATE INDEX jobs_status_idx ON jobs (status, started_at DESC, id DESC);
COMMENT ON INDEX jobs_status_idx IS
    'Jobs of a status: GET /jobs?status=, counts of a time range, the stale scan.';
CREATE INDEX jobs_type_idx ON jobs (job_type, status, started_at DESC, id DESC);
COMMENT ON INDEX jobs_type_idx IS 'GET /jobs?job_type=, counts of a type in a time range.';
CREATE INDEX jobs_repository_idx ON jobs (repository_id, status, started_at DESC, id DESC)
    WHERE repository_id IS NOT NULL;
COMMENT ON INDEX jobs_repository_idx IS
    'GET /jobs?repository_id=, counts of a repository in a time range.';
CREATE INDEX jobs_machine_idx ON jobs (vm_name, started_at DESC, id DESC) INCLUDE (status);
COMMENT ON INDEX jobs_machine_idx IS
    'GET /jobs?vm_name=, GET /machines, counts of a machine in a time range, earlier runs.';
CREATE INDEX jobs_bytes_idx ON jobs (final_bytes DESC, id DESC) WHERE final_bytes IS NOT NULL;
COMMENT ON INDEX jobs_bytes_idx IS 'GET /jobs?sort=bytes: the ended jobs.';
CREATE INDEX jobs_duration_idx ON jobs (final_seconds DESC, id DESC)
    WHERE final_seconds IS NOT NULL;
COMMENT ON INDEX jobs_duration_idx IS 'GET /jobs?sort=duration: the ended jobs.';
CREATE INDEX jobs_speed_idx ON jobs (final_bps DESC, id DESC) WHERE final_bps IS NOT NULL;
COMMENT ON INDEX jobs_speed_idx IS 'GET /jobs?sort=speed: the ended jobs.';
CREATE INDEX jobs_active_idx ON jobs USING gist (active_during);
COMMENT ON INDEX jobs_active_idx IS 'GET /jobs?active_from=: the jobs that ran in a time range.';
