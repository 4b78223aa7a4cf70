-- Rules and maintenance windows: few rows, which are read whole. Columns are taken by name.

-- name: read_rules
SELECT * FROM rules

-- name: put_rule
INSERT INTO rules (
    job_id, vm_name, node_id, phase, job_type,
    stall_after_seconds, fail_after_seconds, hung_after_seconds, overdue_after_seconds,
    schedule, timezone, unusual_factor,
    disk_percent_warning, disk_percent_critical, memory_percent, mute_until)
VALUES (
    %(job_id)s, %(vm_name)s, %(node_id)s, %(phase)s, %(job_type)s,
    %(stall_after_seconds)s, %(fail_after_seconds)s, %(hung_after_seconds)s,
    %(overdue_after_seconds)s, %(schedule)s, %(timezone)s, %(unusual_factor)s,
    %(disk_percent_warning)s, %(disk_percent_critical)s, %(memory_percent)s, %(mute_until)s)
ON CONFLICT (job_id, vm_name, node_id, phase, job_type) DO UPDATE SET
    stall_after_seconds = excluded.stall_after_seconds,
    fail_after_seconds = excluded.fail_after_seconds,
    hung_after_seconds = excluded.hung_after_seconds,
    overdue_after_seconds = excluded.overdue_after_seconds,
    schedule = excluded.schedule,
    timezone = excluded.timezone,
    unusual_factor = excluded.unusual_factor,
    disk_percent_warning = excluded.disk_percent_warning,
    disk_percent_critical = excluded.disk_percent_critical,
    memory_percent = excluded.memory_percent,
    mute_until = excluded.mute_until,
    changed_at = now()
RETURNING *, xmax = 0 AS is_new, (SELECT count(*) FROM rules) AS rules

-- name: delete_rule
DELETE FROM rules WHERE id = %(id)s RETURNING *

-- name: read_maintenance
SELECT * FROM maintenance
WHERE to_at > %(now)s - interval '400 days'
ORDER BY to_at DESC, id DESC

-- name: insert_window
INSERT INTO maintenance (from_at, to_at, job_id, vm_name, node_id, phase, job_type, reason)
VALUES (%(from_at)s, %(to_at)s, %(job_id)s, %(vm_name)s, %(node_id)s, %(phase)s, %(job_type)s,
        %(reason)s)
RETURNING *, (SELECT count(*) FROM maintenance WHERE to_at > now()) AS windows

-- name: end_window
UPDATE maintenance SET to_at = least(to_at, greatest(from_at, clock_timestamp()))
WHERE id = %(id)s
RETURNING *
