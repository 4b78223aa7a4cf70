-- Repairs completed jobs whose bytes are not the sum of their disks. A disk has reported bytes if
-- its register has an instant; imported rows have no instants, so there a number above zero counts.

-- One page of completed jobs by id, each with the sum of its disks: null unless all have reported.
-- name: read_completed
WITH page AS (
    SELECT id, job_id, bytes_transferred
    FROM jobs
    WHERE status = 'completed' AND id > %(after_id)s
      AND (%(job_id)s::text IS NULL OR job_id = ANY(runs_of(%(job_id)s)))
    ORDER BY id
    LIMIT %(limit)s
)
SELECT page.id, page.job_id, page.bytes_transferred AS before,
       (SELECT CASE WHEN bool_and(field_times[%(bytes_field)s] IS NOT NULL OR bytes_transferred > 0)
                    THEN least(sum(bytes_transferred), 9223372036854775807)::bigint END
        FROM job_disks
        WHERE job_disks.job_id = page.job_id) AS after
FROM page
ORDER BY page.id

-- name: read_status
SELECT status FROM jobs WHERE job_id = find_run(%(job_id)s)

-- Runs with updates that are of later ones (app/domain/runs.py).
-- name: read_undivided
SELECT job_id
FROM jobs
WHERE ended_by <> 'detector' AND newest_update_at > completed_at + INTERVAL '60 seconds'
ORDER BY id

-- Ingest locks a job's row before its disks, so this blocks changes of the disks too. A separate
-- statement, so that the next one sees what the other transactions have committed.
-- name: lock_jobs
SELECT job_id FROM jobs WHERE job_id = ANY(%(job_ids)s) ORDER BY job_id FOR UPDATE

-- Checks everything again, because the first read may be out of date. The warning that is removed
-- is ingest's.
-- name: repair_jobs
WITH summed AS (
    SELECT job_id,
           bool_and(field_times[%(bytes_field)s] IS NOT NULL OR bytes_transferred > 0) AS decides,
           least(sum(bytes_transferred), 9223372036854775807)::bigint AS after
    FROM job_disks
    WHERE job_id = ANY(%(job_ids)s)
    GROUP BY job_id
), wrong AS (
    SELECT jobs.id, jobs.job_id, jobs.bytes_transferred AS before, summed.after
    FROM jobs
    JOIN summed USING (job_id)
    WHERE jobs.status = 'completed' AND summed.decides
      AND jobs.bytes_transferred <> summed.after
), repaired AS (
    UPDATE jobs
    SET bytes_transferred = wrong.after,
        -- The only part of a summary that depends on the bytes; its sources may have been dropped.
        performance_metrics = CASE
            WHEN (performance_metrics ->> 'duration_seconds')::double precision > 0
            THEN performance_metrics || jsonb_build_object(
                'effective_speed_bps', round(wrong.after
                    / (performance_metrics ->> 'duration_seconds')::numeric, 2))
            ELSE performance_metrics END,
        warnings = CASE WHEN wrong.after > 0 THEN warnings - 'no_bytes' ELSE warnings END
    FROM wrong
    WHERE jobs.id = wrong.id
    RETURNING wrong.id, wrong.job_id, wrong.before, wrong.after
), noted AS (
    INSERT INTO job_events (job_id, kind, actor, reason, evidence)
    SELECT job_id, 'warning', 'operator',
           format('Bytes recomputed from the disks: %%s became %%s.', before, after),
           jsonb_build_object('bytes_before', before, 'bytes_after', after)
    FROM repaired
    ORDER BY id
), judged_again AS (
    INSERT INTO changed_runs (id) SELECT id FROM repaired
)
SELECT id, job_id, before, after FROM repaired ORDER BY id

-- name: count_without_bytes
SELECT count(*)
FROM jobs
WHERE status = 'completed' AND bytes_transferred = 0
  AND (%(job_id)s::text IS NULL OR job_id = ANY(runs_of(%(job_id)s)))

-- No row: the rollup was never refreshed, so no chart has been kept.
-- name: note_rebuild
UPDATE rollup_refreshes SET rebuilt_at = clock_timestamp() WHERE rollup = %(rollup)s
