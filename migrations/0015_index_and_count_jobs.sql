-- Reads of jobs whose cost does not grow with the number of jobs (docs/decisions/0020): an index for
-- each filter, and counts that are kept instead of computed.

-- No index has a column that changes with every update. The one that this replaces had
-- last_telemetry_at: it made every update of a job's row write into all indexes.
DROP INDEX jobs_live_idx;
DROP INDEX jobs_machine_idx;
CREATE INDEX jobs_status_idx ON jobs (status, created_at DESC, id DESC);
COMMENT ON INDEX jobs_status_idx IS
    'Jobs of a status: GET /jobs?status=, counts of a time range, the stale scan.';
CREATE INDEX jobs_type_idx ON jobs (job_type, status, created_at DESC, id DESC);
COMMENT ON INDEX jobs_type_idx IS 'GET /jobs?job_type=, counts of a type in a time range.';
CREATE INDEX jobs_repository_idx ON jobs (repository_id, status, created_at DESC, id DESC)
    WHERE repository_id IS NOT NULL;
COMMENT ON INDEX jobs_repository_idx IS
    'GET /jobs?repository_id=, counts of a repository in a time range.';
CREATE INDEX jobs_machine_idx ON jobs (vm_name, created_at DESC, id DESC) INCLUDE (status);
COMMENT ON INDEX jobs_machine_idx IS
    'GET /jobs?vm_name=, GET /machines, counts of a machine in a time range.';

-- A fifth of a large table, the default, is too much: counts of a range read the pages of the table
-- that have not been vacuumed.
ALTER TABLE jobs SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);

CREATE TABLE job_counts (
    job_type text NOT NULL,
    repository_id text,
    status text NOT NULL,
    jobs bigint NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX job_counts_key ON job_counts (job_type, repository_id, status)
    NULLS NOT DISTINCT;

CREATE TABLE machine_job_counts (
    vm_name text NOT NULL,
    job_type text NOT NULL,
    repository_id text,
    status text NOT NULL,
    jobs bigint NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX machine_job_counts_key
    ON machine_job_counts (vm_name, job_type, repository_id, status) NULLS NOT DISTINCT;

-- Appended to by triggers, so that no transaction waits for another one's count.
CREATE TABLE job_count_changes (
    vm_name text,
    job_type text NOT NULL,
    repository_id text,
    status text NOT NULL,
    jobs integer NOT NULL
);

-- With the owner's rights: who may write jobs need not be able to write counts.
CREATE FUNCTION count_inserted_jobs() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO job_count_changes (vm_name, job_type, repository_id, status, jobs)
    SELECT vm_name, job_type, repository_id, status, count(*)
    FROM inserted GROUP BY vm_name, job_type, repository_id, status;
    RETURN NULL;
END $$;

CREATE FUNCTION count_deleted_jobs() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO job_count_changes (vm_name, job_type, repository_id, status, jobs)
    SELECT vm_name, job_type, repository_id, status, -count(*)
    FROM deleted GROUP BY vm_name, job_type, repository_id, status;
    RETURN NULL;
END $$;

CREATE FUNCTION count_moved_job() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO job_count_changes (vm_name, job_type, repository_id, status, jobs)
    VALUES (OLD.vm_name, OLD.job_type, OLD.repository_id, OLD.status, -1),
           (NEW.vm_name, NEW.job_type, NEW.repository_id, NEW.status, 1);
    RETURN NULL;
END $$;

CREATE FUNCTION count_no_jobs() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    TRUNCATE job_count_changes, job_counts, machine_job_counts;
    RETURN NULL;
END $$;

CREATE TRIGGER count_inserted_jobs AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION count_inserted_jobs();
CREATE TRIGGER count_deleted_jobs AFTER DELETE ON jobs
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION count_deleted_jobs();
-- For each row, with a condition: hardly any update of a row moves its job to another count, and a
-- trigger for statements would copy every row that is written.
CREATE TRIGGER count_moved_job AFTER UPDATE ON jobs
    FOR EACH ROW
    WHEN ((OLD.status, OLD.job_type, OLD.vm_name, OLD.repository_id)
          IS DISTINCT FROM (NEW.status, NEW.job_type, NEW.vm_name, NEW.repository_id))
    EXECUTE FUNCTION count_moved_job();
CREATE TRIGGER count_no_jobs AFTER TRUNCATE ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION count_no_jobs();

-- The triggers' lock keeps jobs from being written until this has committed.
INSERT INTO job_counts (job_type, repository_id, status, jobs)
SELECT job_type, repository_id, status, count(*)
FROM jobs GROUP BY job_type, repository_id, status;
INSERT INTO machine_job_counts (vm_name, job_type, repository_id, status, jobs)
SELECT vm_name, job_type, repository_id, status, count(*)
FROM jobs WHERE vm_name IS NOT NULL GROUP BY vm_name, job_type, repository_id, status;
