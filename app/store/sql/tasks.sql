-- Leases and last runs of the scheduled tasks. `now` is for tests: by default the database's clock
-- counts.

-- Decides which process runs a task: it must be due, and no process may hold a valid lease. It is
-- due a little early: a tick that comes a millisecond too soon must not wait for another interval.
-- Times more than `future_seconds` ahead were written before the clock was set back, and are
-- ignored.
-- name: claim_task
INSERT INTO tasks (
    task_id, interval_seconds, created_at, lease_holder, lease_expires_at, last_started_at)
SELECT %(task_id)s, %(interval_seconds)s, clock.now, %(holder)s,
       clock.now + make_interval(secs => %(lease_seconds)s), clock.now
FROM (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now) AS clock
ON CONFLICT (task_id) DO UPDATE SET
    interval_seconds = excluded.interval_seconds,
    lease_holder = excluded.lease_holder,
    lease_expires_at = excluded.lease_expires_at,
    last_started_at = excluded.last_started_at
WHERE (tasks.lease_expires_at IS NULL OR tasks.lease_expires_at <= excluded.last_started_at
       OR tasks.lease_expires_at
          > excluded.lease_expires_at + make_interval(secs => %(future_seconds)s))
  AND (tasks.last_started_at IS NULL
       OR tasks.last_started_at
          <= excluded.last_started_at - 0.9 * make_interval(secs => %(interval_seconds)s)
       OR tasks.last_started_at
          > excluded.last_started_at + make_interval(secs => %(future_seconds)s))
RETURNING task_id

-- name: renew_lease
UPDATE tasks
SET lease_expires_at = coalesce(%(now)s::timestamptz, clock_timestamp())
    + make_interval(secs => %(lease_seconds)s)
WHERE task_id = %(task_id)s AND lease_holder = %(holder)s

-- name: finish_task
UPDATE tasks SET
    lease_holder = NULL,
    lease_expires_at = NULL,
    last_finished_at = coalesce(%(now)s::timestamptz, clock_timestamp()),
    last_duration_seconds = %(duration_seconds)s,
    last_result = %(result)s::jsonb,
    last_error = %(error)s
WHERE task_id = %(task_id)s AND lease_holder = %(holder)s

-- name: read_tasks
SELECT task_id, interval_seconds, last_started_at, last_finished_at, last_duration_seconds,
       last_result, last_error,
       extract(epoch FROM coalesce(%(now)s::timestamptz, clock_timestamp())
               - coalesce(last_finished_at, created_at))::double precision AS age_seconds
FROM tasks
ORDER BY task_id

-- How long web processes have been up.
-- name: waited_for_tasks_seconds
SELECT extract(epoch FROM coalesce(%(now)s::timestamptz, clock_timestamp())
               - min(up_since))::double precision
FROM ingest_beats
WHERE beat_at >= coalesce(%(now)s::timestamptz, clock_timestamp())
                 - make_interval(secs => %(gap_seconds)s)
