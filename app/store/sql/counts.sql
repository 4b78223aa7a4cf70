-- The kept counts of jobs: triggers of `jobs` append to job_count_changes, and this adds the changes
-- to the counts, or computes the counts again.

-- One statement, so a reader sees a change either in the log or in the counts. The order of the rows
-- is that of every run.
-- name: fold_changes
WITH taken AS (
    DELETE FROM job_count_changes RETURNING vm_name, job_type, repository_id, status, jobs
), by_machine AS (
    INSERT INTO machine_job_counts AS kept (vm_name, job_type, repository_id, status, jobs)
    SELECT vm_name, job_type, repository_id, status, sum(jobs)
    FROM taken
    WHERE vm_name IS NOT NULL
    GROUP BY vm_name, job_type, repository_id, status
    HAVING sum(jobs) <> 0
    ORDER BY vm_name, job_type, repository_id, status
    ON CONFLICT (vm_name, job_type, repository_id, status)
        DO UPDATE SET jobs = kept.jobs + excluded.jobs
), in_all AS (
    INSERT INTO job_counts AS kept (job_type, repository_id, status, jobs)
    SELECT job_type, repository_id, status, sum(jobs)
    FROM taken
    GROUP BY job_type, repository_id, status
    HAVING sum(jobs) <> 0
    ORDER BY job_type, repository_id, status
    ON CONFLICT (job_type, repository_id, status) DO UPDATE SET jobs = kept.jobs + excluded.jobs
)
SELECT count(*) FROM taken

-- One row for each type, status and actor, with the number of the first one: that decides which types
-- GET /metrics names.
-- name: fold_ends
WITH repeated AS (
    SELECT job_type, status, ended_by
    FROM job_ends
    GROUP BY job_type, status, ended_by
    HAVING count(*) > 1
), taken AS (
    DELETE FROM job_ends USING repeated
    WHERE (job_ends.job_type, job_ends.status, job_ends.ended_by)
          = (repeated.job_type, repeated.status, repeated.ended_by)
    RETURNING job_ends.n, job_ends.job_type, job_ends.status, job_ends.ended_by, job_ends.ends
)
INSERT INTO job_ends (n, job_type, status, ended_by, ends)
SELECT min(n), job_type, status, ended_by, sum(ends)
FROM taken
GROUP BY job_type, status, ended_by

-- The number of jobs by which the counts are wrong: of all jobs, and of the machines.
-- name: find_differences
WITH counted AS (
    SELECT vm_name, job_type, repository_id, status, count(*) AS jobs
    FROM jobs
    GROUP BY vm_name, job_type, repository_id, status
), in_all AS (
    SELECT abs(sum(jobs)) AS jobs
    FROM (
        SELECT job_type, repository_id, status, jobs FROM counted
        UNION ALL
        SELECT job_type, repository_id, status, -jobs FROM job_counts
        UNION ALL
        SELECT job_type, repository_id, status, -jobs FROM job_count_changes
    ) AS parts
    GROUP BY job_type, repository_id, status
), by_machine AS (
    SELECT abs(sum(jobs)) AS jobs
    FROM (
        SELECT vm_name, job_type, repository_id, status, jobs FROM counted
        UNION ALL
        SELECT vm_name, job_type, repository_id, status, -jobs FROM machine_job_counts
        UNION ALL
        SELECT vm_name, job_type, repository_id, status, -jobs FROM job_count_changes
    ) AS parts
    WHERE vm_name IS NOT NULL
    GROUP BY vm_name, job_type, repository_id, status
)
SELECT coalesce((SELECT sum(jobs) FROM in_all), 0)::bigint,
       coalesce((SELECT sum(jobs) FROM by_machine), 0)::bigint

-- name: use_one_snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ

-- Before the snapshot is taken, by the first statement that reads.
-- name: keep_others_from_folding
LOCK TABLE job_counts IN SHARE ROW EXCLUSIVE MODE

-- name: delete_changes
DELETE FROM job_count_changes

-- name: delete_counts
DELETE FROM job_counts

-- name: delete_counts_of_machines
DELETE FROM machine_job_counts

-- name: count_jobs
INSERT INTO job_counts (job_type, repository_id, status, jobs)
SELECT job_type, repository_id, status, count(*)
FROM jobs
GROUP BY job_type, repository_id, status

-- name: count_jobs_of_machines
INSERT INTO machine_job_counts (vm_name, job_type, repository_id, status, jobs)
SELECT vm_name, job_type, repository_id, status, count(*)
FROM jobs
WHERE vm_name IS NOT NULL
GROUP BY vm_name, job_type, repository_id, status
